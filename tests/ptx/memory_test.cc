// Goal: loads, stores and atomics of every space and width move the right bytes. Method: small
// kernels with known contents; atomics from many blocks on two workers against the exact sum.
#include "tests/ptx/harness.h"

namespace farwarp::ptx {
namespace {

TEST(Memory, LoadsExtendAndVectorsKeepTheirOrder) {
  TestDevice device;
  TestModule module(device, kernelText(".reg .b32 %r<5>; .reg .b16 %h; .reg .b64 %d;", R"(
    mad.wide.u32 %at, %tidx, 16, %in0;
    ld.global.v4.u32 {%r0, %r1, %r2, %r3}, [%at];
    ld.global.s8 %r4, [%at+15]; add.u32 %r4, %r4, %r0; ld.global.u16 %h, [%at+2]; cvt.u32.u16 %r0, %h;
    ld.global.s16 %d, [%at+6];
    mad.wide.u32 %at, %tidx, 32, %out;
    st.global.v4.b32 [%at], {%r3, %r2, %r1, %r0}; st.global.u32 [%at+16], %r4; st.global.u64 [%at+24], %d;)"));
  constexpr uint32_t kThreads = 96;
  auto* in = device.allocateArray<uint8_t>(kThreads * 16);
  auto* out = device.allocateArray<uint32_t>(kThreads * 8);
  for (uint32_t k = 0; k < kThreads * 16; ++k) in[k] = static_cast<uint8_t>(k * 37 + 11);
  ASSERT_EQ(module.launch("k", {2}, {48}, 0, out, in).status, LaunchStatus::ok);
  for (uint32_t t = 0; t < kThreads; ++t) {
    uint32_t word[4];
    std::memcpy(word, in + 16 * t, 16);
    EXPECT_EQ(out[8 * t], word[3]);
    EXPECT_EQ(out[8 * t + 1], word[2]);
    EXPECT_EQ(out[8 * t + 2], word[1]);
    EXPECT_EQ(out[8 * t + 3], word[0] >> 16);
    EXPECT_EQ(out[8 * t + 4], word[0] + static_cast<uint32_t>(static_cast<int8_t>(word[3] >> 24)));
    int64_t extended;
    std::memcpy(&extended, out + 8 * t + 6, 8);
    EXPECT_EQ(extended, static_cast<int16_t>(word[1] >> 16));
  }
}

TEST(Memory, LocalArraysArePrivateAndGenericAddressesReachThem) {
  TestDevice device;
  TestModule module(
      device,
      kernelText(".reg .b32 %r<5>; .reg .b64 %l, %g; .local .align 8 .b8 array[64]; .reg .pred %p;"
                 ".shared .align 8 .b8 cells[512]; .reg .b64 %s;",
                 R"(
    mov.u64 %l, array; cvta.local.u64 %g, %l; st.u32 [%g+8], %tidx; ld.local.u32 %r0, [%l+8];
    mul.wide.u32 %s, %t2, 8; mov.u64 %at, cells; add.u64 %s, %s, %at; cvta.shared.u64 %g, %s; st.u32 [%g], %r0;
    ld.shared.u32 %r1, [%s]; add.u32 %r0, %r0, %r1; isspacep.shared %p, %g; @%p add.u32 %r0, %r0, 1;
    cvta.to.shared.u64 %g, %g; sub.u64 %g, %g, %s; cvt.u32.u64 %r2, %g; add.u32 %r0, %r0, %r2;
    mad.wide.u32 %at, %tidx, 4, %out; st.global.u32 [%at], %r0;)",
                 0));
  auto* out = device.allocateArray<uint32_t>(128);
  ASSERT_EQ(module.launch("k", {2}, {64}, 0, out).status, LaunchStatus::ok);
  for (uint32_t t = 0; t < 128; ++t) EXPECT_EQ(out[t], 2 * t + 1);
}

TEST(Memory, DynamicSharedMemoryFollowsTheStatic) {
  TestDevice device;
  TestModule module(device, header() + R"(
  .extern .shared .align 16 .b8 dyn[];
  .visible .entry k(.param .u64 p) { .reg .u64 %a; .reg .u32 %r<4>; .shared .u32 fixed;
    st.shared.u32 [fixed], 5; st.shared.u32 [dyn], 9; ld.shared.u32 %r0, [fixed]; mov.u32 %r1, dyn;
    ld.param.u64 %a, [p]; st.global.v2.u32 [%a], {%r0, %r1}; ret; })");
  auto* out = device.allocateArray<uint32_t>(2);
  ASSERT_EQ(module.launch("k", {1}, {1}, 64, out).status, LaunchStatus::ok);
  EXPECT_EQ(out[0], 5u);
  EXPECT_EQ(out[1], 16u);
}

// Threads of many sizes of block, whose storage lies anywhere: each tells where its array is.
TEST(Memory, SharedArraysAreAlignedAsTheySay) {
  TestDevice device;
  TestModule module(device, header() + R"(
  .visible .entry k(.param .u64 p) { .reg .u64 %a, %s; .reg .u32 %r<2>; .shared .align 4 .b8 first[4];
    .shared .align 1024 .b8 tile[64];
    mov.u32 %r0, %ctaid.x; mul.wide.u32 %a, %r0, 8; ld.param.u64 %s, [p]; add.u64 %a, %a, %s;
    mov.u64 %s, tile; cvta.shared.u64 %s, %s; st.global.u64 [%a], %s; ret; })");
  auto* out = device.allocateArray<uint64_t>(8);
  for (uint32_t threads = 1; threads <= 256; threads += 15) {
    std::fill_n(out, 8, 1);
    ASSERT_EQ(module.launch("k", {8}, {threads}, 0, out).status, LaunchStatus::ok);
    for (int block = 0; block < 8; ++block) EXPECT_EQ(out[block] % 1024, 0u) << out[block];
  }
}

TEST(Memory, ParametersOfAnyLayoutAndTheirAddresses) {
  TestDevice device;
  TestModule module(device, header() + R"(
  .visible .entry k(.param .u64 p, .param .u8 small, .param .align 8 .b8 st[24]) { .reg .u64 %a, %b; .reg .u32 %r<4>;
    ld.param.u64 %a, [p]; ld.param.u8 %r0, [small]; ld.param.u32 %r1, [st+20]; mov.b64 %b, st; add.u64 %b, %b, 4;
    ld.param.u32 %r2, [%b+4]; st.global.v2.u32 [%a], {%r0, %r1}; st.global.u32 [%a+8], %r2; ret; })");
  struct alignas(8) Value {
    uint32_t word[6];
  };
  auto* out = device.allocateArray<uint32_t>(3);
  ASSERT_EQ(module.launch("k", {1}, {1}, 0, out, uint8_t{200}, Value{{1, 2, 3, 4, 5, 6}}).status,
            LaunchStatus::ok);
  EXPECT_EQ(out[0], 200u);
  EXPECT_EQ(out[1], 6u);
  EXPECT_EQ(out[2], 3u);
}

TEST(Memory, InitialisersAndRelocations) {
  TestDevice device;
  TestModule module(device, header() + R"(
  .global .align 4 .u32 data[4] = {1, 0x10, -3, 8};
  .global .align 4 .f32 reals[2] = {0f3fc00000, 2.5};
  .global .align 8 .u64 pointer = generic(data)+8;
  .const .align 4 .b8 bytes[8] = {1, 2, 3, 4, 5};
  .visible .entry k(.param .u64 p) { .reg .u64 %a, %b; .reg .u32 %r<6>;
    ld.param.u64 %a, [p]; ld.global.u64 %b, [pointer]; ld.u32 %r0, [%b]; ld.global.u32 %r1, [reals+4];
    ld.const.u32 %r2, [bytes+4]; mov.u64 %b, data; ld.global.u32 %r3, [%b+4];
    st.global.v4.u32 [%a], {%r0, %r1, %r2, %r3}; ret; })");
  auto* out = device.allocateArray<uint32_t>(4);
  ASSERT_EQ(module.launch("k", {1}, {32}, 0, out).status, LaunchStatus::ok);
  EXPECT_EQ(out[0], static_cast<uint32_t>(-3));
  EXPECT_EQ(out[1], 0x40200000u);
  EXPECT_EQ(out[2], 5u);
  EXPECT_EQ(out[3], 16u);
}

TEST(Memory, AtomicsOfAllThreadsAddUp) {
  TestDevice device(2);
  TestModule module(device,
                    kernelText(".reg .b32 %r<4>; .reg .f32 %f; .reg .f64 %d; .reg .b64 %x;", R"(
    mov.f32 %f, 0f3f800000; mov.f64 %d, 0d3fe0000000000000; cvt.u64.u32 %x, %tidx;
    atom.global.add.u32 %r0, [%out], 1; red.global.add.f32 [%out+4], %f; red.global.add.f64 [%out+8], %d;
    atom.global.add.u64 %x, [%out+16], %x; atom.global.max.s32 %r1, [%out+24], %tidx;
    atom.inc.u32 %r2, [%out+28], 6; atom.global.and.b32 %r3, [%out+32], 0xfffffff0; red.global.xor.b64 [%out+40], 1;
    shl.b32 %r1, 1, %t2; red.global.or.b32 [%out+48], %r1;)",
                               0));
  auto* out = device.allocateArray<uint32_t>(64);
  out[8] = 0xff;
  constexpr uint32_t kThreads = 64 * 256;
  ASSERT_EQ(module.launch("k", {64}, {256}, 0, out).status, LaunchStatus::ok);
  EXPECT_EQ(out[0], kThreads);
  float f;
  double d;
  uint64_t sum;
  std::memcpy(&f, out + 1, 4);
  std::memcpy(&d, out + 2, 8);
  std::memcpy(&sum, out + 4, 8);
  EXPECT_EQ(f, kThreads);
  EXPECT_EQ(d, kThreads / 2);
  EXPECT_EQ(sum, uint64_t{kThreads} * (kThreads - 1) / 2);
  EXPECT_EQ(out[6], kThreads - 1);
  EXPECT_EQ(out[7], kThreads % 7);
  EXPECT_EQ(out[8], 0xf0u);
  EXPECT_EQ(out[10], 0u);
  EXPECT_EQ(out[12], ~0u);
}

// Every thread adds to both halves of a 16-byte word until its exchange is the one that counts; the
// halves never part. Then all swap in a value of their own, and each value comes back once.
TEST(Memory, SixteenBytesAreExchangedAsAWhole) {
  TestDevice device;
  TestModule module(device,
                    kernelText(R"(.reg .b128 %old, %new, %seen; .reg .b64 %low, %high, %l, %h;
      .reg .pred %p, %q; .reg .b64 %x;)",
                               R"(
    ld.global.v2.b64 {%low, %high}, [%out];
  AGAIN:
    mov.b128 %old, {%low, %high}; add.u64 %l, %low, 1; add.u64 %h, %high, 3;
    mov.b128 %new, {%l, %h}; atom.global.cas.b128 %seen, [%out], %old, %new;
    mov.b128 {%l, %h}, %seen; setp.ne.u64 %p, %l, %low; setp.ne.or.u64 %p, %h, %high, %p;
    mov.u64 %low, %l; mov.u64 %high, %h; @%p bra AGAIN;
    cvt.u64.u32 %low, %tidx; add.u64 %low, %low, 1; neg.s64 %high, %low; mov.b128 %new, {%low, %high};
    atom.global.exch.b128 %seen, [%out+16], %new; mov.b128 {%l, %h}, %seen;
    mad.wide.u32 %x, %tidx, 16, %in0; st.global.v2.b64 [%x], {%l, %h};)"));
  constexpr uint64_t kThreads = 512;
  auto* out = device.allocateArray<uint64_t>(4);
  auto* seen = device.allocateArray<uint64_t>(2 * kThreads);
  LaunchResult r = module.launch("k", {8}, {64}, 0, out, seen);
  ASSERT_EQ(r.status, LaunchStatus::ok) << r.detail.message;
  EXPECT_EQ(out[0], kThreads);
  EXPECT_EQ(out[1], 3 * kThreads);
  uint64_t sum = out[2];
  for (uint64_t t = 0; t < kThreads; ++t) {
    EXPECT_EQ(seen[2 * t], ~seen[2 * t + 1] + 1);
    sum += seen[2 * t];
  }
  EXPECT_EQ(sum, kThreads * (kThreads + 1) / 2);
}

TEST(Memory, AsynchronousCopiesFillWhatTheSourceDoesNotGive) {
  TestDevice device;
  TestModule module(device, kernelText(".reg .b32 %r<6>; .shared .align 16 .b8 buffer[1024];", R"(
    shl.b32 %r0, %t2, 4; mov.u32 %r1, buffer; add.u32 %r1, %r1, %r0; mad.wide.u32 %at, %tidx, 16, %in0;
    and.b32 %r2, %t2, 1; mul.lo.u32 %r2, %r2, 12;
    cp.async.cg.shared.global [%r1], [%at], 16, %r2; cp.async.commit_group; cp.async.wait_group 0; bar.sync 0;
    ld.shared.v4.b32 {%r2, %r3, %r4, %r5}, [%r1]; mad.wide.u32 %at, %tidx, 16, %out;
    st.global.v4.b32 [%at], {%r2, %r3, %r4, %r5};)"));
  auto* in = device.allocateArray<uint32_t>(256);
  auto* out = device.allocateArray<uint32_t>(256);
  for (uint32_t k = 0; k < 256; ++k) in[k] = k + 1;
  ASSERT_EQ(module.launch("k", {1}, {64}, 0, out, in).status, LaunchStatus::ok);
  for (uint32_t k = 0; k < 256; ++k)
    EXPECT_EQ(out[k], k / 4 % 2 != 0 && k % 4 != 3 ? k + 1 : 0) << k;
}

TEST(Memory, HalfAtomicsAndPackedArithmetic) {
  TestDevice device;
  TestModule module(device, kernelText(".reg .b16 %h; .reg .b32 %r<4>;", R"(
    mov.b32 %r0, 0x3c003c00; atom.global.add.noftz.f16x2 %r1, [%out], %r0;
    mov.b32 %r1, 0x40004200; add.rn.f16x2 %r2, %r0, %r1; st.global.b32 [%out+4], %r2;
    mov.b32 %r1, 0x3f804000; fma.rn.bf16x2 %r2, %r1, %r1, %r1; st.global.b32 [%out+8], %r2;)",
                                       0));
  auto* out = device.allocateArray<uint32_t>(3);
  ASSERT_EQ(module.launch("k", {1}, {32}, 0, out).status, LaunchStatus::ok);
  EXPECT_EQ(out[0], 0x50005000u);  // 32
  EXPECT_EQ(out[1], 0x42004400u);  // 3, 4
  EXPECT_EQ(out[2], 0x400040c0u);  // 2, 6
}

}  // namespace
}  // namespace farwarp::ptx
