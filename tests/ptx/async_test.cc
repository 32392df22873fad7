// Goal: mbarriers count arrivals and bytes, copies that signal them complete them, addresses reach
// other blocks of a cluster, and stack that a function takes is its own. Method: small kernels
// whose result shows the order in which things happened.
#include "tests/ptx/harness.h"

namespace farwarp::ptx {
namespace {

TEST(Async, PhasesOfAnMbarrier) {
  TestDevice device;
  TestModule module(device, kernelText(R"(.reg .b64 %s<4>; .reg .b32 %r<6>; .reg .pred %p<6>;
      .shared .align 8 .b64 bar;)",
                                       R"(
    mbarrier.init.shared.b64 [bar], 3;
    mbarrier.arrive.shared.b64 %s0, [bar];
    mbarrier.test_wait.shared.b64 %p0, [bar], %s0;
    mbarrier.arrive.shared::cta.b64 %s1, [bar], 2;
    mbarrier.test_wait.shared.b64 %p1, [bar], %s1;
    mbarrier.try_wait.parity.shared.b64 %p2, [bar], 1;
    mbarrier.pending_count.b64 %r0, %s1;
    mbarrier.arrive.expect_tx.shared.b64 _, [bar], 16;
    mbarrier.arrive_drop.shared.b64 _, [bar], 2;
    mbarrier.test_wait.parity.shared.b64 %p3, [bar], 1;
    mbarrier.complete_tx.shared.b64 [bar], 16;
    mbarrier.test_wait.parity.shared.b64 %p4, [bar], 1;
    mbarrier.arrive.shared.b64 _, [bar];
    mbarrier.test_wait.parity.shared.b64 %p5, [bar], 0;
    selp.b32 %r1, 1, 0, %p0; selp.b32 %r2, 2, 0, %p1; or.b32 %r1, %r1, %r2; selp.b32 %r2, 4, 0, %p2;
    or.b32 %r1, %r1, %r2; selp.b32 %r2, 8, 0, %p3; or.b32 %r1, %r1, %r2; selp.b32 %r2, 16, 0, %p4;
    or.b32 %r1, %r1, %r2; selp.b32 %r2, 32, 0, %p5; or.b32 %r1, %r1, %r2;
    st.global.v2.b32 [%out], {%r0, %r1};)",
                                       0));
  auto* out = device.allocateArray<uint32_t>(2);
  LaunchResult r = module.launch("k", {1}, {1}, 0, out);
  ASSERT_EQ(r.status, LaunchStatus::ok) << r.detail.message;
  EXPECT_EQ(out[0], 2u);
  // Not after one arrival; after three; the phase of parity 1 is the running one, until its bytes
  // have come; the third phase waits for one arrival only.
  EXPECT_EQ(out[1], 2u + 16u + 32u);
}

TEST(Async, CopiesOfAWarpCountAsArrivals) {
  TestDevice device;
  TestModule module(device, kernelText(R"(.reg .b32 %r<6>; .reg .pred %p;
      .shared .align 8 .b64 bar; .shared .align 16 .b8 data[512];)",
                                       R"(
    setp.eq.u32 %p, %t2, 0; @%p mbarrier.init.shared.b64 [bar], 32; bar.sync 0;
    mov.u32 %r0, data; mad.lo.u32 %r0, %t2, 16, %r0; mad.wide.u32 %at, %t2, 16, %in0;
    cp.async.ca.shared.global [%r0], [%at], 16;
    cp.async.mbarrier.arrive.noinc.shared.b64 [bar];
    again: mbarrier.try_wait.parity.shared.b64 %p, [bar], 0; @!%p bra again;
    xor.b32 %r1, %t2, 31; mov.u32 %r0, data; mad.lo.u32 %r0, %r1, 16, %r0; ld.shared.b32 %r2, [%r0+4];
    mad.wide.u32 %at, %t2, 4, %out; st.global.b32 [%at], %r2;)"));
  auto* in = device.allocateArray<uint32_t>(128);
  for (uint32_t k = 0; k < 128; ++k) in[k] = k;
  auto* out = device.allocateArray<uint32_t>(32);
  LaunchResult r = module.launch("k", {1}, {32}, 0, out, in);
  ASSERT_EQ(r.status, LaunchStatus::ok) << r.detail.message;
  for (uint32_t l = 0; l < 32; ++l) EXPECT_EQ(out[l], 4 * (31 - l) + 1);
}

