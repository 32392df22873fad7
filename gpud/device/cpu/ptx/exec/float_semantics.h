// What PTX says about floating-point values: flushing, saturation, NaN results, minimum and
// maximum.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

#include "gpud/device/cpu/ptx/executors.h"

namespace farwarp::ptx::FARWARP_LEVEL {

inline constexpr uint32_t kNanBits = 0x7fffffff;  // the only NaN that f32 arithmetic produces

inline float flush(float v) {
  uint32_t bits = std::bit_cast<uint32_t>(v);
  return std::bit_cast<float>((bits & 0x7f800000) == 0 ? bits & 0x80000000 : bits);
}
inline double flush(double v) {
  return v;
}

inline float canonical(float v) {
  return v == v ? v : std::bit_cast<float>(kNanBits);
}
inline double canonical(double v) {
  return v;
}

// Clamps to [0, 1]; NaN and -0 become +0.
template <class T>
inline T saturate(T v) {
  return v > T(0) ? (v < T(1) ? v : T(1)) : T(0);
}

inline float copySign(float magnitude, float sign) {
  return std::bit_cast<float>((std::bit_cast<uint32_t>(magnitude) & 0x7fffffff) |
                              (std::bit_cast<uint32_t>(sign) & 0x80000000));
}
inline double copySign(double magnitude, double sign) {
  return std::bit_cast<double>((std::bit_cast<uint64_t>(magnitude) & 0x7fffffffffffffff) |
                               (std::bit_cast<uint64_t>(sign) & 0x8000000000000000));
}
inline bool isNegative(float v) {
  return static_cast<int32_t>(std::bit_cast<uint32_t>(v)) < 0;
}
inline bool isNegative(double v) {
  return static_cast<int64_t>(std::bit_cast<uint64_t>(v)) < 0;
}

// -0 is less than +0; a NaN gives way to a number.
template <class T>
inline T minimum(T a, T b) {
  T ordered = a < b ? a : a > b ? b : isNegative(a) ? a : b;
  return a != a ? b : b != b ? a : ordered;
}
template <class T>
inline T maximum(T a, T b) {
  T ordered = a > b ? a : a < b ? b : isNegative(a) ? b : a;
  return a != a ? b : b != b ? a : ordered;
}

// Runs a lane loop under another rounding mode of the SSE unit. The memory clobbers keep the loads
// after the first switch and the stores before the second, and the arithmetic lies between them.
inline uint32_t enterRounding(Rounding rounding) {
  uint32_t old;
  asm volatile("stmxcsr %0" : "=m"(old)::"memory");
  static constexpr uint32_t kModes[] = {0x0000, 0x6000, 0x2000, 0x4000, 0x0000, 0x0000};
  uint32_t changed = (old & ~0x6000u) | kModes[static_cast<uint32_t>(rounding)];
  asm volatile("ldmxcsr %0" ::"m"(changed) : "memory");
  return old;
}
inline void leaveRounding(uint32_t old) {
  asm volatile("ldmxcsr %0" ::"m"(old) : "memory");
}

// a value in double precision to a smaller format with `exponent_bits` and `mantissa_bits` (the
// f32, f16, bf16 and fp8 families), rounded as asked; NaN becomes all ones below the sign.
inline uint32_t narrow(double value, uint32_t exponent_bits, uint32_t mantissa_bits,
                       Rounding rounding) {
  uint64_t bits = std::bit_cast<uint64_t>(value);
  uint32_t sign = static_cast<uint32_t>(bits >> 63);
  uint32_t exponent_max = (1u << exponent_bits) - 1;
  int32_t bias = static_cast<int32_t>(exponent_max >> 1);
  uint32_t infinity = exponent_max << mantissa_bits;
  uint32_t sign_bit = sign << (exponent_bits + mantissa_bits);
  if (value != value) return infinity | ((1u << mantissa_bits) - 1);
  int32_t exponent = static_cast<int32_t>(bits >> 52 & 0x7ff);
  if (exponent == 0x7ff) return sign_bit | infinity;
  uint64_t mantissa = bits & 0xfffffffffffff;
  if (exponent != 0) mantissa |= uint64_t{1} << 52;
  if (exponent == 0) exponent = 1;
  int32_t target = exponent - 1023 + bias;
  uint32_t shift = 52 - mantissa_bits;
  if (target < 1) {
    shift += static_cast<uint32_t>(1 - target);
    target = 1;
  }
  uint64_t kept = shift > 63 ? 0 : mantissa >> shift;
  uint64_t rest = shift > 63 ? mantissa : mantissa & ((uint64_t{1} << shift) - 1);
  uint64_t half = shift > 63 ? ~uint64_t{0} : uint64_t{1} << (shift - 1);
  bool up = false;
  switch (rounding) {
    case Rounding::rn:
      up = rest > half || (rest == half && (kept & 1) != 0);
      break;
    case Rounding::rna:
      up = rest >= half;
      break;
    case Rounding::rz:
    case Rounding::odd:  // nobody asks for it here
      break;
    case Rounding::rm:
      up = sign != 0 && rest != 0;
      break;
    case Rounding::rp:
      up = sign == 0 && rest != 0;
      break;
  }
  kept += up ? 1 : 0;
  uint64_t result = kept + (static_cast<uint64_t>(target - 1) << mantissa_bits);
  if (result >= infinity) {
    bool toward_zero = rounding == Rounding::rz || (rounding == Rounding::rm && sign == 0) ||
                       (rounding == Rounding::rp && sign != 0);
    return sign_bit | (toward_zero ? infinity - 1 : infinity);
  }
  return sign_bit | static_cast<uint32_t>(result);
}

inline float halfToFloat(uint16_t h) {
  uint32_t magnitude = h & 0x7fffu;
  // A shifted half is a float whose exponent is too small by 112; multiplication puts it right,
  // also for subnormals. Infinity and NaN need the largest exponent.
  float scaled = std::bit_cast<float>(magnitude << 13) * 0x1p112f;
  uint32_t bits = std::bit_cast<uint32_t>(scaled);
  bits = magnitude >= 0x7c00 ? bits | 0x7f800000u : bits;
  return std::bit_cast<float>(bits | static_cast<uint32_t>(h & 0x8000u) << 16);
}
inline uint16_t floatToHalf(float f) {
  uint32_t bits = std::bit_cast<uint32_t>(f);
  uint32_t sign = bits >> 16 & 0x8000;
  uint32_t magnitude = bits & 0x7fffffff;
  // Normal: drop 13 bits, to nearest even. Subnormal: let a float addition do the rounding.
  uint32_t normal = (magnitude + 0xfff + (magnitude >> 13 & 1) - (112u << 23)) >> 13;
  uint32_t subnormal =
      std::bit_cast<uint32_t>(std::bit_cast<float>(magnitude) + 0.5f) - 0x3f000000u;
  uint32_t result = magnitude < (113u << 23) ? subnormal : normal;
  result = magnitude >= (143u << 23) ? 0x7c00 : result;  // 2^16 and more
  result = magnitude > 0x7f800000u ? 0x7fff : result;
  sign = magnitude > 0x7f800000u ? 0 : sign;
  return static_cast<uint16_t>(result | sign);
}
inline float bfloatToFloat(uint16_t b) {
  return std::bit_cast<float>(uint32_t{b} << 16);
}
inline uint16_t floatToBfloat(float f) {
  uint32_t bits = std::bit_cast<uint32_t>(f);
  uint32_t rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
  return static_cast<uint16_t>(f != f ? 0x7fff : rounded);
}

}  // namespace farwarp::ptx::FARWARP_LEVEL
