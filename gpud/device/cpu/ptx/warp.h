// The state of running warps and blocks. Plain structures: executors are compiled several times for
// different instruction sets and must not instantiate shared inline code.
#pragma once

#include <cstddef>
#include <cstdint>

#include "gpud/device/cpu/ptx/code.h"

namespace farwarp::ptx {

struct Block;
struct Worker;

inline constexpr uint32_t kNone = ~0u;
inline constexpr uint32_t kSpacingOfGroups = kNone - 1;
inline constexpr uint32_t kBarriers = 16;
inline constexpr int32_t kSlice = 4096;   // taken back-edges until a warp gives way
inline constexpr int32_t kSpinCost = 64;  // what an operation typical of waiting loops takes of it
inline constexpr uint32_t kJoinsMax = 1 << 16;

enum class SplitState : uint8_t {
  ready,
  barrier,     // waits at block barrier `wait`
  collective,  // waits at pc for the lanes of mask `wait`
  cluster,     // waits at the cluster's barrier
};

// Lanes of a warp that run together.
struct Split {
  const Inst* pc;
  std::byte* regs;  // register frame
  uint32_t local;   // offset of the frame in local memory
  uint32_t mask;
  uint32_t join;  // innermost join these lanes will reach
  uint32_t wait;
  SplitState state;
};

// A place where lanes that went different ways meet again, or where a call returns to.
struct Join {
  const Inst* pc;
  std::byte* regs;  // frame to go on with
  uint32_t local;
  uint32_t pending;  // lanes that have yet to go on, arrived ones included
  uint32_t arrived;
  uint32_t parent;
  uint32_t callee;  // call: index of the function, else kNone
  std::byte* callee_regs;
  const CallSite* site;
};

// How the 32 values of an address or index register lie, as the first of several accesses of a
// basic block that name the register found out. Number 0 is for accesses that share with no other.
struct AddressMemo {
  uint64_t low;       // the least of the values
  uint64_t span;      // from there to the greatest
  uint64_t delta[4];  // grouped: from the least to the first lane of each group of 8
  uint8_t pattern;
  uint8_t rows;  // grouped: a bit for each group that lies in a row
};
inline constexpr uint32_t kMemos = 5;
inline constexpr uint8_t kMemoReuse = 0x80;

enum class WarpState : uint8_t { ready, blocked, done };

struct Warp {
  std::byte* base[4];  // less the number of the base, which every Ref has in its low bits
  uint32_t mask;       // lanes of the running split
  uint32_t live;       // lanes that exist and have not exited
  uint32_t join;
  uint32_t local;  // offset of the running function's local frame
  int32_t slice;
  uint32_t spins;         // slices that ended in waiting operations since the last progress
  const Inst* pc;         // where to go on; while running: the last instruction that touched memory
  std::byte* local_base;  // local memory of lane 0
  uint64_t local_stride;  // from lane to lane
  uint64_t local_bytes;   // of one lane
  std::byte* shared;
  uint64_t shared_bytes;
  uint64_t reserved_begin, reserved_size;  // of the memory map
  uint64_t range_begin, range_size;        // the added range used last
  uint64_t range_generation;
  Block* block;
  std::byte* frame;  // registers of the kernel's own function, held while the warp runs
  uint32_t index;    // in the block
  uint32_t order;    // state of random(); 0: the natural order
  WarpState state;
  // Bytes from lane to lane of the access being executed; kNone: see address; kSpacingOfGroups: see
  // the first two addresses of each 8.
  uint32_t spacing;
  bool impatient;  // joins had to be opened before: spin for a shorter time
  bool spinning;   // the slice ended in waiting operations
  bool fresh;      // has not run since the block began
  uint32_t split_count;
  uint32_t join_free;
  uint32_t join_count;
  uint32_t join_capacity;
  Join* joins;
  uint64_t alloca_bytes[kLanes];  // taken from the end of each lane's local memory
  uint64_t alloca_most;           // the largest of them
  uint32_t cluster_phase;         // of the cluster's barrier when this warp arrived last
  uint32_t barrier_arrived[kBarriers];
  Split splits[kLanes];  // those that do not run now
  AddressMemo memos[kMemos];
  alignas(64) uint64_t address[kLanes];  // of the memory access being executed

