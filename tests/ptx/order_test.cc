// Goal: a device can be told to take blocks, warps and diverged lanes in another order, and this
// changes nothing for kernels that do not race. Method: a kernel draws a number for each thread
// from one counter, which shows the order; others are run in many orders and must give the same
// bytes.
#include <algorithm>
#include <set>

#include "tests/ptx/harness.h"

namespace farwarp::ptx {
namespace {

constexpr uint32_t kBlocks = 6, kThreads = 96, kAll = kBlocks * kThreads;

// Each thread draws a ticket; odd and even lanes part before.
std::vector<uint32_t> tickets(uint64_t seed) {
  DeviceTraits traits;
  traits.order_seed = seed;
  TestDevice device(1, traits);
  TestModule module(device, kernelText(".reg .pred %p; .reg .u32 %r<4>;", R"(
    mul.wide.u32 %off, %tidx, 4; add.u64 %at, %out, %off;
    and.b32 %r0, %tidx, 1; setp.eq.u32 %p, %r0, 0;
    @%p bra EVEN;
    atom.global.add.u32 %r1, [%in0], 1; bra DONE;
    EVEN: atom.global.add.u32 %r1, [%in0], 1;
    DONE: st.global.u32 [%at], %r1;)"));
  uint32_t* out = device.allocateArray<uint32_t>(kAll);
  uint32_t* counter = device.allocateArray<uint32_t>(1);
  LaunchResult end = module.launch("k", {kBlocks}, {kThreads}, 0, out, counter);
  EXPECT_EQ(end.status, LaunchStatus::ok) << end.detail.message;
  return {out, out + kAll};
}

uint32_t firstOf(const std::vector<uint32_t>& all, uint32_t from, uint32_t count) {
  return *std::min_element(all.begin() + from, all.begin() + from + count);
}

TEST(Order, EverythingRunsOnceInEveryOrder) {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    std::vector<uint32_t> drawn = tickets(seed);
    std::sort(drawn.begin(), drawn.end());
    for (uint32_t n = 0; n < kAll; ++n) ASSERT_EQ(drawn[n], n) << "seed " << seed;
  }
}

TEST(Order, FollowsFromTheSeed) {
  EXPECT_EQ(tickets(5), tickets(5));
  EXPECT_EQ(tickets(0), tickets(0));
}

TEST(Order, BlocksWarpsAndLanesTakeTurns) {
  std::set<std::vector<uint32_t>> orders_of_blocks, orders_of_warps;
  std::set<bool> even_lanes_first;
  for (uint64_t seed = 1; seed < 30; ++seed) {
    std::vector<uint32_t> drawn = tickets(seed), blocks, warps;
    for (uint32_t b = 0; b < kBlocks; ++b) blocks.push_back(firstOf(drawn, b * kThreads, kThreads));
    for (uint32_t w = 0; w < 3; ++w) warps.push_back(firstOf(drawn, w * 32, 32) - blocks[0]);
    orders_of_blocks.insert(blocks);
    orders_of_warps.insert(warps);
    even_lanes_first.insert(drawn[0] < drawn[1]);
  }
  EXPECT_GT(orders_of_blocks.size(), 4u);
  EXPECT_GT(orders_of_warps.size(), 2u);
  EXPECT_EQ(even_lanes_first.size(), 2u);
}

// Sums of a block in shared memory, with barriers, shuffles, divergence and a loop that ends at
// different times for different lanes.
TEST(Order, KernelsWithoutRacesGiveTheSame) {
  const std::string text =
      kernelText(".reg .pred %p; .reg .u32 %r<12>; .shared .align 4 .b8 cells[512];", R"(
    rem.u32 %r0, %tidx, 13; mov.u32 %r1, 0; mov.u32 %r2, 0;
    LOOP: add.u32 %r1, %r1, %r2; add.u32 %r2, %r2, 3;
    setp.lt.u32 %p, %r2, %r0; @%p bra LOOP;
    shl.b32 %r3, %t2, 2; mov.u32 %r4, cells; add.u32 %r3, %r3, %r4;
    st.shared.u32 [%r3], %r1; bar.sync 0;
    xor.b32 %r5, %t2, 37; rem.u32 %r5, %r5, 96; shl.b32 %r5, %r5, 2; add.u32 %r5, %r5, %r4;
    ld.shared.u32 %r6, [%r5]; bar.sync 0;
    shfl.sync.bfly.b32 %r7, %r6, 5, 31, 0xffffffff;
    add.u32 %r6, %r6, %r7;
    setp.gt.u32 %p, %r6, 20; @%p bra BIG;
    mul.lo.u32 %r6, %r6, 7;
    BIG: atom.global.add.u32 %r8, [%in0], %r6;
    mul.wide.u32 %off, %tidx, 4; add.u64 %at, %out, %off; st.global.u32 [%at], %r6;)");
  std::vector<uint32_t> want;
  for (uint64_t seed = 0; seed < 12; ++seed) {
    for (unsigned threads : {1u, 2u, 7u}) {
      DeviceTraits traits;
      traits.order_seed = seed;
      TestDevice device(threads, traits);
      TestModule module(device, text);
      uint32_t* out = device.allocateArray<uint32_t>(kAll);
      uint32_t* sum = device.allocateArray<uint32_t>(1);
      LaunchResult end = module.launch("k", {kBlocks}, {kThreads}, 0, out, sum);
      ASSERT_EQ(end.status, LaunchStatus::ok) << end.detail.message;
      std::vector<uint32_t> have(out, out + kAll);
      have.push_back(*sum);
      if (want.empty()) want = have;
      ASSERT_EQ(have, want) << "seed " << seed << ", threads " << threads;
    }
  }
}

}  // namespace
}  // namespace farwarp::ptx
