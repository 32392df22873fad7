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
