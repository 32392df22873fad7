// Moves and conversions.
#include <algorithm>
#include <cmath>

#include "tests/ptx/scalar_oracle.h"

namespace farwarp::ptx {
namespace {

uint64_t u(const Row& row, size_t n) {
  return static_cast<uint64_t>(row.sources[n]);
}

mpfr_rnd_t modeOf(const Instruction& in) {
  return in.has("rz") || in.has("rzi")   ? MPFR_RNDZ
         : in.has("rm") || in.has("rmi") ? MPFR_RNDD
         : in.has("rp") || in.has("rpi") ? MPFR_RNDU
                                         : MPFR_RNDN;
}

int copyRounded(mpfr_ptr r, mpfr_ptr a, mpfr_ptr, mpfr_ptr, mpfr_rnd_t mode) {
  return mpfr_set(r, a, mode);
}

// A number in a register that is wider than its type fills it as the type's sign says.
Result inRegister(const Number& n, uint64_t bits) {
  return Result(static_cast<Wide>(n.is_signed ? static_cast<uint64_t>(signExtended(bits, n.bits()))
                                              : lowBits(bits, n.bits())));
}

Answer integerToInteger(const Instruction& in, const Row& row) {
  const Number &to = *numberNamed(in.mod(-2)), &from = *numberNamed(in.mod(-1));
  __int128 v = from.is_signed ? __int128{signExtended(u(row, 0), from.bits())}
                              : static_cast<__int128>(lowBits(u(row, 0), from.bits()));
  if (in.has("sat")) {
    __int128 most = (__int128{1} << (to.bits() - (to.is_signed ? 1 : 0))) - 1;
    v = std::clamp(v, to.is_signed ? -most - 1 : __int128{0}, most);
  }
  Answer answer;
  answer.destinations[0] = inRegister(to, static_cast<uint64_t>(v));
  return answer;
}

Answer floatToInteger(const Instruction& in, const Row& row) {
  const Number &to = *numberNamed(in.mod(-2)), &from = *numberNamed(in.mod(-1));
  double v = doubleOf(from, lowBits(u(row, 0), from.bits()));
  Answer answer;
  if (v != v) {
    // By the manual: 0, or only the highest bit where 64 bits take part.
    bool wide = from.bytes == 8 || to.bytes == 8;
    answer.destinations[0] = inRegister(to, wide ? to.sign() : 0);
    return answer;
  }
  v = in.has("rni")   ? std::nearbyint(v)
      : in.has("rzi") ? std::trunc(v)
      : in.has("rmi") ? std::floor(v)
                      : std::ceil(v);
  int value_bits = to.bits() - (to.is_signed ? 1 : 0);
  uint64_t most = lowBits(~uint64_t{0}, value_bits), least = to.is_signed ? most + 1 : 0;
  double bound = std::ldexp(1, value_bits);
  uint64_t bits = v >= bound                   ? most
                  : to.is_signed && v < -bound ? least
                  : !to.is_signed && v < 0     ? 0
                  : v < 0                      ? static_cast<uint64_t>(static_cast<int64_t>(v))
                                               : static_cast<uint64_t>(v);
  answer.destinations[0] = inRegister(to, bits);
  return answer;
}

// One value to a format of PTX's registers.
Part toFloat(const Instruction& in, const Number& to, const Number& from, uint64_t given, int low) {
  uint64_t bits = lowBits(given, from.bits());
  if (in.has("ftz") && &from == &kF32 && (bits & ~from.sign()) < from.leastNormal())
    bits &= from.sign();
  const uint64_t values[3] = {bits, 0, 0};
  Part part = exactPart(to, rounded(to, from, values, copyRounded, modeOf(in)), low);
  if (in.has("ftz") && &to == &kF32) {
    if ((part.bits & ~to.sign()) == to.leastNormal()) part.kind = Part::Kind::flushed;
    if ((part.bits & ~to.sign()) < to.leastNormal()) part.bits &= to.sign();
  }
  double v = doubleOf(to, part.bits);
  if (from.isFloat() && isNan(from, bits)) {
    // Narrowing gives the canonical NaN; what widening gives is not said.
    part.bits = bitsOf(to, NAN);
    if (to.bytes >= from.bytes || to.nan == 0) part.kind = Part::Kind::nan;
  }
  if (in.has("sat")) {
    part.bits = bitsOf(to, v > 0 ? std::min(v, 1.0) : 0.0);
    part.kind = Part::Kind::exact;
  }
  if (in.has("satfinite") && std::isinf(v)) {
    part.bits = (part.bits & to.sign()) |
                ((((uint64_t{1} << to.exponent_bits) - 1) << to.mantissa_bits) - 1);
  }
  if (in.has("relu") && v == v && !(v > 0)) part.bits = 0;
  return part;
}

Answer toOneFloat(const Instruction& in, const Row& row) {
  const Number &to = *numberNamed(in.mod(-2)), &from = *numberNamed(in.mod(-1));
  Answer answer;
  answer.destinations[0] = toFloat(in, to, from, u(row, 0), 0);
  return answer;
}

Answer roundToIntegral(const Instruction& in, const Row& row) {
  double v = doubleOf(kF32, u(row, 0));
  Answer answer;
  if (v != v) {
    Part part = exactPart(kF32, u(row, 0));
    part.kind = Part::Kind::nan;
    answer.destinations[0] = part;
    return answer;
  }
  v = in.has("rni")   ? std::nearbyint(v)
      : in.has("rzi") ? std::trunc(v)
      : in.has("rmi") ? std::floor(v)
                      : std::ceil(v);
  answer.destinations[0] = exactPart(kF32, bitsOf(kF32, v));
  return answer;
}

Answer toPair(const Instruction& in, const Row& row) {
  const Number& to = in.has("f16x2") ? kF16 : kBf16;
  Answer answer;
  answer.destinations[0].parts = {toFloat(in, to, kF32, u(row, 1), 0),
                                  toFloat(in, to, kF32, u(row, 0), 16)};
  return answer;
}

// Two integers, each clamped to a smaller type, and below them the low bits of a third source.
Answer packIntegers(const Instruction& in, const Row& row) {
  std::string_view type = in.mod(2);  // pack, sat, type
  bool is_signed = type[0] == 's';
  int bits = type == "u16" || type == "s16" ? 16 : type[1] - '0';
  auto clamped = [&](size_t source) {
    int64_t most = (int64_t{1} << (bits - (is_signed ? 1 : 0))) - 1;
    return lowBits(static_cast<uint64_t>(std::clamp(signExtended(u(row, source), 32),
                                                    is_signed ? -most - 1 : 0, most)),
                   bits);
  };
  uint64_t pair = clamped(0) << bits | clamped(1);
  Answer answer;
  answer.destinations[0] = lowBits(pair | (bits < 16 ? u(row, 2) << (2 * bits) : 0), 32);
  return answer;
}

// A float of 19 bits in a register of 32.
Answer toTf32(const Instruction& in, const Row& row) {
  uint64_t a = u(row, 0), sign = a & kF32.sign(), magnitude = a & ~kF32.sign();
  Answer answer;
  if (isNan(kF32, a)) {
    Part part = exactPart(kF32, a);
    part.kind = Part::Kind::nan;
    answer.destinations[0] = part;
    return answer;
  }
  uint64_t below = magnitude & 0x1fff, kept = magnitude - below;
  bool up = in.has("rna")  ? below >= 0x1000
            : in.has("rn") ? below > 0x1000 || (below == 0x1000 && (kept & 0x2000) != 0)
                           : false;
  if (magnitude < 0x7f800000) kept += up ? 0x2000 : 0;
  if (in.has("satfinite") && kept >= 0x7f800000) kept = 0x7f7fe000;
  answer.destinations[0] = sign | kept;
  return answer;
}

// A format of 8 bits or less.
struct SmallFloat {
  std::string_view name;  // of a pair
  int exponent_bits, mantissa_bits;
  uint64_t largest;
  uint64_t nan;  // what NaN becomes: NaN, or the largest where there is none
  int spacing;   // bits from one to the other in a pair
  int bits() const { return 1 + exponent_bits + mantissa_bits; }
  double valueOf(uint64_t pattern) const {
    uint64_t mantissa = pattern & ((uint64_t{1} << mantissa_bits) - 1);
    auto exponent = static_cast<int>(pattern >> mantissa_bits & ((1u << exponent_bits) - 1));
    int bias = (1 << (exponent_bits - 1)) - 1;
    double v = exponent == 0 ? std::ldexp(double(mantissa), 1 - bias - mantissa_bits)
                             : std::ldexp(double(mantissa + (uint64_t{1} << mantissa_bits)),
                                          exponent - bias - mantissa_bits);
    return (pattern >> (bits() - 1) & 1) != 0 ? -v : v;
  }
};
constexpr SmallFloat kSmall[] = {{"e4m3x2", 4, 3, 0x7e, 0x7f, 8},
                                 {"e5m2x2", 5, 2, 0x7b, 0x7f, 8},
                                 {"e2m3x2", 2, 3, 0x1f, 0x1f, 8},
                                 {"e3m2x2", 3, 2, 0x1f, 0x1f, 8},
                                 {"e2m1x2", 2, 1, 0x7, 0x7, 4}};

const SmallFloat* smallOf(const Instruction& in) {
  for (const SmallFloat& f : kSmall) {
    if (in.has(f.name)) return &f;
  }
  return nullptr;
}

// The nearest pattern, by looking at all of them: ties go to the even one.
uint64_t nearestPattern(const SmallFloat& f, double v) {
  uint64_t best = 0;
  double magnitude = std::abs(v);
  for (uint64_t p = 1; p <= f.largest; ++p) {
    double better = std::abs(magnitude - f.valueOf(best)) - std::abs(magnitude - f.valueOf(p));
    if (better > 0 || (better == 0 && (p & 1) == 0)) best = p;
  }
  if (magnitude > f.valueOf(f.largest)) best = f.largest;
  return best | (std::signbit(v) ? uint64_t{1} << (f.bits() - 1) : 0);
}

Answer toSmallPair(const Instruction& in, const Row& row) {
  const SmallFloat& f = *smallOf(in);
  bool from_pair = in.mod(-1) == "f16x2";
  uint64_t pair = 0;
  for (int k = 0; k < 2; ++k) {  // the first source goes to the upper half
    double v = from_pair ? doubleOf(kF16, u(row, 0) >> (16 * k) & 0xffff)
                         : doubleOf(kF32, u(row, static_cast<size_t>(1 - k)));
    uint64_t p = v != v ? f.nan : nearestPattern(f, v);
    if (in.has("relu") && v == v && !(v > 0)) p = 0;
    pair |= p << (k * f.spacing);
  }
  Answer answer;
  answer.destinations[0] = pair;
  return answer;
}

Answer fromSmallPair(const Instruction& in, const Row& row) {
  const SmallFloat& f = *smallOf(in);
  Answer answer;
  for (int k = 0; k < 2; ++k) {
    uint64_t p = lowBits(u(row, 0) >> (k * f.spacing), f.bits());
    uint64_t magnitude = lowBits(p, f.bits() - 1);
    Part part = exactPart(kF16, bitsOf(kF16, f.valueOf(p)), 16 * k);
    bool has_infinity = f.name == "e5m2x2";
    if (magnitude > f.largest) {
      part.bits = has_infinity && magnitude == 0x7c ? 0x7c00 | (p >> 7 << 15) : kF16.nan;
    }
    double v = doubleOf(kF16, part.bits);
    if (in.has("relu") && v == v && !(v > 0)) part.bits = 0;
    answer.destinations[0].parts.push_back(part);
  }
  return answer;
}

// Powers of two: an exponent of 8 bits. Of negative numbers the manual says nothing.
Answer toScales(const Instruction& in, const Row& row) {
  bool from_pair = in.mod(-1) == "bf16x2";
  Answer answer;
  for (int k = 0; k < 2; ++k) {
    double v = from_pair ? doubleOf(kBf16, u(row, 0) >> (16 * k) & 0xffff)
                         : doubleOf(kF32, u(row, static_cast<size_t>(1 - k)));
    Part part;
    part.low = 8 * k;
    part.width = 8;
    if (v != v) {
      part.bits = 0xff;
    } else if (std::signbit(v)) {
      part.kind = Part::Kind::undefined;
    } else if (std::isinf(v)) {
      part.bits = 0xfe;
    } else if (v <= 0x1p-127) {
      part.bits = 0;  // 2^-127: there is nothing less
    } else {
      int exponent = std::ilogb(v);
      if (in.has("rp") && std::ldexp(1, exponent) < v) ++exponent;
      part.bits = static_cast<uint64_t>(std::clamp(exponent + 127, 0, 254));
    }
    answer.destinations[0].parts.push_back(part);
  }
  return answer;
}

Answer move(const Instruction& in, const Row& row) {
  Answer answer;
  if (in.has("v2") || (in.destinations.size() == 1 && in.sources.size() == 1)) {
    answer.destinations[0] = row.sources[0];
    answer.destinations[1] = row.sources[1];
    return answer;
  }
  int part = numberNamed(in.mod(-1)) != nullptr ? numberNamed(in.mod(-1))->bits() / 2 : 64;
  if (in.sources.size() == 2) {
    answer.destinations[0] = row.sources[0] | row.sources[1] << part;
  } else {
    answer.destinations[0] = lowBitsOf(row.sources[0], part);
    answer.destinations[1] = row.sources[0] >> part;
  }
  return answer;
}

}  // namespace

Oracle convertOracle(const Instruction& in) {
  if (in.name == "mov") return move;
  if (in.name != "cvt" || in.has("rs")) return nullptr;
  if (in.has("pack")) return packIntegers;
  if (in.has("tf32")) return toTf32;
  if (in.has("ue8m0x2")) return toScales;
  if (smallOf(in) != nullptr)
    return in.mod(-2) == "f16x2" && smallOf(in)->name == in.mod(-1) ? fromSmallPair : toSmallPair;
  if (in.has("f16x2") || in.has("bf16x2")) return toPair;
  const Number *to = numberNamed(in.mod(-2)), *from = numberNamed(in.mod(-1));
  if (to == nullptr || from == nullptr) return nullptr;
  if (!to->isFloat()) return from->isFloat() ? floatToInteger : integerToInteger;
  if (to == from) return roundToIntegral;
  return toOneFloat;
}

}  // namespace farwarp::ptx
