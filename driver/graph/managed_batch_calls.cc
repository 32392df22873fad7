// Batches of prefetches and discards of managed memory: one after the other, as single ones.
#include "driver/graph/host.h"
#include "driver_calls_gen.h"
#include "graph_calls_gen.h"

namespace farwarp::graph {
namespace {

struct Ranges {
  const CUdeviceptr* addresses;
  const size_t* sizes;
  size_t count;
};

struct Places {
  const CUmemLocation* locations;
  const size_t* first;  // the range that each location begins with
  size_t count;
};

// The legacy default stream is not for batches. All ranges must be managed memory.
CUresult checkBatch(Host& host, const Ranges& ranges, unsigned long long flags, CUstream stream,
                    uint16_t record_flags) {
  FARWARP_GRAPH_TRY(host.enter(true));
  StreamKey key;
  FARWARP_GRAPH_TRY(host.findStream(stream, record_flags, key));
  if (key.legacy() || flags != 0 || ranges.count == 0 || ranges.addresses == nullptr ||
      ranges.sizes == nullptr) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  for (size_t i = 0; i < ranges.count; ++i) {
    int mostly_read = 0;
    FARWARP_GRAPH_TRY(host.table().cuMemRangeGetAttribute(&mostly_read, sizeof(mostly_read),
                                                          CU_MEM_RANGE_ATTRIBUTE_READ_MOSTLY,
                                                          ranges.addresses[i], ranges.sizes[i]));
  }
  return CUDA_SUCCESS;
}

CUresult prefetch(Host& host, const Ranges& ranges, const Places& places, unsigned long long flags,
                  CUstream stream, uint16_t record_flags) {
  FARWARP_GRAPH_TRY(checkBatch(host, ranges, flags, stream, record_flags));
  if (places.locations == nullptr || places.first == nullptr || places.count == 0 ||
      places.count > ranges.count || places.first[0] != 0) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  for (size_t i = 1; i < places.count; ++i) {
    if (places.first[i] <= places.first[i - 1] || places.first[i] >= ranges.count) {
      return CUDA_ERROR_INVALID_VALUE;
    }
  }
  const DriverTable& table = host.table();
  const auto one =
      record_flags != 0 ? table.cuMemPrefetchAsync_v2_ptsz : table.cuMemPrefetchAsync_v2;
  size_t place = 0;
  for (size_t i = 0; i < ranges.count; ++i) {
    if (place + 1 < places.count && places.first[place + 1] == i) ++place;
    FARWARP_GRAPH_TRY(
        one(ranges.addresses[i], ranges.sizes[i], places.locations[place], 0, stream));
  }
  return CUDA_SUCCESS;
}

}  // namespace

namespace calls {

CUresult cuMemPrefetchBatchAsync(Host& host, CUdeviceptr* addresses, size_t* sizes, size_t count,
                                 CUmemLocation* locations, size_t* first, size_t location_count,
                                 unsigned long long flags, CUstream stream, uint16_t record_flags) {
  return prefetch(host, {addresses, sizes, count}, {locations, first, location_count}, flags,
                  stream, record_flags);
}

// What is discarded may be kept.
CUresult cuMemDiscardBatchAsync(Host& host, CUdeviceptr* addresses, size_t* sizes, size_t count,
                                unsigned long long flags, CUstream stream, uint16_t record_flags) {
  return checkBatch(host, {addresses, sizes, count}, flags, stream, record_flags);
}

CUresult cuMemDiscardAndPrefetchBatchAsync(Host& host, CUdeviceptr* addresses, size_t* sizes,
                                           size_t count, CUmemLocation* locations, size_t* first,
                                           size_t location_count, unsigned long long flags,
                                           CUstream stream, uint16_t record_flags) {
  return prefetch(host, {addresses, sizes, count}, {locations, first, location_count}, flags,
                  stream, record_flags);
}

}  // namespace calls
}  // namespace farwarp::graph
