// Surface objects: arrays that kernels write.
#include "interposer/calls/texture_object.h"

namespace farwarp::client::calls {

using wire::HandleType;

CUresult cuSurfObjectCreate(CUsurfObject* out, const CUDA_RESOURCE_DESC* resource) {
  CallScope scope(CallId::cuSurfObjectCreate);
  FARWARP_TRY(scope.enter(kNeedsInit | kNeedsContext));
  if (out == nullptr || resource == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (resource->resType != CU_RESOURCE_TYPE_ARRAY || resource->flags != 0) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  wire::Args_cuSurfObjectCreate args;
  FARWARP_TRY(scope.use(HandleType::array, resource->res.array.hArray, args.array));
  auto object = std::make_unique<TextureObject>();
  object->resource = *resource;
  uint64_t value = 0;
  FARWARP_TRY((createTextureObject<wire::Args_cuSurfObjectCreate, wire::Reply_cuSurfObjectCreate>(
      scope, HandleType::surfObject, args, std::move(object), value)));
  *out = value;
  return CUDA_SUCCESS;
}

CUresult cuSurfObjectDestroy(CUsurfObject value) {
  CallScope scope(CallId::cuSurfObjectDestroy);
  wire::Args_cuSurfObjectDestroy args;
  const TextureObject* object = nullptr;
  FARWARP_TRY(scope.enter(kNeedsInit | kNeedsContext));
  FARWARP_TRY(findTextureObject(scope, scope.client().surfaces, value, args.surfObject, object));
  FARWARP_TRY(scope.submit(args));
  scope.destroy(args.surfObject);
  return CUDA_SUCCESS;
}

CUresult cuSurfObjectGetResourceDesc(CUDA_RESOURCE_DESC* out, CUsurfObject value) {
  CallScope scope(CallId::cuSurfObjectGetResourceDesc);
  uint64_t id = 0;
  const TextureObject* object = nullptr;
  FARWARP_TRY(scope.enter(kNeedsInit | kNeedsContext));
  FARWARP_TRY(findTextureObject(scope, scope.client().surfaces, value, id, object));
  if (out == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *out = object->resource;
  return CUDA_SUCCESS;
}

}  // namespace farwarp::client::calls
