// Goal: a session over TCP and over a Unix socket carries calls in order from many threads, moves
// bulk data of every size and alignment intact, and turns every end of the peer into an error at
// once. Method: the real client against the test server on a thread of its own; what the server saw
// is compared with what the threads sent.
#include "protocol/client_connection.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <future>
#include <thread>

#include "tests/protocol/test_server.h"

namespace farwarp::wire {
namespace {

using ::testing::HasSubstr;

ClientHello testHello() {
  ClientHello hello;
  hello.client_version = "0.1.0";
  hello.spec_version = 634;
  hello.pid = 42;
  hello.program = "vectorAdd";
  hello.cuda_version = 13000;
  return hello;
}

class Session : public ::testing::TestWithParam<bool> {
 protected:
  void SetUp() override {
    server_ = std::make_unique<TestServer>(GetParam() ? freshUnixAddress() : "127.0.0.1:0");
    ConnectionError error;
    client_ = ClientConnection::open(server_->address(), testHello(), options_, error);
    ASSERT_NE(client_, nullptr) << error.sentence;
  }

  std::vector<std::byte> ask(std::span<const std::byte> batch, Trouble expected = Trouble::none) {
    Reply reply;
    EXPECT_EQ(client_->wait(client_->start(batch), reply), expected);
    return {reply.bytes().begin(), reply.bytes().end()};
  }

