#include "driver/managed_advice.h"

#include <algorithm>
#include <cstring>
#include <iterator>

namespace farwarp {
namespace {

constexpr uint64_t kPageBytes = 4096;
constexpr int kHostBit = 63;

bool same(const CUmemLocation& a, const CUmemLocation& b) {
  return a.type == b.type && a.id == b.id;
}

CUresult checkLocation(CUmemLocation& location, int devices) {
  switch (location.type) {
    case CU_MEM_LOCATION_TYPE_DEVICE:
      return location.id >= 0 && location.id < std::min(devices, ManagedAdvice::kDevicesMax)
                 ? CUDA_SUCCESS
                 : CUDA_ERROR_INVALID_DEVICE;
    case CU_MEM_LOCATION_TYPE_HOST:
    case CU_MEM_LOCATION_TYPE_HOST_NUMA:
    case CU_MEM_LOCATION_TYPE_HOST_NUMA_CURRENT:
      // The program's machine is one place.
      location = {CU_MEM_LOCATION_TYPE_HOST, 0};
      return CUDA_SUCCESS;
    default:
      return CUDA_ERROR_INVALID_VALUE;
  }
}

// As the attributes of CUDA 8 name a location.
int numberOf(const CUmemLocation& location) {
  if (location.type == CU_MEM_LOCATION_TYPE_DEVICE) return location.id;
  return location.type == CU_MEM_LOCATION_TYPE_HOST ? CU_DEVICE_CPU : CU_DEVICE_INVALID;
}

CUresult give(void* data, size_t data_bytes, int value) {
  if (data_bytes != sizeof(value)) return CUDA_ERROR_INVALID_VALUE;
  std::memcpy(data, &value, sizeof(value));
  return CUDA_SUCCESS;
}

CUresult giveDevices(void* data, size_t data_bytes, uint64_t devices) {
  if (data_bytes == 0 || data_bytes % sizeof(int) != 0) return CUDA_ERROR_INVALID_VALUE;
  auto* out = static_cast<int*>(data);
  const size_t room = data_bytes / sizeof(int);
  size_t given = 0;
  for (int bit = 0; bit <= kHostBit && given < room; ++bit) {
    if ((devices >> bit & 1) != 0) out[given++] = bit == kHostBit ? CU_DEVICE_CPU : bit;
  }
  while (given < room) out[given++] = CU_DEVICE_INVALID;
  return CUDA_SUCCESS;
}

}  // namespace

CUmemLocation ManagedAdvice::locationOf(CUdevice device) {
  if (device == CU_DEVICE_CPU) return {CU_MEM_LOCATION_TYPE_HOST, 0};
  return {CU_MEM_LOCATION_TYPE_DEVICE, device};
}

void ManagedAdvice::splitAt(uint64_t address) {
  auto next = ranges_.upper_bound(address);
  if (next == ranges_.begin()) return;
  auto& [begin, range] = *std::prev(next);
  if (begin == address || range.end <= address) return;
  ranges_.emplace_hint(next, address, range);
  range.end = address;
}

template <typename Change>
CUresult ManagedAdvice::change(uint64_t begin, uint64_t bytes, const Change& change) {
  const uint64_t end = (begin + bytes + kPageBytes - 1) / kPageBytes * kPageBytes;
  begin = begin / kPageBytes * kPageBytes;
  std::lock_guard lock(mutex_);
  if (ranges_.size() + 2 > kRangesMax) return CUDA_ERROR_OUT_OF_MEMORY;
  splitAt(begin);
  splitAt(end);
  // What was never spoken of in between becomes ranges of its own.
  for (uint64_t at = begin; at < end;) {
    auto next = ranges_.lower_bound(at);
    if (next == ranges_.end() || next->first > at) {
      const uint64_t gap_end = next == ranges_.end() ? end : std::min(end, next->first);
      next = ranges_.emplace_hint(next, at, Range{gap_end, {}});
    }
    change(next->second.facts);
    at = next->second.end;
  }
  return CUDA_SUCCESS;
}

CUresult ManagedAdvice::advise(uint64_t begin, uint64_t bytes, CUmem_advise advice,
                               CUmemLocation location, int devices) {
  const bool located = advice == CU_MEM_ADVISE_SET_PREFERRED_LOCATION ||
                       advice == CU_MEM_ADVISE_SET_ACCESSED_BY ||
                       advice == CU_MEM_ADVISE_UNSET_ACCESSED_BY;
  if (located) {
    if (CUresult r = checkLocation(location, devices); r != CUDA_SUCCESS) return r;
  }
  const int bit = location.type == CU_MEM_LOCATION_TYPE_DEVICE ? location.id : kHostBit;
  const uint64_t mask = located ? uint64_t{1} << bit : 0;
  switch (advice) {
    case CU_MEM_ADVISE_SET_READ_MOSTLY:
      return change(begin, bytes, [](Facts& facts) { facts.read_mostly = true; });
    case CU_MEM_ADVISE_UNSET_READ_MOSTLY:
      return change(begin, bytes, [](Facts& facts) { facts.read_mostly = false; });
    case CU_MEM_ADVISE_SET_PREFERRED_LOCATION:
      return change(begin, bytes, [&](Facts& facts) { facts.preferred = location; });
    case CU_MEM_ADVISE_UNSET_PREFERRED_LOCATION:
      return change(begin, bytes, [](Facts& facts) {
        facts.preferred = {CU_MEM_LOCATION_TYPE_INVALID, 0};
      });
    case CU_MEM_ADVISE_SET_ACCESSED_BY:
      return change(begin, bytes, [&](Facts& facts) { facts.accessed_by |= mask; });
    case CU_MEM_ADVISE_UNSET_ACCESSED_BY:
      return change(begin, bytes, [&](Facts& facts) { facts.accessed_by &= ~mask; });
    default:
      return CUDA_ERROR_INVALID_VALUE;
  }
}

CUresult ManagedAdvice::prefetched(uint64_t begin, uint64_t bytes, CUmemLocation location,
                                   int devices) {
  if (CUresult r = checkLocation(location, devices); r != CUDA_SUCCESS) return r;
  return change(begin, bytes, [&](Facts& facts) { facts.prefetched = location; });
}

ManagedAdvice::Facts ManagedAdvice::common(uint64_t begin, uint64_t bytes) const {
  const uint64_t end = (begin + bytes + kPageBytes - 1) / kPageBytes * kPageBytes;
  uint64_t at = begin / kPageBytes * kPageBytes;
  std::lock_guard lock(mutex_);
  auto next = ranges_.upper_bound(at);
  if (next != ranges_.begin() && std::prev(next)->second.end > at) --next;
  if (next == ranges_.end() || next->first > at) return {};
  Facts facts = next->second.facts;
  for (at = next->second.end; at < end; at = next->second.end) {
    if (++next == ranges_.end() || next->first != at) return {};
    const Facts& other = next->second.facts;
    facts.read_mostly = facts.read_mostly && other.read_mostly;
    facts.accessed_by &= other.accessed_by;
    if (!same(facts.preferred, other.preferred)) {
      facts.preferred = {CU_MEM_LOCATION_TYPE_INVALID, 0};
    }
    if (!same(facts.prefetched, other.prefetched)) {
      facts.prefetched = {CU_MEM_LOCATION_TYPE_INVALID, 0};
    }
  }
  return facts;
}

CUresult ManagedAdvice::attribute(void* data, size_t data_bytes, CUmem_range_attribute attribute,
                                  uint64_t begin, uint64_t bytes) const {
  const Facts facts = common(begin, bytes);
  switch (attribute) {
    case CU_MEM_RANGE_ATTRIBUTE_READ_MOSTLY:
      return give(data, data_bytes, facts.read_mostly ? 1 : 0);
    case CU_MEM_RANGE_ATTRIBUTE_PREFERRED_LOCATION:
      return give(data, data_bytes, numberOf(facts.preferred));
    case CU_MEM_RANGE_ATTRIBUTE_ACCESSED_BY:
      return giveDevices(data, data_bytes, facts.accessed_by);
    case CU_MEM_RANGE_ATTRIBUTE_LAST_PREFETCH_LOCATION:
      return give(data, data_bytes, numberOf(facts.prefetched));
    case CU_MEM_RANGE_ATTRIBUTE_PREFERRED_LOCATION_TYPE:
      return give(data, data_bytes, facts.preferred.type);
    case CU_MEM_RANGE_ATTRIBUTE_PREFERRED_LOCATION_ID:
      return give(data, data_bytes, facts.preferred.id);
    case CU_MEM_RANGE_ATTRIBUTE_LAST_PREFETCH_LOCATION_TYPE:
      return give(data, data_bytes, facts.prefetched.type);
    case CU_MEM_RANGE_ATTRIBUTE_LAST_PREFETCH_LOCATION_ID:
      return give(data, data_bytes, facts.prefetched.id);
    default:
      return CUDA_ERROR_INVALID_VALUE;
  }
}

void ManagedAdvice::forget(uint64_t begin, uint64_t bytes) {
  const uint64_t end = (begin + bytes + kPageBytes - 1) / kPageBytes * kPageBytes;
  begin = begin / kPageBytes * kPageBytes;
  std::lock_guard lock(mutex_);
  splitAt(begin);
  splitAt(end);
  ranges_.erase(ranges_.lower_bound(begin), ranges_.lower_bound(end));
}

}  // namespace farwarp
