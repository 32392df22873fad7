// Conversions between f32 or packed halves and packed floats of 8, 6 and 4 bits.
#include "gpud/device/cpu/ptx/small_float.h"

#include "gpud/device/cpu/ptx/control.h"

namespace farwarp::ptx::op {

const Inst* packSmall(Warp& w, const Inst* i) {
  uint32_t mask = execMask(w, i);
  const float* a = lanes<float>(w, i->a);
  const float* b = lanes<float>(w, i->b);
  SmallFormat format = static_cast<SmallFormat>(i->x);
  bool relu = (i->aux & 4) != 0, up = i->c != 0;
  uint32_t shift = format == SmallFormat::e2m1 ? 4 : 8;
  for (uint32_t l = 0; l < kLanes; ++l) {
    if ((mask >> l & 1) == 0) continue;
    float high = relu && a[l] <= 0 ? 0 : a[l], low = relu && b[l] <= 0 ? 0 : b[l];
    uint32_t packed = floatToSmall(high, format, up) << shift | floatToSmall(low, format, up);
    switch (i->y) {
      case 1:
        lanes<uint8_t>(w, i->dst)[l] = static_cast<uint8_t>(packed);
        break;
      case 2:
        lanes<uint16_t>(w, i->dst)[l] = static_cast<uint16_t>(packed);
        break;
      default:
        lanes<uint32_t>(w, i->dst)[l] = packed;
        break;
    }
  }
  return i + 1;
}

namespace {

// The 5 exponent and 10 mantissa bits of f16, or those of bf16, or a SmallFormat.
uint32_t stochastic(float value, uint8_t format, uint16_t flags, uint32_t random) {
  const bool relu = (flags & 4) != 0, satfinite = (flags & 8) != 0;
  if (relu && value <= 0) value = 0;
  if (format < 5) {
    const SmallFormat small = static_cast<SmallFormat>(format);
    const SmallShape shape = shapeOf(small);
    if (!std::isfinite(value)) return floatToSmall(value, small);
    const uint32_t magnitude = roundStochastic(value, shape.exponent_bits, shape.mantissa_bits,
                                               random, format == 4 ? 8 : 16);
    const uint32_t sign_at = shape.exponent_bits + shape.mantissa_bits;
    return (std::signbit(value) ? 1u << sign_at : 0) |
           (magnitude > shape.largest ? shape.largest : magnitude);
  }
  const bool half = format == 5;
  const uint32_t infinity = half ? 0x7c00 : 0x7f80;
  if (value != value) return 0x7fff;
  uint32_t magnitude = infinity;
  if (std::isfinite(value)) {
    magnitude = roundStochastic(value, half ? 5 : 8, half ? 10 : 7, random, half ? 13 : 16);
  }
  if (magnitude >= infinity) magnitude = satfinite ? infinity - 1 : infinity;
  return (std::signbit(value) ? 0x8000u : 0) | magnitude;
}

// The random bits of value `k` of a conversion, of which PTX says which half of the operand they
// are in; of the four of e2m1, that the first two have the upper bytes of the halves.
uint32_t randomOf(uint32_t bits, uint8_t format, uint32_t k) {
  if (format == 4) return bits >> (k % 2 == 0 ? 16 : 0) >> (k < 2 ? 8 : 0) & 0xff;
  const bool upper = format < 4 ? k < 2 : k == 0;
  return bits >> (upper ? 16 : 0) & (format == 5 ? 0x1fff : 0xffff);
}

}  // namespace

const Inst* packStochastic(Warp& w, const Inst* i) {
  const uint32_t mask = execMask(w, i), count = i->x < 5 ? 4 : 2;
  const uint32_t step = i->x == 4 ? 4 : i->x < 4 ? 8 : 16;
  const float* sources[4] = {lanes<float>(w, i->a), lanes<float>(w, i->b), lanes<float>(w, i->c),
                             lanes<float>(w, i->d)};
  const uint32_t* random = lanes<uint32_t>(w, i->e);
  for (uint32_t l = 0; l < kLanes; ++l) {
    if ((mask >> l & 1) == 0) continue;
    uint32_t packed = 0;
    for (uint32_t k = 0; k < count; ++k) {
      packed =
          packed << step | stochastic(sources[k][l], i->x, i->aux, randomOf(random[l], i->x, k));
    }
    if (i->x == 4)
      lanes<uint16_t>(w, i->dst)[l] = static_cast<uint16_t>(packed);
    else
      lanes<uint32_t>(w, i->dst)[l] = packed;
  }
  return i + 1;
}

const Inst* unpackSmall(Warp& w, const Inst* i) {
  uint32_t mask = execMask(w, i);
  SmallFormat format = static_cast<SmallFormat>(i->x);
  bool relu = (i->aux & 4) != 0;
  uint32_t shift = format == SmallFormat::e2m1 ? 4 : 8, keep = (1u << shift) - 1;
  auto half = [&](uint32_t bits) -> uint32_t {
    float value = smallToFloat(bits & keep, format);
    if (relu && value <= 0) value = 0;
    return i->y != 0 ? floatToBfloat(value) : floatToHalf(value);
  };
  for (uint32_t l = 0; l < kLanes; ++l) {
    if ((mask >> l & 1) == 0) continue;
    uint32_t packed = i->d == 1   ? lanes<uint8_t>(w, i->a)[l]
                      : i->d == 2 ? lanes<uint16_t>(w, i->a)[l]
                                  : lanes<uint32_t>(w, i->a)[l];
    lanes<uint32_t>(w, i->dst)[l] = half(packed) | half(packed >> shift) << 16;
  }
  return i + 1;
}

}  // namespace farwarp::ptx::op
