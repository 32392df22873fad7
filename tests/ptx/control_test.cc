// Goal: diverged lanes meet again, all make progress, and block-wide and warp-wide operations see
// the right threads. Method: kernels whose results depend on each lane's own path, compared with
// the same computation in C++.
#include "tests/ptx/harness.h"

namespace farwarp::ptx {
namespace {

std::vector<uint32_t> runKernel(const std::string& ptx, Extent grid, Extent block,
                                size_t count = 0) {
  TestDevice device;
  TestModule module(device, ptx);
  size_t total = count != 0 ? count : grid.count() * block.count();
  uint32_t* out = device.allocateArray<uint32_t>(total);
  LaunchResult result = module.launch("k", grid, block, 0, out);
  EXPECT_EQ(result.status, LaunchStatus::ok) << result.detail.message;
  return std::vector<uint32_t>(out, out + total);
}
const char* kStore = "\nmad.wide.u32 %at, %tidx, 4, %out; st.global.u32 [%at], %r0;\n";

TEST(Control, NestedDivergentLoopsComputePerLane) {
  auto out = runKernel(kernelText(".reg .u32 %r<6>; .reg .pred %p, %q;", std::string(R"(
    mov.u32 %r0, 0; mov.u32 %r1, 0;
  outer: setp.ge.u32 %p, %r1, %tidx; @%p bra done;
    mov.u32 %r2, 0;
  inner: setp.ge.u32 %q, %r2, %r1; @%q bra next;
    and.b32 %r3, %r2, 1; setp.eq.u32 %q, %r3, 0; @%q bra even;
    add.u32 %r0, %r0, %r2; bra.uni joined;
  even: add.u32 %r0, %r0, 1;
  joined: add.u32 %r2, %r2, 1; bra inner;
  next: add.u32 %r1, %r1, 1; bra outer;
  done:)") + kStore,
                                  0),
                       {2}, {50});
  for (uint32_t t = 0; t < 100; ++t) {
    uint32_t want = 0;
    for (uint32_t i = 0; i < t; ++i)
      for (uint32_t j = 0; j < i; ++j) want += j % 2 != 0 ? j : 1;
    EXPECT_EQ(out[t], want) << t;
  }
}

TEST(Control, LanesThatExitEarlyLeaveBarriersAndVotes) {
  auto out = runKernel(kernelText(".reg .u32 %r<6>; .reg .pred %p;", std::string(R"(
    mov.u32 %r0, 7; setp.lt.u32 %p, %tidx, 40; @%p exit;
    bar.sync 0;
    activemask.b32 %r1; popc.b32 %r0, %r1;)") + kStore,
                                  0),
                       {1}, {96});
  for (uint32_t t = 0; t < 96; ++t) EXPECT_EQ(out[t], t < 40 ? 0u : t < 64 ? 24u : 32u) << t;
}

TEST(Control, ASpinLockWithinAWarpMakesProgress) {
  // Both shapes: the holder leaves the loop before unlocking, or unlocks inside it.
  auto out = runKernel(header() + R"(
  .visible .entry k(.param .u64 p) { .reg .u64 %a, %b; .reg .u32 %r<3>; .reg .pred %p;
    ld.param.u64 %a, [p]; add.u64 %b, %a, 4;
  spin: atom.global.cas.b32 %r0, [%a], 0, 1; setp.ne.u32 %p, %r0, 0; @%p bra spin;
    ld.volatile.global.u32 %r1, [%b]; add.u32 %r1, %r1, 1; st.volatile.global.u32 [%b], %r1;
    membar.gl; atom.global.exch.b32 %r0, [%a], 0; ret; })",
                       {4}, {64}, 2);
  EXPECT_EQ(out[1], 256u);
}

TEST(Control, AProducerAndAConsumerInOneWarpFinish) {
  auto out = runKernel(header() + R"(
  .visible .entry k(.param .u64 p) { .reg .u64 %a; .reg .u32 %r<3>; .reg .pred %p;
    ld.param.u64 %a, [p]; mov.u32 %r0, %tid.x; setp.eq.u32 %p, %r0, 5; @%p bra produce;
  wait: ld.volatile.global.u32 %r1, [%a]; setp.eq.u32 %p, %r1, 0; @%p bra wait;
    bra done;
  produce: nanosleep.u32 100; st.volatile.global.u32 [%a], 9;
  done: red.global.add.u32 [%a+4], 1; ret; })",
                       {1}, {32}, 2);
  EXPECT_EQ(out[1], 32u);
}

TEST(Control, TheWarpSizeIsANumberWhereverANumberMayStand) {
  auto out = runKernel(kernelText(".reg .u32 %r<3>;",
                                  std::string(R"(
    mov.u32 %r1, WARP_SZ; rem.u32 %r0, %tidx, WARP_SZ; sub.u32 %r0, %r1, %r0;)") +
                                      kStore,
                                  0),
                       {1}, {40});
  for (uint32_t t = 0; t < 40; ++t) EXPECT_EQ(out[t], 32 - t % 32) << t;
}

