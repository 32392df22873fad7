#include <algorithm>

#include "gpud/device/cpu/ptx/engine.h"

namespace farwarp::ptx {

void MemoryMap::add(uint64_t begin, uint64_t end) {
  std::lock_guard lock(mutex_);
  auto at = std::lower_bound(ranges_.begin(), ranges_.end(), begin,
                             [](const Range& r, uint64_t b) { return r.begin < b; });
  ranges_.insert(at, {begin, end});
  generation_.fetch_add(1, std::memory_order_release);
}

bool MemoryMap::remove(uint64_t begin) {
  std::lock_guard lock(mutex_);
  for (auto it = ranges_.begin(); it != ranges_.end(); ++it) {
    if (it->begin != begin) continue;
    ranges_.erase(it);
    generation_.fetch_add(1, std::memory_order_release);
    return true;
  }
  return false;
}

MemoryMap::Range MemoryMap::find(uint64_t address) const {
  if (address >= begin_ && address < end_) return {begin_, end_};
  std::lock_guard lock(mutex_);
  auto after = std::upper_bound(ranges_.begin(), ranges_.end(), address,
                                [](uint64_t a, const Range& r) { return a < r.begin; });
  if (after == ranges_.begin()) return {};
  const Range& range = *std::prev(after);
  return address < range.end ? range : Range{};
}

}  // namespace farwarp::ptx