  // scheduling.cc -------------------------------------------------------------------------------
  // Sends the lanes `taken` to `target` and the other active ones to `next`; they meet at `meet`,
  // which may be null.
  const Inst* diverge(uint32_t taken, const Inst* target, const Inst* next, const Inst* meet);
  // The running lanes are at the join instruction `at`.
  const Inst* arrive(const Inst* at);
  const Inst* exitLanes(uint32_t lanes, const Inst* next);
  const Inst* returnLanes(uint32_t lanes, const Inst* next);
  // The slice is used up; the running lanes go on at `next` later.
  const Inst* preempt(const Inst* next);
  // The running lanes wait for the lanes `needed` to come to `at` too.
  const Inst* waitForLanes(const Inst* at, uint32_t needed);
  // Saves the running lanes as a waiting split and goes on with others.
  const Inst* park(const Inst* pc, SplitState state, uint32_t wait);
  // Takes another split that is ready; null when the warp is blocked or done.
  const Inst* resumeAny();
  // The last lanes have gone.
  void finish();
  void restore(const Split& split);
  void push(const Split& split);
  uint32_t newJoin();
  void freeJoin(uint32_t index);
  bool releaseWaiting();
  // The next number of the order that the launch asks for; only where `order` is not 0.
  uint32_t random() {
    order ^= order << 13;
    order ^= order >> 17;
    order ^= order << 5;
    return order;
  }
  void dropLanes(uint32_t from, uint32_t until, uint32_t lanes);
  bool runCollective();
};

struct Barrier {
  uint32_t arrived;   // threads, whole warps counting 32
  uint32_t expected;  // threads; 0 = all of the block
  uint32_t ones;      // reduction: threads with a true predicate
  uint32_t voters;    // reduction: threads
};

struct Launch;

struct Block {
  Launch* launch;
  Worker* worker;
  Warp* warps;
  uint32_t warp_count;
  uint32_t warps_done;
  uint32_t threads;
  uint32_t ctaid[3];
  uint32_t cluster_rank;
  Block** cluster;  // blocks of the cluster; null without
  uint32_t cluster_blocks;
  uint32_t cluster_arrived;  // threads of this block that arrived at the cluster's barrier
  uint32_t cluster_phase;    // how often the cluster's barrier was completed
  std::byte* shared;
  uint64_t shared_bytes;
  std::byte* local;
  uint64_t local_bytes;  // of all warps
  std::byte* values;     // BlockValue
  // Register frames that no warp holds. A warp takes one when it starts and gives it back when it
  // is done, so that warps which run one after the other use the same memory.
  std::byte** free_frames;
  uint32_t free_frame_count;
  uint32_t barriers_used;  // a bit for each barrier where somebody has arrived
  Barrier barriers[kBarriers];

  // barrier.cc: lanes of `warp` have gone; barriers that waited for them only are complete.
  void lanesLeft(Warp& warp) {
    if ((barriers_used | cluster_arrived) != 0) completeBarriers(warp);
  }
  void completeBarriers(Warp& warp);
};

// lanes and masks -------------------------------------------------------------------------------

template <class T>
inline T* lanes(const Warp& w, Ref ref) {
  return reinterpret_cast<T*>(w.base[ref & 3] + ref);
}
inline uint32_t& predicate(const Warp& w, Ref ref) {
  return *lanes<uint32_t>(w, ref);
}
inline uint32_t execMask(const Warp& w, const Inst* i) {
  if (i->guard == kTrueRef) [[likely]]
    return w.mask;
  return w.mask & (predicate(w, i->guard) ^ i->guard_flip);
}
inline void setPredicate(const Warp& w, Ref ref, uint32_t value, uint32_t mask) {
  uint32_t& p = predicate(w, ref);
  p = (p & ~mask) | (value & mask);
}

// errors ----------------------------------------------------------------------------------------

// Ends the launch with `status`; `lane` is the thread to blame. Does not return: it leaves the
// executor as a memory fault does.
[[noreturn]] void raise(Warp& w, const Inst* i, LaunchStatus status, uint32_t lane,
                        uint64_t address = 0);

// memory, for the accesses that leave the fast path
// -------------------------------------------------

enum class Space : uint8_t { generic, global, constant, shared, local, param };

// Checks w.address for the lanes of `mask` and turns shared::cluster offsets and the like into host
// addresses; raises an error for a lane that may not access `bytes` bytes there.
void checkAddresses(Warp& w, const Inst* i, uint32_t mask, uint32_t bytes, Space space);

}  // namespace farwarp::ptx