TEST(Control, BarriersOrderSharedMemory) {
  auto out = runKernel(
      kernelText(
          ".reg .u32 %r<6>; .reg .u64 %s; .shared .align 4 .b8 buffer[4096];", std::string(R"(
    shl.b32 %r1, %t2, 2; mov.u32 %r2, buffer; add.u32 %r2, %r2, %r1;
    st.shared.u32 [%r2], %tidx; bar.sync 0;
    sub.u32 %r3, 1023, %t2; shl.b32 %r3, %r3, 2; mov.u32 %r2, buffer; add.u32 %r2, %r2, %r3;
    ld.shared.u32 %r0, [%r2];)") + kStore,
          0),
      {3}, {1024});
  for (uint32_t t = 0; t < 3072; ++t) ASSERT_EQ(out[t], t / 1024 * 1024 + 1023 - t % 1024);
}

TEST(Control, BarrierReductionsCountAllThreads) {
  auto out = runKernel(kernelText(".reg .u32 %r<6>; .reg .pred %p, %q, %z;", std::string(R"(
    and.b32 %r1, %t2, 3; setp.eq.u32 %p, %r1, 0;
    bar.red.popc.u32 %r0, 1, %p; bar.red.or.pred %q, 0, %p; bar.red.and.pred %z, 0, !%p;
    @%q add.u32 %r0, %r0, 1000; @%z add.u32 %r0, %r0, 5000;)") + kStore,
                                  0),
                       {1}, {70});
  for (uint32_t v : out) EXPECT_EQ(v, 1018u);
}

TEST(Control, NamedBarriersWithCountsSynchroniseSomeWarps) {
  auto out =
      runKernel(kernelText(".reg .u32 %r<6>; .reg .pred %p; .shared .u32 cell;", std::string(R"(
    mov.u32 %r0, 1; setp.ge.u32 %p, %t2, 64; @%p bra other;
    setp.lt.u32 %p, %t2, 32; @%p bra consumer;
    st.shared.u32 [cell], 42; bar.arrive 3, 64; bra other;
  consumer: bar.sync 3, 64; ld.shared.u32 %r0, [cell];
  other:)") + kStore,
                           0),
                {1}, {128});
  for (uint32_t t = 0; t < 128; ++t) EXPECT_EQ(out[t], t < 32 ? 42u : 1u);
}

TEST(Control, ShufflesMoveValuesBetweenLanes) {
  struct Mode {
    const char* text;
    uint32_t (*source)(uint32_t lane);
  };
  for (Mode mode :
       {Mode{"shfl.sync.down.b32 %r0|%p, %t2, 3, 31, -1;",
             [](uint32_t l) { return l + 3 < 32 ? l + 3 : l; }},
        Mode{"shfl.sync.up.b32 %r0|%p, %t2, 5, 0, -1;",
             [](uint32_t l) { return l >= 5 ? l - 5 : l; }},
        Mode{"shfl.sync.bfly.b32 %r0|%p, %t2, 9, 31, -1;", [](uint32_t l) { return l ^ 9; }},
        Mode{"shfl.sync.idx.b32 %r0|%p, %t2, 2, 0x181f, -1;",
             [](uint32_t l) { return (l & 24) + 2; }}}) {
    auto out =
        runKernel(kernelText(".reg .u32 %r<2>; .reg .pred %p;", std::string(mode.text) + kStore, 0),
                  {1}, {32});
    for (uint32_t l = 0; l < 32; ++l) EXPECT_EQ(out[l], mode.source(l)) << mode.text << l;
  }
}

TEST(Control, DivergedLanesMeetAtACollectiveThatNamesThemAll) {
  auto out = runKernel(kernelText(".reg .u32 %r<4>; .reg .pred %p;", std::string(R"(
    mov.u32 %r1, 0; setp.lt.u32 %p, %t2, 11; @%p bra low;
  loop: add.u32 %r1, %r1, 1; setp.lt.u32 %p, %r1, %t2; @%p bra loop;
  low: setp.eq.u32 %p, %r1, 0; vote.sync.ballot.b32 %r2, %p, -1; redux.sync.add.u32 %r3, %t2, -1;
    add.u32 %r0, %r2, %r3;)") + kStore,
                                  0),
                       {1}, {32});
  for (uint32_t v : out) EXPECT_EQ(v, 0x7ffu + 496u);
}

TEST(Control, MatchAndVotesWorkOnMemberMasks) {
  auto out = runKernel(kernelText(".reg .u32 %r<4>; .reg .pred %p, %q;",
                                  std::string(R"(
    and.b32 %r1, %t2, 3; match.any.sync.b32 %r0, %r1, -1; match.all.sync.b32 %r2|%p, %r1, -1;
    setp.lt.u32 %q, %t2, 40; vote.sync.all.pred %q, %q, -1; @%q add.u32 %r0, %r0, 1; @%p mov.u32 %r0, 0;)") +
                                      kStore,
                                  0),
                       {1}, {32});
  for (uint32_t l = 0; l < 32; ++l) EXPECT_EQ(out[l], (0x11111111u << (l & 3)) + 1);
}

