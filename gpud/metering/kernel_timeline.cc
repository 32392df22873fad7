#include "gpud/metering/kernel_timeline.h"

#include <time.h>

#include <algorithm>

namespace farwarp {
namespace {

// Stands for all names beyond the limit.
constexpr std::string_view kOther = "(other kernels)";

}  // namespace

uint64_t KernelTimeline::now() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000u + static_cast<uint64_t>(now.tv_nsec);
}

uint32_t KernelTimeline::numberOf(std::string_view name) {
  name = name.substr(0, wire::kTimelineNameBytesMax);
  if (const auto known = numbers_.find(name); known != numbers_.end()) return known->second;
  if (names_.size() + 1 >= wire::kTimelineNamesMax && name != kOther) return numberOf(kOther);
  const auto number = static_cast<uint32_t>(names_.size());
  names_.push_back(numbers_.emplace(name, number).first->first);
  return number;
}

void KernelTimeline::add(uint64_t start_ns, uint64_t end_ns, uint32_t device,
                         std::string_view name) {
  if (!on() || end_ns < start_ns) return;
  const std::lock_guard lock(mutex_);
  if (kernels_.size() >= kKernelsMax) {
    kernels_.pop_front();
    ++lost_;
  }
  kernels_.push_back({start_ns, end_ns - start_ns, device, numberOf(name)});
}

wire::KernelTimeline KernelTimeline::take() {
  wire::KernelTimeline taken;
  taken.now_ns = now();
  const std::lock_guard lock(mutex_);
  taken.lost = lost_;
  taken.names.assign(names_.begin() + static_cast<ptrdiff_t>(told_), names_.end());
  told_ = names_.size();
  const auto end = kernels_.begin() +
                   static_cast<ptrdiff_t>(std::min(kernels_.size(), wire::kTimelineKernelsMax));
  taken.kernels.assign(kernels_.begin(), end);
  kernels_.erase(kernels_.begin(), end);
  return taken;
}

}  // namespace farwarp
