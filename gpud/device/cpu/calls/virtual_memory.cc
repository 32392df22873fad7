// Virtual memory management.
#include "cpu_calls_gen.h"
#include "driver/physical_memory.h"
#include "gpud/device/cpu/calls/enter.h"

namespace farwarp::cpu::calls {
namespace {

VirtualMemory& memory() {
  return Driver::get().virtualMemory();
}

}  // namespace

CUresult cuMemAddressReserve(CUdeviceptr* address, size_t bytes, size_t align, CUdeviceptr wanted,
                             unsigned long long flags) {
  if (CUresult r = enter(); r != CUDA_SUCCESS) return r;
  if (address == nullptr || flags != 0) return CUDA_ERROR_INVALID_VALUE;
  uint64_t begin = 0;
  if (CUresult r = memory().reserve(bytes, align, wanted, &begin); r != CUDA_SUCCESS) return r;
  *address = begin;
  return CUDA_SUCCESS;
}

CUresult cuMemAddressFree(CUdeviceptr address, size_t bytes) {
  if (CUresult r = enter(); r != CUDA_SUCCESS) return r;
  return memory().unreserve(address, bytes);
}

CUresult cuMemCreate(CUmemGenericAllocationHandle* handle, size_t bytes,
                     const CUmemAllocationProp* properties, unsigned long long flags) {
  if (CUresult r = enter(); r != CUDA_SUCCESS) return r;
  if (handle == nullptr || properties == nullptr || flags != 0) return CUDA_ERROR_INVALID_VALUE;
  if (CUresult r = checkPhysicalProperties(*properties, Driver::get().devices());
      r != CUDA_SUCCESS) {
    return r;
  }
  uint64_t made = 0;
  if (CUresult r = memory().create(bytes, *properties, &made); r != CUDA_SUCCESS) return r;
  *handle = made;
  return CUDA_SUCCESS;
}

CUresult cuMemRelease(CUmemGenericAllocationHandle handle) {
  if (CUresult r = enter(); r != CUDA_SUCCESS) return r;
  return memory().release(handle);
}

CUresult cuMemMap(CUdeviceptr address, size_t bytes, size_t offset,
                  CUmemGenericAllocationHandle handle, unsigned long long flags) {
  if (CUresult r = enter(); r != CUDA_SUCCESS) return r;
  if (flags != 0) return CUDA_ERROR_INVALID_VALUE;
  return memory().map(address, bytes, offset, handle);
}

CUresult cuMemUnmap(CUdeviceptr address, size_t bytes) {
  if (CUresult r = enter(); r != CUDA_SUCCESS) return r;
  return memory().unmap(address, bytes);
}

// A mapping that kernels may only read would be closed to copies, too.
CUresult cuMemSetAccess(CUdeviceptr address, size_t bytes, const CUmemAccessDesc* places,
                        size_t count) {
  if (CUresult r = enter(); r != CUDA_SUCCESS) return r;
  if (places == nullptr || count == 0) return CUDA_ERROR_INVALID_VALUE;
  uint32_t changed = 0, granted = 0;
  for (size_t i = 0; i < count; ++i) {
    const CUmemLocation& location = places[i].location;
    if (CUresult r = checkAccessPlace(location, Driver::get().devices()); r != CUDA_SUCCESS) {
      return r;
    }
    if (places[i].flags == CU_MEM_ACCESS_FLAGS_PROT_READ) return CUDA_ERROR_NOT_SUPPORTED;
    const bool none = places[i].flags == CU_MEM_ACCESS_FLAGS_PROT_NONE;
    if (!none && places[i].flags != CU_MEM_ACCESS_FLAGS_PROT_READWRITE) {
      return CUDA_ERROR_INVALID_VALUE;
    }
    const uint32_t bit = 1u << location.id;
    changed |= bit;
    granted = none ? granted & ~bit : granted | bit;
  }
  return memory().setAccess(address, bytes, changed, granted);
}

CUresult cuMemGetAccess(unsigned long long* flags, const CUmemLocation* location,
                        CUdeviceptr address) {
  if (CUresult r = enter(); r != CUDA_SUCCESS) return r;
  if (flags == nullptr || location == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (CUresult r = checkAccessPlace(*location, Driver::get().devices()); r != CUDA_SUCCESS) {
    return r;
  }
  Allocation mapped;
  if (!Driver::get().memory().findOne(address, mapped) || mapped.kind != MemoryKind::mapped) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  *flags = (mapped.access >> location->id & 1) != 0 ? CU_MEM_ACCESS_FLAGS_PROT_READWRITE
                                                    : CU_MEM_ACCESS_FLAGS_PROT_NONE;
  return CUDA_SUCCESS;
}

CUresult cuMemGetAllocationGranularity(size_t* bytes, const CUmemAllocationProp* properties,
                                       CUmemAllocationGranularity_flags option) {
  if (CUresult r = enter(); r != CUDA_SUCCESS) return r;
  if (bytes == nullptr || properties == nullptr ||
      (option != CU_MEM_ALLOC_GRANULARITY_MINIMUM &&
       option != CU_MEM_ALLOC_GRANULARITY_RECOMMENDED)) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  if (CUresult r = checkPhysicalProperties(*properties, Driver::get().devices());
      r != CUDA_SUCCESS) {
    return r;
  }
  *bytes = VirtualMemory::kGranularity;
  return CUDA_SUCCESS;
}

CUresult cuMemGetAllocationPropertiesFromHandle(CUmemAllocationProp* properties,
                                                CUmemGenericAllocationHandle handle) {
  if (CUresult r = enter(); r != CUDA_SUCCESS) return r;
  if (properties == nullptr) return CUDA_ERROR_INVALID_VALUE;
  return memory().properties(handle, properties);
}

CUresult cuMemRetainAllocationHandle(CUmemGenericAllocationHandle* handle, void* address) {
  if (CUresult r = enter(); r != CUDA_SUCCESS) return r;
  if (handle == nullptr) return CUDA_ERROR_INVALID_VALUE;
  uint64_t found = 0;
  if (CUresult r = memory().retain(reinterpret_cast<uint64_t>(address), &found);
      r != CUDA_SUCCESS) {
    return r;
  }
  *handle = found;
  return CUDA_SUCCESS;
}

CUresult cuMemExportToShareableHandle(void* shareable, CUmemGenericAllocationHandle handle,
                                      CUmemAllocationHandleType type, unsigned long long flags) {
  if (CUresult r = enter(); r != CUDA_SUCCESS) return r;
  if (shareable == nullptr || flags != 0 || type != CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  return memory().exportFile(handle, static_cast<int*>(shareable));
}

// The descriptor is the pointer's value, as CUDA has it.
CUresult cuMemImportFromShareableHandle(CUmemGenericAllocationHandle* handle, void* shareable,
                                        CUmemAllocationHandleType type) {
  if (CUresult r = enter(); r != CUDA_SUCCESS) return r;
  if (handle == nullptr || type != CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  uint64_t made = 0;
  if (CUresult r =
          memory().importFile(static_cast<int>(reinterpret_cast<intptr_t>(shareable)), &made);
      r != CUDA_SUCCESS) {
    return r;
  }
  *handle = made;
  return CUDA_SUCCESS;
}

}  // namespace farwarp::cpu::calls