TEST(Control, FunctionsRecurseAndReturnPerLane) {
  auto out = runKernel(header() + R"(
  .func (.param .b32 r) fact(.param .b32 n) { .reg .u32 %a, %b; .reg .pred %p;
    ld.param.u32 %a, [n]; setp.gt.u32 %p, %a, 1; @%p bra more; st.param.b32 [r], 1; ret;
  more: { .param .b32 x; .param .b32 y; sub.u32 %b, %a, 1; st.param.b32 [x], %b; call.uni (y), fact, (x);
    ld.param.b32 %b, [y]; } mul.lo.u32 %a, %a, %b; st.param.b32 [r], %a; ret; }
  .visible .entry k(.param .u64 p) { .reg .u64 %a; .reg .u32 %r<3>;
    ld.param.u64 %a, [p]; mov.u32 %r0, %tid.x; mad.wide.u32 %a, %r0, 4, %a;
    { .param .b32 x; .param .b32 y; st.param.b32 [x], %r0; call (y), fact, (x); ld.param.b32 %r1, [y]; }
    st.global.u32 [%a], %r1; ret; })",
                       {1}, {13});
  for (uint32_t t = 0, f = 1; t < 13; ++t, f *= t) EXPECT_EQ(out[t], f) << t;
}

TEST(Control, BranchTablesAndIndirectCallsGoWhereTheirLaneSays) {
  auto out = runKernel(header() + R"(
  .func (.param .b32 r) f0(.param .b32 n) { .reg .u32 %a; ld.param.u32 %a, [n]; add.u32 %a, %a, 100; st.param.b32 [r], %a; ret; }
  .func (.param .b32 r) f1(.param .b32 n) { .reg .u32 %a; ld.param.u32 %a, [n]; mul.lo.u32 %a, %a, 3; st.param.b32 [r], %a; ret; }
  .global .align 8 .u64 table[2] = { f0, f1 };
  .visible .entry k(.param .u64 p) { .reg .u64 %a, %f; .reg .u32 %r<4>;
    ld.param.u64 %a, [p]; mov.u32 %r0, %tid.x; mad.wide.u32 %a, %r0, 4, %a; and.b32 %r1, %r0, 1; rem.u32 %r3, %r0, 3;
    mov.u64 %f, table; mad.wide.u32 %f, %r1, 8, %f; ld.global.u64 %f, [%f];
    { .param .b32 x; .param .b32 y; st.param.b32 [x], %r0; proto: .callprototype (.param .b32 _) _ (.param .b32 _);
      call (y), %f, (x), proto; ld.param.b32 %r2, [y]; }
    targets: .branchtargets t0, t1, t2;
    brx.idx %r3, targets;
    t0: add.u32 %r2, %r2, 1000; bra end;
    t1: add.u32 %r2, %r2, 2000; bra end;
    t2: add.u32 %r2, %r2, 3000;
    end: st.global.u32 [%a], %r2; ret; })",
                       {1}, {32});
  for (uint32_t t = 0; t < 32; ++t)
    EXPECT_EQ(out[t], (t % 2 != 0 ? 3 * t : t + 100) + 1000 * (t % 3 + 1)) << t;
}

TEST(Control, CooperativeBlocksAreAllAlive) {
  TestDevice device;
  TestModule module(device, header() + R"(
  .visible .entry k(.param .u64 p) { .reg .u64 %a; .reg .u32 %r<4>; .reg .pred %p;
    ld.param.u64 %a, [p]; red.global.add.u32 [%a], 1; mov.u32 %r1, %nctaid.x;
  wait: ld.acquire.gpu.global.u32 %r0, [%a]; setp.lt.u32 %p, %r0, %r1; @%p bra wait;
    red.global.add.u32 [%a+4], 1; ret; })");
  uint32_t* out = device.allocateArray<uint32_t>(2);
  LaunchShape shape;
  shape.grid = {64};
  shape.cooperative = true;
  ASSERT_EQ(module.launchShape("k", shape, nullptr, out).status, LaunchStatus::ok);
  EXPECT_EQ(out[1], 64u);
}

TEST(Control, ClustersSynchronise) {
  TestDevice device;
  TestModule module(device, kernelText(".reg .u32 %r<4>;",
                                       std::string(R"(
    mov.u32 %r1, %cluster_ctarank; red.global.add.u32 [%out+4096], 1;
    barrier.cluster.arrive; barrier.cluster.wait; ld.volatile.global.u32 %r0, [%out+4096];
    barrier.cluster.arrive; barrier.cluster.wait; mad.lo.u32 %r0, %r1, 1000, %r0;)") +
                                           kStore,
                                       0));
  uint32_t* out = device.allocateArray<uint32_t>(2048);
  LaunchShape shape;
  shape.grid = {4};
  shape.block = {64};
  shape.cluster = {4};
  ASSERT_EQ(module.launchShape("k", shape, nullptr, out).status, LaunchStatus::ok);
  for (uint32_t t = 0; t < 256; ++t) EXPECT_EQ(out[t], t / 64 * 1000 + 256);
}

}  // namespace
}  // namespace farwarp::ptx
