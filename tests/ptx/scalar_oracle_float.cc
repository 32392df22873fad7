// Floating point arithmetic, comparisons and tests.
#include <algorithm>
#include <cmath>

#include "tests/ptx/scalar_oracle.h"

namespace farwarp::ptx {
namespace {

uint64_t u(const Row& row, size_t n) {
  return static_cast<uint64_t>(row.sources[n]);
}

struct FloatType {
  const Number* number = nullptr;
  int lanes = 1;
};

FloatType floatTypeNamed(std::string_view type) {
  if (type == "f16x2") return {&kF16, 2};
  if (type == "bf16x2") return {&kBf16, 2};
  if (type == "f32x2") return {&kF32, 2};
  const Number* n = numberNamed(type);
  return {n != nullptr && n->isFloat() ? n : nullptr, 1};
}
FloatType typeOf(const Instruction& in) {
  return floatTypeNamed(in.mod(-1));
}

uint64_t lane(const Row& row, size_t source, const Number& n, int k) {
  return lowBits(u(row, source) >> (k * n.bits()), n.bits());
}

bool isSubnormal(const Number& n, uint64_t bits) {
  return (bits & ~n.sign()) != 0 && (bits & ~n.sign()) < n.leastNormal();
}
uint64_t flushed(const Instruction& in, const Number& n, uint64_t bits) {
  return in.has("ftz") && isSubnormal(n, bits) ? bits & n.sign() : bits;
}

mpfr_rnd_t modeOf(const Instruction& in) {
  return in.has("rz") ? MPFR_RNDZ : in.has("rm") ? MPFR_RNDD : in.has("rp") ? MPFR_RNDU : MPFR_RNDN;
}

// What .ftz, .sat and .relu make of a result.
Part finished(const Instruction& in, const Number& n, uint64_t bits, int low) {
  Part part = exactPart(n, bits, low);
  if (in.has("ftz")) {
    // Whether what rounds up to the least normal number was subnormal before is not said.
    if ((bits & ~n.sign()) == n.leastNormal()) part.kind = Part::Kind::flushed;
    part.bits = flushed(in, n, bits);
  }
  double v = doubleOf(n, part.bits);
  if (in.has("sat")) {
    part.bits = bitsOf(n, v > 0 ? std::min(v, 1.0) : 0.0);
    if (part.kind == Part::Kind::nan) part.kind = Part::Kind::exact;
  }
  if (in.has("relu") && v == v && !(v > 0)) part.bits = 0;
  return part;
}

template <class OfLane>
Answer ofLanes(const FloatType& type, OfLane of_lane) {
  Answer answer;
  for (int k = 0; k < type.lanes; ++k) {
    answer.destinations[0].parts.push_back(of_lane(k, k * type.number->bits()));
  }
  return answer;
}

Operation operationOf(const Instruction& in) {
  struct Known {
    std::string_view name;
    Operation operation;
  };
  static constexpr Known kKnown[] = {
      {"add", [](auto r, auto a, auto b, auto, auto m) { return mpfr_add(r, a, b, m); }},
      {"sub", [](auto r, auto a, auto b, auto, auto m) { return mpfr_sub(r, a, b, m); }},
      {"mul", [](auto r, auto a, auto b, auto, auto m) { return mpfr_mul(r, a, b, m); }},
      {"fma", [](auto r, auto a, auto b, auto c, auto m) { return mpfr_fma(r, a, b, c, m); }},
      {"mad", [](auto r, auto a, auto b, auto c, auto m) { return mpfr_fma(r, a, b, c, m); }},
      {"div", [](auto r, auto a, auto b, auto, auto m) { return mpfr_div(r, a, b, m); }},
      {"rcp", [](auto r, auto a, auto, auto, auto m) { return mpfr_ui_div(r, 1, a, m); }},
      {"sqrt", [](auto r, auto a, auto, auto, auto m) { return mpfr_sqrt(r, a, m); }},
      {"rsqrt",
       [](auto r, auto a, auto, auto, auto m) {
         // Of -0 it is minus infinity for PTX, unlike for MPFR.
         return mpfr_zero_p(a) ? mpfr_ui_div(r, 1, a, m) : mpfr_rec_sqrt(r, a, m);
       }},
      {"sin", [](auto r, auto a, auto, auto, auto m) { return mpfr_sin(r, a, m); }},
      {"cos", [](auto r, auto a, auto, auto, auto m) { return mpfr_cos(r, a, m); }},
      {"lg2", [](auto r, auto a, auto, auto, auto m) { return mpfr_log2(r, a, m); }},
      {"ex2", [](auto r, auto a, auto, auto, auto m) { return mpfr_exp2(r, a, m); }},
      {"tanh", [](auto r, auto a, auto, auto, auto m) { return mpfr_tanh(r, a, m); }},
  };
  for (const Known& known : kKnown) {
    if (in.name == known.name) return known.operation;
  }
  return nullptr;
}

uint64_t computed(const Instruction& in, const Number& n, const Row& row, int k) {
  uint64_t values[3] = {};
  for (size_t s = 0; s < std::min<size_t>(in.sources.size(), 3); ++s) {
    values[s] = flushed(in, n, lane(row, s, n, k));
  }
  return rounded(n, n, values, operationOf(in), modeOf(in));
}

Answer arithmetic(const Instruction& in, const Row& row) {
  FloatType type = typeOf(in);
  return ofLanes(type, [&](int k, int low) {
    return finished(in, *type.number, computed(in, *type.number, row, k), low);
  });
}

// f32 with operands of 16 bits: all but the last one, which are exact as f32.
Answer mixedArithmetic(const Instruction& in, const Row& row) {
  const Number& half = *numberNamed(in.mod(-1));
  uint64_t values[3] = {};
  for (size_t s = 0; s < in.sources.size(); ++s) {
    bool last = s + 1 == in.sources.size();
    values[s] =
        last ? lowBits(u(row, s), 32) : bitsOf(kF32, doubleOf(half, lowBits(u(row, s), 16)));
  }
  Answer answer;
  answer.destinations[0] =
      finished(in, kF32, rounded(kF32, kF32, values, operationOf(in), modeOf(in)), 0);
  return answer;
}

// What the manual says of .approx and .full, in units of the last place.
double unitsOf(const Instruction& in, const Number& n) {
  if (n.bytes == 8) return in.name == "rcp" || in.has("ftz") ? 0x1p32 : 2;  // 20 bits
  return 2;
}

Answer approximation(const Instruction& in, const Row& row) {
  FloatType type = typeOf(in);
  const Number& n = *type.number;
  return ofLanes(type, [&](int k, int low) {
    Part part = finished(in, n, computed(in, n, row, k), low);
    double x = doubleOf(n, flushed(in, n, lane(row, 0, n, k)));
    if (part.kind == Part::Kind::exact || part.kind == Part::Kind::flushed) {
      part.kind = Part::Kind::near;
      part.units = unitsOf(in, n);
    }
    // Far from 0 the manual promises nothing.
    if ((in.name == "sin" || in.name == "cos") && std::abs(x) > 1e5 && x - x == 0) {
      part.kind = Part::Kind::undefined;
    }
    if (in.name == "div") {
      double divisor = std::abs(doubleOf(n, lane(row, 1, n, k)));
      if (divisor > 0x1p126 || (divisor < 0x1p-126 && divisor != 0))
        part.kind = Part::Kind::undefined;
    }
    return part;
  });
}

Answer signOperation(const Instruction& in, const Row& row) {
  FloatType type = typeOf(in);
  const Number& n = *type.number;
  return ofLanes(type, [&](int k, int low) {
    uint64_t a = flushed(in, n, lane(row, 0, n, k));
    Part part = exactPart(n, in.name == "abs" ? a & ~n.sign() : a ^ n.sign(), low);
    if (isNan(n, a)) part.kind = Part::Kind::nan;
    return part;
  });
}

uint64_t lesserOrGreater(const Instruction& in, const Number& n, uint64_t a, uint64_t b) {
  uint64_t flip = in.has("xorsign") ? (a ^ b) & n.sign() : 0;
  bool is_min = in.name == "min";
  if (in.has("abs")) a &= ~n.sign(), b &= ~n.sign();
  uint64_t v = 0;
  if (isNan(n, a) || isNan(n, b)) {
    bool give_nan = in.has("NaN") || (isNan(n, a) && isNan(n, b));
    if (give_nan) return bitsOf(n, NAN);
    v = isNan(n, a) ? b : a;
  } else {
    double x = doubleOf(n, a), y = doubleOf(n, b);
    bool a_first = x < y || (x == y && std::signbit(x));  // -0 lies before +0
    v = a_first == is_min ? a : b;
  }
  return in.has("xorsign") ? (v & ~n.sign()) | flip : v;
}

Answer minimumOrMaximum(const Instruction& in, const Row& row) {
  FloatType type = typeOf(in);
  const Number& n = *type.number;
  return ofLanes(type, [&](int k, int low) {
    uint64_t v = flushed(in, n, lane(row, 0, n, k));
    for (size_t s = 1; s < in.sources.size(); ++s) {
      v = lesserOrGreater(in, n, v, flushed(in, n, lane(row, s, n, k)));
    }
    return exactPart(n, v, low);
  });
}

Answer copySign(const Instruction& in, const Row& row) {
  const Number& n = *typeOf(in).number;
  Answer answer;
  answer.destinations[0] = (u(row, 1) & ~n.sign()) | (u(row, 0) & n.sign());
  return answer;
}

Answer testProperty(const Instruction& in, const Row& row) {
  const Number& n = *typeOf(in).number;
  uint64_t a = u(row, 0);
  double v = doubleOf(n, a);
  std::string_view what = in.modifiers[0];
  bool holds = what == "finite"       ? std::isfinite(v)
               : what == "infinite"   ? std::isinf(v)
               : what == "number"     ? v == v
               : what == "notanumber" ? v != v
               : what == "normal"     ? std::isfinite(v) && (a & ~n.sign()) >= n.leastNormal()
                                      : isSubnormal(n, a);
  Answer answer;
  // Zero is a number that testp.subnormal and testp.normal are not told about in the same way
  // everywhere.
  if ((what == "subnormal" || what == "normal") && v == 0) answer.undefined = what == "subnormal";
  answer.destinations[0] = Wide{holds};
  return answer;
}

bool compared(std::string_view how, double a, double b) {
  bool unordered = a != a || b != b;
  if (how == "num") return !unordered;
  if (how == "nan") return unordered;
  if (how.size() == 3) {  // equ, neu, ltu, ...
    if (unordered) return true;
    how.remove_suffix(1);
  } else if (unordered) {
    return false;
  }
  return how == "eq"   ? a == b
         : how == "ne" ? a != b
         : how == "lt" ? a < b
         : how == "le" ? a <= b
         : how == "gt" ? a > b
                       : a >= b;
}

Answer comparison(const Instruction& in, const Row& row) {
  FloatType type = typeOf(in);
  const Number& n = *type.number;
  bool holds[2] = {};
  for (int k = 0; k < type.lanes; ++k) {
    holds[k] = compared(in.modifiers[0], doubleOf(n, flushed(in, n, lane(row, 0, n, k))),
                        doubleOf(n, flushed(in, n, lane(row, 1, n, k))));
  }
  Answer answer;
  if (in.name == "setp") {
    answer.destinations[0] = Wide{holds[0]};
    answer.destinations[1] = Wide{type.lanes == 2 ? holds[1] : !holds[0]};
  } else if (type.lanes == 2) {
    answer.destinations[0] = (holds[0] ? 0x3c00u : 0u) | (holds[1] ? 0x3c000000u : 0u);
  } else {
    answer.destinations[0] = !holds[0] ? 0u : in.mod(1) == "f32" ? 0x3f800000u : 0xffffffffu;
  }
  return answer;
}

}  // namespace

Oracle floatOracle(const Instruction& in) {
  FloatType type = typeOf(in);
  if (type.number == nullptr || in.name == "cvt") return nullptr;
  if (in.name == "setp" || in.name == "set") return comparison;
  if (in.name == "testp") return testProperty;
  if (in.name == "copysign") return copySign;
  if (in.name == "abs" || in.name == "neg") return signOperation;
  if (in.name == "min" || in.name == "max") return minimumOrMaximum;
  if (operationOf(in) == nullptr) return nullptr;
  if (in.has("approx") || in.has("full")) return approximation;
  return in.mod(-2) == "f32" ? mixedArithmetic : arithmetic;
}

}  // namespace farwarp::ptx