// Block 0 copies to the same place of all four blocks; each waits at its own mbarrier and reads.
TEST(Async, MulticastReachesEveryBlock) {
  TestDevice device;
  TestModule module(device, kernelText(R"(.reg .b32 %r<6>; .reg .b16 %h; .reg .pred %p, %q;
      .shared .align 8 .b64 bar; .shared .align 16 .b8 data[64];)",
                                       R"(
    setp.eq.u32 %p, %t2, 0;
    @%p mbarrier.init.shared.b64 [bar], 1;
    @%p mbarrier.arrive.expect_tx.shared.b64 _, [bar], 64;
    barrier.cluster.arrive; barrier.cluster.wait;
    mov.u32 %r0, %cluster_ctarank; setp.eq.and.u32 %q, %r0, 0, %p; mov.b16 %h, 15;
    mov.u32 %r1, data; mov.u32 %r2, bar;
    @%q cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster [%r1], [%in0], 64, [%r2], %h;
    again: mbarrier.try_wait.parity.shared.b64 %p, [bar], 0; @!%p bra again;
    shl.b32 %r3, %t2, 2; and.b32 %r3, %r3, 63; add.u32 %r3, %r3, %r1; ld.shared.b32 %r4, [%r3];
    mad.wide.u32 %at, %tidx, 4, %out; st.global.b32 [%at], %r4;
    barrier.cluster.arrive; barrier.cluster.wait;)"));
  auto* in = device.allocateArray<uint32_t>(16);
  for (uint32_t k = 0; k < 16; ++k) in[k] = 100 + k;
  auto* out = device.allocateArray<uint32_t>(128);
  LaunchShape shape;
  shape.grid = shape.cluster = {4};
  shape.block = {32};
  LaunchResult r = module.launchShape("k", shape, nullptr, out, in);
  ASSERT_EQ(r.status, LaunchStatus::ok) << r.detail.message;
  for (uint32_t k = 0; k < 128; ++k) EXPECT_EQ(out[k], 100 + k % 16);
}

TEST(Async, AddressesOfOtherBlocks) {
  TestDevice device;
  TestModule module(device, kernelText(R"(.reg .b32 %r<8>; .reg .b64 %g<4>; .reg .pred %p;
      .shared .align 16 .b8 cell[128];)",
                                       R"(
    mov.u32 %r0, %cluster_ctarank; mad.lo.u32 %r1, %t2, 4, 0; mov.u32 %r2, cell; add.u32 %r1, %r1, %r2;
    st.shared.u32 [%r1], %tidx; barrier.cluster.arrive; barrier.cluster.wait;
    xor.b32 %r3, %r0, 1; mapa.shared::cluster.u32 %r4, %r1, %r3; ld.shared::cluster.u32 %r5, [%r4];
    getctarank.shared::cluster.u32 %r6, %r4;
    cvt.u64.u32 %g0, %r1; cvta.shared.u64 %g0, %g0; mapa.u64 %g1, %g0, %r3; ld.u32 %r7, [%g1];
    getctarank.u64 %r3, %g1;
    mad.wide.u32 %at, %tidx, 16, %out; st.global.v4.b32 [%at], {%r5, %r6, %r7, %r3};
    barrier.cluster.arrive; barrier.cluster.wait;)",
                                       0));
  auto* out = device.allocateArray<uint32_t>(256);
  LaunchShape shape;
  shape.grid = shape.cluster = {2};
  shape.block = {32};
  LaunchResult r = module.launchShape("k", shape, nullptr, out);
  ASSERT_EQ(r.status, LaunchStatus::ok) << r.detail.message;
  for (uint32_t t = 0; t < 64; ++t) {
    uint32_t other = 1 - t / 32;
    EXPECT_EQ(out[4 * t], t ^ 32);
    EXPECT_EQ(out[4 * t + 1], other);
    EXPECT_EQ(out[4 * t + 2], t ^ 32);
    EXPECT_EQ(out[4 * t + 3], other);
  }
}

