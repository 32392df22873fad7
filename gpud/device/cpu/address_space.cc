#include "gpud/device/cpu/address_space.h"

#include <sys/mman.h>

#include <algorithm>

namespace farwarp::cpu {
namespace {

constexpr uint64_t kHugeBytes = uint64_t{2} << 20;

uint64_t roundUp(uint64_t value, uint64_t unit) {
  return (value + unit - 1) / unit * unit;
}

void* pointer(uint64_t address) {
  return reinterpret_cast<void*>(address);
}

bool inDeviceMemory(MemoryKind kind) {
  return kind != MemoryKind::host && kind != MemoryKind::registered && kind != MemoryKind::managed;
}

}  // namespace

AddressSpace::Reservation AddressSpace::reserve() {
  constexpr uint64_t kMost = uint64_t{1} << 40, kLeast = uint64_t{1} << 28;
  // Away from where programs have their memory: gpud must be able to map a client's there. Only a
  // wish, which a sanitizer may not grant.
  constexpr uint64_t kWanted = 0x3000'0000'0000;
  for (uint64_t bytes = kMost; bytes >= kLeast; bytes /= 2) {
    void* at = mmap(pointer(kWanted), bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                    -1, 0);
    if (at == MAP_FAILED) continue;
    const uint64_t begin = reinterpret_cast<uint64_t>(at);
    return {begin, begin + bytes};
  }
  return {0, 0};
}

AddressSpace::AddressSpace()
    : map_([] {
        const Reservation reservation = reserve();
        return ptx::MemoryMap(reservation.begin, reservation.end);
      }()) {
  const uint64_t begin = map_.reservedBegin(), end = map_.reservedEnd();
  if (begin == end) return;
  // The first page stays closed: a pointer one below the first allocation is never valid.
  gaps_[begin + kPageBytes] = end;
  cursor_ = begin;
}

// Goes round the reservation rather than filling the first gap, so that the addresses of freed
// memory stay invalid for long and a use after the end is noticed.
uint64_t AddressSpace::findGap(uint64_t bytes, uint64_t align) {
  const auto fits = [&](std::map<uint64_t, uint64_t>::iterator gap, uint64_t from) -> uint64_t {
    const uint64_t begin = roundUp(std::max(gap->first, from), align);
    return begin < gap->second && gap->second - begin >= bytes ? begin : 0;
  };
  auto start = gaps_.upper_bound(cursor_);
  if (start != gaps_.begin()) --start;
  for (auto gap = start; gap != gaps_.end(); ++gap) {
    if (uint64_t begin = fits(gap, cursor_); begin != 0) return begin;
  }
  for (auto gap = gaps_.begin(); gap != gaps_.end(); ++gap) {
    if (uint64_t begin = fits(gap, 0); begin != 0) return begin;
  }
  return 0;
}

uint64_t AddressSpace::allocate(const Allocation& wanted, uint64_t bytes_max) {
  const uint64_t mapped = roundUp(wanted.bytes, kPageBytes);
  if (wanted.bytes == 0 || mapped < wanted.bytes || mapped > uint64_t{1} << 40) return 0;
  const bool huge = mapped >= 2 * kHugeBytes;
  const uint64_t align = huge ? kHugeBytes : kPageBytes;

  std::lock_guard lock(mutex_);
  const size_t device = static_cast<size_t>(wanted.device);
  if (used_bytes_.size() <= device) used_bytes_.resize(device + 1);
  const bool counted = inDeviceMemory(wanted.kind);
  if (counted && (mapped > bytes_max || used_bytes_[device] > bytes_max - mapped)) return 0;
  if (placed_.size() >= kAllocationsMax) return 0;
  const uint64_t taken = mapped + kPageBytes;  // with the closed page behind it
  const uint64_t begin = findGap(taken, align);
  if (begin == 0) return 0;
  if (mmap(pointer(begin), mapped, PROT_READ | PROT_WRITE,
           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) == MAP_FAILED) {
    return 0;
  }
  if (huge) madvise(pointer(begin), mapped, MADV_HUGEPAGE);

  auto gap = std::prev(gaps_.upper_bound(begin));
  const uint64_t gap_begin = gap->first, gap_end = gap->second;
  gaps_.erase(gap);
  if (gap_begin < begin) gaps_[gap_begin] = begin;
  if (begin + taken < gap_end) gaps_[begin + taken] = gap_end;
  cursor_ = begin + taken;

  Placed& placed = placed_[begin];
  placed = {wanted, mapped};
  placed.allocation.begin = begin;
  placed.allocation.number = ++number_;
  if (exact_) exact_map_.add(begin, begin + wanted.bytes);
  if (counted) used_bytes_[device] += mapped;
  return begin;
}

bool AddressSpace::add(const Allocation& host) {
  std::lock_guard lock(mutex_);
  const auto next = placed_.lower_bound(host.begin);
  if (next != placed_.end() && next->first < host.end()) return false;
  if (next != placed_.begin() && std::prev(next)->second.allocation.end() > host.begin)
    return false;
  if (placed_.size() >= kAllocationsMax) return false;
  Placed& placed = placed_[host.begin];
  placed = {host, 0};
  placed.allocation.number = ++number_;
  map_.add(host.begin, host.end());
  if (exact_) exact_map_.add(host.begin, host.end());
  return true;
}

bool AddressSpace::find(uint64_t address, Allocation& found) const {
  std::lock_guard lock(mutex_);
  auto at = placed_.upper_bound(address);
  if (at == placed_.begin()) return false;
  --at;
  if (address >= at->second.allocation.end()) return false;
  found = at->second.allocation;
  return true;
}

bool AddressSpace::covers(uint64_t address, uint64_t bytes) const {
  Allocation found;
  return find(address, found) && bytes <= found.end() - address;
}

void AddressSpace::unmap(std::map<uint64_t, Placed>::iterator at) {
  const auto [allocation, mapped] = at->second;
  placed_.erase(at);
  if (exact_) exact_map_.remove(allocation.begin);
  if (mapped == 0) {
    map_.remove(allocation.begin);
    return;
  }
  // Maps afresh rather than only closing the pages, which gives their memory back to the system.
  mmap(pointer(allocation.begin), mapped, PROT_NONE,
       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
  if (inDeviceMemory(allocation.kind)) used_bytes_[allocation.device] -= mapped;

  uint64_t begin = allocation.begin, end = begin + mapped + kPageBytes;
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

bool AddressSpace::release(uint64_t begin, MemoryKind kind, uint64_t number) {
  std::lock_guard lock(mutex_);
  const auto at = placed_.find(begin);
  if (at == placed_.end() || at->second.allocation.kind != kind) return false;
  if (number != 0 && at->second.allocation.number != number) return false;
  unmap(at);
  return true;
}

void AddressSpace::resize(uint64_t begin, uint64_t bytes) {
  std::lock_guard lock(mutex_);
  const auto at = placed_.find(begin);
  if (at == placed_.end() || bytes > at->second.mapped_bytes) return;
  at->second.allocation.bytes = bytes;
  if (exact_) exact_map_.remove(begin);
  if (exact_ && bytes != 0) exact_map_.add(begin, begin + bytes);
  at->second.allocation.number = ++number_;
}

void AddressSpace::releaseContext(uint64_t context) {
  std::lock_guard lock(mutex_);
  for (auto at = placed_.begin(); at != placed_.end();) {
    const auto next = std::next(at);
    if (at->second.allocation.context == context) unmap(at);
    at = next;
  }
}

uint64_t AddressSpace::usedBytes(int device) const {
  std::lock_guard lock(mutex_);
  const auto index = static_cast<size_t>(device);
  return index < used_bytes_.size() ? used_bytes_[index] : 0;
}

}  // namespace farwarp::cpu
