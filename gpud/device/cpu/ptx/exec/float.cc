// f32 and f64 arithmetic, exactly rounded. Approximations are in special.cc, f16 in half.cc.
#include "gpud/device/cpu/ptx/exec/float_semantics.h"
#include "gpud/device/cpu/ptx/exec/lanes.h"

namespace farwarp::ptx::FARWARP_LEVEL {
namespace {

inline float fuse(float a, float b, float c) {
  return __builtin_fmaf(a, b, c);
}
inline double fuse(double a, double b, double c) {
  return __builtin_fma(a, b, c);
}
inline float root(float a) {
  return __builtin_sqrtf(a);
}
inline double root(double a) {
  return __builtin_sqrt(a);
}

#define OPERATION(Name, expression) \
  struct Name {                     \
    template <class T>              \
    static T run(T a, T b, T c) {   \
      return (expression);          \
    }                               \
  }
OPERATION(Add, a + b);
OPERATION(Sub, a - b);
OPERATION(Mul, a* b);
OPERATION(Div, a / b);
OPERATION(Fma, fuse(a, b, c));
OPERATION(Sqrt, root(a));
OPERATION(Min, minimum(a, b));
OPERATION(Max, maximum(a, b));
OPERATION(MinNan, a != a || b != b ? a + b : minimum(a, b));
OPERATION(MaxNan, a != a || b != b ? a + b : maximum(a, b));
// The result takes the xor of the signs; the magnitudes are compared.
OPERATION(MinXor, copySign(minimum(copySign(a, T(1)), copySign(b, T(1))),
                           isNegative(a) != isNegative(b) ? T(-1) : T(1)));
OPERATION(MaxXor, copySign(maximum(copySign(a, T(1)), copySign(b, T(1))),
                           isNegative(a) != isNegative(b) ? T(-1) : T(1)));
OPERATION(MinNanXor, a != a || b != b ? a + b : MinXor::run(a, b, c));
OPERATION(MaxNanXor, a != a || b != b ? a + b : MaxXor::run(a, b, c));
#undef OPERATION

// Arity tells which operands exist: unused ones must not be read.
template <class Op, class T, int Arity, bool Ftz, bool Sat, bool Rounded>
const Inst* arithmetic(Warp& w, const Inst* i) {
  const T* a = lanes<T>(w, i->a);
  const T* b = Arity > 1 ? lanes<T>(w, i->b) : a;
  const T* c = Arity > 2 ? lanes<T>(w, i->c) : a;
  uint32_t old = 0;
  if constexpr (Rounded) old = enterRounding(static_cast<Rounding>(i->y));
  setLanes<T>(w, i, [=](uint32_t l) {
    T x = a[l], y = b[l], z = c[l];
    if constexpr (Ftz) x = flush(x), y = flush(y), z = flush(z);
    T r = Op::template run<T>(x, y, z);
    if constexpr (Ftz) r = flush(r);
    if constexpr (Sat) return saturate(r);
    return canonical(r);
  });
  if constexpr (Rounded) leaveRounding(old);
  return next(w, i);
}

template <class Op, int Arity, bool Rounds>
Handler single(FloatFlags flags) {
  bool rounded = Rounds && flags.rounding != Rounding::rn;
  if constexpr (Rounds) {
    if (rounded && flags.sat && flags.ftz) return arithmetic<Op, float, Arity, true, true, true>;
    if (rounded && flags.sat) return arithmetic<Op, float, Arity, false, true, true>;
    if (rounded && flags.ftz) return arithmetic<Op, float, Arity, true, false, true>;
    if (rounded) return arithmetic<Op, float, Arity, false, false, true>;
    if (flags.sat && flags.ftz) return arithmetic<Op, float, Arity, true, true, false>;
    if (flags.sat) return arithmetic<Op, float, Arity, false, true, false>;
  } else if (flags.sat) {
    return nullptr;
  }
  return flags.ftz ? arithmetic<Op, float, Arity, true, false, false>
                   : arithmetic<Op, float, Arity, false, false, false>;
}
template <class Op, int Arity, bool Rounds>
Handler twice(FloatFlags flags) {
  if (flags.sat || flags.ftz) return nullptr;
  if constexpr (Rounds) {
    if (flags.rounding != Rounding::rn) return arithmetic<Op, double, Arity, false, false, true>;
  }
  return arithmetic<Op, double, Arity, false, false, false>;
}
template <class Op, int Arity, bool Rounds>
Handler both(Type type, FloatFlags flags) {
  return type == Type::f32 ? single<Op, Arity, Rounds>(flags) : twice<Op, Arity, Rounds>(flags);
}

// Sign operations work on the bits, NaN included.
template <class T, T Sign, bool Ftz, int Kind>
const Inst* signOperation(Warp& w, const Inst* i) {
  const T* a = lanes<T>(w, i->a);
  const T* b = Kind == 2 ? lanes<T>(w, i->b) : a;
  return writeLanes<T>(w, i, [=](uint32_t l) -> T {
    T v = a[l];
    if constexpr (Ftz) v = (v & 0x7f800000) == 0 ? v & Sign : v;
    if constexpr (Kind == 0) return v & ~Sign;
    if constexpr (Kind == 1) return v ^ Sign;
    return (b[l] & ~Sign) | (a[l] & Sign);  // copysign: the sign of a, the rest of b
  });
}
template <int Kind>
Handler signHandler(Type type, bool ftz) {
  if (type == Type::f64) return signOperation<uint64_t, uint64_t{1} << 63, false, Kind>;
  if (ftz) return signOperation<uint32_t, 0x80000000, true, Kind>;
  return signOperation<uint32_t, 0x80000000, false, Kind>;
}

// testp: dst is a predicate.
template <class T, FloatOp Test>
const Inst* testp(Warp& w, const Inst* i) {
  using U = std::conditional_t<sizeof(T) == 4, uint32_t, uint64_t>;
  constexpr uint32_t kMantissa = sizeof(T) == 4 ? 23 : 52;
  constexpr U kExponentMax = sizeof(T) == 4 ? 0xff : 0x7ff;
  const U* a = lanes<U>(w, i->a);
  uint32_t result = maskOf([=](uint32_t l) {
    U exponent = a[l] >> kMantissa & kExponentMax;
    U mantissa = a[l] & ((U{1} << kMantissa) - 1);
    switch (Test) {
      case FloatOp::test_finite:
        return exponent != kExponentMax;
      case FloatOp::test_infinite:
        return exponent == kExponentMax && mantissa == 0;
      case FloatOp::test_number:
        return exponent != kExponentMax || mantissa == 0;
      case FloatOp::test_notanumber:
        return exponent == kExponentMax && mantissa != 0;
      case FloatOp::test_normal:
        return exponent != kExponentMax && exponent != 0;
      default:
        return exponent == 0 && mantissa != 0;
    }
  });
  setPredicate(w, i->dst, result, execMask(w, i));
  return next(w, i);
}
template <FloatOp Test>
Handler testHandler(Type type) {
  return type == Type::f32 ? testp<float, Test> : testp<double, Test>;
}

}  // namespace

Handler floatHandler(FloatOp op, Type type, FloatFlags flags) {
  if (type != Type::f32 && type != Type::f64) return halfHandler(op, type, flags);
  switch (op) {
    case FloatOp::add:
      return both<Add, 2, true>(type, flags);
    case FloatOp::sub:
      return both<Sub, 2, true>(type, flags);
    case FloatOp::mul:
      return both<Mul, 2, true>(type, flags);
    case FloatOp::div:
      return both<Div, 2, true>(type, flags);
    case FloatOp::fma:
      return both<Fma, 3, true>(type, flags);
    case FloatOp::sqrt:
      return both<Sqrt, 1, true>(type, flags);
    case FloatOp::min:
      return both<Min, 2, false>(type, flags);
    case FloatOp::max:
      return both<Max, 2, false>(type, flags);
    case FloatOp::min_nan:
      return type == Type::f32 ? single<MinNan, 2, false>(flags) : nullptr;
    case FloatOp::max_nan:
      return type == Type::f32 ? single<MaxNan, 2, false>(flags) : nullptr;
    case FloatOp::min_xorsign:
      return type == Type::f32 ? single<MinXor, 2, false>(flags) : nullptr;
    case FloatOp::max_xorsign:
      return type == Type::f32 ? single<MaxXor, 2, false>(flags) : nullptr;
    case FloatOp::min_nan_xorsign:
      return type == Type::f32 ? single<MinNanXor, 2, false>(flags) : nullptr;
    case FloatOp::max_nan_xorsign:
      return type == Type::f32 ? single<MaxNanXor, 2, false>(flags) : nullptr;
    case FloatOp::abs:
      return signHandler<0>(type, flags.ftz);
    case FloatOp::neg:
      return signHandler<1>(type, flags.ftz);
    case FloatOp::copysign:
      return signHandler<2>(type, flags.ftz);
    case FloatOp::test_finite:
      return testHandler<FloatOp::test_finite>(type);
    case FloatOp::test_infinite:
      return testHandler<FloatOp::test_infinite>(type);
    case FloatOp::test_number:
      return testHandler<FloatOp::test_number>(type);
    case FloatOp::test_notanumber:
      return testHandler<FloatOp::test_notanumber>(type);
    case FloatOp::test_normal:
      return testHandler<FloatOp::test_normal>(type);
    case FloatOp::test_subnormal:
      return testHandler<FloatOp::test_subnormal>(type);
    default:
      return specialHandler(op, type, flags);
  }
}

}  // namespace farwarp::ptx::FARWARP_LEVEL
