// Memory of graphs: allocations and frees that a capture records, frees outside of graphs, and what
// devices say of it.
#include "driver/graph/node_params.h"
#include "driver/graph/recording.h"
#include "graph_calls_gen.h"

namespace farwarp::graph {
namespace {

bool recordAlloc(Host& host, CUresult& result, CUdeviceptr* out, size_t bytes, CUstream stream,
                 uint16_t flags) {
  return record(host, result, stream, flags, [&](const Recording&, SharedParams& params) {
    if (out == nullptr || bytes == 0) return CUDA_ERROR_INVALID_VALUE;
    CUDA_MEM_ALLOC_NODE_PARAMS_v2 wanted{};
    wanted.poolProps.allocType = CU_MEM_ALLOCATION_TYPE_PINNED;
    wanted.poolProps.location.type = CU_MEM_LOCATION_TYPE_DEVICE;
    FARWARP_GRAPH_TRY(host.currentDevice(wanted.poolProps.location.id));
    wanted.bytesize = bytes;
    FARWARP_GRAPH_TRY(makeAlloc(host, wanted, params));
    *out = wanted.dptr;
    return CUDA_SUCCESS;
  });
}

// Frees memory that a graph allocated. False when it is none.
bool freeGraphMemory(Host& host, CUresult& result, CUdeviceptr address) {
  std::shared_ptr<void> last;  // ends without the lock
  std::lock_guard lock(host.state.mutex);
  const auto found = host.state.memory.find(address);
  if (found == host.state.memory.end()) return false;
  result = found->second.live ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
  found->second.live = false;
  last = std::move(found->second.kept);
  return true;
}

struct Amount {
  cuuint64_t used = 0;
  cuuint64_t reserved = 0;
};

// Locks.
CUresult count(Host& host, CUdevice device, Amount& amount) {
  std::lock_guard lock(host.state.mutex);
  host.state.sweepMemory();
  for (const auto& [address, memory] : host.state.memory) {
    if (memory.device != device) continue;
    amount.reserved += memory.bytes;
    if (memory.live) amount.used += memory.bytes;
  }
  GraphMemoryPeaks& peaks = host.state.memory_peaks[device];
  peaks.used = std::max(peaks.used, amount.used);
  peaks.reserved = std::max(peaks.reserved, amount.reserved);
  return CUDA_SUCCESS;
}

}  // namespace

namespace captured {

bool cuMemAllocAsync(Host& host, CUresult& result, CUdeviceptr* out, size_t bytes, CUstream stream,
                     uint16_t flags) {
  return recordAlloc(host, result, out, bytes, stream, flags);
}

bool cuMemAllocFromPoolAsync(Host& host, CUresult& result, CUdeviceptr* out, size_t bytes,
                             CUmemoryPool, CUstream stream, uint16_t flags) {
  return recordAlloc(host, result, out, bytes, stream, flags);
}

bool cuMemFreeAsync(Host& host, CUresult& result, CUdeviceptr address, CUstream stream,
                    uint16_t flags) {
  const auto make = [&](const Recording&, SharedParams& params) {
    return makeFree(host, address, params);
  };
  return record(host, result, stream, flags, make) || freeGraphMemory(host, result, address);
}

bool cuMemFree_v2(Host& host, CUresult& result, CUdeviceptr address) {
  result = refuseUnsafe(host);
  return result != CUDA_SUCCESS || freeGraphMemory(host, result, address);
}

}  // namespace captured

namespace calls {

CUresult cuDeviceGetGraphMemAttribute(Host& host, CUdevice device, CUgraphMem_attribute attribute,
                                      void* value) {
  FARWARP_GRAPH_TRY(host.enter(false));
  FARWARP_GRAPH_TRY(host.checkDevice(device));
  if (value == nullptr) return CUDA_ERROR_INVALID_VALUE;
  Amount amount;
  FARWARP_GRAPH_TRY(count(host, device, amount));
  std::lock_guard lock(host.state.mutex);
  auto& out = *static_cast<cuuint64_t*>(value);
  switch (attribute) {
    case CU_GRAPH_MEM_ATTR_USED_MEM_CURRENT:
      out = amount.used;
      return CUDA_SUCCESS;
    case CU_GRAPH_MEM_ATTR_USED_MEM_HIGH:
      out = host.state.memory_peaks[device].used;
      return CUDA_SUCCESS;
    case CU_GRAPH_MEM_ATTR_RESERVED_MEM_CURRENT:
      out = amount.reserved;
      return CUDA_SUCCESS;
    case CU_GRAPH_MEM_ATTR_RESERVED_MEM_HIGH:
      out = host.state.memory_peaks[device].reserved;
      return CUDA_SUCCESS;
    default:
      return CUDA_ERROR_INVALID_VALUE;
  }
}

// Only the high watermarks can be set, and only to 0.
CUresult cuDeviceSetGraphMemAttribute(Host& host, CUdevice device, CUgraphMem_attribute attribute,
                                      void* value) {
  FARWARP_GRAPH_TRY(host.enter(false));
  FARWARP_GRAPH_TRY(host.checkDevice(device));
  if (value == nullptr || *static_cast<cuuint64_t*>(value) != 0) return CUDA_ERROR_INVALID_VALUE;
  std::lock_guard lock(host.state.mutex);
  GraphMemoryPeaks& peaks = host.state.memory_peaks[device];
  if (attribute == CU_GRAPH_MEM_ATTR_USED_MEM_HIGH) {
    peaks.used = 0;
  } else if (attribute == CU_GRAPH_MEM_ATTR_RESERVED_MEM_HIGH) {
    peaks.reserved = 0;
  } else {
    return CUDA_ERROR_INVALID_VALUE;
  }
  return CUDA_SUCCESS;
}

// Memory of graphs ends with them, so nothing is ever kept that could be given back.
CUresult cuDeviceGraphMemTrim(Host& host, CUdevice device) {
  FARWARP_GRAPH_TRY(host.enter(false));
  return host.checkDevice(device);
}

}  // namespace calls
}  // namespace farwarp::graph
