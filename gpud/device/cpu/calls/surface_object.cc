// Surface objects. Their values are those that kernels get.
#include "cpu_calls_gen.h"
#include "gpud/device/cpu/calls/enter.h"

namespace farwarp::cpu::calls {
namespace {

const void* handleOf(CUsurfObject value) {
  return reinterpret_cast<const void*>(value);
}

CUresult findSurface(CUsurfObject value, std::shared_ptr<TextureObject>& object) {
  std::shared_ptr<Context> context;
  if (CUresult r = enter(context); r != CUDA_SUCCESS) return r;
  object = Driver::get().surfaces().find(handleOf(value));
  const bool here = object != nullptr && object->context == context;
  return here ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

}  // namespace

CUresult cuSurfObjectCreate(CUsurfObject* out, const CUDA_RESOURCE_DESC* resource) {
  std::shared_ptr<Context> context;
  if (CUresult r = enter(context); r != CUDA_SUCCESS) return r;
  if (out == nullptr || resource == nullptr) return CUDA_ERROR_INVALID_VALUE;
  auto surface = std::make_shared<ptx::Texture>();
  if (CUresult r = describeSurface(Driver::get(), *resource, *surface); r != CUDA_SUCCESS) {
    return r;
  }
  auto object = std::make_shared<TextureObject>();
  object->context = context;
  object->resource = *resource;
  const uintptr_t value = Driver::get().surfaces().insert(std::move(object));
  if (value == 0) return CUDA_ERROR_OUT_OF_MEMORY;
  context->textures().add(value, std::move(surface));
  *out = value;
  return CUDA_SUCCESS;
}

CUresult cuSurfObjectDestroy(CUsurfObject value) {
  std::shared_ptr<TextureObject> object;
  if (CUresult r = findSurface(value, object); r != CUDA_SUCCESS) return r;
  Driver::get().surfaces().remove(handleOf(value));
  object->context->textures().remove(value);
  return CUDA_SUCCESS;
}

CUresult cuSurfObjectGetResourceDesc(CUDA_RESOURCE_DESC* out, CUsurfObject value) {
  std::shared_ptr<TextureObject> object;
  if (CUresult r = findSurface(value, object); r != CUDA_SUCCESS) return r;
  if (out == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *out = object->resource;
  return CUDA_SUCCESS;
}

}  // namespace farwarp::cpu::calls
