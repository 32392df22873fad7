// Goal: streams keep their order, run beside each other, and follow the rules of the default
// stream. Method: work that stands at a gate until the test opens it. While it stands, other work
// must be able to run, or must not; the latter is shown by what has run when the gate opens, not by
// waiting a while.
#include "gpud/device/cpu/scheduler.h"

#include <gtest/gtest.h>

#include <atomic>
#include <latch>
#include <random>
#include <thread>

namespace farwarp::cpu {
namespace {

// The scheduler's threads live as long as the process, so it does too.
Scheduler& scheduler() {
  static Scheduler* scheduler = new Scheduler;
  return *scheduler;
}

struct Streams {
  ~Streams() {
    for (const auto& stream : {legacy, a, b, free}) scheduler().closeStream(stream);
    scheduler().wait(*group);
  }
  std::shared_ptr<StreamGroup> group = std::make_shared<StreamGroup>();
  std::shared_ptr<Stream> legacy = scheduler().createStream(group, StreamKind::legacy);
  std::shared_ptr<Stream> a = scheduler().createStream(group, StreamKind::blocking);
  std::shared_ptr<Stream> b = scheduler().createStream(group, StreamKind::blocking);
  std::shared_ptr<Stream> free = scheduler().createStream(group, StreamKind::non_blocking);
};

class Gate {
 public:
  Work work() {
    return [this] { latch_.wait(); };
  }
  void open() { latch_.count_down(); }

