// Goal: of many waiting threads one reads and the others are told; deadlines hold; a thread inside
// another event loop still gets its work done.
// Method: a pair of sockets with a message stream on one end.
#include "protocol/shared_loop.h"

#include <capnp/message.h>
#include <capnp/serialize.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <thread>

namespace farwarp::wire {
namespace {

class Loop : public ::testing::TestWithParam<int> {
 protected:
  Loop() : loop_(GetParam()) {
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds_), 0);
    channel_ = std::make_unique<SocketChannel>(fds_[0]);
    auto lock = loop_.lock();
    loop_.run(lock, [this] {
      stream_.emplace(loop_.flushers(), *channel_, nullptr);
      loop_.setStream(&*stream_, fds_[0]);
      readNext();
    });
  }
  ~Loop() noexcept override {
    auto lock = loop_.lock();
    loop_.run(lock, [this] {
      reading_ = nullptr;
      stream_.reset();
    });
    close(fds_[1]);
  }

  void readNext() {
    reading_ = stream_->tryReadMessage()
                   .then([this](kj::Maybe<kj::Own<capnp::MessageReader>>&& message) {
                     if (message == nullptr) return;
                     ++received_;
                     again_ = kj::evalLater([this] { readNext(); }).eagerlyEvaluate(nullptr);
                   })
                   .eagerlyEvaluate(nullptr);
  }

  void sendMessages(int count) {
    const uint64_t frame[] = {uint64_t{1} << 32, 0};
    for (int i = 0; i < count; ++i) ASSERT_EQ(send(fds_[1], frame, 16, MSG_NOSIGNAL), 16);
  }

  SharedLoop loop_;
  int fds_[2];
  std::unique_ptr<ByteChannel> channel_;
  std::optional<MessageStream> stream_;
  kj::Promise<void> reading_ = nullptr, again_ = nullptr;
  int received_ = 0;
};

INSTANTIATE_TEST_SUITE_P(, Loop, ::testing::Values(0, 50),
                         [](const auto& info) { return info.param ? "Spinning" : "Blocking"; });

TEST_P(Loop, EveryWaiterSeesItsOwnMessageNumber) {
  constexpr int kThreads = 6;
  std::vector<std::thread> threads;
  for (int t = 1; t <= kThreads; ++t) {
    threads.emplace_back([this, t] {
      for (int round = 0; round < 100; ++round) {
        auto lock = loop_.lock();
        ASSERT_TRUE(loop_.waitUntil(lock, [&] { return received_ >= round * kThreads + t; }));
      }
    });
  }
  for (int i = 0; i < 100 * kThreads; ++i) sendMessages(1);
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(received_, 100 * kThreads);
}

TEST_P(Loop, ADeadlineEndsTheWaitOfLeaderAndFollower) {
  std::thread leader([this] {
    auto lock = loop_.lock();
    EXPECT_TRUE(loop_.waitUntil(lock, [this] { return received_ > 0; }));
  });
  for (int i = 0; i < 2; ++i) {
    auto lock = loop_.lock();
    EXPECT_FALSE(loop_.waitUntil(
        lock, [] { return false; }, SharedLoop::For::input,
        SharedLoop::Clock::now() + std::chrono::milliseconds(20)));
  }
  sendMessages(1);
  leader.join();
}

TEST_P(Loop, AConditionThatAnotherThreadMakesTrueWakesTheLeader) {
  bool flag = false;
  std::thread leader([&] {
    auto lock = loop_.lock();
    EXPECT_TRUE(loop_.waitUntil(lock, [&] { return flag; }));
  });
  std::thread other([&] {
    auto lock = loop_.lock();
    loop_.run(lock, [&] { flag = true; });
  });
  other.join();
  leader.join();
}

TEST_P(Loop, AWaitForOutputStillReadsForOthers) {
  // The pipe is full, so that the first thread waits for room; the second waits for a message.
  std::vector<uint64_t> big(200000);
  const Segment segment(reinterpret_cast<const capnp::word*>(big.data()), big.size());
  bool written = false;
  kj::Promise<void> write = nullptr;
  std::thread writer([&] {
    auto lock = loop_.lock();
    loop_.run(lock, [&] {
      write = stream_->writeMessage(kj::arrayPtr(&segment, 1))
                  .then([&] { written = true; })
                  .eagerlyEvaluate(nullptr);
    });
    EXPECT_TRUE(loop_.waitUntil(
        lock, [&] { return written; }, SharedLoop::For::output));
  });
  std::thread reader([&] {
    auto lock = loop_.lock();
    EXPECT_TRUE(loop_.waitUntil(lock, [&] { return received_ == 5; }));
  });
  sendMessages(5);
  reader.join();
  std::vector<char> drain(1 << 20);
  for (size_t left = 8 + big.size() * 8; left > 0;) {
    const ssize_t n = recv(fds_[1], drain.data(), drain.size(), 0);
    ASSERT_GT(n, 0);
    left -= static_cast<size_t>(n);
  }
  writer.join();
}

TEST_P(Loop, TheHelperWorksForThreadsInsideAnotherLoop) {
  kj::EventLoop outer;
  kj::WaitScope scope(outer);
  std::thread::id ran_on;
  auto lock = loop_.lock();
  loop_.run(lock, [&] { ran_on = std::this_thread::get_id(); });
  EXPECT_NE(ran_on, std::this_thread::get_id());
  sendMessages(3);
  EXPECT_TRUE(loop_.waitUntil(lock, [this] { return received_ == 3; }));
}

TEST_P(Loop, ATickReadsWhatCame) {
  sendMessages(2);
  while (received_ < 2) {
    auto lock = loop_.lock();
    loop_.tick(lock);
  }
}

}  // namespace
}  // namespace farwarp::wire