// Both blocks of a cluster add to a word of the first one, whose mbarrier waits for all the bytes.
TEST(Async, ReductionsInAnotherBlockSignalItsBarrier) {
  TestDevice device;
  TestModule module(device, kernelText(R"(.reg .b32 %r<6>; .reg .pred %p, %q;
      .shared .align 8 .b64 bar; .shared .align 4 .b32 cell;)",
                                       R"(
    mov.u32 %r0, %cluster_ctarank; or.b32 %r0, %r0, %t2; setp.eq.u32 %p, %r0, 0;
    @%p mbarrier.init.shared.b64 [bar], 1; @%p st.shared.u32 [cell], 100;
    @%p mbarrier.arrive.expect_tx.shared.b64 _, [bar], 256;
    barrier.cluster.arrive; barrier.cluster.wait;
    mov.u32 %r1, cell; mapa.shared::cluster.u32 %r1, %r1, 0;
    mov.u32 %r2, bar; mapa.shared::cluster.u32 %r2, %r2, 0;
    red.async.relaxed.cluster.shared::cluster.mbarrier::complete_tx::bytes.add.u32 [%r1], %t2, [%r2];
    @!%p bra DONE;
  WAIT:
    mbarrier.try_wait.parity.shared.b64 %q, [bar], 0; @!%q bra WAIT;
    ld.shared.u32 %r4, [cell]; st.global.u32 [%out], %r4;
  DONE:
    barrier.cluster.arrive; barrier.cluster.wait;)",
                                       0));
  auto* out = device.allocateArray<uint32_t>(1);
  LaunchShape shape;
  shape.grid = shape.cluster = {2};
  shape.block = {32};
  LaunchResult r = module.launchShape("k", shape, nullptr, out);
  ASSERT_EQ(r.status, LaunchStatus::ok) << r.detail.message;
  EXPECT_EQ(out[0], 100 + 2 * 31 * 16u);
}

TEST(Async, BulkReductionsAddUp) {
  TestDevice device;
  TestModule module(
      device, kernelText(R"(.reg .b32 %r<4>; .reg .pred %p; .shared .align 16 .b8 data[128];)", R"(
    mov.u32 %r0, data; mad.lo.u32 %r1, %t2, 4, %r0; st.shared.u32 [%r1], %t2; bar.sync 0;
    setp.eq.u32 %p, %t2, 0;
    @%p cp.reduce.async.bulk.global.shared::cta.bulk_group.add.u32 [%out], [%r0], 128;
    cp.async.bulk.commit_group; cp.async.bulk.wait_group.read 0;)",
                         0));
  auto* out = device.allocateArray<uint32_t>(32);
  ASSERT_EQ(module.launch("k", {10}, {32}, 0, out).status, LaunchStatus::ok);
  for (uint32_t l = 0; l < 32; ++l) EXPECT_EQ(out[l], 10 * l);
}

// Each thread takes as many bytes as its number says, twice, in a function that is called in a
// loop.
TEST(Async, CopiesLeaveOutSourcesAndBytes) {
  TestDevice device;
  TestModule module(device, kernelText(R"(.reg .b32 %r<6>; .reg .b16 %h; .reg .pred %p;
      .reg .b64 %d<4>; .shared .align 16 .b8 data[512];)",
                                       R"(
    mov.u32 %r0, data; mad.lo.u32 %r0, %t2, 16, %r0; mad.wide.u32 %at, %t2, 16, %in0;
    and.b32 %r1, %t2, 1; setp.eq.u32 %p, %r1, 0;
    cp.async.ca.shared.global [%r0], [%at], 16, %p;
    cp.async.wait_all; bar.sync 0;
    ld.shared.b32 %r2, [%r0+4]; mad.wide.u32 %d0, %t2, 16, %out; st.global.b32 [%d0], %r2;
    cp.async.ca.shared.global [%r0], [%at], 16, !%p; cp.async.wait_all; bar.sync 0;
    ld.shared.b32 %r2, [%r0+4]; st.global.b32 [%d0+4], %r2;
    mov.u32 %r3, %t2; cvt.u16.u32 %h, %r3; mul.lo.u16 %h, %h, 2049;
    mad.wide.u32 %d1, %t2, 16, %in1;
    cp.async.bulk.global.shared::cta.bulk_group.cp_mask [%d1], [%r0], 16, %h;
    setp.eq.u32 %p, %t2, 0; mov.u64 %d2, 504; mov.u32 %r4, data; bar.sync 0;
    @%p st.bulk.weak.shared::cta [%r4], %d2, 0;
    bar.sync 0; ld.shared.b32 %r2, [%r0+8]; st.global.b32 [%d0+8], %r2;
    mapa.shared::cluster.u64 %d3, %d2, 0; getctarank.shared::cluster.u64 %r5, %d3;
    cvt.u32.u64 %r4, %d3; add.u32 %r5, %r5, %r4; st.async.mmio.release.sys.global.b32 [%d0+12], %r5;
    red.async.mmio.release.sys.global.add.u32 [%d0+12], 5;)",
                                       2));
  auto* in = device.allocateArray<uint32_t>(128);
  for (uint32_t k = 0; k < 128; ++k) in[k] = 0x01010101 * (k + 1);
  auto* masked = device.allocateArray<uint8_t>(512);
  std::memset(masked, 0xee, 512);
  auto* out = device.allocateArray<uint32_t>(128);
  LaunchResult r = module.launch("k", {1}, {32}, 0, out, in, masked);
  ASSERT_EQ(r.status, LaunchStatus::ok) << r.detail.message;
  for (uint32_t l = 0; l < 32; ++l) {
    uint32_t value = in[4 * l + 1];
    EXPECT_EQ(out[4 * l], l % 2 == 0 ? 0 : value) << l;
    EXPECT_EQ(out[4 * l + 1], l % 2 == 1 ? 0 : value) << l;
    for (uint32_t k = 0; k < 16; ++k) {
      bool copied = (l * 2049 >> k & 1) != 0;
      uint8_t whole = l % 2 == 1 ? 0 : reinterpret_cast<uint8_t*>(in)[16 * l + k];
      EXPECT_EQ(masked[16 * l + k], copied ? whole : 0xee) << l << " " << k;
    }
    // Zeros up to byte 504: the last thread's third word is at 504.
    EXPECT_EQ(out[4 * l + 2], 0u) << l;
    EXPECT_EQ(out[4 * l + 3], 504u + 5u);
  }
}