  ClientOptions options_ = clearOptions();
  std::unique_ptr<TestServer> server_;
  std::unique_ptr<ClientConnection> client_;
};

INSTANTIATE_TEST_SUITE_P(, Session, ::testing::Bool(),
                         [](const auto& info) { return info.param ? "Unix" : "Tcp"; });

TEST_P(Session, TellsTheDevicesAtOnce) {
  const ServerHello& server = client_->server();
  EXPECT_EQ(server.server_version, "test");
  EXPECT_EQ(server.spec_version, 634u);
  EXPECT_EQ(server.driver_version, 13000);
  EXPECT_EQ(server.device_kind, "cpu");
  EXPECT_EQ(server.limits.batch_bytes_max, kBatchBytesMax);
  ASSERT_EQ(server.devices.size(), 2u);
  EXPECT_EQ(server.devices[0].name, "Test device");
  EXPECT_EQ(server.devices[1].attributes, (std::vector<DeviceAttribute>{{1, 1024}, {2, -7}}));
  EXPECT_EQ(server.devices[1].default_limits[1].value, uint64_t{1} << 40);
  EXPECT_EQ(server.devices[1].stream_priority_greatest, -5);
}

TEST_P(Session, EchoesBatchesOfEverySize) {
  for (size_t bytes : {8u, 64u, 1000u, 8191u, 8192u, 8193u, 65536u, 1u << 20, kBatchBytesMax}) {
    const auto batch = testBatch(TestOp::echo, bytes, 0, 3);
    EXPECT_EQ(ask(batch), batch) << bytes;
  }
}

TEST_P(Session, RefusesBatchesOverTheLimit) {
  const std::vector<std::byte> batch(kBatchBytesMax + 8);
  Reply reply;
  EXPECT_EQ(client_->submit(batch), Trouble::tooLarge);
  EXPECT_EQ(client_->submit({}), Trouble::tooLarge);
  EXPECT_EQ(client_->wait(client_->start(batch), reply), Trouble::tooLarge);
  EXPECT_FALSE(client_->dead());
}

TEST_P(Session, RepliesFilledInPlaceArriveWhole) {
  const auto reply = ask(testBatch(TestOp::big, 8, 0, 3u << 20));
  ASSERT_EQ(reply.size(), 3u << 20);
  for (size_t i = 0; i < reply.size(); ++i) ASSERT_EQ(reply[i], static_cast<std::byte>(i * 7));
}

TEST_P(Session, KeepsTheOrderOfFourThreads) {
  // Each thread sends submits and now and then waits for a call; a call must have been preceded by
  // all that its thread sent before, and the whole log has no gap.
  constexpr uint32_t kRounds = 60, kSubmits = 20;
  std::vector<std::thread> threads;
  for (uint8_t t = 0; t < 4; ++t) {
    threads.emplace_back([this, t] {
      uint32_t number = 0;
      for (uint32_t round = 0; round < kRounds; ++round) {
        for (uint32_t i = 0; i < kSubmits; ++i) {
          const auto batch = testBatch(TestOp::echo, 64 + 997 * (i % 13), t, number++);
          ASSERT_EQ(client_->submit(batch), Trouble::none);
        }
        const auto batch = testBatch(TestOp::echo, 128, t, number++);
        Reply reply;
        ASSERT_EQ(client_->wait(client_->start(batch), reply), Trouble::none);
        ASSERT_EQ(reply.bytes().size(), batch.size());
        ASSERT_EQ(std::memcmp(reply.bytes().data(), batch.data(), batch.size()), 0);
      }
    });
  }
  for (auto& thread : threads) thread.join();
  const auto seen = server_->seen();
  ASSERT_EQ(seen.size(), 4 * kRounds * (kSubmits + 1));
  uint32_t next[4] = {};
  for (size_t i = 0; i < seen.size(); ++i) {
    ASSERT_EQ(seen[i].seq, i + 1);
    ASSERT_EQ(seen[i].number, next[seen[i].thread]++);
  }
  const ClientCounters counters = client_->counters();
  EXPECT_EQ(counters.calls, seen.size());
  EXPECT_EQ(counters.waiting_calls, 4 * kRounds);
  EXPECT_GT(counters.bytes_sent, counters.bytes_received / 2);
}

TEST_P(Session, ALongWaitDoesNotHoldUpOtherThreads) {
  std::thread parked([this] { ask(testBatch(TestOp::park, 8)); });
  server_->waitFor([this] { return server_->parked_count() == 1; });
  for (uint32_t i = 0; i < 50; ++i) {
    const auto batch = testBatch(TestOp::echo, 64, 0, i);
    ASSERT_EQ(ask(batch), batch);
  }
  EXPECT_EQ(server_->parkedNow(), 1u);
  server_->releaseParked();
  parked.join();
}

TEST_P(Session, TicketsCanBeWaitedForInAnyOrderOrNotAtAll) {
  Ticket parked = client_->start(testBatch(TestOp::park, 8));
  Ticket first = client_->start(testBatch(TestOp::countSoFar, 8));
  { const Ticket dropped = client_->start(testBatch(TestOp::countSoFar, 8)); }
  Ticket second = client_->start(testBatch(TestOp::countSoFar, 8));
  Reply a, b, c;
  EXPECT_EQ(client_->wait(std::move(second), b), Trouble::none);
  EXPECT_EQ(client_->wait(std::move(first), a), Trouble::none);
  uint64_t before_a = 0, before_b = 0;
  std::memcpy(&before_a, a.bytes().data(), 8);
  std::memcpy(&before_b, b.bytes().data(), 8);
  EXPECT_EQ(before_a, 1u);
  EXPECT_EQ(before_b, 3u);
  server_->releaseParked();
  EXPECT_EQ(client_->wait(std::move(parked), c), Trouble::none);
  EXPECT_EQ(c.bytes().size(), 8u);
}

TEST_P(Session, AFailedCallLeavesTheSessionAlive) {
  ask(testBatch(TestOp::fail, 8), Trouble::callFailed);
  ask(testBatch(TestOp::giveUp, 8), Trouble::callFailed);
  const auto batch = testBatch(TestOp::echo, 64);
  EXPECT_EQ(ask(batch), batch);
}

TEST_P(Session, AFullWindowBlocksOnlyTheSender) {
  // The server does not finish its first submit, so nothing after it is acknowledged. The sender
  // must stop when the window is full, and go on when it opens.
  server_->onLoop([this] { server_->keep_batches = false; });
  ASSERT_EQ(client_->submit(testBatch(TestOp::stallSubmits, 8)), Trouble::none);
  std::atomic<size_t> sent{0};
  constexpr size_t kBatch = 1 << 20, kBatches = 80;
  std::thread sender([&] {
    const auto batch = testBatch(TestOp::echo, kBatch);
    for (size_t i = 0; i < kBatches; ++i) {
      if (client_->submit(batch) != Trouble::none) return;
      ++sent;
    }
  });
  server_->waitFor([this] { return server_->bytesIn() >= kIncomingCallBytesMax; });
  // While that thread is stuck, this one can still ask for figures of the connection, and nothing
  // beyond the window was taken from the sender.
  EXPECT_FALSE(client_->dead());
  EXPECT_LE(sent.load(), kStreamWindowBytes / kBatch + 2);
  server_->releaseParked();
  sender.join();
  EXPECT_EQ(sent.load(), kBatches);
  const auto batch = testBatch(TestOp::echo, 64);
  EXPECT_EQ(ask(batch), batch);
}

TEST_P(Session, PutsOddSizesAndAlignments) {
  uint64_t transfer = 1;
  for (size_t bytes : {1u, 7u, 8u, 4095u, 8191u, 8192u, 8200u, 65537u, (1u << 20) - 1, 1u << 20,
                       (1u << 20) + 1, 5u * (1u << 20) + 13}) {
    for (size_t shift : {0u, 1u, 5u}) {
      const auto data = patternBytes(bytes + shift, static_cast<uint32_t>(transfer));
      const auto part = std::span(data).subspan(shift);
      ASSERT_EQ(client_->put(transfer, part), Trouble::none);
      server_->waitFor([&] { return server_->upload_bytes[transfer] == bytes; });
      const auto arrived = server_->upload(transfer);
      ASSERT_EQ(std::memcmp(arrived.data(), part.data(), bytes), 0) << bytes << " " << shift;
      server_->onLoop([&] { server_->uploads.erase(transfer); });
      ++transfer;
    }
  }
}

TEST_P(Session, PutBytesMayBeReusedOnReturn) {
  std::vector<std::byte> buffer(3 << 20);
  for (uint64_t transfer = 1; transfer <= 6; ++transfer) {
    const auto data = patternBytes(buffer.size(), static_cast<uint32_t>(transfer));
    std::memcpy(buffer.data(), data.data(), data.size());
    ASSERT_EQ(client_->put(transfer, buffer), Trouble::none);
    std::memset(buffer.data(), 0xee, buffer.size());
  }
  for (uint64_t transfer = 1; transfer <= 6; ++transfer) {
    server_->waitFor([&] { return server_->upload_bytes[transfer] == buffer.size(); });
    const auto data = patternBytes(buffer.size(), static_cast<uint32_t>(transfer));
    const auto arrived = server_->upload(transfer);
    ASSERT_EQ(std::memcmp(arrived.data(), data.data(), data.size()), 0) << transfer;
  }
}

TEST_P(Session, GetsOddSizesAndAlignments) {
  uint64_t transfer = 1;
  for (size_t bytes : {1u, 7u, 4096u, 8192u, 8193u, 65537u, (1u << 20) + 1, 11u * (1u << 20) + 5}) {
    for (size_t shift : {0u, 3u}) {
      const auto data = patternBytes(bytes, static_cast<uint32_t>(transfer));
      server_->setDownload(transfer, data);
      std::vector<std::byte> arrived(bytes + shift + 1, std::byte{0x5a});
      ASSERT_EQ(client_->get(transfer, std::span(arrived).subspan(shift, bytes)), Trouble::none);
      ASSERT_EQ(std::memcmp(arrived.data() + shift, data.data(), bytes), 0) << bytes;
      for (size_t i = 0; i < shift; ++i) ASSERT_EQ(arrived[i], std::byte{0x5a});
      ASSERT_EQ(arrived.back(), std::byte{0x5a});
      ++transfer;
    }
  }
}

TEST_P(Session, AGetOfAnUnknownTransferFailsAlone) {
  std::vector<std::byte> bytes(3 << 20);
  EXPECT_EQ(client_->get(77, bytes), Trouble::callFailed);
  const auto data = patternBytes(bytes.size(), 5);
  server_->setDownload(78, data);
  EXPECT_EQ(client_->get(78, bytes), Trouble::none);
  EXPECT_EQ(bytes, data);
}

TEST_P(Session, BulkOfSeveralThreadsDoesNotMix) {
  constexpr size_t kBytes = (2 << 20) + 77;
  for (uint64_t t = 1; t <= 4; ++t) {
    server_->setDownload(100 + t, patternBytes(kBytes, static_cast<uint32_t>(100 + t)));
  }
  std::vector<std::thread> threads;
  for (uint64_t t = 1; t <= 4; ++t) {
    threads.emplace_back([this, t] {
      const auto data = patternBytes(kBytes, static_cast<uint32_t>(t));
      ASSERT_EQ(client_->put(t, data), Trouble::none);
      std::vector<std::byte> got(kBytes);
      ASSERT_EQ(client_->get(100 + t, got), Trouble::none);
      ASSERT_EQ(got, patternBytes(kBytes, static_cast<uint32_t>(100 + t)));
      const auto batch = testBatch(TestOp::echo, 64, static_cast<uint8_t>(t));
      Reply reply;
      ASSERT_EQ(client_->wait(client_->start(batch), reply), Trouble::none);
    });
  }
  for (auto& thread : threads) thread.join();
  for (uint64_t t = 1; t <= 4; ++t) {
    server_->waitFor([&] { return server_->upload_bytes[t] == kBytes; });
    const auto data = patternBytes(kBytes, static_cast<uint32_t>(t));
    const auto arrived = server_->upload(t);
    EXPECT_EQ(std::memcmp(arrived.data(), data.data(), kBytes), 0);
  }
}

TEST_P(Session, APutThatTheServerHasNoRoomForEndsTheSession) {
  server_->onLoop([this] { server_->upload_bytes_max = 1 << 20; });
  const auto data = patternBytes(8 << 20, 1);
  Trouble trouble = client_->put(5, data);
  // The refusal can come after the bytes were handed over; then the next request meets it.
  std::vector<std::byte> bytes(8);
  for (int i = 0; i < 1000 && trouble == Trouble::none; ++i) trouble = client_->get(1, bytes);
  EXPECT_NE(trouble, Trouble::none);
  EXPECT_THAT(server_->firstEnd().reason, HasSubstr("which has no room for them"));
}

TEST_P(Session, APutToAPeerThatHungUpAndReadsNothingFails) {
  server_->hang_up_bulk = true;
  EXPECT_EQ(client_->put(5, patternBytes(64 << 20, 1)), Trouble::connectionLost);
}

TEST_P(Session, FetchesFigures) {
  ask(testBatch(TestOp::echo, 8));
  SessionStats stats;
  ASSERT_EQ(client_->stats(stats), Trouble::none);
  EXPECT_EQ(stats.calls, 1u);
  EXPECT_EQ(stats.kernel_ns, 34u);
  EXPECT_EQ(stats.method, "exact");
}

TEST_P(Session, ClosesInGoodOrder) {
  ASSERT_EQ(client_->submit(testBatch(TestOp::echo, 8)), Trouble::none);
  SessionStats stats;
  ASSERT_EQ(client_->close(stats), Trouble::none);
  EXPECT_EQ(stats.calls, 1u);
  EXPECT_TRUE(client_->dead());
  EXPECT_EQ(client_->submit(testBatch(TestOp::echo, 8)), Trouble::sessionEnded);
  client_.reset();
  EXPECT_EQ(server_->firstEnd().trouble, Trouble::none);
}

TEST_P(Session, AClientThatGoesAwayIsNoticed) {
  ask(testBatch(TestOp::echo, 8));
  client_.reset();
  EXPECT_EQ(server_->firstEnd().trouble, Trouble::connectionLost);
}

TEST_P(Session, APeerThatHangsUpFailsEveryThreadAtOnce) {
  std::vector<std::thread> threads;
  std::atomic<int> failed{0};
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([&] {
      Reply reply;
      if (client_->wait(client_->start(testBatch(TestOp::park, 8)), reply) ==
          Trouble::connectionLost) {
        ++failed;
      }
    });
  }
  threads.emplace_back([&] {
    const auto batch = testBatch(TestOp::echo, 4096);
    while (client_->submit(batch) == Trouble::none) {
    }
    ++failed;
  });
  threads.emplace_back([&] {
    const auto data = patternBytes(1 << 20, 1);
    uint64_t transfer = 1;
    while (client_->put(1 + transfer++ % 2, data) == Trouble::none) {
    }
    ++failed;
  });
  server_->waitFor([this] { return server_->parked_count() == 3 && server_->batch_count > 20; });
  server_->dropConnections();
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(failed, 5);
  EXPECT_TRUE(client_->dead());
  EXPECT_THAT(client_->deathReason().sentence, HasSubstr(server_->address()));
  // Late calls return at once.
  std::vector<std::byte> bytes(16);
  SessionStats stats;
  EXPECT_EQ(client_->submit(testBatch(TestOp::echo, 8)), Trouble::connectionLost);
  EXPECT_EQ(client_->put(1, bytes), Trouble::connectionLost);
  EXPECT_EQ(client_->get(1, bytes), Trouble::connectionLost);
  EXPECT_EQ(client_->stats(stats), Trouble::connectionLost);
}

TEST_P(Session, APeerThatEndsInsideACallFailsIt) {
  ask(testBatch(TestOp::hangUp, 8), Trouble::connectionLost);
  EXPECT_THAT(client_->deathReason().sentence, HasSubstr("is lost"));
}

TEST_P(Session, AnEndedSessionTellsWhy) {
  ask(testBatch(TestOp::endSession, 8), Trouble::sessionEnded);
  EXPECT_EQ(client_->deathReason().kind, Trouble::sessionEnded);
  EXPECT_THAT(client_->deathReason().sentence, HasSubstr("The test ends the session."));
}

TEST_P(Session, AnIdleClientNoticesTheEndByItsTick) {
  server_->abortSession("Drained by the test.");
  while (!client_->dead()) {
    client_->backgroundTick();
    std::this_thread::yield();
  }
  EXPECT_THAT(client_->deathReason().sentence, HasSubstr("Drained by the test."));
}

TEST_P(Session, RepliesOutliveTheDeathOfTheConnection) {
  Reply reply;
  const auto batch = testBatch(TestOp::echo, 100000);
  ASSERT_EQ(client_->wait(client_->start(batch), reply), Trouble::none);
  server_->dropConnections();
  while (!client_->dead()) client_->backgroundTick();
  EXPECT_EQ(std::memcmp(reply.bytes().data(), batch.data(), batch.size()), 0);
}

TEST_P(Session, AThreadInsideAnotherEventLoopCanCall) {
  // A program can use the same Cap'n Proto library itself.
  kj::EventLoop loop;
  kj::WaitScope scope(loop);
  const auto batch = testBatch(TestOp::echo, 20000);
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(client_->submit(batch), Trouble::none);
    EXPECT_EQ(ask(batch), batch);
  }
  const auto data = patternBytes(2 << 20, 3);
  EXPECT_EQ(client_->put(1, data), Trouble::none);
  server_->waitFor([&] { return server_->upload_bytes[1] == data.size(); });
}

