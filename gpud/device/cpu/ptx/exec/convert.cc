// cvt. The destination register has the size of the type; the decoder widens further where the
// register is larger.
#include "gpud/device/cpu/ptx/exec/float_semantics.h"
#include "gpud/device/cpu/ptx/exec/lanes.h"

namespace farwarp::ptx::FARWARP_LEVEL {
namespace {

template <class T>
inline constexpr T kLeast = std::is_signed_v<T> ? T(T(1) << (sizeof(T) * 8 - 1)) : T(0);
template <class T>
inline constexpr T kMost = static_cast<T>(~kLeast<T>);

template <class D, class S, bool Sat>
const Inst* integers(Warp& w, const Inst* i) {
  const S* a = lanes<S>(w, i->a);
  return writeLanes<D>(w, i, [=](uint32_t l) {
    S v = a[l];
    if constexpr (Sat) {
      if constexpr (std::is_signed_v<S>) {
        int64_t wide = v;
        if (std::is_signed_v<D>) {
          if (wide < static_cast<int64_t>(kLeast<D>)) return kLeast<D>;
          if (wide > static_cast<int64_t>(kMost<D>)) return kMost<D>;
        } else {
          if (wide < 0) return D(0);
          if (static_cast<uint64_t>(wide) > static_cast<uint64_t>(kMost<D>)) return kMost<D>;
        }
      } else if (uint64_t{v} > static_cast<uint64_t>(kMost<D>)) {
        return kMost<D>;
      }
    }
    return static_cast<D>(v);
  });
}

template <Rounding R, class T>
inline T roundToInteger(T v) {
  if constexpr (sizeof(T) == 4) {
    if constexpr (R == Rounding::rn) return __builtin_rintf(v);
    if constexpr (R == Rounding::rz) return __builtin_truncf(v);
    if constexpr (R == Rounding::rm) return __builtin_floorf(v);
    return __builtin_ceilf(v);
  } else {
    if constexpr (R == Rounding::rn) return __builtin_rint(v);
    if constexpr (R == Rounding::rz) return __builtin_trunc(v);
    if constexpr (R == Rounding::rm) return __builtin_floor(v);
    return __builtin_ceil(v);
  }
}

// Out of range values clamp. NaN gives 0 if neither type has 64 bits, else only the highest bit
// set.
template <class D, class S, Rounding R>
const Inst* floatToInteger(Warp& w, const Inst* i) {
  const S* a = lanes<S>(w, i->a);
  bool ftz = i->aux != 0;
  constexpr bool kWide = sizeof(D) == 8 || sizeof(S) == 8;
  // 2^bits and 2^(bits-1) are exact in S.
  constexpr S kLimit = std::is_signed_v<D> ? S(uint64_t{1} << (sizeof(D) * 8 - 1))
                                           : S(uint64_t{1} << (sizeof(D) * 8 - 1)) * 2;
  return writeLanes<D>(w, i, [=](uint32_t l) {
    S v = ftz ? flush(a[l]) : a[l];
    S r = roundToInteger<R, S>(v);
    if (r != r) return kWide ? static_cast<D>(uint64_t{1} << (sizeof(D) * 8 - 1)) : D(0);
    if (r >= kLimit) return kMost<D>;
    if (r <= S(kLeast<D>)) return kLeast<D>;
    return static_cast<D>(r);
  });
}

// To a double: large ones lose 11 bits, and have an odd last bit then.
template <class S>
const Inst* integerToOdd(Warp& w, const Inst* i) {
  const S* a = lanes<S>(w, i->a);
  return writeLanes<double>(w, i, [=](uint32_t l) {
    bool negative = std::is_signed_v<S> && a[l] < 0;
    uint64_t magnitude = negative ? 0 - static_cast<uint64_t>(a[l]) : static_cast<uint64_t>(a[l]);
    if (magnitude >> 53 != 0) {
      magnitude = (magnitude & ~uint64_t{0x7ff}) | ((magnitude & 0x7ff) != 0 ? 0x800 : 0);
    }
    double v = static_cast<double>(magnitude);
    return negative ? -v : v;
  });
}

template <class D, class S, bool Sat>
const Inst* integerToFloat(Warp& w, const Inst* i) {
  const S* a = lanes<S>(w, i->a);
  bool rounded = i->y != 0;
  uint32_t old = rounded ? enterRounding(static_cast<Rounding>(i->y)) : 0;
  setLanes<D>(w, i, [=](uint32_t l) {
    D v = static_cast<D>(a[l]);
    return Sat ? saturate(v) : v;
  });
  if (rounded) leaveRounding(old);
  return next(w, i);
}

// Float to float of another or the same size. y = rounding, aux bit 0 = ftz, bit 1 = sat.
template <class D, class S>
const Inst* floats(Warp& w, const Inst* i) {
  const S* a = lanes<S>(w, i->a);
  bool rounded = i->y != 0 && sizeof(D) < sizeof(S);
  bool ftz = (i->aux & 1) != 0, sat = (i->aux & 2) != 0;
  uint32_t old = rounded ? enterRounding(static_cast<Rounding>(i->y)) : 0;
  setLanes<D>(w, i, [=](uint32_t l) {
    S v = ftz ? flush(a[l]) : a[l];
    D r = static_cast<D>(v);
    r = ftz ? flush(r) : r;
    r = sat ? saturate(r) : r;
    return canonical(r);
  });
  if (rounded) leaveRounding(old);
  return next(w, i);
}
template <class T, Rounding R>
const Inst* integral(Warp& w, const Inst* i) {
  const T* a = lanes<T>(w, i->a);
  bool ftz = (i->aux & 1) != 0, sat = (i->aux & 2) != 0;
  return writeLanes<T>(w, i, [=](uint32_t l) {
    T r = roundToInteger<R, T>(ftz ? flush(a[l]) : a[l]);
    return canonical(sat ? saturate(r) : r);
  });
}

template <bool Bfloat>
const Inst* halfToSingle(Warp& w, const Inst* i) {
  const uint16_t* a = lanes<uint16_t>(w, i->a);
  bool sat = (i->aux & 2) != 0;
  return writeLanes<float>(w, i, [=](uint32_t l) {
    float v = canonical(Bfloat ? bfloatToFloat(a[l]) : halfToFloat(a[l]));
    return sat ? saturate(v) : v;
  });
}
template <bool Bfloat>
const Inst* singleToHalf(Warp& w, const Inst* i) {
  const float* a = lanes<float>(w, i->a);
  bool ftz = (i->aux & 1) != 0, sat = (i->aux & 2) != 0, relu = (i->aux & 4) != 0;
  return writeLanes<uint16_t>(w, i, [=](uint32_t l) {
    float v = ftz ? flush(a[l]) : a[l];
    v = sat ? saturate(v) : v;
    v = relu && v < 0 ? 0.0f : v;
    uint16_t r = Bfloat ? floatToBfloat(v) : floatToHalf(v);
    return relu && r == 0x8000 ? uint16_t{0} : r;
  });
}

// Any rounding, from f32 or f64, to a format of 16 bits or tf32. x = exponent bits, d = mantissa
// bits.
template <class S, class D>
const Inst* narrowTo(Warp& w, const Inst* i) {
  const S* a = lanes<S>(w, i->a);
  Rounding rounding = static_cast<Rounding>(i->y);
  uint32_t exponent_bits = i->x, mantissa_bits = i->d;
  bool ftz = (i->aux & 1) != 0, sat = (i->aux & 2) != 0, relu = (i->aux & 4) != 0;
  return writeLanes<D>(w, i, [=](uint32_t l) {
    S v = ftz ? flush(a[l]) : a[l];
    v = sat ? saturate(v) : v;
    v = relu && v <= 0 ? S(0) : v;
    uint32_t bits = narrow(v, exponent_bits, mantissa_bits, rounding);
    return static_cast<D>(sizeof(D) == 4 ? bits << 13 : bits);
  });
}

template <class D, bool Sat>
Handler fromInteger(Type from) {
  switch (from) {
    case Type::u8:
    case Type::b8:
      return integers<D, uint8_t, Sat>;
    case Type::s8:
      return integers<D, int8_t, Sat>;
    case Type::u16:
    case Type::b16:
      return integers<D, uint16_t, Sat>;
    case Type::s16:
      return integers<D, int16_t, Sat>;
    case Type::u32:
    case Type::b32:
      return integers<D, uint32_t, Sat>;
    case Type::s32:
      return integers<D, int32_t, Sat>;
    case Type::u64:
    case Type::b64:
      return integers<D, uint64_t, Sat>;
    case Type::s64:
      return integers<D, int64_t, Sat>;
    default:
      return nullptr;
  }
}
Handler integerToInteger(Type to, Type from, bool sat) {
  if (!sat) {
    switch (sizeOf(to)) {
      case 1:
        return fromInteger<uint8_t, false>(from);
      case 2:
        return fromInteger<uint16_t, false>(from);
      case 4:
        return fromInteger<uint32_t, false>(from);
      default:
        return fromInteger<uint64_t, false>(from);
    }
  }
  switch (to) {
    case Type::u8:
      return fromInteger<uint8_t, true>(from);
    case Type::s8:
      return fromInteger<int8_t, true>(from);
    case Type::u16:
      return fromInteger<uint16_t, true>(from);
    case Type::s16:
      return fromInteger<int16_t, true>(from);
    case Type::u32:
      return fromInteger<uint32_t, true>(from);
    case Type::s32:
      return fromInteger<int32_t, true>(from);
    case Type::u64:
      return fromInteger<uint64_t, true>(from);
    case Type::s64:
      return fromInteger<int64_t, true>(from);
    default:
      return nullptr;
  }
}

template <class D, bool Sat>
Handler integerToFloatOf(Type from) {
  switch (from) {
    case Type::u8:
      return integerToFloat<D, uint8_t, Sat>;
    case Type::s8:
      return integerToFloat<D, int8_t, Sat>;
    case Type::u16:
      return integerToFloat<D, uint16_t, Sat>;
    case Type::s16:
      return integerToFloat<D, int16_t, Sat>;
    case Type::u32:
      return integerToFloat<D, uint32_t, Sat>;
    case Type::s32:
      return integerToFloat<D, int32_t, Sat>;
    case Type::u64:
      return integerToFloat<D, uint64_t, Sat>;
    case Type::s64:
      return integerToFloat<D, int64_t, Sat>;
    default:
      return nullptr;
  }
}

template <class D, class S>
Handler byRounding(Rounding rounding) {
  switch (rounding) {
    case Rounding::rn:
      return floatToInteger<D, S, Rounding::rn>;
    case Rounding::rz:
      return floatToInteger<D, S, Rounding::rz>;
    case Rounding::rm:
      return floatToInteger<D, S, Rounding::rm>;
    case Rounding::rp:
      return floatToInteger<D, S, Rounding::rp>;
    default:
      return nullptr;
  }
}
template <class S>
Handler floatToIntegerOf(Type to, Rounding rounding) {
  switch (to) {
    case Type::u8:
      return byRounding<uint8_t, S>(rounding);
    case Type::s8:
      return byRounding<int8_t, S>(rounding);
    case Type::u16:
      return byRounding<uint16_t, S>(rounding);
    case Type::s16:
      return byRounding<int16_t, S>(rounding);
    case Type::u32:
      return byRounding<uint32_t, S>(rounding);
    case Type::s32:
      return byRounding<int32_t, S>(rounding);
    case Type::u64:
      return byRounding<uint64_t, S>(rounding);
    case Type::s64:
      return byRounding<int64_t, S>(rounding);
    default:
      return nullptr;
  }
}

template <class T>
Handler integralOf(Rounding rounding) {
  switch (rounding) {
    case Rounding::rn:
      return integral<T, Rounding::rn>;
    case Rounding::rz:
      return integral<T, Rounding::rz>;
    case Rounding::rm:
      return integral<T, Rounding::rm>;
    case Rounding::rp:
      return integral<T, Rounding::rp>;
    default:
      return nullptr;
  }
}

Handler floatToFloat(Type to, Type from, FloatFlags flags) {
  bool nearest = flags.rounding == Rounding::rn;
  switch (to) {
    case Type::f16:
      if (from == Type::f32) return nearest ? singleToHalf<false> : narrowTo<float, uint16_t>;
      return from == Type::f64 ? narrowTo<double, uint16_t> : nullptr;
    case Type::bf16:
      if (from == Type::f32) return nearest ? singleToHalf<true> : narrowTo<float, uint16_t>;
      return from == Type::f64 ? narrowTo<double, uint16_t> : nullptr;
    case Type::tf32:
      return from == Type::f32 ? narrowTo<float, uint32_t> : nullptr;
    case Type::f32:
      if (from == Type::f16) return halfToSingle<false>;
      if (from == Type::bf16) return halfToSingle<true>;
      return from == Type::f32   ? floats<float, float>
             : from == Type::f64 ? floats<float, double>
                                 : nullptr;
    case Type::f64:
      return from == Type::f32   ? floats<double, float>
             : from == Type::f64 ? floats<double, double>
                                 : nullptr;
    default:
      return nullptr;
  }
}

}  // namespace

Handler convertHandler(Type to, Type from, FloatFlags flags, bool round_integral) {
  bool to_float = isFloat(to), from_float = isFloat(from);
  if (!to_float && !from_float) return integerToInteger(to, from, flags.sat);
  if (!to_float) {
    if (from == Type::f32) return floatToIntegerOf<float>(to, flags.rounding);
    return from == Type::f64 ? floatToIntegerOf<double>(to, flags.rounding) : nullptr;
  }
  if (!from_float) {
    if (to == Type::f32)
      return flags.sat ? integerToFloatOf<float, true>(from) : integerToFloatOf<float, false>(from);
    if (to == Type::f64 && flags.rounding == Rounding::odd) {
      return isSigned(from) ? integerToOdd<int64_t> : integerToOdd<uint64_t>;
    }
    if (to == Type::f64)
      return flags.sat ? integerToFloatOf<double, true>(from)
                       : integerToFloatOf<double, false>(from);
    return nullptr;
  }
  if (round_integral) {
    if (to != from) return nullptr;
    if (to == Type::f32) return integralOf<float>(flags.rounding);
    return to == Type::f64 ? integralOf<double>(flags.rounding) : nullptr;
  }
  return floatToFloat(to, from, flags);
}

}  // namespace farwarp::ptx::FARWARP_LEVEL
