// CUDA arrays and mipmapped arrays: memory of the device that programs reach by copies, textures
// and surfaces.
#include <algorithm>

#include "cpu_calls_gen.h"
#include "driver/array_shape.h"
#include "gpud/device/cpu/calls/enter.h"

namespace farwarp::cpu::calls {
namespace {

// By kind of array, as the attributes of the device say.
bool overDeviceLimits(const CUDA_ARRAY3D_DESCRIPTOR& d) {
  const auto over = [&d](size_t width, size_t height, size_t depth) {
    return d.Width > width || d.Height > height || d.Depth > depth;
  };
  const bool layered = (d.Flags & CUDA_ARRAY3D_LAYERED) != 0;
  const bool gather = (d.Flags & CUDA_ARRAY3D_TEXTURE_GATHER) != 0;
  if ((d.Flags & CUDA_ARRAY3D_CUBEMAP) != 0) return over(32768, 32768, layered ? 2046 : 6);
  if (layered || gather) return over(32768, 32768, 2048);
  if (d.Depth != 0) return over(16384, 16384, 16384);
  return over(131072, 65536, 0);
}

// As memory of modules: it has an address that the program does not know and cannot free.
uint64_t allocateArray(const Context& context, const Device& device, uint64_t bytes) {
  return Driver::get().memory().allocate({.bytes = bytes,
                                          .kind = MemoryKind::module,
                                          .context = context.number(),
                                          .device = device.ordinal()},
                                         device.memoryBytes());
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
  array->address = allocateArray(*context, context->device(), array->shape.bytes());
  if (array->address == 0) return CUDA_ERROR_OUT_OF_MEMORY;
  const uintptr_t handle = Driver::get().arrays().insert(array);
  if (handle == 0) {
    Driver::get().memory().release(array->address, MemoryKind::module);
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
  auto array = Driver::get().arrays().find(handle);
  // A level is not the program's to destroy.
  if (array == nullptr || array->is_level) return CUDA_ERROR_INVALID_HANDLE;
  array = Driver::get().arrays().remove(handle);
  if (array == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  array->context->synchronize();
  Driver::get().memory().release(array->address, MemoryKind::module);
  return array->context->error();
}

// Arrays that have memory requirements of their own, sparse properties or planes cannot be made.
CUresult cuArrayGetMemoryRequirements(CUDA_ARRAY_MEMORY_REQUIREMENTS*, CUarray handle, CUdevice) {
  std::shared_ptr<ArrayObject> array;
  const CUresult result = findArray(handle, array);
  return result == CUDA_SUCCESS ? CUDA_ERROR_INVALID_VALUE : result;
}

CUresult cuArrayGetSparseProperties(CUDA_ARRAY_SPARSE_PROPERTIES*, CUarray handle) {
  std::shared_ptr<ArrayObject> array;
  const CUresult result = findArray(handle, array);
  return result == CUDA_SUCCESS ? CUDA_ERROR_INVALID_VALUE : result;
}

CUresult cuArrayGetPlane(CUarray*, CUarray handle, unsigned) {
  std::shared_ptr<ArrayObject> array;
  const CUresult result = findArray(handle, array);
  return result == CUDA_SUCCESS ? CUDA_ERROR_INVALID_VALUE : result;
}

// --- mipmapped arrays ---

namespace {

CUresult findMipmapped(CUmipmappedArray handle, std::shared_ptr<MipmappedArrayObject>& array) {
  std::shared_ptr<Context> context;
  if (CUresult r = enter(context); r != CUDA_SUCCESS) return r;
  array = Driver::get().mipmappedArrays().find(handle);
  return array != nullptr ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

void releaseMipmapped(MipmappedArrayObject& array) {
  for (CUarray level : array.handles) Driver::get().arrays().remove(level);
  Driver::get().memory().release(array.address, MemoryKind::module);
}

// Describes the levels, one behind the other in memory. Returns the bytes of all.
CUresult layOutLevels(MipmappedArrayObject& array, uint32_t count, uint64_t& bytes) {
  constexpr uint64_t kLevelAlignment = 512;
  bytes = 0;
  for (uint32_t level = 0; level < count; ++level) {
    auto part = std::make_shared<ArrayObject>();
    part->context = array.context;
    part->descriptor = levelDescriptor(array.descriptor, level);
    part->is_level = true;
    if (CUresult r = describeArray(part->descriptor, part->shape); r != CUDA_SUCCESS) return r;
    part->address = bytes;
    bytes += (part->shape.bytes() + kLevelAlignment - 1) / kLevelAlignment * kLevelAlignment;
    array.levels.push_back(std::move(part));
  }
  return CUDA_SUCCESS;
}

}  // namespace

CUresult cuMipmappedArrayCreate(CUmipmappedArray* out, const CUDA_ARRAY3D_DESCRIPTOR* descriptor,
                                unsigned levels) {
  std::shared_ptr<Context> context;
  if (CUresult r = enter(context); r != CUDA_SUCCESS) return r;
  if (out == nullptr || descriptor == nullptr) return CUDA_ERROR_INVALID_VALUE;
  ArrayShape shape;
  if (CUresult r = describeArray(*descriptor, shape); r != CUDA_SUCCESS) return r;
  if (overDeviceLimits(*descriptor)) return CUDA_ERROR_INVALID_VALUE;
  auto array = std::make_shared<MipmappedArrayObject>();
  array->context = context;
  array->descriptor = *descriptor;
  uint64_t bytes = 0;
  const uint32_t count = std::clamp(levels, 1u, levelsMax(*descriptor));
  if (CUresult r = layOutLevels(*array, count, bytes); r != CUDA_SUCCESS) return r;
  array->address = allocateArray(*context, context->device(), bytes);
  if (array->address == 0) return CUDA_ERROR_OUT_OF_MEMORY;
  for (const auto& level : array->levels) {
    level->address += array->address;
    const uintptr_t handle = Driver::get().arrays().insert(level);
    if (handle == 0) break;
    array->handles.push_back(reinterpret_cast<CUarray>(handle));
  }
  const bool whole = array->handles.size() == count;
  const uintptr_t handle = whole ? Driver::get().mipmappedArrays().insert(array) : 0;
  if (handle == 0) {
    releaseMipmapped(*array);
    return CUDA_ERROR_OUT_OF_MEMORY;
  }
  *out = reinterpret_cast<CUmipmappedArray>(handle);
  return CUDA_SUCCESS;
}

CUresult cuMipmappedArrayDestroy(CUmipmappedArray handle) {
  if (CUresult r = enter(); r != CUDA_SUCCESS) return r;
  const auto array = Driver::get().mipmappedArrays().remove(handle);
  if (array == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  array->context->synchronize();
  releaseMipmapped(*array);
  return array->context->error();
}

CUresult cuMipmappedArrayGetLevel(CUarray* out, CUmipmappedArray handle, unsigned level) {
  std::shared_ptr<MipmappedArrayObject> array;
  if (CUresult r = findMipmapped(handle, array); r != CUDA_SUCCESS) return r;
  if (out == nullptr || level >= array->handles.size()) return CUDA_ERROR_INVALID_VALUE;
  *out = array->handles[level];
  return CUDA_SUCCESS;
}

CUresult cuMipmappedArrayGetMemoryRequirements(CUDA_ARRAY_MEMORY_REQUIREMENTS*,
                                               CUmipmappedArray handle, CUdevice) {
  std::shared_ptr<MipmappedArrayObject> array;
  const CUresult result = findMipmapped(handle, array);
  return result == CUDA_SUCCESS ? CUDA_ERROR_INVALID_VALUE : result;
}

CUresult cuMipmappedArrayGetSparseProperties(CUDA_ARRAY_SPARSE_PROPERTIES*,
                                             CUmipmappedArray handle) {
  std::shared_ptr<MipmappedArrayObject> array;
  const CUresult result = findMipmapped(handle, array);
  return result == CUDA_SUCCESS ? CUDA_ERROR_INVALID_VALUE : result;
}

}  // namespace farwarp::cpu::calls
