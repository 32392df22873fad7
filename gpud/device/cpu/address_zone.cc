#include "gpud/device/cpu/address_zone.h"

#include <algorithm>
#include <iterator>

namespace farwarp::cpu {

AddressZone::AddressZone(uint64_t begin, uint64_t end) : begin_(begin), end_(end), cursor_(begin) {
  if (begin < end) gaps_[begin] = end;
}

uint64_t AddressZone::take(uint64_t bytes, uint64_t align) {
  const auto fits = [&](Gaps::iterator gap, uint64_t from) -> uint64_t {
    const uint64_t begin = (std::max(gap->first, from) + align - 1) & ~(align - 1);
    return begin >= gap->first && begin < gap->second && gap->second - begin >= bytes ? begin : 0;
  };
  const auto takeFrom = [&](Gaps::iterator gap, uint64_t begin) {
    cut(gap, begin, begin + bytes);
    cursor_ = begin + bytes;
    return begin;
  };
  auto start = gaps_.upper_bound(cursor_);
  if (start != gaps_.begin()) --start;
  for (auto gap = start; gap != gaps_.end(); ++gap) {
    if (const uint64_t begin = fits(gap, cursor_); begin != 0) return takeFrom(gap, begin);
  }
  for (auto gap = gaps_.begin(); gap != gaps_.end(); ++gap) {
    if (const uint64_t begin = fits(gap, 0); begin != 0) return takeFrom(gap, begin);
  }
  return 0;
}

bool AddressZone::takeAt(uint64_t at, uint64_t bytes) {
  auto gap = gaps_.upper_bound(at);
  if (gap == gaps_.begin()) return false;
  --gap;
  if (at >= gap->second || gap->second - at < bytes) return false;
  cut(gap, at, at + bytes);
  return true;
}

void AddressZone::cut(Gaps::iterator gap, uint64_t begin, uint64_t end) {
  const auto [gap_begin, gap_end] = *gap;
  gaps_.erase(gap);
  if (gap_begin < begin) gaps_[gap_begin] = begin;
  if (end < gap_end) gaps_[end] = gap_end;
}

void AddressZone::giveBack(uint64_t begin, uint64_t bytes) {
  uint64_t end = begin + bytes;
  const auto next = gaps_.find(end);
  if (next != gaps_.end()) {
    end = next->second;
    gaps_.erase(next);
  }
  const auto after = gaps_.lower_bound(begin);
  if (after != gaps_.begin() && std::prev(after)->second == begin) {
    std::prev(after)->second = end;
  } else {
    gaps_[begin] = end;
  }
}

}  // namespace farwarp::cpu
