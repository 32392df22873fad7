// Logic, shifts, bit fields, moves, and the dot products of packed bytes.
#include "gpud/device/cpu/ptx/exec/integer_lanes.h"

namespace farwarp::ptx::FARWARP_LEVEL {
namespace {

BINARY(And, a& b);
BINARY(Or, a | b);
BINARY(Xor, a ^ b);
UNARY(Not, ~a);
UNARY(Cnot, a == 0 ? 1 : 0);
UNARY(Move, a);

// Shift counts are unsigned 32-bit values and clamp at the width.
template <class T>
const Inst* shl(Warp& w, const Inst* i) {
  const T* a = lanes<T>(w, i->a);
  const uint32_t* b = lanes<uint32_t>(w, i->b);
  return writeLanes<T>(w, i, [=](uint32_t l) {
    T shifted = static_cast<T>(Safe<T>(a[l]) << (b[l] & (kBits<T> - 1)));
    return b[l] >= kBits<T> ? T{0} : shifted;
  });
}
template <class T>
const Inst* shr(Warp& w, const Inst* i) {
  const T* a = lanes<T>(w, i->a);
  const uint32_t* b = lanes<uint32_t>(w, i->b);
  return writeLanes<T>(w, i, [=](uint32_t l) {
    if constexpr (std::is_signed_v<T>) {
      uint32_t n = b[l] >= kBits<T> ? kBits<T> - 1 : b[l];
      return static_cast<T>(a[l] >> n);
    } else {
      T shifted = static_cast<T>(a[l] >> (b[l] & (kBits<T> - 1)));
      return b[l] >= kBits<T> ? T{0} : shifted;
    }
  });
}

template <class T>
const Inst* popc(Warp& w, const Inst* i) {
  const T* a = lanes<T>(w, i->a);
  return writeLanes<uint32_t>(
      w, i, [=](uint32_t l) { return static_cast<uint32_t>(std::popcount(a[l])); });
}
template <class T>
const Inst* clz(Warp& w, const Inst* i) {
  const T* a = lanes<T>(w, i->a);
  return writeLanes<uint32_t>(
      w, i, [=](uint32_t l) { return static_cast<uint32_t>(std::countl_zero(a[l])); });
}
template <class T>
const Inst* brev(Warp& w, const Inst* i) {
  const T* a = lanes<T>(w, i->a);
  return writeLanes<T>(w, i, [=](uint32_t l) {
    uint64_t v = a[l];
    v = (v >> 1 & 0x5555555555555555) | (v & 0x5555555555555555) << 1;
    v = (v >> 2 & 0x3333333333333333) | (v & 0x3333333333333333) << 2;
    v = (v >> 4 & 0x0f0f0f0f0f0f0f0f) | (v & 0x0f0f0f0f0f0f0f0f) << 4;
    v = __builtin_bswap64(v);
    return static_cast<T>(v >> (64 - kBits<T>));
  });
}
template <class T, bool Shift>
const Inst* bfind(Warp& w, const Inst* i) {
  const T* a = lanes<T>(w, i->a);
  return writeLanes<uint32_t>(w, i, [=](uint32_t l) {
    Unsigned<T> v = static_cast<Unsigned<T>>(std::is_signed_v<T> && a[l] < 0 ? ~a[l] : a[l]);
    uint32_t position = kBits<T> - 1 - static_cast<uint32_t>(std::countl_zero(v));
    if (v == 0) return ~0u;
    return Shift ? kBits<T> - 1 - position : position;
  });
}

// b = start, c = length; only their low 8 bits count.
template <class T>
const Inst* bfe(Warp& w, const Inst* i) {
  const T* a = lanes<T>(w, i->a);
  const uint32_t* b = lanes<uint32_t>(w, i->b);
  const uint32_t* c = lanes<uint32_t>(w, i->c);
  return writeLanes<T>(w, i, [=](uint32_t l) {
    using U = Unsigned<T>;
    uint32_t start = b[l] & 0xff, length = c[l] & 0xff;
    uint32_t sign_at = start + length - 1 < kBits<T> - 1 ? start + length - 1 : kBits<T> - 1;
    U v = static_cast<U>(a[l]);
    U sign = std::is_signed_v<T> && length != 0 && (v >> sign_at & 1) != 0 ? ~U{0} : U{0};
    U field = start >= kBits<T> ? sign : static_cast<U>(v >> (start & (kBits<T> - 1)));
    uint32_t have = start >= kBits<T> ? 0 : kBits<T> - start;
    uint32_t keep = length < have ? length : have;
    U keep_mask = keep >= kBits<T> ? ~U{0} : static_cast<U>((U{1} << keep) - 1);
    return static_cast<T>((field & keep_mask) | (sign & ~keep_mask));
  });
}
// a inserted into b at c, length d.
template <class T>
const Inst* bfi(Warp& w, const Inst* i) {
  const T* a = lanes<T>(w, i->a);
  const T* b = lanes<T>(w, i->b);
  const uint32_t* c = lanes<uint32_t>(w, i->c);
  const uint32_t* d = lanes<uint32_t>(w, i->d);
  return writeLanes<T>(w, i, [=](uint32_t l) {
    uint32_t start = c[l] & 0xff, length = d[l] & 0xff;
    T ones = length >= kBits<T> ? ~T{0} : static_cast<T>((T{1} << (length & (kBits<T> - 1))) - 1);
    T field = start >= kBits<T> ? T{0} : static_cast<T>(ones << (start & (kBits<T> - 1)));
    T value = start >= kBits<T> ? T{0} : static_cast<T>(a[l] << (start & (kBits<T> - 1)));
    return static_cast<T>((value & field) | (b[l] & ~field));
  });
}
const Inst* lop3(Warp& w, const Inst* i) {
  const uint32_t* a = lanes<uint32_t>(w, i->a);
  const uint32_t* b = lanes<uint32_t>(w, i->b);
  const uint32_t* c = lanes<uint32_t>(w, i->c);
  uint32_t t[8];
  for (uint32_t k = 0; k < 8; ++k) t[k] = (i->imm >> k & 1) != 0 ? ~0u : 0u;
  return writeLanes<uint32_t>(w, i, [=](uint32_t l) {
    uint32_t na = ~a[l], nb = ~b[l], nc = ~c[l];
    return (t[0] & na & nb & nc) | (t[1] & na & nb & c[l]) | (t[2] & na & b[l] & nc) |
           (t[3] & na & b[l] & c[l]) | (t[4] & a[l] & nb & nc) | (t[5] & a[l] & nb & c[l]) |
           (t[6] & a[l] & b[l] & nc) | (t[7] & a[l] & b[l] & c[l]);
  });
}

// The four-nibble selector that each special mode of prmt stands for.
constexpr uint32_t prmtSelector(IntOp mode, uint32_t c) {
  uint32_t n = c & 3;
  switch (mode) {
    case IntOp::prmt_f4e:
      return 0x3210 + 0x1111 * n;
    case IntOp::prmt_b4e:
      return n == 0 ? 0x5670 : n == 1 ? 0x6701 : n == 2 ? 0x7012 : 0x0123;
    case IntOp::prmt_rc8:
      return 0x1111 * n;
    case IntOp::prmt_ecl:
      return n == 0 ? 0x3210 : n == 1 ? 0x3211 : n == 2 ? 0x3222 : 0x3333;
    case IntOp::prmt_ecr:
      return n == 0 ? 0x0000 : n == 1 ? 0x1110 : n == 2 ? 0x2210 : 0x3210;
    case IntOp::prmt_rc16:
      return (n & 1) != 0 ? 0x3232 : 0x1010;
    default:
      return c;
  }
}
template <IntOp Mode>
const Inst* prmt(Warp& w, const Inst* i) {
  const uint32_t* a = lanes<uint32_t>(w, i->a);
  const uint32_t* b = lanes<uint32_t>(w, i->b);
  const uint32_t* c = lanes<uint32_t>(w, i->c);
  return writeLanes<uint32_t>(w, i, [=](uint32_t l) {
    uint64_t bytes = a[l] | uint64_t{b[l]} << 32;
    uint32_t selector = prmtSelector(Mode, c[l]);
    uint32_t result = 0;
    for (uint32_t k = 0; k < 4; ++k) {
      uint32_t s = selector >> (4 * k);
      uint32_t byte = static_cast<uint32_t>(bytes >> (8 * (s & 7))) & 0xff;
      if (Mode == IntOp::prmt && (s & 8) != 0) byte = (byte & 0x80) != 0 ? 0xff : 0;
      result |= byte << (8 * k);
    }
    return result;
  });
}
template <bool Left, bool Clamp>
const Inst* shf(Warp& w, const Inst* i) {
  const uint32_t* a = lanes<uint32_t>(w, i->a);
  const uint32_t* b = lanes<uint32_t>(w, i->b);
  const uint32_t* c = lanes<uint32_t>(w, i->c);
  return writeLanes<uint32_t>(w, i, [=](uint32_t l) {
    uint32_t n = Clamp ? (c[l] < 32 ? c[l] : 32) : c[l] & 31;
    uint64_t v = uint64_t{b[l]} << 32 | a[l];
    return static_cast<uint32_t>(Left ? (v << n) >> 32 : v >> n);
  });
}
template <bool Clamp>
const Inst* bmsk(Warp& w, const Inst* i) {
  const uint32_t* a = lanes<uint32_t>(w, i->a);
  const uint32_t* b = lanes<uint32_t>(w, i->b);
  return writeLanes<uint32_t>(w, i, [=](uint32_t l) {
    uint32_t start = Clamp ? (a[l] < 32 ? a[l] : 32) : a[l] & 31;
    uint32_t width = Clamp ? (b[l] < 32 ? b[l] : 32) : b[l] & 31;
    return static_cast<uint32_t>(((uint64_t{1} << width) - 1) << start);
  });
}
template <class T, bool Clamp>
const Inst* szext(Warp& w, const Inst* i) {
  const T* a = lanes<T>(w, i->a);
  const uint32_t* b = lanes<uint32_t>(w, i->b);
  return writeLanes<T>(w, i, [=](uint32_t l) {
    uint32_t n = Clamp ? (b[l] < 32 ? b[l] : 32) : b[l] & 31;
    if (n == 0) return T{0};
    uint32_t up = static_cast<uint32_t>(a[l]) << (32 - n);
    return static_cast<T>(static_cast<T>(up) >> (32 - n));
  });
}

// aux bit 0: a is signed, bit 1: b is signed; c and dst are 32-bit sums.
const Inst* dp4a(Warp& w, const Inst* i) {
  const uint32_t* a = lanes<uint32_t>(w, i->a);
  const uint32_t* b = lanes<uint32_t>(w, i->b);
  const uint32_t* c = lanes<uint32_t>(w, i->c);
  bool signed_a = (i->aux & 1) != 0, signed_b = (i->aux & 2) != 0;
  return writeLanes<uint32_t>(w, i, [=](uint32_t l) {
    uint32_t sum = c[l];
    for (uint32_t k = 0; k < 32; k += 8) {
      int32_t x = signed_a ? int32_t(int8_t(a[l] >> k)) : int32_t(uint8_t(a[l] >> k));
      int32_t y = signed_b ? int32_t(int8_t(b[l] >> k)) : int32_t(uint8_t(b[l] >> k));
      sum += static_cast<uint32_t>(x * y);
    }
    return sum;
  });
}
template <bool High>
const Inst* dp2a(Warp& w, const Inst* i) {
  const uint32_t* a = lanes<uint32_t>(w, i->a);
  const uint32_t* b = lanes<uint32_t>(w, i->b);
  const uint32_t* c = lanes<uint32_t>(w, i->c);
  bool signed_a = (i->aux & 1) != 0, signed_b = (i->aux & 2) != 0;
  return writeLanes<uint32_t>(w, i, [=](uint32_t l) {
    uint32_t sum = c[l];
    for (uint32_t k = 0; k < 2; ++k) {
      uint32_t byte = b[l] >> (8 * (k + (High ? 2 : 0)));
      int32_t x = signed_a ? int32_t(int16_t(a[l] >> 16 * k)) : int32_t(uint16_t(a[l] >> 16 * k));
      int32_t y = signed_b ? int32_t(int8_t(byte)) : int32_t(uint8_t(byte));
      sum += static_cast<uint32_t>(x) * static_cast<uint32_t>(y);
    }
    return sum;
  });
}
// The position of the |c|-th set bit of a, counted from bit b upwards (c > 0) or downwards.
const Inst* fns(Warp& w, const Inst* i) {
  const uint32_t* a = lanes<uint32_t>(w, i->a);
  const uint32_t* b = lanes<uint32_t>(w, i->b);
  const int32_t* c = lanes<int32_t>(w, i->c);
  return writeLanes<uint32_t>(w, i, [=](uint32_t l) {
    if (b[l] > 31) return ~0u;
    if (c[l] == 0) return (a[l] >> b[l] & 1) != 0 ? b[l] : ~0u;
    int32_t step = c[l] < 0 ? -1 : 1, left = c[l];
    for (int32_t p = static_cast<int32_t>(b[l]); p >= 0 && p < 32; p += step) {
      if ((a[l] >> p & 1) != 0 && (left -= step) == 0) return static_cast<uint32_t>(p);
    }
    return ~0u;
  });
}

struct Vector128 {
  uint64_t low, high;
};

// dst = predicate c ? a : b.
template <class T>
const Inst* select(Warp& w, const Inst* i) {
  const T* a = lanes<T>(w, i->a);
  const T* b = lanes<T>(w, i->b);
  uint32_t p = predicate(w, i->c) ^ (i->x != 0 ? ~0u : 0u);
  return writeLanes<T>(w, i, [=](uint32_t l) { return (p >> l & 1) != 0 ? a[l] : b[l]; });
}

Handler logic(IntOp op, Type type) {
#define F(T) binary<And, T>
  if (op == IntOp::and_) BY_SIZE(F)
#undef F
#define F(T) binary<Or, T>
  if (op == IntOp::or_) BY_SIZE(F)
#undef F
#define F(T) binary<Xor, T>
  if (op == IntOp::xor_) BY_SIZE(F)
#undef F
#define F(T) unary<Not, T>
  if (op == IntOp::not_) BY_SIZE(F)
#undef F
#define F(T) unary<Cnot, T>
  if (op == IntOp::cnot) BY_SIZE(F)
#undef F
#define F(T) shl<T>
  if (op == IntOp::shl) BY_SIZE(F)
#undef F
#define F(T) shr<T>
  if (op == IntOp::shr && isSigned(type)) BY_SIGN(F)
  if (op == IntOp::shr) BY_SIZE(F)
#undef F
#define F(T) unary<Move, T>
  if (op == IntOp::mov) ANY_SIZE(F)
#undef F
#define F(T) select<T>
  if (op == IntOp::select) ANY_SIZE(F)
#undef F
  return nullptr;
}

Handler bitField(IntOp op, Type type) {
#define F(T) popc<T>
  if (op == IntOp::popc) BY_WIDTH(F)
#undef F
#define F(T) clz<T>
  if (op == IntOp::clz) BY_WIDTH(F)
#undef F
#define F(T) brev<T>
  if (op == IntOp::brev) BY_WIDTH(F)
#undef F
#define F(T) bfi<T>
  if (op == IntOp::bfi) BY_WIDTH(F)
#undef F
#define F(T) bfe<T>
  if (op == IntOp::bfe) BY_SIGN_WIDTH(F)
#undef F
#define F(T) bfind<T, false>
  if (op == IntOp::bfind) BY_SIGN_WIDTH(F)
#undef F
#define F(T) bfind<T, true>
  if (op == IntOp::bfind_shiftamt) BY_SIGN_WIDTH(F)
#undef F
  switch (op) {
    case IntOp::lop3:
      return lop3;
    case IntOp::prmt:
      return prmt<IntOp::prmt>;
    case IntOp::prmt_f4e:
      return prmt<IntOp::prmt_f4e>;
    case IntOp::prmt_b4e:
      return prmt<IntOp::prmt_b4e>;
    case IntOp::prmt_rc8:
      return prmt<IntOp::prmt_rc8>;
    case IntOp::prmt_ecl:
      return prmt<IntOp::prmt_ecl>;
    case IntOp::prmt_ecr:
      return prmt<IntOp::prmt_ecr>;
    case IntOp::prmt_rc16:
      return prmt<IntOp::prmt_rc16>;
    case IntOp::shf_l_wrap:
      return shf<true, false>;
    case IntOp::shf_l_clamp:
      return shf<true, true>;
    case IntOp::shf_r_wrap:
      return shf<false, false>;
    case IntOp::shf_r_clamp:
      return shf<false, true>;
    case IntOp::bmsk_clamp:
      return bmsk<true>;
    case IntOp::bmsk_wrap:
      return bmsk<false>;
    case IntOp::szext_clamp:
      return isSigned(type) ? szext<int32_t, true> : szext<uint32_t, true>;
    case IntOp::szext_wrap:
      return isSigned(type) ? szext<int32_t, false> : szext<uint32_t, false>;
    case IntOp::dp4a:
      return dp4a;
    case IntOp::dp2a_lo:
      return dp2a<false>;
    case IntOp::dp2a_hi:
      return dp2a<true>;
    case IntOp::fns:
      return fns;
    default:
      return nullptr;
  }
}

}  // namespace

Handler bitHandler(IntOp op, Type type) {
  if (Handler handler = logic(op, type)) return handler;
  return bitField(op, type);
}

}  // namespace farwarp::ptx::FARWARP_LEVEL