TEST(Output, ReachesTheClientWhileNobodyWaits) {
  TestServer server(freshUnixAddress());
  std::string text;
  ClientOptions options = clearOptions();
  options.on_output = [&](bool, std::span<const std::byte> bytes) {
    text.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  };
  ConnectionError error;
  const auto client = ClientConnection::open(server.address(), testHello(), options, error);
  ASSERT_NE(client, nullptr);
  // The callbacks are set by the time a later request is answered.
  SessionStats stats;
  ASSERT_EQ(client->stats(stats), Trouble::none);
  server.sendOutput("hello from the device\n");
  while (text.empty()) client->backgroundTick();
  EXPECT_EQ(text, "hello from the device\n");
}

// A gpud that is stopped keeps its connection. The time is the test's own.
TEST(Silence, IsToldOnceAndOnlyWhenNoSignOfLifeComes) {
  TestServer server(freshUnixAddress());
  std::vector<std::string> told;
  ClientOptions options = clearOptions();
  options.silence_max = std::chrono::seconds(20);
  options.on_silence = [&](const std::string& sentence) { told.push_back(sentence); };
  ConnectionError error;
  const auto client = ClientConnection::open(server.address(), testHello(), options, error);
  ASSERT_NE(client, nullptr);
  const auto start = std::chrono::steady_clock::now();
  const auto tickAt = [&](int seconds) {
    client->backgroundTick(start + std::chrono::seconds(seconds));
  };

  // Nobody waits: silence is in order.
  for (int s = 0; s < 100; s += 5) tickAt(s);
  EXPECT_TRUE(told.empty());

  // A call waits, and the server lives: it answers when it is asked.
  Ticket waiting = client->start(testBatch(TestOp::park, 8));
  server.waitFor([&] { return server.parked_count() == 1; });
  tickAt(100);
  const uint64_t before = client->counters().bytes_received;
  tickAt(111);  // asks
  while (client->counters().bytes_received == before) tickAt(111);
  tickAt(125);
  EXPECT_TRUE(told.empty());

  // The server's thread stands still.
  std::promise<void> stands, go_on;
  std::thread stopped([&] {
    server.onLoop([&] {
      stands.set_value();
      go_on.get_future().wait();
    });
  });
  stands.get_future().wait();
  for (int s = 126; s < 200; ++s) tickAt(s);
  ASSERT_EQ(told.size(), 1u);
  EXPECT_THAT(told[0], HasSubstr("has not answered for"));
  EXPECT_THAT(told[0], HasSubstr(server.address()));
  go_on.set_value();
  stopped.join();
  server.releaseParked();
  Reply reply;
  EXPECT_EQ(client->wait(std::move(waiting), reply), Trouble::none);
}

}  // namespace
}  // namespace farwarp::wire
