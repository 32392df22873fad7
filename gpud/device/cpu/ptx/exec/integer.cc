// Integer arithmetic. Logic, shifts and bit fields are in bits.cc.
#include "gpud/device/cpu/ptx/exec/integer_lanes.h"

namespace farwarp::ptx::FARWARP_LEVEL {
namespace {

// The type twice as wide.
template <class T>
struct WideOf;
template <>
struct WideOf<int16_t> {
  using type = int32_t;
};
template <>
struct WideOf<uint16_t> {
  using type = uint32_t;
};
template <>
struct WideOf<int32_t> {
  using type = int64_t;
};
template <>
struct WideOf<uint32_t> {
  using type = uint64_t;
};
template <>
struct WideOf<int64_t> {
  using type = __int128;
};
template <>
struct WideOf<uint64_t> {
  using type = unsigned __int128;
};
template <class T>
using Wide = typename WideOf<T>::type;
template <class T>
using SafeWide = std::conditional_t<sizeof(T) == 8, unsigned __int128,
                                    std::conditional_t<sizeof(T) == 4, uint64_t, uint32_t>>;

BINARY(Add, Safe<T>(a) + Safe<T>(b));
BINARY(Sub, Safe<T>(a) - Safe<T>(b));
BINARY(MulLo, Safe<T>(a) * Safe<T>(b));
BINARY(MulHi, SafeWide<T>(Wide<T>(a) * Wide<T>(b)) >> kBits<T>);
BINARY(Min, a < b ? a : b);
BINARY(Max, a > b ? a : b);
BINARY(MinRelu, (a < b ? a : b) > 0 ? (a < b ? a : b) : 0);
BINARY(MaxRelu, (a > b ? a : b) > 0 ? (a > b ? a : b) : 0);
UNARY(Neg, Safe<T>(0) - Safe<T>(a));
UNARY(Abs, a < 0 ? Safe<T>(0) - Safe<T>(a) : Safe<T>(a));

// The 24 low bits of the operands, sign-extended for signed types.
template <class T>
inline int64_t low24(T a) {
  if constexpr (std::is_signed_v<T>)
    return static_cast<int32_t>(static_cast<uint32_t>(a) << 8) >> 8;
  return a & 0xffffff;
}
BINARY(Mul24Lo, uint64_t(low24(a)) * uint64_t(low24(b)));
BINARY(Mul24Hi, (uint64_t(low24(a)) * uint64_t(low24(b))) >> 16);

// Division by zero gives all ones (and the remainder the dividend), as the hardware's sequences do.
struct Div {
  template <class T>
  static T run(T a, T b) {
    if (b == 0) return static_cast<T>(~Unsigned<T>{0});
    if constexpr (std::is_signed_v<T>) {
      if (b == -1) return static_cast<T>(Safe<T>(0) - Safe<T>(a));
    }
    return static_cast<T>(a / b);
  }
};
struct Rem {
  template <class T>
  static T run(T a, T b) {
    if (b == 0) return a;
    if constexpr (std::is_signed_v<T>) {
      if (b == -1) return 0;
    }
    return static_cast<T>(a % b);
  }
};
struct AddSat {
  template <class T>
  static T run(T a, T b) {
    int64_t r = int64_t{a} + int64_t{b};
    return static_cast<T>(r > INT32_MAX ? INT32_MAX : r < INT32_MIN ? INT32_MIN : r);
  }
};
struct SubSat {
  template <class T>
  static T run(T a, T b) {
    int64_t r = int64_t{a} - int64_t{b};
    return static_cast<T>(r > INT32_MAX ? INT32_MAX : r < INT32_MIN ? INT32_MIN : r);
  }
};

template <class T>
const Inst* mulWide(Warp& w, const Inst* i) {
  const T* a = lanes<T>(w, i->a);
  const T* b = lanes<T>(w, i->b);
  return writeLanes<Wide<T>>(
      w, i, [=](uint32_t l) { return static_cast<Wide<T>>(Wide<T>(a[l]) * Wide<T>(b[l])); });
}
template <class T>
const Inst* madWide(Warp& w, const Inst* i) {
  const T* a = lanes<T>(w, i->a);
  const T* b = lanes<T>(w, i->b);
  const Wide<T>* c = lanes<Wide<T>>(w, i->c);
  return writeLanes<Wide<T>>(w, i, [=](uint32_t l) {
    return static_cast<Wide<T>>(SafeWide<T>(Wide<T>(a[l]) * Wide<T>(b[l])) + SafeWide<T>(c[l]));
  });
}
// mul-like operation, then + c.
template <class Op, class T>
const Inst* mad(Warp& w, const Inst* i) {
  const T* a = lanes<T>(w, i->a);
  const T* b = lanes<T>(w, i->b);
  const T* c = lanes<T>(w, i->c);
  return writeLanes<T>(w, i, [=](uint32_t l) {
    return static_cast<T>(Safe<T>(Op::template run<T>(a[l], b[l])) + Safe<T>(c[l]));
  });
}
template <class Op>
const Inst* madSat(Warp& w, const Inst* i) {
  const int32_t* a = lanes<int32_t>(w, i->a);
  const int32_t* b = lanes<int32_t>(w, i->b);
  const int32_t* c = lanes<int32_t>(w, i->c);
  return writeLanes<int32_t>(
      w, i, [=](uint32_t l) { return AddSat::run(Op::template run<int32_t>(a[l], b[l]), c[l]); });
}

template <class T>
const Inst* sad(Warp& w, const Inst* i) {
  const T* a = lanes<T>(w, i->a);
  const T* b = lanes<T>(w, i->b);
  const T* c = lanes<T>(w, i->c);
  return writeLanes<T>(w, i, [=](uint32_t l) {
    Safe<T> difference =
        a[l] < b[l] ? Safe<T>(b[l]) - Safe<T>(a[l]) : Safe<T>(a[l]) - Safe<T>(b[l]);
    return static_cast<T>(Safe<T>(c[l]) + static_cast<Unsigned<T>>(difference));
  });
}

Handler arithmetic(IntOp op, Type type) {
#define F(T) binary<Add, T>
  if (op == IntOp::add) BY_SIZE(F)
#undef F
#define F(T) binary<Sub, T>
  if (op == IntOp::sub) BY_SIZE(F)
#undef F
#define F(T) binary<MulLo, T>
  if (op == IntOp::mul_lo) BY_SIZE(F)
#undef F
#define F(T) mad<MulLo, T>
  if (op == IntOp::mad_lo) BY_SIZE(F)
#undef F
#define F(T) binary<MulHi, T>
  if (op == IntOp::mul_hi) BY_SIGN(F)
#undef F
#define F(T) mad<MulHi, T>
  if (op == IntOp::mad_hi) BY_SIGN(F)
#undef F
#define F(T) binary<Div, T>
  if (op == IntOp::div) BY_SIGN(F)
#undef F
#define F(T) binary<Rem, T>
  if (op == IntOp::rem) BY_SIGN(F)
#undef F
#define F(T) binary<Min, T>
  if (op == IntOp::min) BY_SIGN(F)
#undef F
#define F(T) binary<Max, T>
  if (op == IntOp::max) BY_SIGN(F)
#undef F
#define F(T) sad<T>
  if (op == IntOp::sad) BY_SIGN(F)
#undef F
#define F(T) unary<Neg, T>
  if (op == IntOp::neg) BY_SIZE(F)
#undef F
#define F(T) unary<Abs, T>
  if (op == IntOp::abs && isSigned(type)) BY_SIGN(F)
#undef F
  bool is_signed = type == Type::s32;
  bool word = is_signed || type == Type::u32;
  switch (op) {
    case IntOp::mul_wide:
    case IntOp::mad_wide: {
      bool add = op == IntOp::mad_wide;
      if (type == Type::s16) return add ? madWide<int16_t> : mulWide<int16_t>;
      if (type == Type::u16) return add ? madWide<uint16_t> : mulWide<uint16_t>;
      if (type == Type::s32) return add ? madWide<int32_t> : mulWide<int32_t>;
      if (type == Type::u32) return add ? madWide<uint32_t> : mulWide<uint32_t>;
      return nullptr;
    }
    case IntOp::add_sat:
      return is_signed ? binary<AddSat, int32_t> : nullptr;
    case IntOp::sub_sat:
      return is_signed ? binary<SubSat, int32_t> : nullptr;
    case IntOp::mad_hi_sat:
      return is_signed ? madSat<MulHi> : nullptr;
    case IntOp::mad24_hi_sat:
      return is_signed ? madSat<Mul24Hi> : nullptr;
    case IntOp::min_relu:
      return is_signed ? binary<MinRelu, int32_t> : nullptr;
    case IntOp::max_relu:
      return is_signed ? binary<MaxRelu, int32_t> : nullptr;
    default:
      break;
  }
  if (!word) return nullptr;
  switch (op) {
    case IntOp::mul24_lo:
      return is_signed ? binary<Mul24Lo, int32_t> : binary<Mul24Lo, uint32_t>;
    case IntOp::mul24_hi:
      return is_signed ? binary<Mul24Hi, int32_t> : binary<Mul24Hi, uint32_t>;
    case IntOp::mad24_lo:
      return is_signed ? mad<Mul24Lo, int32_t> : mad<Mul24Lo, uint32_t>;
    case IntOp::mad24_hi:
      return is_signed ? mad<Mul24Hi, int32_t> : mad<Mul24Hi, uint32_t>;
    default:
      return nullptr;
  }
}

}  // namespace

Handler integerHandler(IntOp op, Type type) {
  if (Handler handler = arithmetic(op, type)) return handler;
  if (Handler handler = bitHandler(op, type)) return handler;
  return carryHandler(op, type);
}

}  // namespace farwarp::ptx::FARWARP_LEVEL
