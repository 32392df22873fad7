// Barriers of a block and of a cluster. A warp whose lanes have all arrived counts as 32 threads,
// however many it has; exited threads do not count.
#include <bit>

#include "gpud/device/cpu/ptx/control.h"
#include "gpud/device/cpu/ptx/machine.h"

namespace farwarp::ptx {
namespace {

uint32_t popcount(uint32_t v) {
  return static_cast<uint32_t>(std::popcount(v));
}

bool isComplete(const Block& block, const Barrier& barrier) {
  if (barrier.arrived == 0) return false;
  uint32_t all = kLanes * (block.warp_count - block.warps_done);
  return barrier.arrived >= (barrier.expected != 0 ? barrier.expected : all);
}

// What a reduction gives to the lanes of one split.
void deliver(Warp& w, const Barrier& barrier, const Inst* i, std::byte* regs, uint32_t mask) {
  if (i->aux < 2) return;
  std::byte* running = w.base[kBaseFrame];
  w.base[kBaseFrame] = regs;
  bool holds = i->aux == 3 ? barrier.ones == barrier.voters : barrier.ones != 0;
  if (i->aux == 2) {
    uint32_t* dst = lanes<uint32_t>(w, i->dst);
    for (uint32_t l = 0; l < kLanes; ++l) dst[l] = (mask >> l & 1) != 0 ? barrier.ones : dst[l];
  } else {
    setPredicate(w, i->dst, holds ? ~0u : 0, mask);
  }
  w.base[kBaseFrame] = running;
}

void release(Block& block, uint32_t id) {
  Barrier& barrier = block.barriers[id];
  for (uint32_t n = 0; n < block.warp_count; ++n) {
    Warp& warp = block.warps[n];
    if (warp.barrier_arrived[id] == 0) continue;
    warp.barrier_arrived[id] = 0;
    for (uint32_t k = 0; k < warp.split_count; ++k) {
      Split& split = warp.splits[k];
      if (split.state != SplitState::barrier || split.wait != id) continue;
      deliver(warp, barrier, split.pc - 1, split.regs, split.mask);
      split.state = SplitState::ready;
      warp.spins = 0;
    }
    if (warp.state == WarpState::blocked) warp.state = WarpState::ready;
  }
  barrier = {};
  block.barriers_used &= ~(1u << id);
}

bool clusterComplete(const Block& block) {
  for (uint32_t k = 0; k < block.cluster_blocks; ++k) {
    const Block& other = *block.cluster[k];
    uint32_t waiting = 0, live = 0;
    for (uint32_t n = 0; n < other.warp_count; ++n) live += popcount(other.warps[n].live);
    waiting = other.cluster_arrived;
    if (waiting < live) return false;
  }
  return true;
}

// All threads of the cluster have arrived: the waiting ones go on.
void releaseCluster(Block& block) {
  for (uint32_t k = 0; k < block.cluster_blocks; ++k) {
    Block& other = *block.cluster[k];
    other.cluster_arrived = 0;
    ++other.cluster_phase;
    for (uint32_t n = 0; n < other.warp_count; ++n) {
      Warp& warp = other.warps[n];
      for (uint32_t s = 0; s < warp.split_count; ++s) {
        if (warp.splits[s].state == SplitState::cluster) warp.splits[s].state = SplitState::ready;
      }
      if (warp.state == WarpState::blocked) warp.state = WarpState::ready;
    }
  }
}

}  // namespace

void Block::completeBarriers(Warp& warp) {
  for (uint32_t id = 0; id < kBarriers; ++id) {
    Barrier& barrier = barriers[id];
    if (barrier.arrived == 0) continue;
    uint32_t here = warp.barrier_arrived[id];
    if (here != 0 && here != ~0u && (warp.live & ~here) == 0) {
      barrier.arrived += kLanes - popcount(here);
      warp.barrier_arrived[id] = ~0u;
    }
    if (isComplete(*this, barrier)) release(*this, id);
  }
  if (cluster != nullptr && cluster_arrived != 0 && clusterComplete(*this)) releaseCluster(*this);
}

namespace op {

const Inst* barrier(Warp& w, const Inst* i) {
  Block& block = *w.block;
  uint32_t lane = static_cast<uint32_t>(std::countr_zero(w.mask));
  uint32_t id = lanes<uint32_t>(w, i->a)[lane];
  if (id >= kBarriers) raise(w, i, LaunchStatus::illegal_instruction, lane);
  Barrier& barrier = block.barriers[id];
  if (i->x != 0) barrier.expected = (lanes<uint32_t>(w, i->b)[lane] + kLanes - 1) & ~(kLanes - 1);
  block.barriers_used |= 1u << id;
  uint32_t& here = w.barrier_arrived[id];
  barrier.arrived += popcount(w.mask & ~here);
  here |= w.mask;
  if ((w.live & ~here) == 0) {
    barrier.arrived += kLanes - popcount(here);
    here = ~0u;
  }
  if (i->aux >= 2) {
    uint32_t votes = (predicate(w, i->c) ^ (i->y != 0 ? ~0u : 0u)) & w.mask;
    barrier.ones += popcount(votes);
    barrier.voters += popcount(w.mask);
  }
  if (isComplete(block, barrier)) {
    deliver(w, barrier, i, w.base[kBaseFrame], w.mask);
    release(block, id);
    return i + 1;
  }
  if (i->aux == 1) return i + 1;
  return w.park(i + 1, SplitState::barrier, id);
}

const Inst* clusterBarrier(Warp& w, const Inst* i) {
  Block& block = *w.block;
  if (block.cluster == nullptr) return i + 1;
  if ((i->aux & 1) != 0) {
    block.cluster_arrived += popcount(w.mask);
    w.cluster_phase = block.cluster_phase;
    if (clusterComplete(block)) releaseCluster(block);
  }
  if ((i->aux & 2) != 0 && w.cluster_phase == block.cluster_phase) {
    return w.park(i + 1, SplitState::cluster, 0);
  }
  return i + 1;
}

}  // namespace op
}  // namespace farwarp::ptx
