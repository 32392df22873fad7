// The length of the union of time intervals that arrive in any order.
//
// This is what busy_ns is made of: kernels of one session overlap on a GPU, and their records come
// in the order in which they end. Exact as long as at most kOpenIntervalsMax disjoint intervals lie
// behind the watermark at once; the callers settle far more often than that.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace farwarp {

class IntervalUnion {
 public:
  // More disjoint intervals than this are not kept; the oldest half is settled instead (4 MiB).
  static constexpr size_t kOpenIntervalsMax = 1u << 18;

  // Adds [start_ns, end_ns). Empty and reversed intervals count nothing. The part before the
  // watermark counts nothing either: it was promised not to come.
  void add(uint64_t start_ns, uint64_t end_ns);

  // No later interval starts before `watermark_ns`. Lets the union forget what lies before it.
  void settle(uint64_t watermark_ns);

  // Settles everything that was added: the next interval starts no earlier than all of these end.
  void settleAll();

  uint64_t totalNs() const { return settled_ns_ + open_ns_; }
  size_t openIntervals() const { return open_.size(); }

 private:
  struct Interval {
    uint64_t start;
    uint64_t end;
  };
  std::vector<Interval> open_;  // disjoint, not touching, by time
  uint64_t open_ns_ = 0;        // sum of open_
  uint64_t settled_ns_ = 0;
  uint64_t watermark_ns_ = 0;
};

}  // namespace farwarp
