// The approximate functions, computed in double precision so that the error of the result is little
// more than its rounding; PTX allows much more.
#pragma once

#include "gpud/device/cpu/ptx/exec/float_semantics.h"

namespace farwarp::ptx::FARWARP_LEVEL {

// Nearest integer of a double below 2^51, and its low bits.
inline constexpr double kToInteger = 0x1.8p52;

inline double exp2Double(double x) {
  x = x < -1000 ? -1000 : x;
  x = x > 1000 ? 1000 : x;
  double shifted = x + kToInteger;
  uint64_t n = std::bit_cast<uint64_t>(shifted);
  double f = (x - (shifted - kToInteger)) * 0.69314718055994530942;
  double p = 1.0 / 40320;
  p = p * f + 1.0 / 5040;
  p = p * f + 1.0 / 720;
  p = p * f + 1.0 / 120;
  p = p * f + 1.0 / 24;
  p = p * f + 1.0 / 6;
  p = p * f + 0.5;
  p = p * f + 1;
  p = p * f + 1;
  return std::bit_cast<double>(std::bit_cast<uint64_t>(p) + (n << 52));
}
inline float exp2Approx(float x) {
  float r = static_cast<float>(exp2Double(x));
  return x != x ? std::bit_cast<float>(kNanBits) : r;
}

inline float log2Approx(float x) {
  double v = x;
  uint64_t bits = std::bit_cast<uint64_t>(v);
  // Split so that the mantissa lies in [sqrt(1/2), sqrt(2)).
  uint64_t offset = bits - 0x3fe6a09e667f3bcd;
  int64_t exponent = static_cast<int64_t>(offset) >> 52;
  double m = std::bit_cast<double>(bits - (static_cast<uint64_t>(exponent) << 52));
  double e =
      std::bit_cast<double>(static_cast<uint64_t>(exponent) + 0x4338000000000000) - kToInteger;
  double s = (m - 1) / (m + 1);
  double s2 = s * s;
  double p = 1.0 / 13;
  p = p * s2 + 1.0 / 11;
  p = p * s2 + 1.0 / 9;
  p = p * s2 + 1.0 / 7;
  p = p * s2 + 1.0 / 5;
  p = p * s2 + 1.0 / 3;
  p = p * s2 + 1.0;
  float r = static_cast<float>(e + 2.8853900817779268147 * s * p);
  uint32_t x_bits = std::bit_cast<uint32_t>(x);
  r = x_bits == 0x7f800000 ? x : r;
  r = (x_bits & 0x7fffffff) == 0 ? -__builtin_inff() : r;
  return x < 0 || x != x ? std::bit_cast<float>(kNanBits) : r;
}

inline float tanhApprox(float x) {
  double e = exp2Double(2.8853900817779268147 * double{x});
  float r = static_cast<float>(1 - 2 / (e + 1));
  r = copySign(x, 1.0f) < 1e-4f ? x : r;
  return x != x ? std::bit_cast<float>(kNanBits) : r;
}

// sin for Quarter 0, cos for Quarter 1: the angle is moved by that many quarter turns.
template <uint64_t Quarter>
inline float sineApprox(float x) {
  double v = x;
  double shifted = v * 0.63661977236758134308 + kToInteger;
  double q = shifted - kToInteger;
  uint64_t quadrant = std::bit_cast<uint64_t>(shifted) + Quarter;
  double r =
      v - q * 1.5707963267341256142;  // the high part of pi/2 has 33 bits: the product is exact
  r = r - q * 6.0771005065061922e-11;
  double r2 = r * r;
  double s = -1.0 / 39916800;
  s = s * r2 + 1.0 / 362880;
  s = s * r2 - 1.0 / 5040;
  s = s * r2 + 1.0 / 120;
  s = s * r2 - 1.0 / 6;
  s = r + r * r2 * s;
  double c = 1.0 / 479001600;
  c = c * r2 - 1.0 / 3628800;
  c = c * r2 + 1.0 / 40320;
  c = c * r2 - 1.0 / 720;
  c = c * r2 + 1.0 / 24;
  c = c * r2 - 0.5;
  c = 1 + r2 * c;
  double y = (quadrant & 1) != 0 ? c : s;
  y = (quadrant & 2) != 0 ? -y : y;
  y = y > 1 ? 1 : y < -1 ? -1 : y;
  float magnitude = copySign(x, 1.0f);
  return magnitude < __builtin_inff() ? static_cast<float>(y) : std::bit_cast<float>(kNanBits);
}

}  // namespace farwarp::ptx::FARWARP_LEVEL
