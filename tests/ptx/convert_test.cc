// Goal: cvt and half precision give the values PTX defines. Method: all 65,536 halves and edge
// values, against exact arithmetic in double.
#include <bit>
#include <cmath>

#include "tests/ptx/harness.h"

namespace farwarp::ptx {
namespace {

double halfValue(uint16_t h) {
  int exponent = h >> 10 & 31, mantissa = h & 1023;
  double v = exponent == 0 ? std::ldexp(mantissa, -24) : std::ldexp(1024 + mantissa, exponent - 25);
  if (exponent == 31) v = mantissa != 0 ? NAN : INFINITY;
  return (h & 0x8000) != 0 ? -v : v;
}
// Nearest half, by search among the neighbours of a truncated guess: independent of bit tricks.
uint16_t nearestHalf(double v) {
  if (v != v) return 0x7fff;
  uint16_t sign = std::signbit(v) ? 0x8000 : 0;
  v = std::abs(v);
  if (v >= 65520) return sign | 0x7c00;
  uint16_t low = 0, high = 0x7bff;
  while (low < high) {
    uint16_t middle = static_cast<uint16_t>((low + high + 1) / 2);
    if (halfValue(middle) <= v)
      low = middle;
    else
      high = static_cast<uint16_t>(middle - 1);
  }
  double below = halfValue(low),
         above = low == 0x7bff ? 65536 : halfValue(static_cast<uint16_t>(low + 1));
  double to_below = v - below, to_above = above - v;
  bool up = to_above < to_below || (to_above == to_below && (low & 1) != 0);
  return static_cast<uint16_t>(sign | (low + (up ? 1 : 0)));
}

template <class In, class Out>
std::vector<Out> apply(const std::string& registers, const std::string& load,
                       const std::string& body, const std::string& store,
                       const std::vector<In>& input) {
  TestDevice device;
  std::string in_size = std::to_string(sizeof(In)), out_size = std::to_string(sizeof(Out));
  TestModule module(
      device, kernelText(registers, "mad.wide.u32 %at, %tidx, " + in_size + ", %in0;\n" + load +
                                        " [%at];\n" + body + "\nmad.wide.u32 %at, %tidx, " +
                                        out_size + ", %out;\n" + store));
  std::vector<Out> result(input.size());
  if (!module) return result;
  In* in = device.allocateArray<In>(input.size());
  Out* out = device.allocateArray<Out>(input.size());
  std::copy(input.begin(), input.end(), in);
  uint32_t blocks = static_cast<uint32_t>(input.size() / 32);
  EXPECT_EQ(module.launch("k", {blocks}, {32}, 0, out, in).status, LaunchStatus::ok);
  std::copy(out, out + input.size(), result.begin());
  return result;
}

std::vector<uint16_t> allHalves() {
  std::vector<uint16_t> all(65536);
  for (size_t k = 0; k < all.size(); ++k) all[k] = static_cast<uint16_t>(k);
  return all;
}

TEST(Convert, EveryHalfBecomesItsFloat) {
  auto in = allHalves();
  auto out = apply<uint16_t, float>(".reg .b16 %h; .reg .f32 %f;", "ld.global.b16 %h,",
                                    "cvt.f32.f16 %f, %h;", "st.global.f32 [%at], %f;", in);
  for (size_t k = 0; k < in.size(); ++k) {
    double want = halfValue(in[k]);
    ASSERT_TRUE(want != want ? out[k] != out[k]
                             : out[k] == want && std::signbit(out[k]) == std::signbit(want))
        << k;
  }
}

TEST(Convert, FloatsRoundToNearestHalf) {
  std::vector<float> in;
  for (uint32_t k = 0; k < 65536; ++k) {
    float f = static_cast<float>(halfValue(static_cast<uint16_t>(k)));
    uint32_t bits =
        std::bit_cast<uint32_t>(f) + 0xfff + (k % 3);  // around the middle between halves
    in.push_back(std::bit_cast<float>(bits));
  }
  auto out = apply<float, uint16_t>(".reg .b16 %h; .reg .f32 %f;", "ld.global.f32 %f,",
                                    "cvt.rn.f16.f32 %h, %f;", "st.global.b16 [%at], %h;", in);
  for (size_t k = 0; k < in.size(); ++k)
    ASSERT_EQ(out[k], nearestHalf(in[k])) << std::hexfloat << in[k];
}

TEST(Convert, HalfFmaRoundsOnce) {
  // 1 + 2^-10 times itself is 1 + 2^-9 + 2^-20; with a tiny addend the tie of the rounding is
  // broken.
  std::vector<uint16_t> in = allHalves();
  auto out = apply<uint16_t, uint16_t>(".reg .b16 %h, %c, %d; .reg .b32 %w;", "ld.global.b16 %h,",
                                       "mov.b16 %c, 0x3c01; fma.rn.f16 %d, %h, %c, %h;",
                                       "st.global.b16 [%at], %d;", in);
  for (size_t k = 0; k < in.size(); ++k) {
    double h = halfValue(in[k]), c = halfValue(0x3c01);
    ASSERT_EQ(out[k], nearestHalf(h * c + h)) << k;  // exact in double
  }
}

TEST(Convert, FloatsToIntegersClampAndRound) {
  std::vector<float> in = {0.5f,           1.5f,          2.5f,          -0.5f, -1.5f,
                           0.49999997f,    2147483520.0f, 2147483648.0f, 1e20f, -1e20f,
                           -2147483648.0f, INFINITY,      -INFINITY,     NAN,   0,
                           -0.0f,          255.5f,        256.0f,        -1.0f, 1e-40f};
  in.resize(32, 7.25f);
  struct Mode {
    const char* name;
    float (*round)(float);
  };
  for (Mode mode : {Mode{"rni", std::nearbyint}, Mode{"rzi", std::trunc}, Mode{"rmi", std::floor},
                    Mode{"rpi", std::ceil}}) {
    auto out = apply<float, int32_t>(".reg .b32 %d; .reg .f32 %f;", "ld.global.f32 %f,",
                                     std::string("cvt.") + mode.name + ".s32.f32 %d, %f;",
                                     "st.global.b32 [%at], %d;", in);
    auto bytes = apply<float, uint32_t>(".reg .b32 %d; .reg .f32 %f;", "ld.global.f32 %f,",
                                        std::string("cvt.") + mode.name + ".u8.f32 %d, %f;",
                                        "st.global.b32 [%at], %d;", in);
    for (size_t k = 0; k < in.size(); ++k) {
      double r = mode.round(in[k]);
      int32_t want = r != r               ? 0
                     : r >= 2147483647.0  ? INT32_MAX
                     : r <= -2147483648.0 ? INT32_MIN
                                          : int32_t(r);
      EXPECT_EQ(out[k], want) << mode.name << " " << in[k];
      uint32_t byte = r != r || r < 0 ? 0 : r > 255 ? 255 : uint32_t(r);
      EXPECT_EQ(bytes[k], byte) << mode.name << " " << in[k];
    }
  }
}

TEST(Convert, IntegersToFloatsRoundAsAsked) {
  std::vector<uint64_t> in = {0,
                              1,
                              16777217,
                              16777219,
                              0xffffffff,
                              0x7fffffffffffffff,
                              ~uint64_t{0},
                              (uint64_t{1} << 40) + 1,
                              0x8000008000000001};
  in.resize(32, 33554435);
  for (const char* mode : {"rn", "rz", "rm", "rp"}) {
    auto out = apply<uint64_t, float>(".reg .b64 %x; .reg .f32 %f;", "ld.global.u64 %x,",
                                      std::string("cvt.") + mode + ".f32.u64 %f, %x;",
                                      "st.global.f32 [%at], %f;", in);
    for (size_t k = 0; k < in.size(); ++k) {
      // The neighbours that hold the integer between them, in exact arithmetic.
      int shift = in[k] == 0 ? 0 : std::max(0, 40 - std::countl_zero(in[k]));
      uint64_t kept = in[k] >> shift, rest = in[k] - (kept << shift),
               half = shift != 0 ? uint64_t{1} << (shift - 1) : 1;
      bool up = std::string(mode) == "rp" ? rest != 0
                : std::string(mode) == "rn"
                    ? rest > half || (rest == half && shift != 0 && (kept & 1) != 0)
                    : false;
      EXPECT_EQ(out[k], std::ldexp(static_cast<float>(kept + up), shift)) << mode << " " << in[k];
    }
  }
}

}  // namespace
}  // namespace farwarp::ptx
