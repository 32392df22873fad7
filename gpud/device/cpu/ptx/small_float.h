// Floating-point formats of 8, 6 and 4 bits.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

#include "gpud/device/cpu/ptx/exec_shared.h"

namespace farwarp::ptx {

enum class SmallFormat : uint8_t { e4m3, e5m2, e2m3, e3m2, e2m1, ue8m0 };

struct SmallShape {
  uint32_t exponent_bits, mantissa_bits;
  bool has_infinity;
  bool has_nan;
  uint32_t largest;  // bits of the largest finite value
};

constexpr SmallShape shapeOf(SmallFormat format) {
  switch (format) {
    case SmallFormat::e4m3:
      return {4, 3, false, true, 0x7e};
    case SmallFormat::e5m2:
      return {5, 2, true, true, 0x7b};
    case SmallFormat::e2m3:
      return {2, 3, false, false, 0x1f};
    case SmallFormat::e3m2:
      return {3, 2, false, false, 0x1f};
    case SmallFormat::e2m1:
      return {2, 1, false, false, 0x7};
    case SmallFormat::ue8m0:
      break;
  }
  return {8, 0, false, true, 0xfe};
}

inline float smallToFloat(uint32_t bits, SmallFormat format) {
  SmallShape shape = shapeOf(format);
  if (format == SmallFormat::ue8m0) {
    return bits == 0xff ? std::bit_cast<float>(0x7fffffffu)
                        : std::ldexp(1.0f, static_cast<int>(bits) - 127);
  }
  uint32_t sign_at = shape.exponent_bits + shape.mantissa_bits;
  uint32_t magnitude = bits & ((1u << sign_at) - 1);
  bool negative = (bits >> sign_at & 1) != 0;
  uint32_t mantissa = magnitude & ((1u << shape.mantissa_bits) - 1);
  int exponent = static_cast<int>(magnitude >> shape.mantissa_bits);
  int bias = (1 << (shape.exponent_bits - 1)) - 1;
  if (shape.has_nan && magnitude > shape.largest) {
    if (shape.has_infinity && mantissa == 0) return negative ? -INFINITY : INFINITY;
    return std::bit_cast<float>(0x7fffffffu);
  }
  if (exponent == 0)
    exponent = 1;
  else
    mantissa |= 1u << shape.mantissa_bits;
  float value = std::ldexp(static_cast<float>(mantissa),
                           exponent - bias - static_cast<int>(shape.mantissa_bits));
  return negative ? -value : value;
}

// Rounds to nearest even, or for ue8m0 towards `up`; what is too large, infinities included,
// becomes the largest finite value. NaN becomes NaN, or the largest value where there is none.
inline uint32_t floatToSmall(float value, SmallFormat format, bool up = false) {
  SmallShape shape = shapeOf(format);
  uint32_t bits = std::bit_cast<uint32_t>(value);
  if (format == SmallFormat::ue8m0) {
    if (value != value) return 0xff;
    uint32_t magnitude = bits & 0x7fffffff;
    uint32_t exponent = magnitude >> 23;
    // The least is 2^-127, which is a subnormal float.
    if (up && (magnitude & 0x7fffff) > (exponent == 0 ? 0x400000u : 0)) ++exponent;
    return exponent > 0xfe ? 0xfe : exponent;
  }
  uint32_t sign_at = shape.exponent_bits + shape.mantissa_bits;
  if (value != value) return shape.has_nan ? (1u << sign_at) - 1 : shape.largest;
  uint32_t sign = bits >> 31 << sign_at;
  int bias = (1 << (shape.exponent_bits - 1)) - 1;
  float magnitude = std::fabs(value);
  if (magnitude > smallToFloat(shape.largest, format) * 2) return sign | shape.largest;
  int exponent = magnitude == 0 ? -200 : std::ilogb(magnitude);
  if (exponent < 1 - bias) exponent = 1 - bias;
  float unit = std::ldexp(1.0f, exponent - static_cast<int>(shape.mantissa_bits));
  uint32_t steps = static_cast<uint32_t>(std::nearbyint(magnitude / unit));
  // A carry out of the mantissa goes on into the exponent by itself.
  uint32_t base = static_cast<uint32_t>(exponent + bias - 1) << shape.mantissa_bits;
  uint32_t result = base + steps;
  return sign | (result > shape.largest ? shape.largest : result);
}

// The magnitude of a finite value with its mantissa cut after `random` was added to what is cut
// off. The random bits are a fraction of the last bit that is kept, 0 to just below 1; where the
// hardware puts them if more bits are cut off than there are random ones is not documented. The
// result may be larger than any number of the format.
inline uint32_t roundStochastic(float value, uint32_t exponent_bits, uint32_t mantissa_bits,
                                uint32_t random, uint32_t random_bits) {
  const uint32_t bits = std::bit_cast<uint32_t>(value) & 0x7fffffff;
  uint64_t mantissa = bits & 0x7fffff;
  int exponent = static_cast<int>(bits >> 23);
  if (exponent == 0)
    exponent = 1;
  else
    mantissa |= 1u << 23;
  int target = exponent - 127 + (1 << (exponent_bits - 1)) - 1;
  uint32_t shift = 23 - mantissa_bits;
  if (target < 1) {
    shift += static_cast<uint32_t>(1 - target);
    target = 1;
  }
  if (shift > 24 + random_bits) return 0;
  const uint64_t sum = (mantissa << random_bits) + (uint64_t{random} << shift);
  return static_cast<uint32_t>(sum >> shift >> random_bits) +
         (static_cast<uint32_t>(target - 1) << mantissa_bits);
}

}  // namespace farwarp::ptx
