// Goal: busy time is the exact length of the union of kernel intervals, whatever the order in which
// they arrive. Method: random intervals against a brute-force bitmap, with settling in between
// where it is allowed; and the cases by hand that a merge gets wrong first. The seed is printed.
#include "gpud/metering/interval_union.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <iostream>
#include <random>
#include <vector>

namespace farwarp {
namespace {

TEST(IntervalUnion, CountsOverlapsOnce) {
  IntervalUnion u;
  u.add(10, 20);
  u.add(15, 25);
  EXPECT_EQ(u.totalNs(), 15u);
  u.add(12, 18);  // inside
  EXPECT_EQ(u.totalNs(), 15u);
  u.add(5, 30);  // around
  EXPECT_EQ(u.totalNs(), 25u);
  EXPECT_EQ(u.openIntervals(), 1u);
}

TEST(IntervalUnion, JoinsNeighboursThatTouch) {
  IntervalUnion u;
  u.add(10, 20);
  u.add(30, 40);
  u.add(20, 30);
  EXPECT_EQ(u.totalNs(), 30u);
  EXPECT_EQ(u.openIntervals(), 1u);
}

TEST(IntervalUnion, IgnoresEmptyAndReversed) {
  IntervalUnion u;
  u.add(10, 10);
  u.add(20, 5);
  EXPECT_EQ(u.totalNs(), 0u);
}

TEST(IntervalUnion, SettlingKeepsTheTotalAndForgetsThePast) {
  IntervalUnion u;
  u.add(10, 20);
  u.add(30, 40);
  u.settle(35);
  EXPECT_EQ(u.totalNs(), 20u);
  EXPECT_EQ(u.openIntervals(), 1u);
  u.add(32, 50);  // the part before the watermark was promised not to come
  EXPECT_EQ(u.totalNs(), 30u);
  u.settleAll();
  EXPECT_EQ(u.totalNs(), 30u);
  EXPECT_EQ(u.openIntervals(), 0u);
}

TEST(IntervalUnion, EqualsBruteForceOnRandomIntervals) {
  const unsigned seed = std::random_device{}();
  std::cout << "seed " << seed << '\n';
  std::mt19937 random(seed);
  for (int round = 0; round < 200; ++round) {
    constexpr uint64_t kEnd = 4000;
    const uint64_t longest = 1 + random() % 300;
    IntervalUnion u;
    std::vector<bool> covered(kEnd + longest + 1);
    uint64_t watermark = 0;
    for (int i = 0; i < 300; ++i) {
      const uint64_t start = watermark + random() % (kEnd - watermark);
      const uint64_t end = start + random() % longest;
      u.add(start, end);
      std::fill(covered.begin() + start, covered.begin() + end, true);
      ASSERT_EQ(u.totalNs(),
                static_cast<uint64_t>(std::count(covered.begin(), covered.end(), true)))
          << "round " << round << ", interval " << i;
      if (random() % 40 == 0) u.settle(watermark = std::min(kEnd - 1, watermark + random() % 200));
    }
  }
}

TEST(IntervalUnion, BoundsItsMemory) {
  IntervalUnion u;
  const uint64_t count = IntervalUnion::kOpenIntervalsMax * 2 + 10;
  for (uint64_t i = 0; i < count; ++i) u.add(i * 10, i * 10 + 3);
  EXPECT_LE(u.openIntervals(), IntervalUnion::kOpenIntervalsMax + 1);
  EXPECT_EQ(u.totalNs(), count * 3);
}

}  // namespace
}  // namespace farwarp
