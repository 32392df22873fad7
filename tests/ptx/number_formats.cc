#include "tests/ptx/number_formats.h"

#include <algorithm>
#include <cmath>

namespace farwarp::ptx {

uint64_t maskOf(const Number& n) {
  return n.bytes == 8 ? ~uint64_t{0} : (uint64_t{1} << n.bits()) - 1;
}

bool isNan(const Number& n, uint64_t bits) {
  uint64_t magnitude = bits & (maskOf(n) >> 1);
  return n.isFloat() && magnitude > ((uint64_t{1} << n.exponent_bits) - 1) << n.mantissa_bits;
}

double doubleOf(const Number& n, uint64_t bits) {
  uint64_t mantissa = bits & ((uint64_t{1} << n.mantissa_bits) - 1);
  int exponent = static_cast<int>(bits >> n.mantissa_bits & ((1u << n.exponent_bits) - 1));
  double v = exponent == 0 ? std::ldexp(double(mantissa), 1 - n.bias() - n.mantissa_bits)
                           : std::ldexp(double(mantissa | uint64_t{1} << n.mantissa_bits),
                                        exponent - n.bias() - n.mantissa_bits);
  if (exponent == (1 << n.exponent_bits) - 1) v = mantissa == 0 ? INFINITY : NAN;
  return (bits >> (n.bits() - 1) & 1) != 0 ? -v : v;
}

uint64_t bitsOf(const Number& n, double v) {
  uint64_t sign = std::signbit(v) ? n.sign() : 0;
  uint64_t top = ((uint64_t{1} << n.exponent_bits) - 1) << n.mantissa_bits;
  if (v != v) return n.nan != 0 ? n.nan : top | n.leastNormal() / 2;
  if (std::isinf(v)) return sign | top;
  if (v == 0) return sign;
  int exponent = std::max(std::ilogb(v), 1 - n.bias());
  auto mantissa = static_cast<uint64_t>(std::ldexp(std::abs(v), n.mantissa_bits - exponent));
  bool normal = mantissa >> n.mantissa_bits != 0;
  uint64_t biased = normal ? static_cast<uint64_t>(exponent + n.bias()) : 0;
  return sign | biased << n.mantissa_bits | (mantissa & ((uint64_t{1} << n.mantissa_bits) - 1));
}

void setExact(mpfr_ptr to, const Number& n, uint64_t bits) {
  if (n.isFloat())
    mpfr_set_d(to, doubleOf(n, bits), MPFR_RNDN);
  else if (n.is_signed)
    mpfr_set_si(to, static_cast<int64_t>(bits << (64 - n.bits())) >> (64 - n.bits()), MPFR_RNDN);
  else
    mpfr_set_ui(to, bits & maskOf(n), MPFR_RNDN);
}

uint64_t rounded(const Number& to, const Number& from, const uint64_t (&values)[3],
                 Operation operation, mpfr_rnd_t mode) {
  mpfr_set_emin(mpfr_get_emin_min());
  mpfr_set_emax(mpfr_get_emax_max());
  Real a(64), b(64), c(64), result(to.mantissa_bits + 1);
  setExact(a, from, values[0]);
  setExact(b, from, values[1]);
  setExact(c, from, values[2]);
  mpfr_set_emin(2 - to.bias() - to.mantissa_bits);
  mpfr_set_emax(to.bias() + 1);
  int inexact = operation(result, a, b, c, mode);
  inexact = mpfr_check_range(result, inexact, mode);
  mpfr_subnormalize(result, inexact, mode);
  uint64_t bits = bitsOf(to, mpfr_get_d(result, MPFR_RNDN));
  mpfr_set_emin(mpfr_get_emin_min());
  mpfr_set_emax(mpfr_get_emax_max());
  return bits;
}

}  // namespace farwarp::ptx
