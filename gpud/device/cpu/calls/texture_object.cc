// Texture objects. Their values are those that kernels get.
#include "cpu_calls_gen.h"
#include "gpud/device/cpu/calls/enter.h"

namespace farwarp::cpu::calls {
namespace {

const void* handleOf(CUtexObject value) {
  return reinterpret_cast<const void*>(value);
}

CUresult findTexture(CUtexObject value, std::shared_ptr<TextureObject>& object) {
  std::shared_ptr<Context> context;
  if (CUresult r = enter(context); r != CUDA_SUCCESS) return r;
  object = Driver::get().textures().find(handleOf(value));
  const bool here = object != nullptr && object->context == context;
  return here ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

}  // namespace

CUresult cuTexObjectCreate(CUtexObject* out, const CUDA_RESOURCE_DESC* resource,
                           const CUDA_TEXTURE_DESC* description,
                           const CUDA_RESOURCE_VIEW_DESC* view) {
  std::shared_ptr<Context> context;
  if (CUresult r = enter(context); r != CUDA_SUCCESS) return r;
  if (out == nullptr || resource == nullptr || description == nullptr) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  auto object = std::make_shared<TextureObject>();
  object->context = context;
  object->resource = *resource;
  object->description = *description;
  if (view != nullptr) object->view = *view;
  auto texture = std::make_shared<ptx::Texture>();
  if (CUresult r = describeTexture(Driver::get(), *object, *texture); r != CUDA_SUCCESS) return r;
  const uintptr_t value = Driver::get().textures().insert(std::move(object));
  if (value == 0) return CUDA_ERROR_OUT_OF_MEMORY;
  context->textures().add(value, std::move(texture));
  *out = value;
  return CUDA_SUCCESS;
}

CUresult cuTexObjectDestroy(CUtexObject value) {
  std::shared_ptr<TextureObject> object;
  if (CUresult r = findTexture(value, object); r != CUDA_SUCCESS) return r;
  Driver::get().textures().remove(handleOf(value));
  object->context->textures().remove(value);
  return CUDA_SUCCESS;
}

CUresult cuTexObjectGetResourceDesc(CUDA_RESOURCE_DESC* out, CUtexObject value) {
  std::shared_ptr<TextureObject> object;
  if (CUresult r = findTexture(value, object); r != CUDA_SUCCESS) return r;
  if (out == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *out = object->resource;
  return CUDA_SUCCESS;
}

CUresult cuTexObjectGetTextureDesc(CUDA_TEXTURE_DESC* out, CUtexObject value) {
  std::shared_ptr<TextureObject> object;
  if (CUresult r = findTexture(value, object); r != CUDA_SUCCESS) return r;
  if (out == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *out = object->description;
  return CUDA_SUCCESS;
}

CUresult cuTexObjectGetResourceViewDesc(CUDA_RESOURCE_VIEW_DESC* out, CUtexObject value) {
  std::shared_ptr<TextureObject> object;
  if (CUresult r = findTexture(value, object); r != CUDA_SUCCESS) return r;
  if (out == nullptr || !object->view) return CUDA_ERROR_INVALID_VALUE;
  *out = *object->view;
  return CUDA_SUCCESS;
}

}  // namespace farwarp::cpu::calls
