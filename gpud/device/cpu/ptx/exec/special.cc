// Instructions with .approx.
#include "gpud/device/cpu/ptx/exec/special.h"

#include "gpud/device/cpu/ptx/exec/lanes.h"

namespace farwarp::ptx::FARWARP_LEVEL {
namespace {

struct Rcp {
  static float run(float a) { return 1.0f / a; }
};
struct Rsqrt {
  static float run(float a) { return 1.0f / __builtin_sqrtf(a); }
};
struct Sqrt {
  static float run(float a) { return __builtin_sqrtf(a); }
};
struct Sin {
  static float run(float a) { return sineApprox<0>(a); }
};
struct Cos {
  static float run(float a) { return sineApprox<1>(a); }
};
struct Ex2 {
  static float run(float a) { return exp2Approx(a); }
};
struct Lg2 {
  static float run(float a) { return log2Approx(a); }
};
struct Tanh {
  static float run(float a) { return tanhApprox(a); }
};

template <class Op, bool Ftz>
const Inst* approximate(Warp& w, const Inst* i) {
  const float* a = lanes<float>(w, i->a);
  return writeLanes<float>(w, i, [=](uint32_t l) {
    float r = canonical(Op::run(Ftz ? flush(a[l]) : a[l]));
    return Ftz ? flush(r) : r;
  });
}
template <bool Ftz>
const Inst* divide(Warp& w, const Inst* i) {
  const float* a = lanes<float>(w, i->a);
  const float* b = lanes<float>(w, i->b);
  return writeLanes<float>(w, i, [=](uint32_t l) {
    float r = Ftz ? flush(flush(a[l]) / flush(b[l])) : a[l] / b[l];
    return canonical(r);
  });
}

const Inst* reciprocalRoot(Warp& w, const Inst* i) {
  const double* a = lanes<double>(w, i->a);
  return writeLanes<double>(w, i, [=](uint32_t l) { return 1.0 / __builtin_sqrt(a[l]); });
}

// The .ftz.f64 forms give the upper 32 bits of the result only.
template <bool Root>
const Inst* grossDouble(Warp& w, const Inst* i) {
  const double* a = lanes<double>(w, i->a);
  return writeLanes<uint64_t>(w, i, [=](uint32_t l) {
    uint64_t bits = std::bit_cast<uint64_t>(a[l]);
    bits = (bits & 0x7ff0000000000000) == 0 ? bits & 0x8000000000000000 : bits;
    double x = std::bit_cast<double>(bits);
    uint64_t r = std::bit_cast<uint64_t>(1.0 / (Root ? __builtin_sqrt(x) : x));
    r = (r & 0x7ff0000000000000) == 0 ? r & 0x8000000000000000 : r;
    return r & 0xffffffff00000000;
  });
}

template <class Op>
Handler pick(FloatFlags flags) {
  return flags.ftz ? approximate<Op, true> : approximate<Op, false>;
}

}  // namespace

Handler specialHandler(FloatOp op, Type type, FloatFlags flags) {
  if (type == Type::f64) {
    if (op == FloatOp::rcp_approx) return grossDouble<false>;
    if (op == FloatOp::rsqrt_approx) return flags.ftz ? grossDouble<true> : reciprocalRoot;
    return nullptr;
  }
  switch (op) {
    case FloatOp::rcp_approx:
      return pick<Rcp>(flags);
    case FloatOp::rsqrt_approx:
      return pick<Rsqrt>(flags);
    case FloatOp::sqrt_approx:
      return pick<Sqrt>(flags);
    case FloatOp::sin_approx:
      return pick<Sin>(flags);
    case FloatOp::cos_approx:
      return pick<Cos>(flags);
    case FloatOp::ex2_approx:
      return pick<Ex2>(flags);
    case FloatOp::lg2_approx:
      return pick<Lg2>(flags);
    case FloatOp::tanh_approx:
      return pick<Tanh>(flags);
    case FloatOp::div_approx:
      return flags.ftz ? divide<true> : divide<false>;
    default:
      return nullptr;
  }
}

}  // namespace farwarp::ptx::FARWARP_LEVEL
