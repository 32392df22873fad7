// The number formats of PTX by their definition, and arithmetic that rounds once to them (MPFR).
#pragma once

#include <mpfr.h>

#include <cstdint>

namespace farwarp::ptx {

// A format of numbers: a float when it has exponent bits, else an integer.
struct Number {
  const char* name;
  int bytes;
  int exponent_bits = 0;
  int mantissa_bits = 0;
  bool is_signed = true;
  uint64_t nan = 0;  // what operations give; 0: any NaN
  int bits() const { return bytes * 8; }
  bool isFloat() const { return exponent_bits != 0; }
  int bias() const { return (1 << (exponent_bits - 1)) - 1; }
  uint64_t sign() const { return uint64_t{1} << (bits() - 1); }
  uint64_t leastNormal() const { return uint64_t{1} << mantissa_bits; }
};
inline constexpr Number kF16{"f16", 2, 5, 10, true, 0x7fff}, kBf16{"bf16", 2, 8, 7, true, 0x7fff},
    kF32{"f32", 4, 8, 23, true, 0x7fffffff}, kF64{"f64", 8, 11, 52, true, 0};
inline constexpr Number kIntegers[] = {
    {"u8", 1, 0, 0, false},  {"s8", 1},  {"u16", 2, 0, 0, false}, {"s16", 2},
    {"u32", 4, 0, 0, false}, {"s32", 4}, {"u64", 8, 0, 0, false}, {"s64", 8}};

uint64_t maskOf(const Number& n);
bool isNan(const Number& n, uint64_t bits);
// The value of these bits; every format fits in a double.
double doubleOf(const Number& n, uint64_t bits);
// The bits of a value that the format has; a NaN where operations give any.
uint64_t bitsOf(const Number& n, double v);

class Real {
 public:
  explicit Real(int precision) { mpfr_init2(v_, precision); }
  ~Real() { mpfr_clear(v_); }
  Real(const Real&) = delete;
  Real& operator=(const Real&) = delete;
  operator mpfr_ptr() { return v_; }

 private:
  mpfr_t v_;
};

// Sets the first to what the operation gives of the other three, rounded; the sign of the error.
using Operation = int (*)(mpfr_ptr, mpfr_ptr, mpfr_ptr, mpfr_ptr, mpfr_rnd_t);

void setExact(mpfr_ptr to, const Number& n, uint64_t bits);
// The operation on exact values of `from`, rounded once to `to`.
uint64_t rounded(const Number& to, const Number& from, const uint64_t (&values)[3],
                 Operation operation, mpfr_rnd_t mode);

}  // namespace farwarp::ptx
