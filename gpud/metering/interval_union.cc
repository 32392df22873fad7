#include "gpud/metering/interval_union.h"

#include <algorithm>

namespace farwarp {

void IntervalUnion::add(uint64_t start_ns, uint64_t end_ns) {
  start_ns = std::max(start_ns, watermark_ns_);
  if (start_ns >= end_ns) return;
  // Nearly all arrive in order: append, or grow the last one.
  if (open_.empty() || start_ns > open_.back().end) {
    open_.push_back({start_ns, end_ns});
    open_ns_ += end_ns - start_ns;
    if (open_.size() > kOpenIntervalsMax) settle(open_[open_.size() / 2].start);
    return;
  }
  // [first, last) are those that overlap or touch the new one; they become one interval.
  const auto first = std::lower_bound(
      open_.begin(), open_.end(), start_ns,
      [](const Interval& interval, uint64_t start) { return interval.end < start; });
  const auto last =
      std::upper_bound(first, open_.end(), end_ns,
                       [](uint64_t end, const Interval& interval) { return end < interval.start; });
  if (first == last) {
    open_.insert(first, {start_ns, end_ns});
    open_ns_ += end_ns - start_ns;
    return;
  }
  for (auto it = first; it != last; ++it) open_ns_ -= it->end - it->start;
  first->start = std::min(first->start, start_ns);
  first->end = std::max((last - 1)->end, end_ns);
  open_ns_ += first->end - first->start;
  open_.erase(first + 1, last);
}

void IntervalUnion::settle(uint64_t watermark_ns) {
  if (watermark_ns <= watermark_ns_) return;
  watermark_ns_ = watermark_ns;
  auto it = open_.begin();
  for (; it != open_.end() && it->end <= watermark_ns; ++it) {
    settled_ns_ += it->end - it->start;
    open_ns_ -= it->end - it->start;
  }
  // One may lie across the watermark: its part before is settled.
  if (it != open_.end() && it->start < watermark_ns) {
    settled_ns_ += watermark_ns - it->start;
    open_ns_ -= watermark_ns - it->start;
    it->start = watermark_ns;
  }
  open_.erase(open_.begin(), it);
}

void IntervalUnion::settleAll() {
  if (!open_.empty()) settle(open_.back().end);
}

}  // namespace farwarp
