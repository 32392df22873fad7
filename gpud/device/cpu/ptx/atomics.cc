// atom and red. Lanes take their turns; each update is atomic across worker threads. All scopes and
// orders get the strongest one that the host gives for nothing: sequentially consistent updates.
#include <bit>
#include <cmath>
#include <cstring>
#include <type_traits>

#include "gpud/device/cpu/ptx/control.h"
#include "gpud/device/cpu/ptx/exec_shared.h"
#include "gpud/device/cpu/ptx/machine.h"

namespace farwarp::ptx::op {
namespace {

template <class F>
void forLanes(uint32_t mask, F f) {
  for (; mask != 0; mask &= mask - 1) f(static_cast<uint32_t>(std::countr_zero(mask)));
}

// ThreadSanitizer runs atomic operations inside its runtime, with locks of its own held, and a
// fault that jumps out of there leaves them held for ever. So it gets the fault from a plain access
// before.
[[gnu::no_sanitize("thread")]] inline void touch([[maybe_unused]] uint64_t address) {
#ifdef __SANITIZE_THREAD__
  *reinterpret_cast<const volatile char*>(address);
#endif
}

// Sets w.address for the lanes of `mask`, to places that may be updated atomically.
void resolveAtomic(Warp& w, const Inst* i, uint32_t mask, uint32_t bytes) {
  w.block->launch->executors->resolve(w, i, mask, bytes);
#ifdef __SANITIZE_THREAD__
  forLanes(mask, [&](uint32_t l) { touch(w.address[l]); });
#endif
}

struct Packed {};  // tags: f16x2 and bf16x2 in 32 bits, f16 and bf16 in 16

template <AtomicOp Op, class T>
inline T updated(T old, T b) {
  using Safe = std::conditional_t<sizeof(T) == 8, uint64_t, uint32_t>;
  switch (Op) {
    case AtomicOp::add:
      if constexpr (std::is_floating_point_v<T>)
        return old + b;
      else
        return static_cast<T>(Safe(old) + Safe(b));
    case AtomicOp::min:
      return old < b ? old : b;
    case AtomicOp::max:
      return old > b ? old : b;
    case AtomicOp::inc:
      return old >= b ? T(0) : static_cast<T>(old + 1);
    case AtomicOp::dec:
      return old == 0 || old > b ? b : static_cast<T>(old - 1);
    default:
      return b;
  }
}

template <class T>
using Bits = std::conditional_t<sizeof(T) == 8, uint64_t,
                                std::conditional_t<sizeof(T) == 4, uint32_t, uint16_t>>;

// Applies f to the value at p by compare and exchange; returns the old one.
template <class T, class F>
inline T exchangeLoop(T* p, F f) {
  auto* bits = reinterpret_cast<Bits<T>*>(p);
  Bits<T> old = __atomic_load_n(bits, __ATOMIC_RELAXED);
  for (;;) {
    Bits<T> now = std::bit_cast<Bits<T>>(f(std::bit_cast<T>(old)));
    if (__atomic_compare_exchange_n(bits, &old, now, false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED)) {
      return std::bit_cast<T>(old);
    }
  }
}

template <AtomicOp Op, class T>
inline T apply(T* p, T b, T c) {
  if constexpr (Op == AtomicOp::cas) {
    T expected = b;
    __atomic_compare_exchange_n(p, &expected, c, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
    return expected;
  } else if constexpr (Op == AtomicOp::exch) {
    return __atomic_exchange_n(p, b, __ATOMIC_SEQ_CST);
  } else if constexpr (std::is_integral_v<T> && Op == AtomicOp::add) {
    return __atomic_fetch_add(p, b, __ATOMIC_SEQ_CST);
  } else if constexpr (std::is_integral_v<T> && Op == AtomicOp::and_) {
    return __atomic_fetch_and(p, b, __ATOMIC_SEQ_CST);
  } else if constexpr (std::is_integral_v<T> && Op == AtomicOp::or_) {
    return __atomic_fetch_or(p, b, __ATOMIC_SEQ_CST);
  } else if constexpr (std::is_integral_v<T> && Op == AtomicOp::xor_) {
    return __atomic_fetch_xor(p, b, __ATOMIC_SEQ_CST);
  } else {
    return exchangeLoop(p, [b](T old) { return updated<Op, T>(old, b); });
  }
}

template <AtomicOp Op, class T, bool Returns>
const Inst* atomic(Warp& w, const Inst* i) {
  uint32_t mask = execMask(w, i);
  if (mask == 0) return i + 1;
  resolveAtomic(w, i, mask, sizeof(T));
  const T* b = lanes<T>(w, i->b);
  const T* c = Op == AtomicOp::cas ? lanes<T>(w, i->c) : b;
  T* dst = Returns ? lanes<T>(w, i->dst) : nullptr;
  if (Op == AtomicOp::cas || Op == AtomicOp::exch) {
    w.slice -= kSpinCost;
    w.spinning = true;
  }
  forLanes(mask, [&](uint32_t l) {
    T old = apply<Op, T>(reinterpret_cast<T*>(w.address[l]), b[l], c[l]);
    if constexpr (Returns) dst[l] = old;
  });
  return i + 1;
}

// f32 sums in global memory flush subnormal values, those in shared memory do not. aux: 1 global,
// 2 generic, where the address decides.
template <bool Returns>
const Inst* atomicFloatAdd(Warp& w, const Inst* i) {
  uint32_t mask = execMask(w, i);
  if (mask == 0) return i + 1;
  resolveAtomic(w, i, mask, sizeof(float));
  const float* b = lanes<float>(w, i->b);
  forLanes(mask, [&](uint32_t l) {
    uint64_t offset = w.address[l] - reinterpret_cast<uint64_t>(w.shared);
    bool flushes = i->aux == 1 || (i->aux == 2 && offset >= w.shared_bytes);
    float old = exchangeLoop(reinterpret_cast<float*>(w.address[l]), [&](float value) {
      if (!flushes) return value + b[l];
      return common::flush(common::flush(value) + common::flush(b[l]));
    });
    if constexpr (Returns) lanes<float>(w, i->dst)[l] = old;
  });
  return i + 1;
}

template <bool Bfloat>
uint16_t combineHalves(AtomicOp op, uint16_t x, uint16_t y) {
  float a = Bfloat ? bfloatToFloat(x) : halfToFloat(x);
  float b = Bfloat ? bfloatToFloat(y) : halfToFloat(y);
  float r = op == AtomicOp::add ? a + b : op == AtomicOp::min ? std::fmin(a, b) : std::fmax(a, b);
  return Bfloat ? floatToBfloat(r) : floatToHalf(r);
}

// Halves, packed or not. T: uint16_t or uint32_t.
template <AtomicOp Op, class T, bool Bfloat>
const Inst* atomicHalf(Warp& w, const Inst* i) {
  uint32_t mask = execMask(w, i);
  if (mask == 0) return i + 1;
  resolveAtomic(w, i, mask, sizeof(T));
  auto combine = [](uint16_t x, uint16_t y) { return combineHalves<Bfloat>(Op, x, y); };
  const T* b = lanes<T>(w, i->b);
  forLanes(mask, [&](uint32_t l) {
    T operand = b[l];
    T old = exchangeLoop(reinterpret_cast<T*>(w.address[l]), [&](T value) {
      uint32_t low = combine(static_cast<uint16_t>(value), static_cast<uint16_t>(operand));
      if constexpr (sizeof(T) == 2) return static_cast<T>(low);
      uint32_t high = combine(static_cast<uint16_t>(uint32_t{value} >> 16),
                              static_cast<uint16_t>(uint32_t{operand} >> 16));
      return static_cast<T>(low | high << 16);
    });
    if (i->y == 0) lanes<T>(w, i->dst)[l] = old;
  });
  return i + 1;
}

template <AtomicOp Op, class T>
Handler pick(bool returns) {
  return returns ? atomic<Op, T, true> : atomic<Op, T, false>;
}
template <AtomicOp Op>
Handler ordered(Type type, bool returns) {
  switch (type) {
    case Type::u32:
      return pick<Op, uint32_t>(returns);
    case Type::s32:
      return pick<Op, int32_t>(returns);
    case Type::u64:
      return pick<Op, uint64_t>(returns);
    case Type::s64:
      return pick<Op, int64_t>(returns);
    default:
      return nullptr;
  }
}
template <AtomicOp Op>
Handler bitwise(Type type, bool returns) {
  if (sizeOf(type) == 2 && (Op == AtomicOp::cas || Op == AtomicOp::exch)) {
    return pick<Op, uint16_t>(returns);
  }
  if (sizeOf(type) == 4) return pick<Op, uint32_t>(returns);
  return sizeOf(type) == 8 ? pick<Op, uint64_t>(returns) : nullptr;
}
template <AtomicOp Op>
Handler halves(Type type) {
  switch (type) {
    case Type::f16:
      return atomicHalf<Op, uint16_t, false>;
    case Type::bf16:
      return atomicHalf<Op, uint16_t, true>;
    case Type::f16x2:
      return atomicHalf<Op, uint32_t, false>;
    case Type::bf16x2:
      return atomicHalf<Op, uint32_t, true>;
    default:
      return nullptr;
  }
}

}  // namespace

namespace {

struct alignas(16) Wide {
  uint64_t low, high;
};

// Every CPU with x86-64-v2 has the instruction; the compiler would call a library for it.
bool compareExchange(Wide* at, Wide& expected, const Wide& value) {
  bool done;
  asm volatile("lock cmpxchg16b %1"
               : "=@ccz"(done), "+m"(*at), "+a"(expected.low), "+d"(expected.high)
               : "b"(value.low), "c"(value.high)
               : "memory");
  return done;
}

template <bool Swaps, bool Returns>
const Inst* atomicWide(Warp& w, const Inst* i) {
  uint32_t mask = execMask(w, i);
  if (mask == 0) return i + 1;
  resolveAtomic(w, i, mask, sizeof(Wide));
  const Wide *b = lanes<Wide>(w, i->b), *c = lanes<Wide>(w, i->c);
  w.slice -= kSpinCost;
  w.spinning = true;
  forLanes(mask, [&](uint32_t l) {
    Wide* at = reinterpret_cast<Wide*>(w.address[l]);
    Wide old = Swaps ? Wide{} : b[l];
    if constexpr (Swaps) {
      while (!compareExchange(at, old, b[l])) {
      }
    } else {
      compareExchange(at, old, c[l]);
    }
    if constexpr (Returns) lanes<Wide>(w, i->dst)[l] = old;
  });
  return i + 1;
}

}  // namespace

Handler atomicHandler(AtomicOp op, Type type, bool returns) {
  if (type == Type::b128 && op == AtomicOp::cas) {
    return returns ? atomicWide<false, true> : atomicWide<false, false>;
  }
  if (type == Type::b128 && op == AtomicOp::exch) {
    return returns ? atomicWide<true, true> : atomicWide<true, false>;
  }
  switch (op) {
    case AtomicOp::add:
      if (type == Type::f32) return returns ? atomicFloatAdd<true> : atomicFloatAdd<false>;
      if (type == Type::f64) return pick<AtomicOp::add, double>(returns);
      if (Handler handler = ordered<AtomicOp::add>(type, returns)) return handler;
      return halves<AtomicOp::add>(type);
    case AtomicOp::min:
      if (Handler handler = ordered<AtomicOp::min>(type, returns)) return handler;
      return halves<AtomicOp::min>(type);
    case AtomicOp::max:
      if (Handler handler = ordered<AtomicOp::max>(type, returns)) return handler;
      return halves<AtomicOp::max>(type);
    case AtomicOp::inc:
      return type == Type::u32 ? pick<AtomicOp::inc, uint32_t>(returns) : nullptr;
    case AtomicOp::dec:
      return type == Type::u32 ? pick<AtomicOp::dec, uint32_t>(returns) : nullptr;
    case AtomicOp::cas:
      return bitwise<AtomicOp::cas>(type, returns);
    case AtomicOp::exch:
      return bitwise<AtomicOp::exch>(type, returns);
    case AtomicOp::and_:
      return sizeOf(type) < 4 ? nullptr : bitwise<AtomicOp::and_>(type, returns);
    case AtomicOp::or_:
      return sizeOf(type) < 4 ? nullptr : bitwise<AtomicOp::or_>(type, returns);
    case AtomicOp::xor_:
      return sizeOf(type) < 4 ? nullptr : bitwise<AtomicOp::xor_>(type, returns);
  }
  return nullptr;
}

namespace {

template <AtomicOp Op, class T>
void applyTo(uint64_t to, uint64_t from) {
  T value;
  std::memcpy(&value, reinterpret_cast<const void*>(from), sizeof(T));
  apply<Op, T>(reinterpret_cast<T*>(to), value, value);
}
template <AtomicOp Op>
bool applyOrdered(Type type, uint64_t to, uint64_t from) {
  switch (type) {
    case Type::u32:
      return applyTo<Op, uint32_t>(to, from), true;
    case Type::s32:
      return applyTo<Op, int32_t>(to, from), true;
    case Type::u64:
      return applyTo<Op, uint64_t>(to, from), true;
    case Type::s64:
      return applyTo<Op, int64_t>(to, from), true;
    case Type::f16:
    case Type::bf16: {
      uint16_t value;
      std::memcpy(&value, reinterpret_cast<const void*>(from), 2);
      exchangeLoop(reinterpret_cast<uint16_t*>(to), [&](uint16_t old) {
        return type == Type::f16 ? combineHalves<false>(Op, old, value)
                                 : combineHalves<true>(Op, old, value);
      });
      return true;
    }
    case Type::f32:
      return Op == AtomicOp::add && (applyTo<AtomicOp::add, float>(to, from), true);
    case Type::f64:
      return Op == AtomicOp::add && (applyTo<AtomicOp::add, double>(to, from), true);
    default:
      return false;
  }
}
template <AtomicOp Op>
void applyBits(Type type, uint64_t to, uint64_t from) {
  if (sizeOf(type) == 8)
    applyTo<Op, uint64_t>(to, from);
  else
    applyTo<Op, uint32_t>(to, from);
}

}  // namespace

bool canApply(AtomicOp op, Type type) {
  bool whole = type == Type::u32 || type == Type::s32 || type == Type::u64 || type == Type::s64;
  switch (op) {
    case AtomicOp::add:
      return whole || isFloat(type);
    case AtomicOp::min:
    case AtomicOp::max:
      return whole || type == Type::f16 || type == Type::bf16;
    case AtomicOp::inc:
    case AtomicOp::dec:
      return type == Type::u32;
    case AtomicOp::and_:
    case AtomicOp::or_:
    case AtomicOp::xor_:
      return type == Type::b32 || type == Type::b64;
    default:
      return false;
  }
}

void atomicApply(AtomicOp op, Type type, uint64_t to, uint64_t from) {
  touch(to);
  switch (op) {
    case AtomicOp::add:
      applyOrdered<AtomicOp::add>(type, to, from);
      break;
    case AtomicOp::min:
      applyOrdered<AtomicOp::min>(type, to, from);
      break;
    case AtomicOp::max:
      applyOrdered<AtomicOp::max>(type, to, from);
      break;
    case AtomicOp::inc:
      applyTo<AtomicOp::inc, uint32_t>(to, from);
      break;
    case AtomicOp::dec:
      applyTo<AtomicOp::dec, uint32_t>(to, from);
      break;
    case AtomicOp::and_:
      applyBits<AtomicOp::and_>(type, to, from);
      break;
    case AtomicOp::or_:
      applyBits<AtomicOp::or_>(type, to, from);
      break;
    case AtomicOp::xor_:
      applyBits<AtomicOp::xor_>(type, to, from);
      break;
    default:
      break;
  }
}

}  // namespace farwarp::ptx::op
