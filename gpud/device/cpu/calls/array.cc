// CUDA arrays: memory of the device that programs reach by copies. Textures and surfaces are not
// there yet.
#include "cpu_calls_gen.h"
#include "driver/array_shape.h"
#include "gpud/device/cpu/calls/enter.h"

namespace farwarp::cpu::calls {
namespace {

// What a device of NVIDIA has, by the number of dimensions.
bool overDeviceLimits(const CUDA_ARRAY3D_DESCRIPTOR& d) {
  const bool layered = (d.Flags & CUDA_ARRAY3D_LAYERED) != 0;
  if (layered) return d.Width > 32768 || d.Height > 32768 || d.Depth > 2048;
  if (d.Depth != 0) return d.Width > 16384 || d.Height > 16384 || d.Depth > 16384;
  return d.Width > 131072 || d.Height > 65536;
}

CUresult findArray(CUarray handle, std::shared_ptr<ArrayObject>& array) {
  std::shared_ptr<Context> context;
  if (CUresult r = enter(context); r != CUDA_SUCCESS) return r;
  array = Driver::get().arrays().find(handle);
  return array != nullptr ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

}  // namespace

CUresult cuArray3DCreate_v2(CUarray* out, const CUDA_ARRAY3D_DESCRIPTOR* descriptor) {
  std::shared_ptr<Context> context;
  if (CUresult r = enter(context); r != CUDA_SUCCESS) return r;
  if (out == nullptr || descriptor == nullptr) return CUDA_ERROR_INVALID_VALUE;
  auto array = std::make_shared<ArrayObject>();
  if (CUresult r = describeArray(*descriptor, array->shape); r != CUDA_SUCCESS) return r;
  if (overDeviceLimits(*descriptor)) return CUDA_ERROR_INVALID_VALUE;
  array->context = context;
  array->descriptor = *descriptor;
  AddressSpace& memory = Driver::get().memory();
  const Device& device = context->device();
  // As memory of modules: it has an address that the program does not know and cannot free.
  array->address = memory.allocate({.bytes = array->shape.bytes(),
                                    .kind = MemoryKind::module,
                                    .context = context->number(),
                                    .device = device.ordinal()},
                                   device.memoryBytes());
  if (array->address == 0) return CUDA_ERROR_OUT_OF_MEMORY;
  const uintptr_t handle = Driver::get().arrays().insert(array);
  if (handle == 0) {
    memory.release(array->address, MemoryKind::module);
    return CUDA_ERROR_OUT_OF_MEMORY;
  }
  *out = reinterpret_cast<CUarray>(handle);
  return CUDA_SUCCESS;
}

CUresult cuArrayCreate_v2(CUarray* out, const CUDA_ARRAY_DESCRIPTOR* descriptor) {
  std::shared_ptr<Context> context;
  if (CUresult r = enter(context); r != CUDA_SUCCESS) return r;
  if (descriptor == nullptr) return CUDA_ERROR_INVALID_VALUE;
  const CUDA_ARRAY3D_DESCRIPTOR wanted{.Width = descriptor->Width,
                                       .Height = descriptor->Height,
                                       .Depth = 0,
                                       .Format = descriptor->Format,
                                       .NumChannels = descriptor->NumChannels,
                                       .Flags = 0};
  return calls::cuArray3DCreate_v2(out, &wanted);
}

CUresult cuArrayGetDescriptor_v2(CUDA_ARRAY_DESCRIPTOR* out, CUarray handle) {
  std::shared_ptr<ArrayObject> array;
  if (CUresult r = findArray(handle, array); r != CUDA_SUCCESS) return r;
  if (out == nullptr) return CUDA_ERROR_INVALID_VALUE;
  const CUDA_ARRAY3D_DESCRIPTOR& d = array->descriptor;
  *out = {d.Width, d.Height, d.Format, d.NumChannels};
  return CUDA_SUCCESS;
}

CUresult cuArray3DGetDescriptor_v2(CUDA_ARRAY3D_DESCRIPTOR* out, CUarray handle) {
  std::shared_ptr<ArrayObject> array;
  if (CUresult r = findArray(handle, array); r != CUDA_SUCCESS) return r;
  if (out == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *out = array->descriptor;
  return CUDA_SUCCESS;
}

CUresult cuArrayDestroy(CUarray handle) {
  if (CUresult r = enter(); r != CUDA_SUCCESS) return r;
  const auto array = Driver::get().arrays().remove(handle);
  if (array == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  array->context->synchronize();
  Driver::get().memory().release(array->address, MemoryKind::module);
  return array->context->error();
}

}  // namespace farwarp::cpu::calls
