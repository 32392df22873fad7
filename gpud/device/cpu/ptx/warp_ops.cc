// Instructions in which the lanes of a warp work together. The decoder lowers guards to branches,
// so the running lanes are those that execute the instruction.
#include <bit>
#include <cmath>

#include "gpud/device/cpu/ptx/control.h"

namespace farwarp::ptx::op {
namespace {

uint32_t firstLane(uint32_t mask) {
  return static_cast<uint32_t>(std::countr_zero(mask));
}

template <class F>
void forLanes(uint32_t mask, F f) {
  for (; mask != 0; mask &= mask - 1) f(firstLane(mask));
}

// The lanes that the member masks of the running lanes name, without those that have exited.
uint32_t neededLanes(const Warp& w, const uint32_t* members) {
  uint32_t needed = 0;
  forLanes(w.mask, [&](uint32_t l) { needed |= members[l]; });
  return needed & w.live;
}

}  // namespace

const Inst* shuffle(Warp& w, const Inst* i) {
  uint32_t needed = neededLanes(w, lanes<uint32_t>(w, i->d));
  if ((needed & ~w.mask) != 0) return w.waitForLanes(i, needed);
  const uint32_t* a = lanes<uint32_t>(w, i->a);
  const uint32_t* b = lanes<uint32_t>(w, i->b);
  const uint32_t* c = lanes<uint32_t>(w, i->c);
  alignas(64) uint32_t result[kLanes];
  uint32_t in_range = 0;
  for (uint32_t l = 0; l < kLanes; ++l) {
    uint32_t segment = c[l] >> 8 & 31, clamp = c[l] & 31, shift = b[l] & 31;
    uint32_t low = l & segment, high = low | (clamp & ~segment);
    int32_t from = 0;
    bool ok = false;
    switch (i->aux) {
      case 0:
        from = static_cast<int32_t>(l - shift);
        ok = from >= static_cast<int32_t>(high);
        break;
      case 1:
        from = static_cast<int32_t>(l + shift);
        ok = from <= static_cast<int32_t>(high);
        break;
      case 2:
        from = static_cast<int32_t>(l ^ shift);
        ok = from <= static_cast<int32_t>(high);
        break;
      default:
        from = static_cast<int32_t>(low | (shift & ~segment));
        ok = from <= static_cast<int32_t>(high);
    }
    result[l] = a[ok ? from & 31 : static_cast<int32_t>(l)];
    in_range |= ok ? 1u << l : 0;
  }
  uint32_t* dst = lanes<uint32_t>(w, i->dst);
  uint32_t mask = w.mask;
#pragma GCC ivdep
  for (uint32_t l = 0; l < kLanes; ++l) dst[l] = (mask >> l & 1) != 0 ? result[l] : dst[l];
  if (i->e != kNone) setPredicate(w, i->e, in_range, mask);
  return i + 1;
}

const Inst* vote(Warp& w, const Inst* i) {
  const uint32_t* members = lanes<uint32_t>(w, i->b);
  uint32_t needed = neededLanes(w, members);
  if ((needed & ~w.mask) != 0) return w.waitForLanes(i, needed);
  uint32_t p = predicate(w, i->a) ^ (i->x != 0 ? ~0u : 0u);
  uint32_t result = 0, mask = w.mask;
  forLanes(mask, [&](uint32_t l) {
    uint32_t group = members[l] & w.live, yes = p & group;
    if (i->aux == 3) {
      lanes<uint32_t>(w, i->dst)[l] = yes;
      return;
    }
    bool all = yes == group, none = yes == 0;
    bool holds = i->aux == 0 ? all : i->aux == 1 ? !none : all || none;
    result |= holds ? 1u << l : 0;
  });
  if (i->aux != 3) setPredicate(w, i->dst, result, mask);
  return i + 1;
}

const Inst* match(Warp& w, const Inst* i) {
  const uint32_t* members = lanes<uint32_t>(w, i->b);
  uint32_t needed = neededLanes(w, members);
  if ((needed & ~w.mask) != 0) return w.waitForLanes(i, needed);
  auto value = [&](uint32_t l) -> uint64_t {
    return i->aux == 8 ? lanes<uint64_t>(w, i->a)[l] : lanes<uint32_t>(w, i->a)[l];
  };
  uint32_t result[kLanes] = {}, matched = 0;
  forLanes(w.mask, [&](uint32_t l) {
    uint32_t group = members[l] & w.live, same = 0;
    forLanes(group, [&](uint32_t k) { same |= value(k) == value(l) ? 1u << k : 0; });
    bool all = same == group;
    result[l] = i->x == 0 ? same : all ? group : 0;
    matched |= all ? 1u << l : 0;
  });
  forLanes(w.mask, [&](uint32_t l) { lanes<uint32_t>(w, i->dst)[l] = result[l]; });
  if (i->e != kNone) setPredicate(w, i->e, matched, w.mask);
  return i + 1;
}

namespace {

uint32_t combine(uint16_t op, uint32_t a, uint32_t b, bool nan_wins) {
  int32_t sa = static_cast<int32_t>(a), sb = static_cast<int32_t>(b);
  float fa = std::bit_cast<float>(a), fb = std::bit_cast<float>(b);
  switch (op) {
    case kReduxAdd:
      return a + b;
    case kReduxAnd:
      return a & b;
    case kReduxOr:
      return a | b;
    case kReduxXor:
      return a ^ b;
    case kReduxMinU:
      return a < b ? a : b;
    case kReduxMaxU:
      return a > b ? a : b;
    case kReduxMinS:
      return sa < sb ? a : b;
    case kReduxMaxS:
      return sa > sb ? a : b;
    default:
      break;
  }
  if (fa != fa || fb != fb)
    return nan_wins || (fa != fa && fb != fb) ? 0x7fffffff : fa != fa ? b : a;
  if (fa == fb) return (op == kReduxMinF) == (sa < 0) ? a : b;
  return (op == kReduxMinF) == (fa < fb) ? a : b;
}

}  // namespace

// x: floats by absolute value, y: NaN wins.
const Inst* redux(Warp& w, const Inst* i) {
  const uint32_t* members = lanes<uint32_t>(w, i->b);
  uint32_t needed = neededLanes(w, members);
  if ((needed & ~w.mask) != 0) return w.waitForLanes(i, needed);
  const uint32_t* a = lanes<uint32_t>(w, i->a);
  uint32_t result[kLanes] = {}, left = w.mask;
  while (left != 0) {
    uint32_t group = members[firstLane(left)] & w.live;
    uint32_t keep = i->x != 0 ? 0x7fffffff : ~0u;
    uint32_t start = group != 0 ? firstLane(group) : firstLane(left);
    uint32_t value = a[start] & keep;
    forLanes(group & (group - 1),
             [&](uint32_t l) { value = combine(i->aux, value, a[l] & keep, i->y != 0); });
    uint32_t here = 0;
    forLanes(left, [&](uint32_t l) {
      if ((members[l] & w.live) == group) here |= 1u << l;
    });
    forLanes(here, [&](uint32_t l) { result[l] = value; });
    left &= ~here;
  }
  forLanes(w.mask, [&](uint32_t l) { lanes<uint32_t>(w, i->dst)[l] = result[l]; });
  return i + 1;
}

const Inst* activeMask(Warp& w, const Inst* i) {
  uint32_t mask = execMask(w, i);
  forLanes(mask, [&](uint32_t l) { lanes<uint32_t>(w, i->dst)[l] = mask; });
  return i + 1;
}

const Inst* elect(Warp& w, const Inst* i) {
  const uint32_t* members = lanes<uint32_t>(w, i->b);
  uint32_t needed = neededLanes(w, members);
  if ((needed & ~w.mask) != 0) return w.waitForLanes(i, needed);
  uint32_t leaders = 0;
  forLanes(w.mask, [&](uint32_t l) {
    uint32_t group = members[l] & w.live;
    uint32_t leader = group != 0 ? firstLane(group) : l;
    leaders |= leader == l ? 1u << l : 0;
    lanes<uint32_t>(w, i->dst)[l] = leader;
  });
  setPredicate(w, i->e, leaders, w.mask);
  return i + 1;
}

const Inst* warpBarrier(Warp& w, const Inst* i) {
  uint32_t needed = neededLanes(w, lanes<uint32_t>(w, i->b));
  if ((needed & ~w.mask) != 0) return w.waitForLanes(i, needed);
  return i + 1;
}

}  // namespace farwarp::ptx::op
