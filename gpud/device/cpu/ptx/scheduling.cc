// How lanes of a warp go different ways and meet again.
//
// The lanes that run together are a split. A branch that lanes leave differently makes a join at
// the immediate post-dominator; splits that reach it wait there until all lanes of the join have
// come or exited. Any ready split may run next, so a split that waits for another lane (a lock, a
// flag) gives way after a while, and lanes that wait at a join are let go if that is what it takes.
#include <bit>
#include <cstdlib>
#include <utility>

#include "gpud/device/cpu/ptx/machine.h"

namespace farwarp::ptx {

namespace {
constexpr uint32_t kPatience = 1;         // spinning slices per split before joins are opened
constexpr uint32_t kLongPatience = 4096;  // the same for slices without waiting operations
}  // namespace

uint32_t Warp::newJoin() {
  if (join_free != kNone) {
    uint32_t index = join_free;
    join_free = joins[index].parent;
    return index;
  }
  if (join_count == join_capacity) {
    uint32_t capacity = join_capacity == 0 ? 16 : join_capacity * 2;
    void* grown = capacity > kJoinsMax ? nullptr : std::realloc(joins, capacity * sizeof(Join));
    if (grown == nullptr) {
      raise(*this, pc, LaunchStatus::stack_overflow, static_cast<uint32_t>(std::countr_zero(mask)));
    }
    joins = static_cast<Join*>(grown);
    join_capacity = capacity;
  }
  return join_count++;
}

void Warp::freeJoin(uint32_t index) {
  Join& j = joins[index];
  if (j.callee != kNone) block->worker->giveFrame(j.callee, j.callee_regs);
  j.pc = nullptr;
  j.callee = kNone;
  j.arrived = 0;
  j.parent = join_free;
  join_free = index;
}

void Warp::push(const Split& split) {
  splits[split_count++] = split;
}

void Warp::restore(const Split& split) {
  base[kBaseFrame] = split.regs;
  local = split.local;
  mask = split.mask;
  join = split.join;
}

const Inst* Warp::diverge(uint32_t taken, const Inst* target, const Inst* next, const Inst* meet) {
  uint32_t rest = mask & ~taken;
  if (meet != nullptr) {
    bool same = join != kNone && joins[join].pc == meet && joins[join].callee == kNone &&
                joins[join].regs == base[kBaseFrame];
    if (!same) {
      uint32_t index = newJoin();
      joins[index] = {meet, base[kBaseFrame], local, mask, 0, join, kNone, nullptr, nullptr};
      join = index;
    }
    if (target == meet) {
      joins[join].arrived |= taken;
      mask = rest;
      return next;
    }
    if (next == meet) {
      joins[join].arrived |= rest;
      mask = taken;
      return target;
    }
  }
  if (order != 0 && (random() & 1) != 0) {
    push({next, base[kBaseFrame], local, rest, join, 0, SplitState::ready});
    mask = taken;
    return target;
  }
  push({target, base[kBaseFrame], local, taken, join, 0, SplitState::ready});
  mask = rest;
  return next;
}

const Inst* Warp::arrive(const Inst* at) {
  while (join != kNone && joins[join].pc == at && joins[join].callee == kNone &&
         joins[join].regs == base[kBaseFrame]) {
    Join& j = joins[join];
    j.arrived |= mask;
    if (j.arrived != j.pending) return resumeAny();
    mask = j.pending;
    uint32_t done = join;
    join = j.parent;
    freeJoin(done);
  }
  return at + 1;
}

// `lanes` leave the joins from `from` up to, not including, `until`. A join that waited only for
// them is complete.
void Warp::dropLanes(uint32_t from, uint32_t until, uint32_t lanes) {
  for (uint32_t index = from; index != until;) {
    Join& j = joins[index];
    uint32_t parent = j.parent;
    j.pending &= ~lanes;
    if (j.pending == 0) {
      freeJoin(index);
    } else if (j.arrived == j.pending) {
      push({j.pc, j.regs, j.local, j.arrived, parent, 0, SplitState::ready});
      freeJoin(index);
    }
    index = parent;
  }
}

void Warp::finish() {
  mask = 0;
  state = WarpState::done;
  block->free_frames[block->free_frame_count++] = frame;
  ++block->warps_done;
  block->lanesLeft(*this);
}

const Inst* Warp::exitLanes(uint32_t lanes, const Inst* next) {
  if (lanes == live && join == kNone) {
    live = 0;
    finish();
    return nullptr;
  }
  dropLanes(join, kNone, lanes);
  live &= ~lanes;
  mask &= ~lanes;
  block->lanesLeft(*this);
  return mask != 0 ? next : resumeAny();
}

const Inst* Warp::returnLanes(uint32_t lanes, const Inst* next) {
  uint32_t call = join;
  while (call != kNone && joins[call].callee == kNone) call = joins[call].parent;
  if (call == kNone) return exitLanes(lanes, next);
  dropLanes(join, call, lanes);
  Join& j = joins[call];
  j.arrived |= lanes;
  mask &= ~lanes;
  if (mask != 0) return next;
  if (j.arrived != j.pending) return resumeAny();
  restore({j.pc, j.regs, j.local, j.pending, j.parent, 0, SplitState::ready});
  const Inst* at = j.pc;
  freeJoin(call);
  return at;
}

// Lets lanes go on that wait at a join for others; the innermost joins were made last.
bool Warp::releaseWaiting() {
  for (uint32_t index = join_count; index-- > 0;) {
    Join& j = joins[index];
    if (j.pc == nullptr || j.arrived == 0 || split_count >= kLanes) continue;
    push({j.pc, j.regs, j.local, j.arrived, j.parent, 0, SplitState::ready});
    j.pending &= ~j.arrived;
    j.arrived = 0;
    return true;
  }
  return false;
}

const Inst* Warp::preempt(const Inst* next) {
  Split current{next, base[kBaseFrame], local, mask, join, 0, SplitState::ready};
  ++spins;
  slice = impatient && spinning ? kSlice / 16 : kSlice;
  if (order != 0) slice = 1 + static_cast<int32_t>(random() % static_cast<uint32_t>(slice));
  if (spins > (spinning ? kPatience * (split_count + 1) : kLongPatience)) {
    impatient |= releaseWaiting() && spinning;
    spins = 0;
  }
  for (uint32_t k = split_count; k > 0; --k) splits[k] = splits[k - 1];
  splits[0] = current;
  ++split_count;
  state = WarpState::ready;
  return nullptr;
}

const Inst* Warp::park(const Inst* at, SplitState why, uint32_t wait) {
  push({at, base[kBaseFrame], local, mask, join, wait, why});
  return resumeAny();
}

const Inst* Warp::waitForLanes(const Inst* at, uint32_t needed) {
  return park(at, SplitState::collective, needed);
}

// Runs a collective instruction whose lanes have all come; true when there was one.
bool Warp::runCollective() {
  for (uint32_t k = 0; k < split_count; ++k) {
    if (splits[k].state != SplitState::collective) continue;
    const Inst* at = splits[k].pc;
    uint32_t together = 0;
    for (uint32_t n = 0; n < split_count; ++n) {
      const Split& s = splits[n];
      bool same = s.state == SplitState::collective && s.pc == at && s.regs == splits[k].regs;
      together |= same ? s.mask : 0;
    }
    if ((splits[k].wait & live & ~together) != 0) continue;
    restore(splits[k]);
    mask = together;
    const Inst* next = at->run(*this, at);
    uint32_t merged = k;
    for (uint32_t n = 0; n < split_count;) {
      Split& s = splits[n];
      bool member = s.state == SplitState::collective && s.pc == at && s.regs == splits[k].regs;
      if (!member || n == k) {
        ++n;
        continue;
      }
      if (s.join == splits[k].join) {
        splits[merged].mask |= s.mask;
        s = splits[--split_count];
        if (k == split_count) k = merged = n;
      } else {
        s.pc = next;
        s.state = SplitState::ready;
        ++n;
      }
    }
    splits[k].pc = next;
    splits[k].state = SplitState::ready;
    return true;
  }
  return false;
}

const Inst* Warp::resumeAny() {
  for (;;) {
    bool at_barrier = false;
    if (order != 0 && split_count > 1)
      std::swap(splits[random() % split_count], splits[split_count - 1]);
    for (uint32_t k = split_count; k-- > 0;) {
      if (splits[k].state == SplitState::ready) {
        Split chosen = splits[k];
        for (uint32_t n = k + 1; n < split_count; ++n) splits[n - 1] = splits[n];
        --split_count;
        restore(chosen);
        return chosen.pc;
      }
      at_barrier |=
          splits[k].state == SplitState::barrier || splits[k].state == SplitState::cluster;
    }
    mask = 0;
    if (live == 0) {
      finish();
      return nullptr;
    }
    if (runCollective()) continue;
    if (!at_barrier && releaseWaiting()) continue;
    state = WarpState::blocked;
    return nullptr;
  }
}

}  // namespace farwarp::ptx
