// What every call asks first: does any stream of the process capture?
#pragma once

#include <cuda.h>

#include <atomic>
#include <cstdint>

namespace farwarp::graph {

class Host;

// Captures that are going on, and events that were last recorded in one. Almost always 0, so that a
// call outside of captures pays one load for them.
extern constinit std::atomic<uint32_t> g_capturing;

inline bool capturing() {
  return g_capturing.load(std::memory_order_relaxed) != 0;
}

// A call that cannot be recorded is about to use `stream`: 0 is the legacy default stream, or with
// the flag of the per-thread form the thread's own. The error of CUDA, with the capture
// invalidated, when that would disturb a capture.
[[nodiscard]] CUresult refuseOnStream(Host& host, CUstream stream, uint16_t record_flags);

// A call that CUDA calls potentially unsafe while streams capture is about to be made by this
// thread.
[[nodiscard]] CUresult refuseUnsafe(Host& host);

}  // namespace farwarp::graph
