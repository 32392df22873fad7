// Shared memory of the blocks of a cluster, and completing bytes of an mbarrier in it (async.cc).
#pragma once

#include "gpud/device/cpu/ptx/warp.h"

namespace farwarp::ptx::op {

struct Place {
  const Block* block = nullptr;  // null: in no block's shared memory
  uint64_t offset = 0;
};

// The block of the warp's cluster whose shared memory holds the host address.
Place placeOf(const Warp& w, uint64_t address);
// Null when the cluster has no such block.
const Block* blockOfRank(const Warp& w, uint32_t rank);
// `address`: of an mbarrier that was checked.
void completeBytes(uint64_t address, uint32_t bytes);

}  // namespace farwarp::ptx::op
