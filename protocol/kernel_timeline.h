// When the kernels of a session ran, for a client that traces.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace farwarp::wire {

inline constexpr size_t kTimelineKernelsMax = 8192;   // in one answer
inline constexpr size_t kTimelineNamesMax = 4096;     // in a session, and so in one answer
inline constexpr size_t kTimelineNameBytesMax = 512;  // longer names are cut

struct KernelInterval {
  uint64_t start_ns = 0;  // on gpud's clock
  uint64_t duration_ns = 0;
  uint32_t device = 0;  // ordinal
  uint32_t name = 0;    // in the order in which the names were told, from 0
};

struct KernelTimeline {
  uint64_t now_ns = 0;             // gpud's clock
  uint64_t lost = 0;               // kernels so far that gpud had no room for
  std::vector<std::string> names;  // that no answer before told
  std::vector<KernelInterval> kernels;
};

}  // namespace farwarp::wire
