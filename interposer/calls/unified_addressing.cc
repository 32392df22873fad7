// Questions about an address, answered from the client's map of allocations.
#include <cstring>

#include "interposer/calls/body.h"

namespace farwarp::client::calls {
namespace {

template <typename Value>
CUresult give(void* data, Value value) {
  std::memcpy(data, &value, sizeof(value));
  return CUDA_SUCCESS;
}

CUresult givePool(const Allocation& memory, void* data) {
  CUmemoryPool pool = handleOf<CUmemoryPool>(memory.pool);
  if (memory.stream_ordered && pool == nullptr) {
    FARWARP_TRY(calls::cuDeviceGetDefaultMemPool(&pool, memory.device));
  }
  return give(data, pool);
}

// One attribute of memory that is known. Attributes that do not apply give
// CUDA_ERROR_INVALID_VALUE.
CUresult attributeOf(const Allocation& memory, uint64_t address, CUpointer_attribute attribute,
                     void* data) {
  const bool managed = memory.kind == AllocationKind::managed;
  const bool on_device = memory.kind == AllocationKind::device;
  switch (attribute) {
    case CU_POINTER_ATTRIBUTE_CONTEXT:
      return give(data, handleOf<CUcontext>(memory.context));
    case CU_POINTER_ATTRIBUTE_MEMORY_TYPE:
      return give<unsigned int>(data,
                                on_device || managed ? CU_MEMORYTYPE_DEVICE : CU_MEMORYTYPE_HOST);
    case CU_POINTER_ATTRIBUTE_DEVICE_POINTER:
      return give<CUdeviceptr>(data, address);
    case CU_POINTER_ATTRIBUTE_HOST_POINTER:
      return on_device ? CUDA_ERROR_INVALID_VALUE : give(data, reinterpret_cast<void*>(address));
    case CU_POINTER_ATTRIBUTE_SYNC_MEMOPS:
      return give<int>(data, memory.sync_memops ? 1 : 0);
    case CU_POINTER_ATTRIBUTE_BUFFER_ID:
    case CU_POINTER_ATTRIBUTE_MEMORY_BLOCK_ID:
      return give<unsigned long long>(data, memory.buffer);
    case CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL:
      return give<int>(data, memory.device);
    case CU_POINTER_ATTRIBUTE_RANGE_START_ADDR:
    case CU_POINTER_ATTRIBUTE_MAPPING_BASE_ADDR:
      return give<uint64_t>(data, memory.base);
    case CU_POINTER_ATTRIBUTE_RANGE_SIZE:
    case CU_POINTER_ATTRIBUTE_MAPPING_SIZE:
      return give<size_t>(data, memory.bytes);
    case CU_POINTER_ATTRIBUTE_MAPPED:
      return give<int>(data, 1);
    case CU_POINTER_ATTRIBUTE_ACCESS_FLAGS:
      return give<int>(data, memory.physical == 0 || memory.access != 0
                                 ? CU_POINTER_ATTRIBUTE_ACCESS_FLAG_READWRITE
                                 : CU_POINTER_ATTRIBUTE_ACCESS_FLAG_NONE);
    case CU_POINTER_ATTRIBUTE_ALLOWED_HANDLE_TYPES:
      return give<uint64_t>(data, memory.handle_types);
    case CU_POINTER_ATTRIBUTE_MEMPOOL_HANDLE:
      return givePool(memory, data);
    case CU_POINTER_ATTRIBUTE_IS_MANAGED:
      return give<int>(data, managed ? 1 : 0);
    case CU_POINTER_ATTRIBUTE_IS_LEGACY_CUDA_IPC_CAPABLE:
      return give<int>(data, on_device && !memory.stream_ordered && !memory.global &&
                                 !memory.imported && memory.physical == 0);
    case CU_POINTER_ATTRIBUTE_IS_GPU_DIRECT_RDMA_CAPABLE:
    case CU_POINTER_ATTRIBUTE_IS_HW_DECOMPRESS_CAPABLE:
      return give<int>(data, 0);
    default:
      return CUDA_ERROR_INVALID_VALUE;
  }
}

// What cuPointerGetAttributes gives for memory that CUDA does not know, and for what does not
// apply.
void giveDefault(CUpointer_attribute attribute, void* data) {
  switch (attribute) {
    case CU_POINTER_ATTRIBUTE_MEMORY_TYPE:
      static_cast<void>(give<unsigned int>(data, 0));
      break;
    case CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL:
      static_cast<void>(give<int>(data, CU_DEVICE_INVALID));
      break;
    case CU_POINTER_ATTRIBUTE_SYNC_MEMOPS:
    case CU_POINTER_ATTRIBUTE_IS_MANAGED:
    case CU_POINTER_ATTRIBUTE_IS_LEGACY_CUDA_IPC_CAPABLE:
    case CU_POINTER_ATTRIBUTE_MAPPED:
    case CU_POINTER_ATTRIBUTE_IS_GPU_DIRECT_RDMA_CAPABLE:
    case CU_POINTER_ATTRIBUTE_ACCESS_FLAGS:
    case CU_POINTER_ATTRIBUTE_IS_HW_DECOMPRESS_CAPABLE:
      static_cast<void>(give<int>(data, 0));
      break;
    default:
      static_cast<void>(give<uint64_t>(data, 0));
      break;
  }
}

bool isAttribute(CUpointer_attribute attribute) {
  return attribute >= CU_POINTER_ATTRIBUTE_CONTEXT &&
         attribute <= CU_POINTER_ATTRIBUTE_IS_HW_DECOMPRESS_CAPABLE &&
         attribute != CU_POINTER_ATTRIBUTE_P2P_TOKENS;
}

}  // namespace

CUresult cuPointerGetAttribute(void* data, CUpointer_attribute attribute, CUdeviceptr address) {
  CallScope scope(CallId::cuPointerGetAttribute);
  FARWARP_TRY(scope.enter(kNeedsInit));
  if (data == nullptr || !isAttribute(attribute)) return CUDA_ERROR_INVALID_VALUE;
  const std::optional<Allocation> memory = scope.client().allocations.find(address);
  if (!memory) return CUDA_ERROR_INVALID_VALUE;
  return attributeOf(*memory, address, attribute, data);
}

CUresult cuPointerGetAttributes(unsigned int count, CUpointer_attribute* attributes, void** data,
                                CUdeviceptr address) {
  CallScope scope(CallId::cuPointerGetAttributes);
  FARWARP_TRY(scope.enter(kNeedsInit));
  if (count == 0 || attributes == nullptr || data == nullptr) return CUDA_ERROR_INVALID_VALUE;
  for (unsigned int i = 0; i < count; ++i) {
    if (data[i] == nullptr || !isAttribute(attributes[i])) return CUDA_ERROR_INVALID_VALUE;
  }
  const std::optional<Allocation> memory = scope.client().allocations.find(address);
  for (unsigned int i = 0; i < count; ++i) {
    if (!memory || attributeOf(*memory, address, attributes[i], data[i]) != CUDA_SUCCESS) {
      giveDefault(attributes[i], data[i]);
    }
  }
  return CUDA_SUCCESS;
}

CUresult cuPointerSetAttribute(const void* value, CUpointer_attribute attribute,
                               CUdeviceptr address) {
  CallScope scope(CallId::cuPointerSetAttribute);
  FARWARP_TRY(scope.enter(kNeedsInit));
  if (value == nullptr || attribute != CU_POINTER_ATTRIBUTE_SYNC_MEMOPS) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  unsigned int on = 0;
  std::memcpy(&on, value, sizeof(on));
  // Every copy that this library calls synchronous is waited for, so the flag is only remembered.
  return scope.client().allocations.setSyncMemops(address, on != 0) ? CUDA_SUCCESS
                                                                    : CUDA_ERROR_INVALID_VALUE;
}

}  // namespace farwarp::client::calls
