// Goal: cvt.rs rounds up exactly when the part that is cut off, as a fraction of the last bit that
// is kept, and the random fraction make one or more; what is too large or no number becomes what
// the format has for it. Method: edge values, neighbours of every magnitude and random patterns of
// f32, with random bits at the edges and in between; neighbours are found by search among the
// format's values, and the fractions are exact in double.
#include <bit>
#include <cmath>
#include <random>

#include "tests/ptx/harness.h"

namespace farwarp::ptx {
namespace {

struct Format {
  const char* name;
  int exponent_bits, mantissa_bits;
  uint32_t largest;  // magnitude of the largest finite value
  uint32_t nan;      // what NaN becomes
  int random_bits;
  int values;  // in a register
  int step;    // bits from value to value
};
constexpr Format kFormats[] = {
    {"f16x2", 5, 10, 0x7bff, 0x7fff, 13, 2, 16}, {"bf16x2", 8, 7, 0x7f7f, 0x7fff, 16, 2, 16},
    {"e4m3x4", 4, 3, 0x7e, 0x7f, 16, 4, 8},      {"e5m2x4", 5, 2, 0x7b, 0x7f, 16, 4, 8},
    {"e2m3x4", 2, 3, 0x1f, 0x1f, 16, 4, 8},      {"e3m2x4", 3, 2, 0x1f, 0x1f, 16, 4, 8},
    {"e2m1x4", 2, 1, 0x7, 0x7, 8, 4, 4},
};

double valueOf(uint32_t magnitude, const Format& f) {
  uint32_t mantissa = magnitude & ((1u << f.mantissa_bits) - 1);
  int exponent = static_cast<int>(magnitude >> f.mantissa_bits);
  int bias = (1 << (f.exponent_bits - 1)) - 1;
  return exponent == 0
             ? std::ldexp(mantissa, 1 - bias - f.mantissa_bits)
             : std::ldexp(mantissa + (1u << f.mantissa_bits), exponent - bias - f.mantissa_bits);
}

uint32_t expected(float value, uint32_t random, const Format& f, bool satfinite, bool relu) {
  if (value != value) return f.nan;
  bool negative = std::signbit(value);
  if (relu && value <= 0) return 0;
  double v = std::abs(double{value});
  uint32_t low = 0, high = f.largest;
  while (low < high) {
    uint32_t middle = (low + high + 1) / 2;
    if (valueOf(middle, f) <= v)
      low = middle;
    else
      high = middle - 1;
  }
  double below = valueOf(low, f), unit = valueOf(low + 1, f) - below;
  bool beyond = std::isinf(v) || v >= below + unit;  // larger than the largest by a unit or more
  double fraction = beyond ? 1 : (v - below) / unit;
  uint32_t result = low + (fraction + std::ldexp(random, -f.random_bits) >= 1 ? 1 : 0);
  if (result > f.largest) result = satfinite || f.step != 16 ? f.largest : f.largest + 1;
  return result | (negative ? 1u << (f.exponent_bits + f.mantissa_bits) : 0);
}

std::vector<float> valuesFor(const Format& f) {
  std::mt19937 random(5);
  std::vector<float> values = {0, -0.0f, INFINITY, -INFINITY, NAN, 1e-45f, -1e-45f, 3e38f, -3e38f};
  for (uint32_t k = 0; k < 512; ++k) {
    uint32_t magnitude = f.largest < 512 ? k % (f.largest + 1) : random() % (f.largest + 1);
    auto at = static_cast<float>(valueOf(magnitude, f));
    auto unit = static_cast<float>(valueOf(magnitude + 1, f)) - at;
    for (float v : {at, std::nextafter(at, 0.0f), at + unit / 2, at + unit * 0.999f}) {
      values.push_back(k % 2 == 0 ? v : -v);
    }
  }
  while (values.size() % 128 != 0) values.push_back(std::bit_cast<float>(uint32_t(random())));
  return values;
}

void check(const Format& f, bool satfinite, bool relu) {
  std::string instruction = std::string("cvt.rs") + (relu ? ".relu" : "") +
                            (satfinite ? ".satfinite." : ".") + f.name + ".f32";
  SCOPED_TRACE(instruction);
  bool four = f.values == 4;
  std::string operands = four ? " %d, {%f0, %f1, %f2, %f3}, %w;" : " %d, %f0, %f1, %w;";
  if (f.step == 4) operands.replace(operands.find("%d"), 2, "%h");
  TestDevice device;
  TestModule module(device, kernelText(".reg .f32 %f<4>; .reg .b32 %d, %w; .reg .b16 %h;", R"(
    mad.wide.u32 %at, %tidx, 16, %in0; ld.global.v4.f32 {%f0, %f1, %f2, %f3}, [%at];
    mad.wide.u32 %at, %tidx, 4, %in1; ld.global.b32 %w, [%at];
    )" + instruction + operands + (f.step == 4 ? "cvt.u32.u16 %d, %h;" : "") + R"(
    mad.wide.u32 %at, %tidx, 4, %out; st.global.b32 [%at], %d;)",
                                       2));
  ASSERT_TRUE(module);
  std::vector<float> values = valuesFor(f);
  std::mt19937 random(9);
  size_t count = values.size();
  auto* in = device.allocateArray<float>(4 * count);
  auto* bits = device.allocateArray<uint32_t>(count);
  auto* out = device.allocateArray<uint32_t>(count);
  for (size_t k = 0; k < count; ++k) {
    for (size_t n = 0; n < 4; ++n) in[4 * k + n] = values[(k + n * 37) % count];
    bits[k] = k % 5 == 0 ? 0 : k % 5 == 1 ? ~0u : static_cast<uint32_t>(random());
  }
  auto blocks = static_cast<uint32_t>(count / 128);
  ASSERT_EQ(module.launch("k", {blocks}, {128}, 0, out, in, bits).status, LaunchStatus::ok);
  uint32_t mask = (1u << f.random_bits) - 1;
  for (size_t k = 0; k < count; ++k) {
    for (int n = 0; n < f.values; ++n) {
      uint32_t half = bits[k] >> (f.values == 2 ? (n == 0 ? 16 : 0) : (n < 2 ? 16 : 0));
      if (f.step == 4) half = bits[k] >> (n % 2 == 0 ? 16 : 0) >> (n < 2 ? 8 : 0);
      uint32_t got = out[k] >> (f.step * (f.values - 1 - n)) & ((1u << f.step) - 1);
      ASSERT_EQ(got, expected(in[4 * k + n], half & mask, f, satfinite, relu))
          << std::hexfloat << in[4 * k + n] << " with " << std::hex << (half & mask);
    }
  }
}

TEST(SmallFloat, StochasticRounding) {
  for (const Format& f : kFormats) {
    for (bool relu : {false, true}) {
      check(f, true, relu);
      if (f.values == 2) check(f, false, relu);
    }
  }
}

}  // namespace
}  // namespace farwarp::ptx
