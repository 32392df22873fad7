// f16, bf16 and their packed forms. Values are widened, computed and rounded once; a packed
// register is an array of 64 halves.
#include "gpud/device/cpu/ptx/exec/float_semantics.h"
#include "gpud/device/cpu/ptx/exec/lanes.h"
#include "gpud/device/cpu/ptx/exec/special.h"

namespace farwarp::ptx::FARWARP_LEVEL {
namespace {

struct Half {
  static constexpr uint16_t kInfinity = 0x7c00;
  static constexpr uint32_t kExponentBits = 5, kMantissaBits = 10;
  static float widen(uint16_t v) { return halfToFloat(v); }
  static uint16_t round(float v) { return floatToHalf(v); }
};
struct Bfloat {
  static constexpr uint16_t kInfinity = 0x7f80;
  static constexpr uint32_t kExponentBits = 8, kMantissaBits = 7;
  static float widen(uint16_t v) { return bfloatToFloat(v); }
  static uint16_t round(float v) { return floatToBfloat(v); }
};

enum Flags : uint16_t { kFtz = 1, kSat = 2, kRelu = 4 };

template <class Format>
inline uint16_t flushHalf(uint16_t v, bool ftz) {
  return ftz && (v & Format::kInfinity) == 0 ? v & 0x8000 : v;
}

// The sum of two doubles rounded to odd, so that one more rounding to fewer bits is exact.
inline double addOdd(double a, double b) {
  double sum = a + b;
  double back = sum - a;
  double error = (a - (sum - back)) + (b - back);
  uint64_t bits = std::bit_cast<uint64_t>(sum);
  if (error != 0 && (bits & 1) == 0 && sum - sum == 0) {
    bool away = (error > 0) == (sum > 0);
    bits += away ? 1 : ~uint64_t{0};
  }
  return std::bit_cast<double>(bits);
}

template <class Format, FloatOp Op>
inline uint16_t compute(uint16_t ha, uint16_t hb, uint16_t hc) {
  float a = Format::widen(ha), b = Format::widen(hb), c = Format::widen(hc);
  switch (Op) {
    case FloatOp::add:
      return Format::round(a + b);
    case FloatOp::sub:
      return Format::round(a - b);
    case FloatOp::mul:
      return Format::round(a * b);
    case FloatOp::fma:
      return static_cast<uint16_t>(narrow(addOdd(double{a} * b, c), Format::kExponentBits,
                                          Format::kMantissaBits, Rounding::rn));
    case FloatOp::min:
      return Format::round(minimum(a, b));
    case FloatOp::max:
      return Format::round(maximum(a, b));
    case FloatOp::min_nan:
      return Format::round(a != a || b != b ? a + b : minimum(a, b));
    case FloatOp::max_nan:
      return Format::round(a != a || b != b ? a + b : maximum(a, b));
    case FloatOp::min_xorsign:
    case FloatOp::max_xorsign:
    case FloatOp::min_nan_xorsign:
    case FloatOp::max_nan_xorsign: {
      bool nan_wins = Op == FloatOp::min_nan_xorsign || Op == FloatOp::max_nan_xorsign;
      if ((a != a && b != b) || (nan_wins && (a != a || b != b))) return 0x7fff;
      float x = copySign(a, 1.0f), y = copySign(b, 1.0f);
      bool least = Op == FloatOp::min_xorsign || Op == FloatOp::min_nan_xorsign;
      float r = least ? minimum(x, y) : maximum(x, y);
      return static_cast<uint16_t>(Format::round(r) | ((ha ^ hb) & 0x8000));
    }
    case FloatOp::abs:
      return ha & 0x7fff;
    case FloatOp::neg:
      return ha ^ 0x8000;
    case FloatOp::ex2_approx:
      return Format::round(exp2Approx(a));
    case FloatOp::tanh_approx:
      return Format::round(tanhApprox(a));
    default:
      return 0;
  }
}

template <class Format, FloatOp Op, int Arity, bool Packed>
const Inst* halfOperation(Warp& w, const Inst* i) {
  constexpr uint32_t kCount = Packed ? 64 : 32;
  uint32_t mask = execMask(w, i);
  if (mask == 0) return next(w, i);
  const uint16_t* a = lanes<uint16_t>(w, i->a);
  const uint16_t* b = Arity > 1 ? lanes<uint16_t>(w, i->b) : a;
  const uint16_t* c = Arity > 2 ? lanes<uint16_t>(w, i->c) : a;
  uint16_t* dst = lanes<uint16_t>(w, i->dst);
  bool ftz = (i->aux & kFtz) != 0;
  alignas(64) uint16_t result[kCount];
#pragma GCC ivdep
  for (uint32_t l = 0; l < kCount; ++l) {
    uint16_t r = compute<Format, Op>(flushHalf<Format>(a[l], ftz), flushHalf<Format>(b[l], ftz),
                                     flushHalf<Format>(c[l], ftz));
    result[l] = flushHalf<Format>(r, ftz);
  }
  if ((i->aux & (kSat | kRelu)) != 0) {
    for (uint32_t l = 0; l < kCount; ++l) {
      bool nan = (result[l] & 0x7fff) > Format::kInfinity;
      bool negative = (result[l] & 0x8000) != 0;
      if ((i->aux & kSat) != 0) {
        uint16_t one = Format::kMantissaBits == 10 ? 0x3c00 : 0x3f80;
        result[l] = nan || negative ? 0 : result[l] > one ? one : result[l];
      } else if (nan) {
        result[l] = 0x7fff;
      } else if (negative) {
        result[l] = 0;
      }
    }
  }
  for (uint32_t l = 0; l < kCount; ++l) {
    uint32_t lane = Packed ? l >> 1 : l;
    dst[l] = (mask >> lane & 1) != 0 ? result[l] : dst[l];
  }
  return next(w, i);
}

template <class Format, FloatOp Op, int Arity>
Handler pick(bool packed) {
  return packed ? halfOperation<Format, Op, Arity, true> : halfOperation<Format, Op, Arity, false>;
}
template <class Format>
Handler ofFormat(FloatOp op, bool packed) {
  switch (op) {
    case FloatOp::add:
      return pick<Format, FloatOp::add, 2>(packed);
    case FloatOp::sub:
      return pick<Format, FloatOp::sub, 2>(packed);
    case FloatOp::mul:
      return pick<Format, FloatOp::mul, 2>(packed);
    case FloatOp::fma:
      return pick<Format, FloatOp::fma, 3>(packed);
    case FloatOp::min:
      return pick<Format, FloatOp::min, 2>(packed);
    case FloatOp::max:
      return pick<Format, FloatOp::max, 2>(packed);
    case FloatOp::min_nan:
      return pick<Format, FloatOp::min_nan, 2>(packed);
    case FloatOp::max_nan:
      return pick<Format, FloatOp::max_nan, 2>(packed);
    case FloatOp::min_xorsign:
      return pick<Format, FloatOp::min_xorsign, 2>(packed);
    case FloatOp::max_xorsign:
      return pick<Format, FloatOp::max_xorsign, 2>(packed);
    case FloatOp::min_nan_xorsign:
      return pick<Format, FloatOp::min_nan_xorsign, 2>(packed);
    case FloatOp::max_nan_xorsign:
      return pick<Format, FloatOp::max_nan_xorsign, 2>(packed);
    case FloatOp::abs:
      return pick<Format, FloatOp::abs, 1>(packed);
    case FloatOp::neg:
      return pick<Format, FloatOp::neg, 1>(packed);
    case FloatOp::ex2_approx:
      return pick<Format, FloatOp::ex2_approx, 1>(packed);
    case FloatOp::tanh_approx:
      return pick<Format, FloatOp::tanh_approx, 1>(packed);
    default:
      return nullptr;
  }
}

}  // namespace

// The flags travel in Inst::aux: bit 0 ftz, bit 1 sat, bit 2 relu.
Handler halfHandler(FloatOp op, Type type, FloatFlags flags) {
  if (flags.rounding != Rounding::rn) return nullptr;
  switch (type) {
    case Type::f16:
      return ofFormat<Half>(op, false);
    case Type::f16x2:
      return ofFormat<Half>(op, true);
    case Type::bf16:
      return ofFormat<Bfloat>(op, false);
    case Type::bf16x2:
      return ofFormat<Bfloat>(op, true);
    default:
      return nullptr;
  }
}

}  // namespace farwarp::ptx::FARWARP_LEVEL
