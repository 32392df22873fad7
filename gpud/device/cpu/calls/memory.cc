// Memory management: allocations on the device and of page-locked host memory.
#include <algorithm>

#include "cpu_calls_gen.h"
#include "gpud/device/cpu/calls/enter.h"

namespace farwarp::cpu::calls {
namespace {

constexpr size_t kPitchAlign = 512;  // bytes

// Allocates for the current context. `bytes_max` is the device's memory for device memory.
CUresult allocate(Context& context, uint64_t bytes, MemoryKind kind, unsigned flags,
                  uint64_t& address) {
  if (bytes == 0) return CUDA_ERROR_INVALID_VALUE;
  const Allocation wanted{.bytes = bytes,
                          .kind = kind,
                          .context = context.number(),
                          .device = context.device().ordinal(),
                          .flags = flags};
  Driver& driver = context.driver();
  address = driver.memory().allocate(wanted, context.device().memoryBytes());
  if (address == 0) {
    driver.pools().releaseUnused(wanted.device, true);
    address = driver.memory().allocate(wanted, context.device().memoryBytes());
  }
  return address != 0 ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

// Frees what begins at `address`, when all work of its context that was queued before is over.
CUresult freeMemory(uint64_t address, MemoryKind kind) {
  std::shared_ptr<Context> current;
  if (CUresult r = enter(current); r != CUDA_SUCCESS) return r;
  if (address == 0) return CUDA_SUCCESS;
  Driver& driver = current->driver();
  Allocation found;
  if (!driver.memory().find(address, found) || found.begin != address || found.kind != kind) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  const auto owner = driver.contextByNumber(found.context);
  if (owner != nullptr) owner->synchronize();
  driver.ipc().forget(found.number);
  if (!driver.memory().release(address, kind, found.number)) return CUDA_ERROR_INVALID_VALUE;
  return owner != nullptr ? owner->error() : CUDA_SUCCESS;
}

// Frees memory of a pool, which belongs to no context, when all work of its device is over.
CUresult freePooled(Context& current, uint64_t address) {
  Driver& driver = current.driver();
  Allocation found;
  driver.memory().find(address, found);
  for (const auto& context : driver.contexts().all()) {
    if (context->active() && context->device().ordinal() == found.device) context->synchronize();
  }
  if (!driver.pools().freeIdle(address)) return CUDA_ERROR_INVALID_VALUE;
  driver.pools().afterSynchronize();
  return current.error();
}

// Finds the page-locked memory that holds `p`.
CUresult findHost(const void* p, Allocation& found) {
  std::shared_ptr<Context> context;
  if (CUresult r = enter(context); r != CUDA_SUCCESS) return r;
  const bool is_host = context->driver().memory().find(reinterpret_cast<uint64_t>(p), found) &&
                       (found.kind == MemoryKind::host || found.kind == MemoryKind::registered);
  return is_host ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

}  // namespace

CUresult cuMemGetInfo_v2(size_t* free, size_t* total) {
  std::shared_ptr<Context> context;
  if (CUresult r = enter(context); r != CUDA_SUCCESS) return r;
  if (free == nullptr || total == nullptr) return CUDA_ERROR_INVALID_VALUE;
  const Device& device = context->device();
  *total = device.memoryBytes();
  *free =
      *total - std::min<uint64_t>(*total, context->driver().memory().usedBytes(device.ordinal()));
  return CUDA_SUCCESS;
}

CUresult cuMemAlloc_v2(CUdeviceptr* out, size_t bytes) {
  std::shared_ptr<Context> context;
  if (CUresult r = enter(context); r != CUDA_SUCCESS) return r;
  if (out == nullptr) return CUDA_ERROR_INVALID_VALUE;
  uint64_t address = 0;
  if (CUresult r = allocate(*context, bytes, MemoryKind::device, 0, address); r != CUDA_SUCCESS) {
    return r;
  }
  *out = address;
  return CUDA_SUCCESS;
}

CUresult cuMemAllocPitch_v2(CUdeviceptr* out, size_t* pitch, size_t width_bytes, size_t height,
                            unsigned int element_bytes) {
  std::shared_ptr<Context> context;
  if (CUresult r = enter(context); r != CUDA_SUCCESS) return r;
  if (out == nullptr || pitch == nullptr || width_bytes == 0 || height == 0 ||
      (element_bytes != 4 && element_bytes != 8 && element_bytes != 16)) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  constexpr size_t kWidthMax = 0x7fffffff;
  if (width_bytes > kWidthMax) return CUDA_ERROR_INVALID_VALUE;
  const size_t padded = (width_bytes + kPitchAlign - 1) / kPitchAlign * kPitchAlign;
  size_t bytes = 0;
  if (__builtin_mul_overflow(padded, height, &bytes)) return CUDA_ERROR_OUT_OF_MEMORY;
  uint64_t address = 0;
  if (CUresult r = allocate(*context, bytes, MemoryKind::device, 0, address); r != CUDA_SUCCESS) {
    return r;
  }
  *out = address;
  *pitch = padded;
  return CUDA_SUCCESS;
}

CUresult cuMemFree_v2(CUdeviceptr address) {
  std::shared_ptr<Context> context;
  if (CUresult r = enter(context); r != CUDA_SUCCESS) return r;
  if (context->driver().pools().poolOf(address) != nullptr) return freePooled(*context, address);
  Allocation found;
  const bool managed =
      context->driver().memory().find(address, found) && found.kind == MemoryKind::managed;
  if (managed && found.context == 0) return CUDA_ERROR_INVALID_VALUE;  // a variable
  if (managed) context->driver().advice().forget(address, found.bytes);
  return freeMemory(address, managed ? MemoryKind::managed : MemoryKind::device);
}

CUresult cuMemAllocManaged(CUdeviceptr* out, size_t bytes, unsigned int flags) {
  std::shared_ptr<Context> context;
  if (CUresult r = enter(context); r != CUDA_SUCCESS) return r;
  if (out == nullptr || (flags != CU_MEM_ATTACH_GLOBAL && flags != CU_MEM_ATTACH_HOST)) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  uint64_t address = 0;
  if (CUresult r = allocate(*context, bytes, MemoryKind::managed, flags, address);
      r != CUDA_SUCCESS) {
    return r;
  }
  *out = address;
  return CUDA_SUCCESS;
}

CUresult cuMemGetAddressRange_v2(CUdeviceptr* base, size_t* bytes, CUdeviceptr address) {
  std::shared_ptr<Context> context;
  if (CUresult r = enter(context); r != CUDA_SUCCESS) return r;
  Allocation found;
  if (!context->driver().memory().findOne(address, found)) return CUDA_ERROR_NOT_FOUND;
  if (base != nullptr) *base = found.begin;
  if (bytes != nullptr) *bytes = found.bytes;
  return CUDA_SUCCESS;
}

CUresult cuMemHostAlloc(void** out, size_t bytes, unsigned int flags) {
  std::shared_ptr<Context> context;
  if (CUresult r = enter(context); r != CUDA_SUCCESS) return r;
  constexpr unsigned kKnown =
      CU_MEMHOSTALLOC_PORTABLE | CU_MEMHOSTALLOC_DEVICEMAP | CU_MEMHOSTALLOC_WRITECOMBINED;
  if (out == nullptr || (flags & ~kKnown) != 0) return CUDA_ERROR_INVALID_VALUE;
  uint64_t address = 0;
  if (CUresult r = allocate(*context, bytes, MemoryKind::host, flags, address); r != CUDA_SUCCESS) {
    return r;
  }
  *out = reinterpret_cast<void*>(address);
  return CUDA_SUCCESS;
}

CUresult cuMemAllocHost_v2(void** out, size_t bytes) {
  return calls::cuMemHostAlloc(out, bytes, 0);
}

CUresult cuMemFreeHost(void* p) {
  if (p == nullptr) return CUDA_ERROR_INVALID_VALUE;
  return freeMemory(reinterpret_cast<uint64_t>(p), MemoryKind::host);
}

// Kernels run in this process.
CUresult cuMemHostGetDevicePointer_v2(CUdeviceptr* out, void* p, unsigned int flags) {
  Allocation found;
  if (CUresult r = findHost(p, found); r != CUDA_SUCCESS) return r;
  if (out == nullptr || flags != 0) return CUDA_ERROR_INVALID_VALUE;
  *out = reinterpret_cast<CUdeviceptr>(p);
  return CUDA_SUCCESS;
}

CUresult cuMemHostGetFlags(unsigned int* flags, void* p) {
  Allocation found;
  if (CUresult r = findHost(p, found); r != CUDA_SUCCESS) return r;
  if (flags == nullptr || found.kind != MemoryKind::host) return CUDA_ERROR_INVALID_VALUE;
  *flags = found.flags;
  return CUDA_SUCCESS;
}

CUresult cuMemHostRegister_v2(void* p, size_t bytes, unsigned int flags) {
  std::shared_ptr<Context> context;
  if (CUresult r = enter(context); r != CUDA_SUCCESS) return r;
  constexpr unsigned kKnown = CU_MEMHOSTREGISTER_PORTABLE | CU_MEMHOSTREGISTER_DEVICEMAP |
                              CU_MEMHOSTREGISTER_IOMEMORY | CU_MEMHOSTREGISTER_READ_ONLY;
  const auto begin = reinterpret_cast<uint64_t>(p);
  if (p == nullptr || bytes == 0 || begin + bytes < begin || (flags & ~kKnown) != 0) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  if ((flags & CU_MEMHOSTREGISTER_IOMEMORY) != 0) return CUDA_ERROR_NOT_SUPPORTED;
  AddressSpace& memory = context->driver().memory();
  if (memory.reserved(begin) || memory.reserved(begin + bytes - 1)) return CUDA_ERROR_INVALID_VALUE;
  const bool added = memory.add({.begin = begin,
                                 .bytes = bytes,
                                 .kind = MemoryKind::registered,
                                 .context = context->number(),
                                 .device = context->device().ordinal(),
                                 .flags = flags});
  return added ? CUDA_SUCCESS : CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED;
}

CUresult cuMemHostUnregister(void* p) {
  if (p == nullptr) return CUDA_ERROR_INVALID_VALUE;
  const CUresult r = freeMemory(reinterpret_cast<uint64_t>(p), MemoryKind::registered);
  return r == CUDA_ERROR_INVALID_VALUE ? CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED : r;
}

}  // namespace farwarp::cpu::calls
