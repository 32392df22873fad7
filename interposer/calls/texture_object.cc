// Texture objects. The driver of the GPU host says what may be a texture; here only the handles are
// looked up and what cannot be encoded is refused.
#include "interposer/calls/texture_object.h"

#include <cstring>

namespace farwarp::client::calls {
namespace {

using wire::HandleType;
using Args = wire::Args_cuTexObjectCreate;

// The number in an enumeration, which may hold anything.
template <typename Enum>
uint32_t numberIn(const Enum& value) {
  uint32_t number = 0;
  static_assert(sizeof number == sizeof value);
  std::memcpy(&number, &value, sizeof number);
  return number;
}

CUresult putResource(CallScope& scope, const CUDA_RESOURCE_DESC& resource, Args& args) {
  args.kind = numberIn(resource.resType);
  args.format = CU_AD_FORMAT_UNSIGNED_INT8;
  if (resource.flags != 0) return CUDA_ERROR_INVALID_VALUE;
  switch (args.kind) {
    case CU_RESOURCE_TYPE_ARRAY:
      return scope.use(HandleType::array, resource.res.array.hArray, args.array);
    case CU_RESOURCE_TYPE_MIPMAPPED_ARRAY:
      return scope.use(HandleType::mipmappedArray, resource.res.mipmap.hMipmappedArray,
                       args.mipmapped);
    case CU_RESOURCE_TYPE_LINEAR:
      args.address = resource.res.linear.devPtr;
      args.bytes = resource.res.linear.sizeInBytes;
      args.format = numberIn(resource.res.linear.format);
      args.channels = resource.res.linear.numChannels;
      break;
    case CU_RESOURCE_TYPE_PITCH2D:
      args.address = resource.res.pitch2D.devPtr;
      args.width = resource.res.pitch2D.width;
      args.height = resource.res.pitch2D.height;
      args.pitch = resource.res.pitch2D.pitchInBytes;
      args.format = numberIn(resource.res.pitch2D.format);
      args.channels = resource.res.pitch2D.numChannels;
      break;
    default:
      return CUDA_ERROR_INVALID_VALUE;
  }
  return static_cast<int32_t>(args.format) < 0 ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
}

// Enumerations travel only with values that they have.
bool enumerationsAreValid(const CUDA_TEXTURE_DESC& texture) {
  for (const CUaddress_mode& mode : texture.addressMode) {
    if (numberIn(mode) > CU_TR_ADDRESS_MODE_BORDER) return false;
  }
  return numberIn(texture.filterMode) <= CU_TR_FILTER_MODE_LINEAR &&
         numberIn(texture.mipmapFilterMode) <= CU_TR_FILTER_MODE_LINEAR;
}

}  // namespace

CUresult cuTexObjectCreate(CUtexObject* out, const CUDA_RESOURCE_DESC* resource,
                           const CUDA_TEXTURE_DESC* texture, const CUDA_RESOURCE_VIEW_DESC* view) {
  CallScope scope(CallId::cuTexObjectCreate);
  FARWARP_TRY(scope.enter(kNeedsInit | kNeedsContext));
  if (out == nullptr || resource == nullptr || texture == nullptr) return CUDA_ERROR_INVALID_VALUE;
  Args args;
  FARWARP_TRY(putResource(scope, *resource, args));
  const bool bad_view = view != nullptr && numberIn(view->format) > CU_RES_VIEW_FORMAT_UNSIGNED_BC7;
  if (!enumerationsAreValid(*texture) || bad_view) return CUDA_ERROR_INVALID_VALUE;
  args.texture = *texture;
  args.view = view == nullptr ? CUDA_RESOURCE_VIEW_DESC{} : *view;
  args.has_view = view != nullptr;
  auto object = std::make_unique<TextureObject>();
  object->resource = *resource;
  object->texture = *texture;
  if (view != nullptr) object->view = *view;
  uint64_t value = 0;
  FARWARP_TRY((createTextureObject<Args, wire::Reply_cuTexObjectCreate>(
      scope, HandleType::texObject, args, std::move(object), value)));
  *out = value;
  return CUDA_SUCCESS;
}

CUresult cuTexObjectDestroy(CUtexObject value) {
  CallScope scope(CallId::cuTexObjectDestroy);
  wire::Args_cuTexObjectDestroy args;
  const TextureObject* object = nullptr;
  FARWARP_TRY(scope.enter(kNeedsInit | kNeedsContext));
  FARWARP_TRY(findTextureObject(scope, scope.client().textures, value, args.texObject, object));
  FARWARP_TRY(scope.submit(args));
  scope.destroy(args.texObject);
  return CUDA_SUCCESS;
}

CUresult cuTexObjectGetResourceDesc(CUDA_RESOURCE_DESC* out, CUtexObject value) {
  CallScope scope(CallId::cuTexObjectGetResourceDesc);
  uint64_t id = 0;
  const TextureObject* object = nullptr;
  FARWARP_TRY(scope.enter(kNeedsInit | kNeedsContext));
  FARWARP_TRY(findTextureObject(scope, scope.client().textures, value, id, object));
  if (out == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *out = object->resource;
  return CUDA_SUCCESS;
}

CUresult cuTexObjectGetTextureDesc(CUDA_TEXTURE_DESC* out, CUtexObject value) {
  CallScope scope(CallId::cuTexObjectGetTextureDesc);
  uint64_t id = 0;
  const TextureObject* object = nullptr;
  FARWARP_TRY(scope.enter(kNeedsInit | kNeedsContext));
  FARWARP_TRY(findTextureObject(scope, scope.client().textures, value, id, object));
  if (out == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *out = object->texture;
  return CUDA_SUCCESS;
}

CUresult cuTexObjectGetResourceViewDesc(CUDA_RESOURCE_VIEW_DESC* out, CUtexObject value) {
  CallScope scope(CallId::cuTexObjectGetResourceViewDesc);
  uint64_t id = 0;
  const TextureObject* object = nullptr;
  FARWARP_TRY(scope.enter(kNeedsInit | kNeedsContext));
  FARWARP_TRY(findTextureObject(scope, scope.client().textures, value, id, object));
  if (out == nullptr || !object->view) return CUDA_ERROR_INVALID_VALUE;
  *out = *object->view;
  return CUDA_SUCCESS;
}

}  // namespace farwarp::client::calls
