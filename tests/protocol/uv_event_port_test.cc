// Goal: promises, libuv timers and posts of other threads all wake the same loop, in order.
// Method: a loop on the test's thread, helpers on others.
#include "protocol/uv_event_port.h"

#include <gtest/gtest.h>

#include <thread>

namespace farwarp::wire {
namespace {

TEST(UvEventPort, RunsPostsInOrderOnTheLoopsThread) {
  UvEventPort port;
  kj::WaitScope scope(port.eventLoop());
  auto paf = kj::newPromiseAndFulfiller<void>();
  std::vector<int> order;
  std::thread::id ran_on;
  std::thread poster([&] {
    for (int i = 0; i < 1000; ++i) {
      port.post([&, i] {
        order.push_back(i);
        ran_on = std::this_thread::get_id();
        if (i == 999) paf.fulfiller->fulfill();
      });
    }
  });
  paf.promise.wait(scope);
  poster.join();
  ASSERT_EQ(order.size(), 1000u);
  for (int i = 0; i < 1000; ++i) EXPECT_EQ(order[static_cast<size_t>(i)], i);
  EXPECT_EQ(ran_on, std::this_thread::get_id());
}

TEST(UvEventPort, AWakeOfAnotherThreadEndsTheWaitOnce) {
  UvEventPort port;
  kj::WaitScope scope(port.eventLoop());
  std::thread other([&] { port.wake(); });
  while (!port.wait()) {
  }
  other.join();
  EXPECT_FALSE(port.poll());
}

TEST(UvEventPort, LibuvTimersFulfilPromises) {
  UvEventPort port;
  kj::WaitScope scope(port.eventLoop());
  auto paf = kj::newPromiseAndFulfiller<void>();
  uv_timer_t timer;
  uv_timer_init(port.uvLoop(), &timer);
  timer.data = paf.fulfiller.get();
  uv_timer_start(
      &timer, [](uv_timer_t* t) { static_cast<kj::PromiseFulfiller<void>*>(t->data)->fulfill(); },
      1, 0);
  paf.promise.wait(scope);
}

TEST(UvEventPort, ATimerThatIsDueBeforeTheWaitFulfilsPromises) {
  UvEventPort port;
  kj::WaitScope scope(port.eventLoop());
  auto paf = kj::newPromiseAndFulfiller<void>();
  uv_timer_t timer;
  uv_timer_init(port.uvLoop(), &timer);
  timer.data = paf.fulfiller.get();
  uv_timer_start(
      &timer, [](uv_timer_t* t) { static_cast<kj::PromiseFulfiller<void>*>(t->data)->fulfill(); },
      0, 0);
  paf.promise.wait(scope);  // would sleep for ever
}

TEST(UvEventPort, OutputOfATimersCallbackIsFlushedBeforeTheLoopSleeps) {
  struct Flusher final : OutputFlusher {
    kj::Own<kj::PromiseFulfiller<void>> fulfiller;
    bool has_output = false;
    bool flushOutput() override {
      if (!has_output) return false;
      has_output = false;
      fulfiller->fulfill();
      return true;
    }
  } flusher;
  UvEventPort port;
  kj::WaitScope scope(port.eventLoop());
  auto paf = kj::newPromiseAndFulfiller<void>();
  flusher.fulfiller = kj::mv(paf.fulfiller);
  port.flushers().add(&flusher);
  uv_timer_t timer;
  uv_timer_init(port.uvLoop(), &timer);
  timer.data = &flusher;
  uv_timer_start(
      &timer, [](uv_timer_t* t) { static_cast<Flusher*>(t->data)->has_output = true; }, 0, 0);
  paf.promise.wait(scope);  // would sleep for ever
  port.flushers().remove(&flusher);
}

TEST(UvEventPort, AFlushThatMakesWorkKeepsTheLoopAwake) {
  struct Fulfiller final : OutputFlusher {
    kj::Own<kj::PromiseFulfiller<void>> fulfiller;
    bool flushOutput() override {
      if (fulfiller.get() == nullptr) return false;
      fulfiller->fulfill();
      fulfiller = nullptr;
      return true;
    }
  } flusher;
  UvEventPort port;
  kj::WaitScope scope(port.eventLoop());
  auto paf = kj::newPromiseAndFulfiller<void>();
  flusher.fulfiller = kj::mv(paf.fulfiller);
  port.flushers().add(&flusher);
  paf.promise.wait(scope);  // would sleep for ever
  port.flushers().remove(&flusher);
}

}  // namespace
}  // namespace farwarp::wire
