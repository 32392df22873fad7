// Goal: a child of fork() has no session, can open one of its own, and does not disturb its
// parent's: no byte of the child's gets onto the parent's connection, in clear or with TLS. Method:
// fork in the middle of traffic of several threads; the parent checks every reply.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <thread>

#include "protocol/client_connection.h"
#include "tests/protocol/test_certificates.h"
#include "tests/protocol/test_server.h"

namespace farwarp::wire {
namespace {

// A server, in clear or with TLS, and how its clients connect.
struct Served {
  explicit Served(bool tls)
      : server(tls ? "127.0.0.1:0" : freshUnixAddress(), tls ? certificates.tls.get() : nullptr),
        options(tls ? certificates.byFile() : clearOptions()) {}
  std::unique_ptr<ClientConnection> openSession() const {
    ConnectionError error;
    auto client = ClientConnection::open(server.address(), ClientHello{}, options, error);
    EXPECT_NE(client, nullptr) << error.sentence;
    return client;
  }
  Certificates certificates;
  TestServer server;
  ClientOptions options;
};

class Fork : public testing::TestWithParam<bool> {};
INSTANTIATE_TEST_SUITE_P(Transports, Fork, testing::Bool(),
                         [](const auto& info) { return info.param ? "tls" : "clear"; });

bool echoes(ClientConnection& client, uint32_t number) {
  const auto batch = testBatch(TestOp::echo, 512, 0, number);
  Reply reply;
  return client.wait(client.start(batch), reply) == Trouble::none &&
         reply.bytes().size() == batch.size() &&
         std::memcmp(reply.bytes().data(), batch.data(), batch.size()) == 0;
}

// What the child does; returns its exit status.
int inChild(ClientConnection& inherited, const Served& served) {
  inherited.abandonAfterFork();
  const auto batch = testBatch(TestOp::echo, 64);
  Reply reply;
  std::vector<std::byte> bytes(64);
  if (inherited.submit(batch) != Trouble::forked) return 1;
  if (inherited.wait(inherited.start(batch), reply) != Trouble::forked) return 2;
  if (inherited.put(1, bytes) != Trouble::forked) return 3;
  if (inherited.deathReason().kind != Trouble::forked) return 4;
  inherited.backgroundTick();
  const auto own = served.openSession();
  if (own == nullptr) return 5;
  for (uint32_t i = 0; i < 20; ++i) {
    if (!echoes(*own, i)) return 6;
  }
  return 0;
}

TEST_P(Fork, InTheMiddleOfTraffic) {
#ifdef __SANITIZE_ADDRESS__
  // Seen: the child waits for ever for a lock of the allocator that another thread held at the
  // fork.
  GTEST_SKIP() << "gcc 12's AddressSanitizer cannot allocate in the child of a busy process.";
#endif
  Served served(GetParam());
  const auto client = served.openSession();
  ASSERT_NE(client, nullptr);
  const auto data = patternBytes(100000, 7);
  ASSERT_EQ(client->put(9, data), Trouble::none);  // so that there is a bulk connection
  std::atomic<bool> stop{false};
  std::atomic<uint64_t> failures{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([&] {
      for (uint32_t i = 0; !stop; ++i) {
        if (!echoes(*client, i)) ++failures;
        if (client->submit(testBatch(TestOp::echo, 4096)) != Trouble::none) ++failures;
      }
    });
  }
  for (int round = 0; round < 8; ++round) {
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) _exit(inChild(*client, served));
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFEXITED(status));
    EXPECT_EQ(WEXITSTATUS(status), 0);
    EXPECT_TRUE(echoes(*client, 1));
  }
  stop = true;
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(failures, 0u);
  EXPECT_FALSE(client->dead());
  ASSERT_EQ(client->put(10, data), Trouble::none);
}

TEST_P(Fork, AChildMayDestroyWhatItInherited) {
  Served served(GetParam());
  auto client = served.openSession();
  ASSERT_NE(client, nullptr);
  Reply reply;
  ASSERT_EQ(client->wait(client->start(testBatch(TestOp::echo, 64)), reply), Trouble::none);
  const pid_t child = fork();
  if (child == 0) {
    client->abandonAfterFork();
    { const Reply dropped = std::move(reply); }
    client.reset();
    _exit(0);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  EXPECT_TRUE(echoes(*client, 2));
}

}  // namespace
}  // namespace farwarp::wire
