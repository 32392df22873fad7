// Goal: a client that traces gets every kernel once, with its name, and gpud's memory stays
// bounded. Method: kernels are added by several threads and taken in answers, in and beyond the
// limits.
#include "gpud/metering/kernel_timeline.h"

#include <gtest/gtest.h>

#include <thread>

namespace farwarp {
namespace {

TEST(KernelTimeline, KeepsNothingUntilItIsAskedTo) {
  KernelTimeline timeline;
  timeline.add(1, 2, 0, "early");
  timeline.start();
  timeline.add(10, 15, 1, "kernel");
  timeline.add(20, 19, 0, "reversed");
  const wire::KernelTimeline taken = timeline.take();
  ASSERT_EQ(taken.kernels.size(), 1u);
  EXPECT_EQ(taken.kernels[0].start_ns, 10u);
  EXPECT_EQ(taken.kernels[0].duration_ns, 5u);
  EXPECT_EQ(taken.kernels[0].device, 1u);
  EXPECT_EQ(taken.names, std::vector<std::string>{"kernel"});
  EXPECT_EQ(taken.lost, 0u);
  EXPECT_GT(taken.now_ns, 0u);
  EXPECT_TRUE(timeline.take().kernels.empty());
}

TEST(KernelTimeline, TellsEachKernelAndNameOnce) {
  constexpr size_t kThreads = 4, kEach = 5000;
  KernelTimeline timeline;
  timeline.start();
  std::vector<std::thread> threads;
  for (size_t t = 0; t < kThreads; ++t) {
    threads.emplace_back([&timeline, t] {
      for (size_t i = 0; i < kEach; ++i) {
        timeline.add(t * kEach + i, t * kEach + i + 1, 0, "kernel" + std::to_string(i % 7));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  std::vector<std::string> names;
  std::vector<int> seen(kThreads * kEach, 0);
  for (;;) {
    const wire::KernelTimeline taken = timeline.take();
    ASSERT_LE(taken.kernels.size(), wire::kTimelineKernelsMax);
    names.insert(names.end(), taken.names.begin(), taken.names.end());
    if (taken.kernels.empty()) break;
    for (const wire::KernelInterval& kernel : taken.kernels) {
      ASSERT_LT(kernel.name, names.size());
      EXPECT_EQ(names[kernel.name], "kernel" + std::to_string(kernel.start_ns % kEach % 7));
      ++seen.at(kernel.start_ns);
    }
  }
  EXPECT_EQ(names.size(), 7u);
  EXPECT_EQ(seen, std::vector<int>(seen.size(), 1));
}

TEST(KernelTimeline, ForgetsTheOldestBeyondItsLimits) {
  KernelTimeline timeline;
  timeline.start();
  const size_t more = 1000;
  for (size_t i = 0; i < KernelTimeline::kKernelsMax + more; ++i) {
    timeline.add(i, i + 1, 0, "name" + std::to_string(i % 10'000));
  }
  wire::KernelTimeline taken = timeline.take();
  EXPECT_EQ(taken.lost, more);
  EXPECT_EQ(taken.names.size(), wire::kTimelineNamesMax);
  ASSERT_FALSE(taken.kernels.empty());
  EXPECT_EQ(taken.kernels[0].start_ns, more);
  const std::vector<std::string> names = taken.names;
  while (!taken.kernels.empty()) {
    for (const wire::KernelInterval& kernel : taken.kernels) ASSERT_LT(kernel.name, names.size());
    taken = timeline.take();
  }
  timeline.add(1, 2, 0, std::string(10'000, 'x'));
  EXPECT_EQ(timeline.take().kernels.size(), 1u);
}

}  // namespace
}  // namespace farwarp
