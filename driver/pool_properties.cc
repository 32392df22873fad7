#include "driver/pool_properties.h"

#include <algorithm>
#include <iterator>

namespace farwarp {

CUresult checkPoolProperties(const CUmemPoolProps& properties) {
  const bool reserved_is_zero =
      std::all_of(std::begin(properties.reserved), std::end(properties.reserved),
                  [](unsigned char byte) { return byte == 0; });
  if (!reserved_is_zero || properties.win32SecurityAttributes != nullptr) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  if ((properties.usage & ~CU_MEM_POOL_CREATE_USAGE_HW_DECOMPRESS) != 0) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  const bool known_handles = properties.handleTypes == CU_MEM_HANDLE_TYPE_NONE ||
                             properties.handleTypes == CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR;
  if (properties.usage != 0 || !known_handles) return CUDA_ERROR_NOT_SUPPORTED;
  return checkPoolPlace(&properties.location, properties.allocType);
}

CUresult checkPoolPlace(const CUmemLocation* location, CUmemAllocationType type) {
  if (location == nullptr) return CUDA_ERROR_INVALID_VALUE;
  const bool managed = type == CU_MEM_ALLOCATION_TYPE_MANAGED;
  if (type != CU_MEM_ALLOCATION_TYPE_PINNED && !managed) return CUDA_ERROR_INVALID_VALUE;
  switch (location->type) {
    case CU_MEM_LOCATION_TYPE_NONE:
      return managed ? CUDA_ERROR_NOT_SUPPORTED : CUDA_ERROR_INVALID_VALUE;
    case CU_MEM_LOCATION_TYPE_DEVICE:
      return managed ? CUDA_ERROR_NOT_SUPPORTED : CUDA_SUCCESS;
    case CU_MEM_LOCATION_TYPE_HOST:
    case CU_MEM_LOCATION_TYPE_HOST_NUMA:
      return CUDA_ERROR_NOT_SUPPORTED;
    default:
      return CUDA_ERROR_INVALID_VALUE;
  }
}

size_t poolAttributeBytes(CUmemPool_attribute attribute) {
  if (attribute < CU_MEMPOOL_ATTR_REUSE_FOLLOW_EVENT_DEPENDENCIES ||
      attribute > CU_MEMPOOL_ATTR_USED_MEM_HIGH) {
    return 0;
  }
  return attribute < CU_MEMPOOL_ATTR_RELEASE_THRESHOLD ? sizeof(int) : sizeof(cuuint64_t);
}

CUresult checkPoolAttribute(CUmemPool_attribute attribute, uint64_t value) {
  switch (attribute) {
    case CU_MEMPOOL_ATTR_REUSE_FOLLOW_EVENT_DEPENDENCIES:
    case CU_MEMPOOL_ATTR_REUSE_ALLOW_OPPORTUNISTIC:
    case CU_MEMPOOL_ATTR_REUSE_ALLOW_INTERNAL_DEPENDENCIES:
    case CU_MEMPOOL_ATTR_RELEASE_THRESHOLD:
      return CUDA_SUCCESS;
    case CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH:
    case CU_MEMPOOL_ATTR_USED_MEM_HIGH:
      return value == 0 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
    default:
      return CUDA_ERROR_INVALID_VALUE;
  }
}

}  // namespace farwarp
