#include "gpud/device/cpu/multiprocessors.h"

#include <algorithm>
#include <atomic>
#include <cstring>

namespace farwarp::cpu {
namespace {

constexpr char kMagic[4] = {'f', 'w', 's', 'm'};

// In CUdevResource::_internal_padding.
struct Content {
  char magic[4];
  int32_t device;
  uint32_t split;
  uint32_t range_count;
  MultiprocessorSet::Range ranges[MultiprocessorSet::kRangesMax];
};
static_assert(sizeof(Content) <= sizeof(CUdevResource::_internal_padding));

struct Granularity {
  uint32_t least;
  uint32_t step;
};

// As documented for each architecture. That single multiprocessors come in pairs where their
// neighbours do not matter is a guess.
Granularity granularityOf(const Device& device, unsigned flags) {
  if ((flags & CU_DEV_SM_RESOURCE_SPLIT_IGNORE_SM_COSCHEDULING) != 0) return {2, 2};
  if (device.architecture() >= 90) return {8, 8};
  return device.architecture() >= 80 ? Granularity{4, 2} : Granularity{2, 2};
}

void append(MultiprocessorSet& set, MultiprocessorSet::Range range) {
  if (!set.ranges.empty()) {
    auto& last = set.ranges.back();
    if (last.begin + last.count == range.begin) {
      last.count = static_cast<uint16_t>(last.count + range.count);
      return;
    }
  }
  set.ranges.push_back(range);
}

// Takes `count` from the front of `from`, which has as many.
MultiprocessorSet take(MultiprocessorSet& from, uint32_t count) {
  MultiprocessorSet taken{.device = from.device, .split = from.split, .ranges = {}};
  while (count != 0) {
    auto& first = from.ranges.front();
    const auto part = static_cast<uint16_t>(std::min<uint32_t>(count, first.count));
    append(taken, {first.begin, part});
    first.begin = static_cast<uint16_t>(first.begin + part);
    first.count = static_cast<uint16_t>(first.count - part);
    if (first.count == 0) from.ranges.erase(from.ranges.begin());
    count -= part;
  }
  return taken;
}

std::atomic<uint32_t> g_splits{0};

}  // namespace

MultiprocessorSet MultiprocessorSet::all(const Device& device) {
  const auto count = static_cast<uint16_t>(device.limits().multiprocessors);
  return {.device = device.ordinal(), .split = 0, .ranges = {{0, count}}};
}

uint32_t MultiprocessorSet::count() const {
  uint32_t sum = 0;
  for (const Range& range : ranges) sum += range.count;
  return sum;
}

CUdevResource toResource(const MultiprocessorSet& set, const Device& device) {
  CUdevResource resource{};
  if (set.ranges.empty()) return resource;
  Content content{};
  std::memcpy(content.magic, kMagic, sizeof(kMagic));
  content.device = set.device;
  content.split = set.split;
  content.range_count = static_cast<uint32_t>(set.ranges.size());
  std::copy(set.ranges.begin(), set.ranges.end(), content.ranges);
  std::memcpy(resource._internal_padding, &content, sizeof(content));
  resource.type = CU_DEV_RESOURCE_TYPE_SM;
  const Granularity granularity = granularityOf(device, 0);
  resource.sm.smCount = set.count();
  resource.sm.minSmPartitionSize = granularity.least;
  resource.sm.smCoscheduledAlignment = granularity.step;
  return resource;
}

CUresult fromResource(const CUdevResource& resource, MultiprocessorSet& set) {
  if (resource.type != CU_DEV_RESOURCE_TYPE_SM) return CUDA_ERROR_INVALID_RESOURCE_TYPE;
  Content content;
  std::memcpy(&content, resource._internal_padding, sizeof(content));
  if (std::memcmp(content.magic, kMagic, sizeof(kMagic)) != 0 || content.range_count == 0 ||
      content.range_count > MultiprocessorSet::kRangesMax) {
    return CUDA_ERROR_INVALID_RESOURCE_CONFIGURATION;
  }
  set = {.device = content.device, .split = content.split, .ranges = {}};
  set.ranges.assign(content.ranges, content.ranges + content.range_count);
  return CUDA_SUCCESS;
}

CUresult split(const MultiprocessorSet& set, const Device& device, unsigned flags,
               unsigned min_count, uint32_t groups_max, std::vector<MultiprocessorSet>& groups,
               MultiprocessorSet& rest) {
  constexpr unsigned kFlags = CU_DEV_SM_RESOURCE_SPLIT_IGNORE_SM_COSCHEDULING |
                              CU_DEV_SM_RESOURCE_SPLIT_MAX_POTENTIAL_CLUSTER_SIZE;
  if ((flags & ~kFlags) != 0) return CUDA_ERROR_INVALID_VALUE;
  // What came from a split becomes a green context before it is split again.
  const uint32_t total = set.count();
  if (set.split != 0 || min_count > total) return CUDA_ERROR_INVALID_RESOURCE_CONFIGURATION;
  const Granularity granularity = granularityOf(device, flags);
  const uint32_t wanted = std::max(min_count, granularity.least);
  const uint32_t size = (wanted + granularity.step - 1) / granularity.step * granularity.step;
  const uint32_t possible = total / size;
  if (possible == 0) return CUDA_ERROR_INVALID_RESOURCE_CONFIGURATION;
  rest = set;
  rest.split = ++g_splits;
  groups.clear();
  for (uint32_t i = 0; i < std::min(possible, groups_max); ++i) groups.push_back(take(rest, size));
  return CUDA_SUCCESS;
}

CUresult join(const std::vector<MultiprocessorSet>& sets, MultiprocessorSet& joined) {
  std::vector<MultiprocessorSet::Range> ranges;
  for (const MultiprocessorSet& set : sets) {
    const bool together = set.split != 0 && set.split == sets.front().split;
    if (set.device != sets.front().device || (sets.size() > 1 && !together)) {
      return CUDA_ERROR_INVALID_RESOURCE_CONFIGURATION;
    }
    ranges.insert(ranges.end(), set.ranges.begin(), set.ranges.end());
  }
  std::sort(ranges.begin(), ranges.end(),
            [](const auto& a, const auto& b) { return a.begin < b.begin; });
  joined = {.device = sets.front().device, .split = 0, .ranges = {}};
  uint32_t end = 0;
  for (const auto& range : ranges) {
    if (range.begin < end) return CUDA_ERROR_INVALID_RESOURCE_CONFIGURATION;
    append(joined, range);
    end = uint32_t{range.begin} + range.count;
  }
  return joined.ranges.size() <= MultiprocessorSet::kRangesMax
             ? CUDA_SUCCESS
             : CUDA_ERROR_INVALID_RESOURCE_CONFIGURATION;
}

}  // namespace farwarp::cpu
