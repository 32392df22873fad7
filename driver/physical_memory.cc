#include "driver/physical_memory.h"

namespace farwarp {

CUresult checkAccessPlace(const CUmemLocation& location, int devices) {
  switch (location.type) {
    case CU_MEM_LOCATION_TYPE_DEVICE:
      return location.id >= 0 && location.id < devices ? CUDA_SUCCESS : CUDA_ERROR_INVALID_DEVICE;
    case CU_MEM_LOCATION_TYPE_HOST:
    case CU_MEM_LOCATION_TYPE_HOST_NUMA:
      return CUDA_ERROR_NOT_SUPPORTED;
    default:
      return CUDA_ERROR_INVALID_VALUE;
  }
}

CUresult checkPhysicalProperties(const CUmemAllocationProp& properties, int devices) {
  if (properties.type == CU_MEM_ALLOCATION_TYPE_MANAGED) return CUDA_ERROR_NOT_SUPPORTED;
  if (properties.type != CU_MEM_ALLOCATION_TYPE_PINNED ||
      properties.win32HandleMetaData != nullptr) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  if (CUresult r = checkAccessPlace(properties.location, devices); r != CUDA_SUCCESS) return r;
  constexpr unsigned kHandleTypes = CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR;
  const auto asked = static_cast<unsigned>(properties.requestedHandleTypes);
  if ((asked & ~kHandleTypes) != 0 || properties.allocFlags.gpuDirectRDMACapable != 0 ||
      properties.allocFlags.usage != 0) {
    return CUDA_ERROR_NOT_SUPPORTED;
  }
  return CUDA_SUCCESS;
}

}  // namespace farwarp
