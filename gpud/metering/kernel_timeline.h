// When the kernels of a session ran, kept for a client that traces (farwarp run --trace).
//
// Off, and empty, until the client asks for it. What is kept is bounded: beyond that the oldest
// kernels are forgotten and counted.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "protocol/kernel_timeline.h"

namespace farwarp {

// Any thread may call any function.
class KernelTimeline {
 public:
  static constexpr size_t kKernelsMax = 1u << 18;  // 6 MiB

  void start() { on_.store(true, std::memory_order_relaxed); }
  bool on() const { return on_.load(std::memory_order_relaxed); }

  // A kernel ran; times of CLOCK_MONOTONIC. Does nothing while off.
  void add(uint64_t start_ns, uint64_t end_ns, uint32_t device, std::string_view name);

  // The oldest kernels that were not taken yet, as many as an answer may have, and the new names.
  wire::KernelTimeline take();

  // CLOCK_MONOTONIC.
  static uint64_t now();

 private:
  uint32_t numberOf(std::string_view name);

  std::atomic<bool> on_{false};
  std::mutex mutex_;  // guards everything below; a leaf lock
  std::deque<wire::KernelInterval> kernels_;
  std::map<std::string, uint32_t, std::less<>> numbers_;
  std::vector<std::string_view> names_;  // by number; the keys of numbers_
  size_t told_ = 0;                      // names that were taken
  uint64_t lost_ = 0;
};

}  // namespace farwarp