 private:
  std::latch latch_{1};
};

void waitFor(const Mark& mark) {
  scheduler().wait({&mark, 1});
}
bool done(const Mark& mark) {
  return scheduler().done({&mark, 1});
}

TEST(Scheduler, RunsAStreamInOrder) {
  Streams s;
  std::vector<int> order;
  for (int i = 0; i < 1000; ++i) scheduler().submit(s.a, [&order, i] { order.push_back(i); });
  scheduler().wait(*s.group);
  ASSERT_EQ(order.size(), 1000u);
  for (int i = 0; i < 1000; ++i) EXPECT_EQ(order[i], i);
}

TEST(Scheduler, RunsStreamsBesideEachOther) {
  Streams s;
  Gate gate;
  const Mark blocked = scheduler().submit(s.a, gate.work());
  waitFor(scheduler().submit(s.b, [] {}));
  waitFor(scheduler().submit(s.free, [] {}));
  EXPECT_FALSE(done(blocked));
  EXPECT_FALSE(scheduler().idle(*s.group));
  gate.open();
  waitFor(blocked);
  scheduler().wait(*s.group);
  EXPECT_TRUE(scheduler().idle(*s.group));
}

TEST(Scheduler, LegacyWaitsForBlockingStreams) {
  Streams s;
  Gate gate;
  std::atomic<bool> a_ran{false};
  scheduler().submit(s.a, gate.work());
  const Mark a = scheduler().submit(s.a, [&] { a_ran = true; });
  bool a_was_done = false;
  const Mark legacy = scheduler().submit(s.legacy, [&] { a_was_done = a_ran; });
  waitFor(scheduler().submit(s.free, [] {}));
  EXPECT_FALSE(done(legacy));
  EXPECT_FALSE(done(a));
  gate.open();
  waitFor(legacy);
  EXPECT_TRUE(a_was_done);
}

TEST(Scheduler, BlockingStreamsWaitForLegacyAndNonBlockingDoNot) {
  Streams s;
  Gate gate;
  std::atomic<bool> legacy_ran{false};
  scheduler().submit(s.legacy, gate.work());
  scheduler().submit(s.legacy, [&] { legacy_ran = true; });
  bool seen_by_a = false, seen_by_free = true;
  const Mark a = scheduler().submit(s.a, [&] { seen_by_a = legacy_ran; });
  waitFor(scheduler().submit(s.free, [&] { seen_by_free = legacy_ran; }));
  EXPECT_FALSE(seen_by_free);
  EXPECT_FALSE(done(a));
  gate.open();
  waitFor(a);
  EXPECT_TRUE(seen_by_a);
}

TEST(Scheduler, GroupsDoNotKnowEachOther) {
  Streams one, two;
  Gate gate;
  const Mark blocked = scheduler().submit(one.legacy, gate.work());
  waitFor(scheduler().submit(two.a, [] {}));
  waitFor(scheduler().submit(two.legacy, [] {}));
  EXPECT_FALSE(done(blocked));
  gate.open();
  waitFor(blocked);
}

TEST(Scheduler, WorkWaitsForMarksOfOtherStreams) {
  Streams s;
  Gate gate;
  std::atomic<bool> ran{false};
  scheduler().submit(s.free, gate.work());
  const Mark mark = scheduler().submit(s.free, [&] { ran = true; });
  bool seen = false;
  const Mark waiting = scheduler().submit(s.a, [&] { seen = ran; }, {mark});
  waitFor(scheduler().submit(s.b, [] {}));
  EXPECT_FALSE(done(waiting));
  gate.open();
  waitFor(waiting);
  EXPECT_TRUE(seen);
}

TEST(Scheduler, BriefWorkRunsOnTheCallerWhenNothingIsInItsWay) {
  Streams s;
  std::thread::id ran_on;
  scheduler().submit(
      s.a, [&] { ran_on = std::this_thread::get_id(); }, {}, true);
  EXPECT_EQ(ran_on, std::this_thread::get_id());
  scheduler().run(s.a, [&] { ran_on = std::thread::id(); });
  EXPECT_EQ(ran_on, std::thread::id());

  Gate gate;
  scheduler().submit(s.a, gate.work());
  std::atomic<bool> ran{false};
  const Mark brief = scheduler().submit(
      s.a, [&] { ran = true; }, {}, true);
  EXPECT_FALSE(ran);
  gate.open();
  waitFor(brief);
  EXPECT_TRUE(ran);
}

TEST(Scheduler, TailOfTheLegacyStreamCoversBlockingStreams) {
  Streams s;
  Gate gate, other;
  scheduler().submit(s.a, gate.work());
  scheduler().submit(s.free, other.work());
  EXPECT_FALSE(scheduler().done(scheduler().tail(s.legacy)));
  EXPECT_TRUE(scheduler().done(scheduler().tail(s.b)));
  gate.open();
  scheduler().wait(scheduler().tail(s.legacy));
  EXPECT_FALSE(scheduler().done(scheduler().tail(s.free)));
  other.open();
  scheduler().wait(*s.group);
}

TEST(Scheduler, AClosedStreamFinishesAndStillHoldsBackLegacy) {
  Streams s;
  Gate gate;
  std::atomic<bool> ran{false};
  scheduler().submit(s.a, gate.work());
  scheduler().submit(s.a, [&] { ran = true; });
  scheduler().closeStream(s.a);
  bool seen = false;
  const Mark legacy = scheduler().submit(s.legacy, [&] { seen = ran; });
  gate.open();
  waitFor(legacy);
  EXPECT_TRUE(seen);
  EXPECT_EQ(s.group->others.size(), 2u) << "the closed stream has left";
}

TEST(Scheduler, AFullQueueMakesTheCallerWait) {
  Streams s;
  Gate gate;
  std::atomic<size_t> submitted{0};
  scheduler().submit(s.a, gate.work());
  constexpr size_t kTotal = Scheduler::kQueuedMax + 100;
  std::thread caller([&] {
    for (size_t i = 0; i < kTotal; ++i) {
      scheduler().submit(s.a, [] {});
      ++submitted;
    }
  });
  while (submitted + 1 < Scheduler::kQueuedMax) std::this_thread::yield();
  EXPECT_LT(submitted, kTotal);
  gate.open();
  caller.join();
  scheduler().wait(*s.group);
  EXPECT_EQ(submitted, kTotal);
}

// Random programs over several threads: each item checks that all it was promised to come after has
// run.
TEST(Scheduler, RandomProgramsKeepTheirPromises) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  Streams s;
  const std::shared_ptr<Stream> streams[] = {s.legacy, s.a, s.b, s.free};
  constexpr int kItems = 4000;
  static std::atomic<bool> ran[kItems];
  for (auto& flag : ran) flag = false;
  std::atomic<int> broken{0};
  std::mt19937 random(seed);
  std::vector<int> last(4, -1);
  std::vector<Mark> marks(kItems);
  for (int i = 0; i < kItems; ++i) {
    const unsigned at = random() % 4;
    std::vector<int> before;
    if (last[at] >= 0) before.push_back(last[at]);
    if (at == 0) {
      for (int other : {1, 2}) {
        if (last[other] >= 0) before.push_back(last[other]);
      }
    } else if (at != 3 && last[0] >= 0) {
      before.push_back(last[0]);
    }
    std::vector<Mark> after;
    if (i > 0 && random() % 3 == 0) {
      const int other = static_cast<int>(random() % i);
      before.push_back(other);
      after.push_back(marks[other]);
    }
    marks[i] = scheduler().submit(
        streams[at],
        [i, before, &broken] {
          for (int other : before) {
            if (!ran[other]) ++broken;
          }
          ran[i] = true;
        },
        after, random() % 2 == 0);
    last[at] = i;
  }
  scheduler().wait(*s.group);
  EXPECT_EQ(broken, 0);
  for (const auto& flag : ran) EXPECT_TRUE(flag);
}

TEST(Scheduler, ManyThreadsMaySubmitAndWait) {
  Streams s;
  std::atomic<int> ran{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      const std::shared_ptr<Stream> streams[] = {s.legacy, s.a, s.b, s.free};
      for (int i = 0; i < 500; ++i) {
        const Mark mark = scheduler().submit(streams[(t + i) % 4], [&] { ++ran; });
        if (i % 16 == 0) waitFor(mark);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  scheduler().wait(*s.group);
  EXPECT_EQ(ran, 2000);
}

}  // namespace
}  // namespace farwarp::cpu
