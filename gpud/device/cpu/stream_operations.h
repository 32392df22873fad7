// Stream memory operations on the CPU device: waiting for and writing values in stream order.
#pragma once

#include <cuda.h>

#include <cstdint>
#include <span>

namespace farwarp::cpu {

// Queues the operations, whose addresses were checked, in `stream`.
[[nodiscard]] CUresult queueOperations(std::span<const CUstreamBatchMemOpParams> operations,
                                       CUstream stream, uint16_t record_flags);

}  // namespace farwarp::cpu
