// What a program says about its managed memory: advice, prefetches, and questions about them.
#include "driver/managed_advice.h"
#include "interposer/calls/body.h"

namespace farwarp::client::calls {
namespace {

// All of the range is one managed allocation's.
CUresult checkManaged(CallScope& scope, CUdeviceptr address, size_t bytes) {
  if (bytes == 0) return CUDA_ERROR_INVALID_VALUE;
  const std::optional<Allocation> memory = scope.client().allocations.findDevice(address);
  const bool inside = memory && memory->kind == AllocationKind::managed &&
                      bytes <= memory->bytes - (address - memory->base);
  return inside ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult advise(CallId call, CUdeviceptr address, size_t bytes, CUmem_advise advice,
                CUmemLocation location) {
  CallScope scope(call);
  FARWARP_TRY(scope.enter(kNeedsInit | kNeedsContext));
  FARWARP_TRY(checkManaged(scope, address, bytes));
  Client& client = scope.client();
  return client.managed_advice.advise(address, bytes, advice, location, client.devices.count());
}

CUresult prefetch(CallId call, CUdeviceptr address, size_t bytes, CUmemLocation location,
                  CUstream stream, uint16_t record_flags) {
  CallScope scope(call, record_flags);
  FARWARP_TRY(scope.enter(kNeedsInit | kNeedsContext));
  uint64_t id = 0;
  FARWARP_TRY(scope.use(wire::HandleType::stream, stream, id, true));
  FARWARP_TRY(checkManaged(scope, address, bytes));
  Client& client = scope.client();
  FARWARP_TRY(client.managed_advice.prefetched(address, bytes, location, client.devices.count()));
  if (location.type == CU_MEM_LOCATION_TYPE_DEVICE) {
    static_cast<void>(client.shared_memory.flush());
  } else {
    client.shared_memory.fetchIfIdle(address, bytes);
  }
  return CUDA_SUCCESS;
}

}  // namespace

CUresult cuMemAdvise(CUdeviceptr address, size_t bytes, CUmem_advise advice, CUdevice device) {
  return advise(CallId::cuMemAdvise, address, bytes, advice, ManagedAdvice::locationOf(device));
}

CUresult cuMemAdvise_v2(CUdeviceptr address, size_t bytes, CUmem_advise advice,
                        CUmemLocation location) {
  return advise(CallId::cuMemAdvise_v2, address, bytes, advice, location);
}

CUresult cuMemPrefetchAsync(CUdeviceptr address, size_t bytes, CUdevice device, CUstream stream,
                            uint16_t record_flags) {
  return prefetch(CallId::cuMemPrefetchAsync, address, bytes, ManagedAdvice::locationOf(device),
                  stream, record_flags);
}

CUresult cuMemPrefetchAsync_v2(CUdeviceptr address, size_t bytes, CUmemLocation location,
                               unsigned int flags, CUstream stream, uint16_t record_flags) {
  if (flags != 0) return CUDA_ERROR_INVALID_VALUE;
  return prefetch(CallId::cuMemPrefetchAsync_v2, address, bytes, location, stream, record_flags);
}

CUresult cuMemRangeGetAttribute(void* data, size_t data_bytes, CUmem_range_attribute attribute,
                                CUdeviceptr address, size_t bytes) {
  CallScope scope(CallId::cuMemRangeGetAttribute);
  FARWARP_TRY(scope.enter(kNeedsInit | kNeedsContext));
  if (data == nullptr) return CUDA_ERROR_INVALID_VALUE;
  FARWARP_TRY(checkManaged(scope, address, bytes));
  return scope.client().managed_advice.attribute(data, data_bytes, attribute, address, bytes);
}

CUresult cuMemRangeGetAttributes(void** data, size_t* data_bytes, CUmem_range_attribute* attributes,
                                 size_t count, CUdeviceptr address, size_t bytes) {
  if (data == nullptr || data_bytes == nullptr || attributes == nullptr || count == 0) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  for (size_t i = 0; i < count; ++i) {
    FARWARP_TRY(
        calls::cuMemRangeGetAttribute(data[i], data_bytes[i], attributes[i], address, bytes));
  }
  return CUDA_SUCCESS;
}

// Who may use the memory when does not matter here: each side has its copy.
CUresult cuStreamAttachMemAsync(CUstream stream, CUdeviceptr address, size_t bytes,
                                unsigned int flags, uint16_t record_flags) {
  CallScope scope(CallId::cuStreamAttachMemAsync, record_flags);
  FARWARP_TRY(scope.enter(kNeedsInit | kNeedsContext));
  uint64_t id = 0;
  FARWARP_TRY(scope.use(wire::HandleType::stream, stream, id, true));
  if (flags != CU_MEM_ATTACH_GLOBAL && flags != CU_MEM_ATTACH_HOST &&
      flags != CU_MEM_ATTACH_SINGLE) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  return checkManaged(scope, address, bytes == 0 ? 1 : bytes);
}

}  // namespace farwarp::client::calls
