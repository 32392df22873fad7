// mbarriers, bulk copies, addresses of a cluster's shared memory, and stack that grows while a
// function runs. All blocks of a cluster run on one thread, so an mbarrier needs no atomics.
#include <bit>
#include <cstring>

#include "gpud/device/cpu/ptx/cluster.h"
#include "gpud/device/cpu/ptx/control.h"
#include "gpud/device/cpu/ptx/machine.h"

namespace farwarp::ptx::op {
namespace {

template <class F>
void forLanes(uint32_t mask, F f) {
  for (; mask != 0; mask &= mask - 1) f(static_cast<uint32_t>(std::countr_zero(mask)));
}

// The 64 bits of an mbarrier: arrivals that the phase still waits for (20), arrivals of a phase
// (20), bytes that it still waits for (22, signed), the parity of the phase (1, the highest).
struct Mbarrier {
  static constexpr uint32_t kCountMax = (1u << 20) - 1;
  uint32_t pending, expected;
  int32_t bytes;
  uint64_t phase;
  static Mbarrier of(uint64_t word) {
    return {static_cast<uint32_t>(word) & kCountMax, static_cast<uint32_t>(word >> 20) & kCountMax,
            static_cast<int32_t>(static_cast<uint32_t>(word >> 40) << 10) >> 10, word >> 63};
  }
  uint64_t word() const {
    return pending | uint64_t{expected} << 20 |
           uint64_t{static_cast<uint32_t>(bytes) & 0x3fffff} << 40 | phase << 63;
  }
  void completeIfDone() {
    if (pending != 0 || bytes != 0) return;
    phase ^= 1;
    pending = expected;
  }
  void arrive(uint32_t count) { pending -= count < pending ? count : pending; }
};

void arriveAt(Mbarrier& barrier, const Inst* i, uint32_t arrivals, uint32_t bytes) {
  barrier.bytes += static_cast<int32_t>(bytes);
  if (i->aux == kMbarrierArriveDrop) {
    barrier.expected -= arrivals < barrier.expected ? arrivals : barrier.expected;
  }
  barrier.arrive(arrivals);
}

}  // namespace

void completeBytes(uint64_t address, uint32_t bytes) {
  uint64_t* word = reinterpret_cast<uint64_t*>(address);
  Mbarrier barrier = Mbarrier::of(*word);
  barrier.bytes -= static_cast<int32_t>(bytes);
  barrier.completeIfDone();
  *word = barrier.word();
}

const Inst* mbarrier(Warp& w, const Inst* i) {
  uint32_t mask = execMask(w, i);
  if (mask == 0) return i + 1;
  w.block->launch->executors->resolve(w, i, mask, 8);
  const uint32_t* b = lanes<uint32_t>(w, i->b);
  uint32_t over = 0;
  forLanes(mask, [&](uint32_t l) {
    uint64_t* word = reinterpret_cast<uint64_t*>(w.address[l]);
    Mbarrier barrier = Mbarrier::of(*word);
    switch (i->aux) {
      case kMbarrierInit:
        if (b[l] == 0 || b[l] > Mbarrier::kCountMax) {
          raise(w, i, LaunchStatus::illegal_instruction, l, b[l]);
        }
        barrier = {b[l], b[l], 0, 0};
        break;
      case kMbarrierInvalidate:
        *word = 0;
        return;
      case kMbarrierExpect:
        barrier.bytes += static_cast<int32_t>(b[l]);
        break;
      case kMbarrierComplete:
        barrier.bytes -= static_cast<int32_t>(b[l]);
        break;
      case kMbarrierArrive:
      case kMbarrierArriveDrop:
        if (i->d != 0) lanes<uint64_t>(w, i->dst)[l] = *word;
        arriveAt(barrier, i, b[l], lanes<uint32_t>(w, i->c)[l]);
        break;
      case kMbarrierTest:
        over |= lanes<uint64_t>(w, i->b)[l] >> 63 != barrier.phase ? 1u << l : 0;
        return;
      default:
        over |= (b[l] & 1) != barrier.phase ? 1u << l : 0;
        return;
    }
    barrier.completeIfDone();
    *word = barrier.word();
  });
  if (i->aux >= kMbarrierTest) {
    setPredicate(w, i->dst, over, mask);
    if (over != mask) {  // others must run for this one to go on
      w.slice = 0;
      w.spinning = true;
    }
  }
  return i + 1;
}

const Inst* mbarrierPending(Warp& w, const Inst* i) {
  uint32_t mask = execMask(w, i);
  const uint64_t* a = lanes<uint64_t>(w, i->a);
  forLanes(mask, [&](uint32_t l) { lanes<uint32_t>(w, i->dst)[l] = Mbarrier::of(a[l]).pending; });
  return i + 1;
}

Place placeOf(const Warp& w, uint64_t address) {
  const Block& own = *w.block;
  auto offset = [&](const Block& b) { return address - reinterpret_cast<uint64_t>(b.shared); };
  if (offset(own) < own.shared_bytes) return {&own, offset(own)};
  for (uint32_t k = 0; own.cluster != nullptr && k < own.cluster_blocks; ++k) {
    const Block& b = *own.cluster[k];
    if (offset(b) < b.shared_bytes) return {&b, offset(b)};
  }
  return {};
}

const Block* blockOfRank(const Warp& w, uint32_t rank) {
  const Block& own = *w.block;
  if (own.cluster == nullptr) return rank == 0 ? &own : nullptr;
  return rank < own.cluster_blocks ? own.cluster[rank] : nullptr;
}

namespace {

// Bit k of the mask: byte k of each 16 is copied.
void copyMasked(uint32_t mask, uint64_t to, uint64_t from, uint32_t bytes) {
  for (uint32_t at = 0; at < bytes; ++at) {
    if ((mask >> (at % 16) & 1) == 0) continue;
    *reinterpret_cast<std::byte*>(to + at) = *reinterpret_cast<const std::byte*>(from + at);
  }
}

void copyOrReduce(const Inst* i, uint64_t to, uint64_t from, uint32_t bytes) {
  if (i->aux == 0) {
    std::memmove(reinterpret_cast<void*>(to), reinterpret_cast<const void*>(from), bytes);
    return;
  }
  Type type = static_cast<Type>(i->e);
  for (uint32_t at = 0; at < bytes; at += sizeOf(type)) {
    atomicApply(static_cast<AtomicOp>(i->aux - 1), type, to + at, from + at);
  }
}

// One lane's copy, to this block or, with a mask, to the same place in several blocks.
void copyBulk(Warp& w, const Inst* i, uint32_t l, uint64_t to, uint64_t from, uint64_t barrier) {
  uint32_t bytes = lanes<uint32_t>(w, i->d)[l];
  if (bytes == 0) return;
  w.pc = i;
  w.spacing = kNone;
  if ((bytes & 15) != 0) raise(w, i, LaunchStatus::illegal_instruction, l, bytes);
  for (uint64_t end : {from + bytes - 16, to + bytes - 16}) {
    w.address[l] = end;
    checkAddresses(w, i, 1u << l, 16, Space::generic);
  }
  if (i->b != kNone) return copyMasked(lanes<uint16_t>(w, i->b)[l], to, from, bytes);
  if (i->c == kNone) {
    copyOrReduce(i, to, from, bytes);
    if (barrier != 0) completeBytes(barrier, bytes);
    return;
  }
  Place target = placeOf(w, to), signal = placeOf(w, barrier);
  forLanes(lanes<uint32_t>(w, i->c)[l] & 0xffff, [&](uint32_t rank) {
    const Block* block = blockOfRank(w, rank);
    if (block == nullptr || target.block == nullptr || signal.block == nullptr) {
      raise(w, i, LaunchStatus::illegal_address, l, to);
    }
    copyOrReduce(i, reinterpret_cast<uint64_t>(block->shared) + target.offset, from, bytes);
    completeBytes(reinterpret_cast<uint64_t>(block->shared) + signal.offset, bytes);
  });
}

}  // namespace

const Inst* bulkCopy(Warp& w, const Inst* i) {
  uint32_t mask = execMask(w, i);
  if (mask == 0) return i + 1;
  uint64_t from[kLanes], barrier[kLanes] = {}, to[kLanes];
  auto resolve = [&](const Inst* at, uint32_t bytes, uint64_t* out) {
    w.block->launch->executors->resolve(w, at, mask, bytes);
    std::memcpy(out, w.address, sizeof(w.address));
  };
  resolve(i - 2, 16, from);
  if (i->y != 0) resolve(i - 1, 8, barrier);
  resolve(i, 16, to);
  forLanes(mask, [&](uint32_t l) { copyBulk(w, i, l, to[l], from[l], barrier[l]); });
  return i + 1;
}

const Inst* zeroBulk(Warp& w, const Inst* i) {
  const uint32_t mask = execMask(w, i);
  if (mask == 0) return i + 1;
  w.block->launch->executors->resolve(w, i, mask, 8);
  uint64_t start[kLanes];
  std::memcpy(start, w.address, sizeof start);
  w.pc = i;
  w.spacing = kNone;
  forLanes(mask, [&](uint32_t l) {
    const uint64_t bytes = lanes<uint64_t>(w, i->b)[l];
    if (bytes == 0) return;
    const Place place = placeOf(w, start[l]);
    if (place.block == nullptr || bytes > place.block->shared_bytes - place.offset) {
      raise(w, i, LaunchStatus::illegal_address, l, start[l]);
    }
    if (bytes % 8 != 0) raise(w, i, LaunchStatus::illegal_instruction, l, bytes);
    std::memset(reinterpret_cast<void*>(start[l]), 0, bytes);
  });
  return i + 1;
}

const Inst* mapToRank(Warp& w, const Inst* i) {
  uint32_t mask = execMask(w, i);
  const uint32_t* rank = lanes<uint32_t>(w, i->b);
  forLanes(mask, [&](uint32_t l) {
    const Block* block = blockOfRank(w, rank[l]);
    if (block == nullptr) raise(w, i, LaunchStatus::illegal_address, l, rank[l]);
    if (i->aux == 4) {
      uint32_t offset = lanes<uint32_t>(w, i->a)[l] & 0xffffff;
      lanes<uint32_t>(w, i->dst)[l] =
          w.block->cluster == nullptr ? offset : (rank[l] + 1) << 24 | offset;
      return;
    }
    Place place = placeOf(w, lanes<uint64_t>(w, i->a)[l]);
    if (place.block == nullptr) {
      raise(w, i, LaunchStatus::illegal_address, l, lanes<uint64_t>(w, i->a)[l]);
    }
    lanes<uint64_t>(w, i->dst)[l] = reinterpret_cast<uint64_t>(block->shared) + place.offset;
  });
  return i + 1;
}

const Inst* rankOfAddress(Warp& w, const Inst* i) {
  uint32_t mask = execMask(w, i);
  forLanes(mask, [&](uint32_t l) {
    uint32_t rank = w.block->cluster_rank;
    if (i->aux == 4) {
      uint32_t given = lanes<uint32_t>(w, i->a)[l] >> 24;
      if (given != 0) rank = given - 1;
    } else if (Place place = placeOf(w, lanes<uint64_t>(w, i->a)[l]); place.block != nullptr) {
      rank = place.block->cluster_rank;
    }
    lanes<uint32_t>(w, i->dst)[l] = rank;
  });
  return i + 1;
}

namespace {

uint64_t wordAt(Warp& w, Ref ref, uint32_t bytes, uint32_t l) {
  return bytes == 8 ? lanes<uint64_t>(w, ref)[l] : lanes<uint32_t>(w, ref)[l];
}
void putWord(Warp& w, Ref ref, uint32_t bytes, uint32_t l, uint64_t value) {
  if (bytes == 8)
    lanes<uint64_t>(w, ref)[l] = value;
  else
    lanes<uint32_t>(w, ref)[l] = static_cast<uint32_t>(value);
}

}  // namespace

// imm = FunctionCode of the running function, x = log2 of the alignment.
const Inst* allocateStack(Warp& w, const Inst* i) {
  const FunctionCode& function = *reinterpret_cast<const FunctionCode*>(i->imm);
  uint64_t floor = w.local + function.local_bytes;
  forLanes(execMask(w, i), [&](uint32_t l) {
    uint64_t bytes = wordAt(w, i->b, i->aux, l), have = w.local_bytes - w.alloca_bytes[l];
    if (bytes > have) raise(w, i, LaunchStatus::stack_overflow, l, bytes);
    uint64_t start = (have - bytes) & ~((uint64_t{1} << i->x) - 1);
    if (start < floor) raise(w, i, LaunchStatus::stack_overflow, l, bytes);
    w.alloca_bytes[l] = w.local_bytes - start;
    if (w.alloca_bytes[l] > w.alloca_most) w.alloca_most = w.alloca_bytes[l];
    putWord(w, i->dst, i->aux, l, start);
  });
  return i + 1;
}

const Inst* saveStack(Warp& w, const Inst* i) {
  forLanes(execMask(w, i),
           [&](uint32_t l) { putWord(w, i->dst, i->aux, l, w.local_bytes - w.alloca_bytes[l]); });
  return i + 1;
}

const Inst* restoreStack(Warp& w, const Inst* i) {
  forLanes(execMask(w, i), [&](uint32_t l) {
    uint64_t top = wordAt(w, i->a, i->aux, l);
    if (top > w.local_bytes || w.local_bytes - top > w.alloca_bytes[l]) {
      raise(w, i, LaunchStatus::illegal_address, l, top);
    }
    w.alloca_bytes[l] = w.local_bytes - top;
  });
  w.alloca_most = 0;
  for (uint64_t bytes : w.alloca_bytes)
    w.alloca_most = bytes > w.alloca_most ? bytes : w.alloca_most;
  return i + 1;
}

}  // namespace farwarp::ptx::op
