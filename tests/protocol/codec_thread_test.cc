// Goal: work runs beside the loop in its order, and what it uses is not touched any more when its
// promise is gone. Method: work that waits for the test, dropped before, during and after it runs.
#include "protocol/codec_thread.h"

#include <gtest/gtest.h>

#include <future>

namespace farwarp::wire {
namespace {

struct Loop {
  UvEventPort port;
  kj::WaitScope scope{port.eventLoop()};
};

TEST(CodecThread, RunsInOrderBesideTheLoop) {
  Loop loop;
  CodecThread codec(loop.port);
  std::vector<int> order;
  const auto here = std::this_thread::get_id();
  auto promises = kj::heapArrayBuilder<kj::Promise<void>>(100);
  for (int i = 0; i < 100; ++i) {
    promises.add(codec.run([&order, here, i] {
      EXPECT_NE(std::this_thread::get_id(), here);
      order.push_back(i);
    }));
  }
  kj::joinPromises(promises.finish()).wait(loop.scope);
  ASSERT_EQ(order.size(), 100u);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(order[static_cast<size_t>(i)], i);
}

TEST(CodecThread, DroppedWorkDoesNotRunAndRunningWorkIsWaitedFor) {
  Loop loop;
  CodecThread codec(loop.port);
  std::promise<void> go;
  std::promise<void> begun;
  bool over = false, ran = false;
  auto first = kj::heap(codec.run([&] {
    begun.set_value();
    go.get_future().wait();
    over = true;
  }));
  auto second = kj::heap(codec.run([&] { ran = true; }));
  begun.get_future().wait();
  second = nullptr;
  std::thread later([&] { go.set_value(); });
  first = nullptr;  // returns when the work is over
  EXPECT_TRUE(over);
  later.join();
  codec.run([] {}).wait(loop.scope);
  EXPECT_FALSE(ran);
}

TEST(CodecThread, EndsWithItsOwner) {
  Loop loop;
  for (int i = 0; i < 20; ++i) {
    CodecThread codec(loop.port);
    if (i % 2 == 0) auto dropped = codec.run([] {});
  }
  loop.scope.poll();
}

}  // namespace
}  // namespace farwarp::wire