TEST(Async, ZerosBeyondSharedMemoryAreAnError) {
  TestDevice device;
  TestModule module(device, kernelText(".reg .b64 %d; .shared .align 16 .b8 data[64];",
                                       "st.bulk.shared::cta [data], 8589934592, 0;", 0));
  auto* out = device.allocateArray<uint32_t>(1);
  EXPECT_EQ(module.launch("k", {1}, {1}, 0, out).status, LaunchStatus::illegal_address);
}

TEST(Async, StackThatGrows) {
  TestDevice device;
  TestModule module(device, header() + R"(
  .func (.param .b32 result) f(.param .b32 n) { .reg .b32 %r<4>; .reg .b64 %s, %p, %q;
    ld.param.b32 %r0, [n]; cvt.u64.u32 %s, %r0; add.u64 %s, %s, 8;
    alloca.u64 %p, %s, 8; alloca.u64 %q, %s, 16; st.local.u32 [%p], %r0; st.local.u32 [%q], 5;
    ld.local.u32 %r1, [%p]; ld.local.u32 %r2, [%q]; add.u32 %r1, %r1, %r2; st.param.b32 [result], %r1; ret; }
  .visible .entry k(.param .u64 p) { .reg .b32 %r<6>; .reg .b64 %a, %m; .reg .pred %q;
    mov.u32 %r0, %tid.x; mov.u32 %r1, 0; mov.u32 %r2, 0;
    again: call (%r3), f, (%r0); add.u32 %r1, %r1, %r3; add.u32 %r2, %r2, 1; setp.lt.u32 %q, %r2, 2000; @%q bra again;
    call (%r3), f, (7); add.u32 %r1, %r1, %r3;
    ld.param.u64 %a, [p]; mad.wide.u32 %a, %r0, 4, %a; st.global.u32 [%a], %r1; ret; })");
  auto* out = device.allocateArray<uint32_t>(64);
  LaunchResult r = module.launch("k", {1}, {64}, 0, out);
  ASSERT_EQ(r.status, LaunchStatus::ok) << r.detail.message;
  for (uint32_t t = 0; t < 64; ++t) EXPECT_EQ(out[t], 2000 * (t + 5) + 12);
}

TEST(Async, StackThatGrowsTooFarIsAnError) {
  TestDevice device;
  TestModule module(
      device, kernelText(".reg .b64 %p;", "alloca.u64 %p, 1000000000; st.local.u32 [%p], 1;", 0));
  auto* out = device.allocateArray<uint32_t>(1);
  EXPECT_EQ(module.launch("k", {1}, {32}, 0, out).status, LaunchStatus::stack_overflow);
}

}  // namespace
}  // namespace farwarp::ptx
