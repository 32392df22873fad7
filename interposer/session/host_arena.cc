#include "interposer/session/host_arena.h"

#include <sys/mman.h>

#include <algorithm>
#include <iterator>

#include "interposer/session/page_region.h"

namespace farwarp::client {
namespace {

// Far from where Linux puts programs, libraries, heaps and stacks, and from where drivers are known
// to reserve.
#ifdef __SANITIZE_THREAD__
constexpr uint64_t kPlace = 0x10'0000'0000;  // ThreadSanitizer allows a program few addresses
#else
constexpr uint64_t kPlace = 0x2000'0000'0000;
#endif
constexpr uint64_t kSizes[] = {uint64_t{256} << 30, uint64_t{16} << 30, uint64_t{1} << 30};

void* pointer(uint64_t address) {
  return reinterpret_cast<void*>(address);
}

// Nothing there afterwards, and its memory with the system.
void close(uint64_t address, uint64_t bytes) {
  mmap(pointer(address), bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED,
       -1, 0);
}

}  // namespace

uint64_t HostArena::roundUp(uint64_t bytes) {
  constexpr uint64_t kMost = uint64_t{1} << 46;
  return bytes > kMost ? 0 : (bytes + kPageBytes - 1) / kPageBytes * kPageBytes;
}

void HostArena::reserveLocked() {
  tried_ = true;
  for (const uint64_t bytes : kSizes) {
    void* at = mmap(pointer(kPlace), bytes, PROT_NONE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
    if (at == MAP_FAILED) continue;
    if (at != pointer(kPlace)) {
      munmap(at, bytes);
      continue;
    }
    begin_ = cursor_ = kPlace;
    end_ = kPlace + bytes;
    gaps_[begin_] = end_;
    return;
  }
}

uint64_t HostArena::allocate(uint64_t bytes) {
  const uint64_t mapped = roundUp(bytes);
  if (mapped == 0) return 0;
  std::lock_guard lock(mutex_);
  if (!tried_) reserveLocked();
  constexpr int kFlags = MAP_PRIVATE | MAP_ANONYMOUS;
  // A closed page behind each allocation; and the search goes on behind the last one, so that a use
  // after the end is noticed for long.
  const uint64_t taken = mapped + kPageBytes;
  for (const uint64_t from : {cursor_, begin_}) {
    for (auto gap = gaps_.begin(); gap != gaps_.end(); ++gap) {
      const uint64_t begin = std::max(gap->first, from);
      if (begin >= gap->second || gap->second - begin < taken) continue;
      if (mmap(pointer(begin), mapped, PROT_READ | PROT_WRITE, kFlags | MAP_FIXED, -1, 0) ==
          MAP_FAILED) {
        return 0;
      }
      const auto [gap_begin, gap_end] = *gap;
      gaps_.erase(gap);
      if (gap_begin < begin) gaps_[gap_begin] = begin;
      if (begin + taken < gap_end) gaps_[begin + taken] = gap_end;
      cursor_ = begin + taken;
      return begin;
    }
  }
  void* anywhere = mmap(nullptr, mapped, PROT_READ | PROT_WRITE, kFlags, -1, 0);
  return anywhere == MAP_FAILED ? 0 : reinterpret_cast<uint64_t>(anywhere);
}

void HostArena::free(uint64_t address, uint64_t bytes) {
  const uint64_t mapped = roundUp(bytes);
  std::lock_guard lock(mutex_);
  if (address < begin_ || address >= end_) {
    munmap(pointer(address), mapped);
    return;
  }
  close(address, mapped);
  uint64_t begin = address, end = address + mapped + kPageBytes;
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

}  // namespace farwarp::client
