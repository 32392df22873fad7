// Stream-ordered allocation, and the pools of the devices.
#include <cstring>

#include "cpu_calls_gen.h"
#include "driver/pool_properties.h"
#include "gpud/device/cpu/calls/enter.h"
#include "gpud/device/cpu/thread_state.h"

namespace farwarp::cpu::calls {
namespace {

MemoryPools& pools() {
  return Driver::get().pools();
}

CUresult checkDevice(CUdevice device, const void* out) {
  if (CUresult r = enter(); r != CUDA_SUCCESS) return r;
  if (Driver::get().device(device) == nullptr) return CUDA_ERROR_INVALID_DEVICE;
  return out == nullptr ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
}

// The device that a location names.
CUresult deviceAt(const CUmemLocation* location, CUmemAllocationType type, CUdevice* device) {
  if (CUresult r = enter(); r != CUDA_SUCCESS) return r;
  if (CUresult r = checkPoolPlace(location, type); r != CUDA_SUCCESS) return r;
  *device = location->id;
  return CUDA_SUCCESS;
}

CUresult allocate(CUdeviceptr* out, size_t bytes, const CUmemoryPool* pool, CUstream stream,
                  uint16_t record_flags) {
  StreamUse use;
  if (CUresult r = enterStream(stream, record_flags, use); r != CUDA_SUCCESS) return r;
  if (out == nullptr) return CUDA_ERROR_INVALID_VALUE;
  uint64_t address = 0;
  const CUmemoryPool from =
      pool != nullptr ? *pool : pools().currentOf(use.context->device().ordinal());
  if (CUresult r = pools().allocate(from, bytes, use.stream, &address); r != CUDA_SUCCESS) return r;
  *out = address;
  return CUDA_SUCCESS;
}

}  // namespace

CUresult cuMemAllocAsync(CUdeviceptr* out, size_t bytes, CUstream stream, uint16_t flags) {
  return allocate(out, bytes, nullptr, stream, flags);
}

CUresult cuMemAllocFromPoolAsync(CUdeviceptr* out, size_t bytes, CUmemoryPool pool, CUstream stream,
                                 uint16_t flags) {
  return allocate(out, bytes, &pool, stream, flags);
}

CUresult cuMemFreeAsync(CUdeviceptr address, CUstream stream, uint16_t flags) {
  StreamUse use;
  if (CUresult r = enterStream(stream, flags, use); r != CUDA_SUCCESS) return r;
  if (address == 0) return CUDA_ERROR_INVALID_VALUE;
  if (pools().free(address, use.stream)) return CUDA_SUCCESS;
  // Memory of cuMemAlloc: CUDA lets it be freed this way, and here the host waits for the stream.
  AddressSpace& memory = Driver::get().memory();
  Allocation found;
  if (!memory.find(address, found) || found.begin != address || found.kind != MemoryKind::device) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  Scheduler& scheduler = Driver::get().scheduler();
  scheduler.wait(scheduler.tail(use.stream));
  Driver::get().ipc().forget(found.number);
  return memory.release(address, MemoryKind::device, found.number) ? use.context->error()
                                                                   : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuMemPoolCreate(CUmemoryPool* pool, const CUmemPoolProps* properties) {
  if (CUresult r = enter(); r != CUDA_SUCCESS) return r;
  if (pool == nullptr || properties == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (CUresult r = checkPoolProperties(*properties); r != CUDA_SUCCESS) return r;
  if (Driver::get().device(properties->location.id) == nullptr) return CUDA_ERROR_INVALID_VALUE;
  return pools().create(properties->location.id, properties->maxSize,
                        properties->handleTypes != CU_MEM_HANDLE_TYPE_NONE, pool);
}

CUresult cuMemPoolDestroy(CUmemoryPool pool) {
  if (CUresult r = enter(); r != CUDA_SUCCESS) return r;
  return pools().destroy(pool);
}

CUresult cuMemPoolTrimTo(CUmemoryPool pool, size_t bytes_kept) {
  if (CUresult r = enter(); r != CUDA_SUCCESS) return r;
  return pools().trim(pool, bytes_kept);
}

CUresult cuMemPoolSetAttribute(CUmemoryPool pool, CUmemPool_attribute attribute, void* value) {
  if (CUresult r = enter(); r != CUDA_SUCCESS) return r;
  const size_t bytes = poolAttributeBytes(attribute);
  if (value == nullptr || bytes == 0) return CUDA_ERROR_INVALID_VALUE;
  const uint64_t number = bytes == sizeof(int)
                              ? static_cast<uint64_t>(*static_cast<int*>(value) != 0)
                              : *static_cast<cuuint64_t*>(value);
  return pools().set(pool, attribute, number);
}

CUresult cuMemPoolGetAttribute(CUmemoryPool pool, CUmemPool_attribute attribute, void* value) {
  if (CUresult r = enter(); r != CUDA_SUCCESS) return r;
  uint64_t number = 0;
  if (value == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (CUresult r = pools().get(pool, attribute, &number); r != CUDA_SUCCESS) return r;
  if (poolAttributeBytes(attribute) == sizeof(int)) {
    *static_cast<int*>(value) = static_cast<int>(number);
  } else {
    *static_cast<cuuint64_t*>(value) = number;
  }
  return CUDA_SUCCESS;
}

// Every device may be given another's memory, and none may be kept from its own.
CUresult cuMemPoolSetAccess(CUmemoryPool handle, const CUmemAccessDesc* map, size_t count) {
  if (CUresult r = enter(); r != CUDA_SUCCESS) return r;
  const auto pool = pools().find(handle);
  if (pool == nullptr || map == nullptr || count == 0) return CUDA_ERROR_INVALID_VALUE;
  uint32_t changed = 0, granted = 0;
  for (size_t i = 0; i < count; ++i) {
    if (map[i].location.type != CU_MEM_LOCATION_TYPE_DEVICE ||
        Driver::get().device(map[i].location.id) == nullptr) {
      return CUDA_ERROR_INVALID_VALUE;
    }
    const bool none = map[i].flags == CU_MEM_ACCESS_FLAGS_PROT_NONE;
    if (!none && map[i].flags != CU_MEM_ACCESS_FLAGS_PROT_READWRITE) {
      return CUDA_ERROR_INVALID_VALUE;
    }
    if (map[i].location.id == pool->device && none) return CUDA_ERROR_INVALID_VALUE;
    const uint32_t bit = 1u << map[i].location.id;
    changed |= bit;
    granted = none ? granted & ~bit : granted | bit;
  }
  return pools().setAccess(handle, changed, granted);
}

CUresult cuMemPoolGetAccess(CUmemAccess_flags* flags, CUmemoryPool handle,
                            CUmemLocation* location) {
  if (CUresult r = enter(); r != CUDA_SUCCESS) return r;
  const auto pool = pools().find(handle);
  if (flags == nullptr || pool == nullptr || location == nullptr ||
      location->type != CU_MEM_LOCATION_TYPE_DEVICE ||
      Driver::get().device(location->id) == nullptr) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  const bool granted = (pools().accessOf(handle) >> location->id & 1) != 0;
  *flags = location->id == pool->device || granted ? CU_MEM_ACCESS_FLAGS_PROT_READWRITE
                                                   : CU_MEM_ACCESS_FLAGS_PROT_NONE;
  return CUDA_SUCCESS;
}

CUresult cuDeviceGetDefaultMemPool(CUmemoryPool* pool, CUdevice device) {
  if (CUresult r = checkDevice(device, pool); r != CUDA_SUCCESS) return r;
  *pool = pools().defaultOf(device);
  return CUDA_SUCCESS;
}

CUresult cuDeviceGetMemPool(CUmemoryPool* pool, CUdevice device) {
  if (CUresult r = checkDevice(device, pool); r != CUDA_SUCCESS) return r;
  *pool = pools().currentOf(device);
  return CUDA_SUCCESS;
}

CUresult cuDeviceSetMemPool(CUdevice device, CUmemoryPool pool) {
  if (CUresult r = checkDevice(device, pool); r != CUDA_SUCCESS) return r;
  return pools().setCurrent(device, pool);
}

CUresult cuMemGetDefaultMemPool(CUmemoryPool* pool, CUmemLocation* location,
                                CUmemAllocationType type) {
  CUdevice device = 0;
  if (CUresult r = deviceAt(location, type, &device); r != CUDA_SUCCESS) return r;
  return calls::cuDeviceGetDefaultMemPool(pool, device);
}

CUresult cuMemGetMemPool(CUmemoryPool* pool, CUmemLocation* location, CUmemAllocationType type) {
  CUdevice device = 0;
  if (CUresult r = deviceAt(location, type, &device); r != CUDA_SUCCESS) return r;
  return calls::cuDeviceGetMemPool(pool, device);
}

CUresult cuMemSetMemPool(CUmemLocation* location, CUmemAllocationType type, CUmemoryPool pool) {
  CUdevice device = 0;
  if (CUresult r = deviceAt(location, type, &device); r != CUDA_SUCCESS) return r;
  return calls::cuDeviceSetMemPool(device, pool);
}

CUresult cuMemPoolExportToShareableHandle(void* shareable, CUmemoryPool pool,
                                          CUmemAllocationHandleType type,
                                          unsigned long long flags) {
  if (CUresult r = enter(); r != CUDA_SUCCESS) return r;
  if (shareable == nullptr || flags != 0 || type != CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  int file = -1;
  if (CUresult r = pools().exportPool(pool, &file); r != CUDA_SUCCESS) return r;
  std::memcpy(shareable, &file, sizeof(file));
  return CUDA_SUCCESS;
}

// The descriptor is the pointer's value, as CUDA has it.
CUresult cuMemPoolImportFromShareableHandle(CUmemoryPool* pool, void* shareable,
                                            CUmemAllocationHandleType type,
                                            unsigned long long flags) {
  if (CUresult r = enter(); r != CUDA_SUCCESS) return r;
  if (pool == nullptr || flags != 0 || type != CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  return pools().importPool(static_cast<int>(reinterpret_cast<intptr_t>(shareable)), pool);
}

CUresult cuMemPoolExportPointer(CUmemPoolPtrExportData* data, CUdeviceptr address) {
  if (CUresult r = enter(); r != CUDA_SUCCESS) return r;
  if (data == nullptr) return CUDA_ERROR_INVALID_VALUE;
  // It waits until nothing runs, and the function does.
  if (threadState().in_host_function) return CUDA_ERROR_NOT_PERMITTED;
  return pools().exportPointer(address, data);
}

CUresult cuMemPoolImportPointer(CUdeviceptr* out, CUmemoryPool pool, CUmemPoolPtrExportData* data) {
  if (CUresult r = enter(); r != CUDA_SUCCESS) return r;
  if (out == nullptr || data == nullptr) return CUDA_ERROR_INVALID_VALUE;
  uint64_t address = 0;
  if (CUresult r = pools().importPointer(pool, *data, &address); r != CUDA_SUCCESS) return r;
  *out = address;
  return CUDA_SUCCESS;
}

}  // namespace farwarp::cpu::calls
