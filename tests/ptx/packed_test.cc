// Goal: small floats, saturation to finite values, video instructions with parts, minimum of three,
// moves and atomics of vectors, and sums of subnormal values in global and shared memory. Method:
// every bit pattern or edge value against arithmetic written out here.
#include <bit>
#include <cmath>

#include "tests/ptx/harness.h"

namespace farwarp::ptx {
namespace {

// The value of a small float by its definition.
double valueOf(uint32_t bits, int exponent_bits, int mantissa_bits) {
  uint32_t mantissa = bits & ((1u << mantissa_bits) - 1);
  int exponent = static_cast<int>(bits >> mantissa_bits & ((1u << exponent_bits) - 1));
  int bias = (1 << (exponent_bits - 1)) - 1;
  double v = exponent == 0
                 ? std::ldexp(mantissa, 1 - bias - mantissa_bits)
                 : std::ldexp(mantissa + (1u << mantissa_bits), exponent - bias - mantissa_bits);
  return (bits >> (exponent_bits + mantissa_bits) & 1) != 0 ? -v : v;
}

struct Format {
  std::string name;
  int exponent_bits, mantissa_bits;
  uint32_t largest;
};

// Each pattern widens to its value and narrows back to itself; midpoints go to the even neighbour.
TEST(Packed, SmallFloatsBothWays) {
  for (const Format& f : {Format{"e4m3x2", 4, 3, 0x7e}, Format{"e5m2x2", 5, 2, 0x7b},
                          Format{"e2m3x2", 2, 3, 0x1f}, Format{"e3m2x2", 3, 2, 0x1f}}) {
    SCOPED_TRACE(f.name);
    TestDevice device;
    TestModule module(device, kernelText(".reg .b32 %r<4>; .reg .f32 %f<4>; .reg .b16 %h<2>;", R"(
      mad.wide.u32 %at, %tidx, 4, %in0; ld.global.f32 %f0, [%at]; neg.f32 %f1, %f0;
      cvt.rn.satfinite.)" + f.name + R"(.f32 %h0, %f1, %f0; cvt.rn.f16x2.)" + f.name + R"( %r0, %h0;
      cvt.u32.u16 %r1, %h0; mad.wide.u32 %at, %tidx, 8, %out; st.global.v2.b32 [%at], {%r0, %r1};)"));
    uint32_t count = f.largest + 1;
    auto* in = device.allocateArray<float>(512);
    auto* out = device.allocateArray<uint32_t>(1024);
    for (uint32_t k = 0; k < 256; ++k) {
      double v = valueOf(k % count, f.exponent_bits, f.mantissa_bits);
      double next = valueOf((k + 1) % count, f.exponent_bits, f.mantissa_bits);
      in[k] = static_cast<float>(v);
      in[256 + k] = next > v ? static_cast<float>((v + next) / 2) : 1e30f;
    }
    ASSERT_EQ(module.launch("k", {2}, {256}, 0, out, in).status, LaunchStatus::ok);
    uint32_t sign = 1u << (f.exponent_bits + f.mantissa_bits);
    for (uint32_t k = 0; k < 512; ++k) {
      uint32_t pattern = k % 256 % count;
      bool last = pattern == f.largest;
      uint32_t want = k < 256 ? pattern : last ? f.largest : pattern + (pattern & 1);
      EXPECT_EQ(out[2 * k + 1], want | (want | sign) << 8) << in[k];
      uint32_t half = out[2 * k] & 0xffff;
      EXPECT_EQ(valueOf(half, 5, 10), valueOf(want, f.exponent_bits, f.mantissa_bits)) << in[k];
      EXPECT_EQ(out[2 * k] >> 16, half | 0x8000);
    }
  }
}

TEST(Packed, FourBitFloatsScalesAndFiniteSaturation) {
  TestDevice device;
  TestModule module(
      device, kernelText(".reg .b32 %r<8>; .reg .f32 %f<4>; .reg .b16 %h<2>; .reg .b8 %q;", R"(
    mov.f32 %f0, 0f40A00000; mov.f32 %f1, 0fBF000000; mov.f32 %f2, 0f7f800000; mov.f32 %f3, 0f7fc00000;
    cvt.rn.satfinite.e2m1x2.f32 %q, %f0, %f1; cvt.rn.f16x2.e2m1x2 %r0, %q;
    cvt.rp.satfinite.ue8m0x2.f32 %h0, %f0, %f2; cvt.u32.u16 %r1, %h0; cvt.rn.bf16x2.ue8m0x2 %r2, %h0;
    cvt.rn.satfinite.f16x2.f32 %r3, %f2, %f3; cvt.rna.satfinite.tf32.f32 %r4, %f2; cvt.rn.satfinite.relu.e4m3x2.f32 %h1, %f1, %f3;
    cvt.u32.u16 %r5, %h1;
    st.global.v4.b32 [%out], {%r0, %r1, %r2, %r3}; st.global.v2.b32 [%out+16], {%r4, %r5};)",
                         0));
  auto* out = device.allocateArray<uint32_t>(8);
  ASSERT_EQ(module.launch("k", {1}, {1}, 0, out).status, LaunchStatus::ok);
  EXPECT_EQ(out[0], 0x4400b800u);  // 5 is halfway between 4 and 6: to even, 4; -0.5
  EXPECT_EQ(out[1], 0x82feu);      // 8, the largest
  EXPECT_EQ(out[2], 0x41007f00u);
  EXPECT_EQ(out[3], 0x7bff7fffu);  // 65504, NaN
  EXPECT_EQ(out[4], 0x7f7fe000u);
  EXPECT_EQ(out[5], 0x007fu);  // 0, NaN
}

TEST(Packed, ScalarVideoInstructions) {
  TestDevice device;
  TestModule module(device, kernelText(".reg .b32 %r<8>, %a, %b, %c;", R"(
    mov.b32 %a, 0x80ff7f01; mov.b32 %b, 0x00000102; mov.b32 %c, 100;
    vadd.s32.s32.u32 %r0, %a.b2, %b.b0; vsub.s32.u32.u32.add %r1, %a.h1, %b.h0, %c;
    vmax.s32.s32.s32 %r2.b1, %a.b3, %b.b1, %c; vadd.s32.u32.u32.sat %r3.b0, %a.b2, %b.b1, %c;
    vmad.s32.s32.s32.shr7 %r4, %a.h0, %b.h0, %c; vset.s32.s32.lt %r5, %a, %b;
    vshl.u32.u32.u32.clamp %r6, %b, %c; vshr.s32.s32.u32.wrap %r7, %a, %c;
    st.global.v4.b32 [%out], {%r0, %r1, %r2, %r3}; st.global.v4.b32 [%out+16], {%r4, %r5, %r6, %r7};)",
                                       0));
  auto* out = device.allocateArray<uint32_t>(8);
  ASSERT_EQ(module.launch("k", {1}, {1}, 0, out).status, LaunchStatus::ok);
  EXPECT_EQ(out[0], 1u);  // -1 + 2
  EXPECT_EQ(out[1], 0x80ffu - 0x102u + 100u);
  EXPECT_EQ(out[2], 0x164u);  // max(-128, 1) as byte 1 of 100
  EXPECT_EQ(out[3], 127u);    // 255 + 1 clamped to a signed byte
  EXPECT_EQ(out[4], (0x7f01u * 0x102u + 100u) >> 7);
  EXPECT_EQ(out[5], 1u);
  EXPECT_EQ(out[6], 0u);
  EXPECT_EQ(out[7], 0xf80ff7f0u);  // 100 modulo 32 is 4
}

// vmad as the manual writes it: the product complemented and one added where it is negated.
TEST(Packed, VideoMultiplyAddNegatesAndSaturates) {
  const uint32_t edges[] = {0,          1,          0xffffffff, 0x7fffffff,
                            0x80000000, 0x80000001, 0x1234abcd, 0xff80ff80};
  for (int form = 0; form < 96; ++form) {
    const bool sign_a = form & 1, sign_b = form & 2, sat = form & 4, po = form / 32 == 2;
    const int shift = form & 8 ? 7 : 0, minus = form / 32 == 0 ? 0 : form & 16 ? 2 : 1;
    const bool minus_product = !po && minus == 1, minus_c = !po && minus == 2;
    std::string instruction = std::string("vmad.s32") + (sign_a ? ".s32" : ".u32") +
                              (sign_b ? ".s32" : ".u32") + (po ? ".po" : "") + (sat ? ".sat" : "") +
                              (shift != 0 ? ".shr7" : "") + " %d, " + (minus_product ? "-" : "") +
                              "%a, %b, " + (minus_c ? "-" : "") + "%c;";
    SCOPED_TRACE(instruction);
    TestDevice device;
    TestModule module(device, kernelText(".reg .b32 %a, %b, %c, %d;", R"(
      mad.wide.u32 %at, %tidx, 16, %in0; ld.global.v2.b32 {%a, %b}, [%at]; ld.global.b32 %c, [%at+8];
      )" + instruction + "mad.wide.u32 %at, %tidx, 4, %out; st.global.b32 [%at], %d;"));
    ASSERT_TRUE(module);
    auto* in = device.allocateArray<uint32_t>(4 * 512);
    auto* out = device.allocateArray<uint32_t>(512);
    for (uint32_t k = 0; k < 512; ++k) {
      for (uint32_t n = 0; n < 3; ++n) in[4 * k + n] = edges[k >> (3 * n) & 7];
    }
    ASSERT_EQ(module.launch("k", {4}, {128}, 0, out, in).status, LaunchStatus::ok);
    const bool is_signed = sign_a || sign_b || minus_product || minus_c;
    for (uint32_t k = 0; k < 512; ++k) {
      auto part = [&](uint32_t n, bool extends) -> __int128 {
        return extends ? __int128{static_cast<int32_t>(in[4 * k + n])} : __int128{in[4 * k + n]};
      };
      __int128 sum = part(0, sign_a) * part(1, sign_b), lsb = po ? 1 : 0;
      uint32_t c = in[4 * k + 2];
      if (minus_product) sum = ~sum, lsb = 1;
      if (minus_c) c = ~c, lsb = 1;
      sum += (is_signed ? __int128{static_cast<int32_t>(c)} : __int128{c}) + lsb;
      auto value = static_cast<int64_t>(sum >> shift);
      int64_t least = is_signed ? INT32_MIN : 0, most = is_signed ? INT32_MAX : UINT32_MAX;
      if (sat) value = std::min(std::max(value, least), most);
      ASSERT_EQ(out[k], static_cast<uint32_t>(value)) << k;
    }
  }
}

TEST(Packed, IntegersPackBelowTheBitsOfAThird) {
  for (int bits : {16, 8, 4, 2}) {
    for (bool is_signed : {false, true}) {
      std::string type = (is_signed ? "s" : "u") + std::to_string(bits);
      std::string instruction =
          "cvt.pack.sat." + type + (bits == 16 ? ".s32 %d, %a, %b;" : ".s32.b32 %d, %a, %b, %c;");
      SCOPED_TRACE(instruction);
      TestDevice device;
      TestModule module(device, kernelText(".reg .b32 %a, %b, %c, %d;", R"(
        mad.wide.u32 %at, %tidx, 16, %in0; ld.global.v2.b32 {%a, %b}, [%at]; ld.global.b32 %c, [%at+8];
        )" + instruction + "mad.wide.u32 %at, %tidx, 4, %out; st.global.b32 [%at], %d;"));
      ASSERT_TRUE(module);
      const int32_t edges[] = {0,  1,   -1,  2,    -2,    7,     8,         -8,
                               -9, 127, 128, -129, 65535, 65536, INT32_MIN, INT32_MAX};
      auto* in = device.allocateArray<int32_t>(4 * 256);
      auto* out = device.allocateArray<uint32_t>(256);
      for (uint32_t k = 0; k < 256; ++k) {
        in[4 * k] = edges[k % 16];
        in[4 * k + 1] = edges[k / 16];
        in[4 * k + 2] = static_cast<int32_t>(0x9e3779b9u * (k + 1));
      }
      ASSERT_EQ(module.launch("k", {2}, {128}, 0, out, in).status, LaunchStatus::ok);
      int64_t least = is_signed ? -(int64_t{1} << (bits - 1)) : 0;
      int64_t most = (int64_t{1} << (is_signed ? bits - 1 : bits)) - 1;
      for (uint32_t k = 0; k < 256; ++k) {
        auto part = [&](uint32_t n) {
          int64_t v = std::min(std::max(int64_t{in[4 * k + n]}, least), most);
          return static_cast<uint64_t>(v) & ((uint64_t{1} << bits) - 1);
        };
        uint64_t want =
            part(1) | part(0) << bits |
            (bits == 16 ? 0 : uint64_t{static_cast<uint32_t>(in[4 * k + 2])} << (2 * bits));
        ASSERT_EQ(out[k], static_cast<uint32_t>(want)) << k;
      }
    }
  }
}

TEST(Packed, MinimumOfThreeAndVectors) {
  TestDevice device;
  TestModule module(device,
                    kernelText(R"(.reg .f32 %f<6>; .reg .v4 .f32 %v; .reg .v2 .f32 %u;)", R"(
    mov.f32 %f0, 0f40400000; mov.f32 %f1, 0fc0000000; mov.f32 %f2, 0f3f800000;
    min.f32 %f3, %f0, %f1, %f2; max.f32 %f4, %f1, %f2, %f0;
    mov.v4.f32 %v, {%f3, %f4, %f0, %f1}; st.global.v4.f32 [%out], %v;
    ld.global.v2.f32 %u, [%out]; mov.v2.f32 {%f0, %f1}, %u; add.f32 %f5, %u.x, %v.y;
    red.global.add.v4.f32 [%out+16], %v; atom.global.add.v2.f32 {%f3, %f4}, [%out+16], {%f1, %f5};
    st.global.v4.f32 [%out+32], {%f0, %f1, %f3, %f4};)",
                               0));
  auto* out = device.allocateArray<float>(12);
  LaunchResult r = module.launch("k", {1}, {1}, 0, out);
  ASSERT_EQ(r.status, LaunchStatus::ok) << r.detail.message;
  const float want[12] = {-2, 3, 3, -2, 1, 4, 3, -2, -2, 3, -2, 3};
  for (int k = 0; k < 12; ++k) EXPECT_EQ(out[k], want[k]) << k;
}

TEST(Packed, MinimumAndMaximumOfHalvesCutOffNegatives) {
  TestDevice device;
  TestModule module(device, kernelText(".reg .b32 %r<4>, %a, %b;", R"(
    mov.b32 %a, 0x8000fffe; mov.b32 %b, 0x00050003; min.relu.s16x2 %r0, %a, %b;
    max.relu.s16x2 %r1, %a, %b; neg.s32 %r2, %b; max.relu.s16x2 %r2, %a, %r2; max.s16x2 %r3, %a, %b;
    st.global.v4.b32 [%out], {%r0, %r1, %r2, %r3};)",
                                       0));
  auto* out = device.allocateArray<uint32_t>(4);
  ASSERT_EQ(module.launch("k", {1}, {1}, 0, out).status, LaunchStatus::ok);
  EXPECT_EQ(out[0], 0u);
  EXPECT_EQ(out[1], 0x00050003u);
  EXPECT_EQ(out[2], 0u);
  EXPECT_EQ(out[3], 0x00050003u);
}

TEST(Packed, SumsOfSubnormalsFlushInGlobalMemoryOnly) {
  TestDevice device;
  TestModule module(device,
                    kernelText(R"(.reg .f32 %f<4>; .reg .b64 %g; .shared .align 4 .f32 cell;)", R"(
    mov.f32 %f0, 0f00400000; st.shared.f32 [cell], %f0; st.global.f32 [%out], %f0; st.global.f32 [%out+4], %f0;
    red.global.add.f32 [%out], %f0; red.add.f32 [%out+4], %f0; red.shared.add.f32 [cell], %f0;
    mov.u64 %g, cell; cvta.shared.u64 %g, %g; red.add.f32 [%g], %f0;
    ld.shared.f32 %f1, [cell]; st.global.f32 [%out+8], %f1;)",
                               0));
  auto* out = device.allocateArray<uint32_t>(3);
  ASSERT_EQ(module.launch("k", {1}, {1}, 0, out).status, LaunchStatus::ok);
  EXPECT_EQ(out[0], 0u);
  EXPECT_EQ(out[1], 0u);
  EXPECT_EQ(out[2], 0x00c00000u);
}

}  // namespace
}  // namespace farwarp::ptx
