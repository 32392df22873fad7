// Sets of a device's multiprocessors: what CUdevResource of type SM stands for, and how it is
// split.
#pragma once

#include <cuda.h>

#include <cstdint>
#include <vector>

#include "gpud/device/cpu/device.h"

namespace farwarp::cpu {

struct MultiprocessorSet {
  struct Range {
    uint16_t begin = 0;
    uint16_t count = 0;
  };
  static constexpr size_t kRangesMax = 16;  // as many as fit a CUdevResource

  int device = 0;
  uint32_t split = 0;         // the call of cuDevSmResourceSplitByCount that made it; 0: none did
  std::vector<Range> ranges;  // by begin, with gaps between them

  static MultiprocessorSet all(const Device& device);
  uint32_t count() const;
};

// What a program gets for the set: an empty one is of CU_DEV_RESOURCE_TYPE_INVALID.
CUdevResource toResource(const MultiprocessorSet& set, const Device& device);

// CUDA_ERROR_INVALID_RESOURCE_TYPE for what is no resource of multiprocessors, and
// CUDA_ERROR_INVALID_RESOURCE_CONFIGURATION for one that was not made here.
[[nodiscard]] CUresult fromResource(const CUdevResource& resource, MultiprocessorSet& set);

// As many groups of equal size, at least `min_count`, as there can be, but not more than
// `groups_max`; and the rest. CUDA_ERROR_INVALID_VALUE for unknown flags,
// CUDA_ERROR_INVALID_RESOURCE_CONFIGURATION when not even one can be.
[[nodiscard]] CUresult split(const MultiprocessorSet& set, const Device& device, unsigned flags,
                             unsigned min_count, uint32_t groups_max,
                             std::vector<MultiprocessorSet>& groups, MultiprocessorSet& rest);

// All of several sets. CUDA_ERROR_INVALID_RESOURCE_CONFIGURATION unless they are of one device and,
// if there are several, different ones of one split.
[[nodiscard]] CUresult join(const std::vector<MultiprocessorSet>& sets, MultiprocessorSet& joined);

}  // namespace farwarp::cpu
