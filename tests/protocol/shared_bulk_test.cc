// Goal: bulk data through shared memory arrives as sent, also when there is no room or the other
// side is slow, and a client that breaks its rules loses its session. Method: our client, several
// threads of it, and one without manners, against a test server that shares memory.
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <random>
#include <thread>

#include "protocol/direct_bulk.h"
#include "tests/protocol/raw_client.h"

namespace farwarp::wire {
namespace {

using ::testing::HasSubstr;

class SharedBulkTest : public ::testing::Test {
 protected:
  void open(bool share = true) {
    server_.share_memory = share;
    ConnectionError error;
    client_ = ClientConnection::open(server_.address(), ClientHello{}, clearOptions(), error);
    ASSERT_NE(client_, nullptr) << error.sentence;
  }
  void expectUpload(uint64_t transfer, const std::vector<std::byte>& data) {
    server_.waitFor([&] { return server_.upload_bytes[transfer] >= data.size(); });
    auto there = server_.upload(transfer);
    there.resize(data.size());
    EXPECT_EQ(there, data);
  }

  TestServer server_{freshUnixAddress()};
  std::unique_ptr<ClientConnection> client_;
};

TEST_F(SharedBulkTest, EverySizeArrives) {
  open();
  uint64_t transfer = 0, bytes = 0;
  for (const size_t size : {size_t{1}, size_t{7}, kUploadSlotBytes - 1, kUploadSlotBytes + 1,
                            kDownloadSlotBytes, kDownloadSlotBytes + 1, size_t{7000001}}) {
    ++transfer;
    const auto data = patternBytes(size, static_cast<uint32_t>(size));
    ASSERT_EQ(client_->put(transfer, data), Trouble::none);
    expectUpload(transfer, data);
    server_.setDownload(transfer, data);
    std::vector<std::byte> back(size);
    ASSERT_EQ(client_->get(transfer, back), Trouble::none);
    EXPECT_EQ(back, data);
    bytes += size;
  }
  // All that was fetched; what is sent may take the other way when the server is slow.
  EXPECT_GE(client_->counters().bytes_shared, bytes);
  EXPECT_EQ(client_->counters().why_not_shared, "");
}

TEST_F(SharedBulkTest, AServerMayRefuse) {
  open(false);
  const auto data = patternBytes(3000000, 1);
  ASSERT_EQ(client_->put(1, data), Trouble::none);
  expectUpload(1, data);
  EXPECT_EQ(client_->counters().bytes_shared, 0u);
  EXPECT_THAT(client_->counters().why_not_shared, HasSubstr("does not share memory"));
}

TEST_F(SharedBulkTest, WhoWantsCompressionGetsIt) {
  server_.compression = CompressionMode::on;
  server_.share_memory = true;
  ConnectionError error;
  ClientOptions options = clearOptions();
  options.compression = CompressionMode::on;
  client_ = ClientConnection::open(server_.address(), ClientHello{}, options, error);
  ASSERT_NE(client_, nullptr);
  const std::vector<std::byte> data(3000000);
  ASSERT_EQ(client_->put(1, data), Trouble::none);
  expectUpload(1, data);
  EXPECT_EQ(client_->counters().bytes_shared, 0u);
  EXPECT_LT(client_->counters().packed_bytes, client_->counters().unpacked_bytes);
}

TEST_F(SharedBulkTest, WithoutRoomTheBytesComeThroughTheSocket) {
  open();
  server_.shared_places_max = 1;
  const auto data = patternBytes(8000000, 5);
  server_.setDownload(1, data);
  std::vector<std::byte> back(data.size());
  ASSERT_EQ(client_->get(1, back), Trouble::none);
  EXPECT_EQ(back, data);
  EXPECT_LT(client_->counters().bytes_shared, data.size());
  server_.shared_places_max = 0;
  ASSERT_EQ(client_->get(1, back), Trouble::none);
  EXPECT_EQ(back, data);
}

// The device may not read what came before the copy that is being made has ended.
TEST_F(SharedBulkTest, APutDoesNotWaitForItsPlacesForEver) {
  open();
  server_.keep_leases = true;
  const auto data = patternBytes(7000000, 9);
  ASSERT_EQ(client_->put(1, data), Trouble::none);
  expectUpload(1, data);
  EXPECT_EQ(client_->counters().bytes_shared, kUploadPartBytes);
  server_.releaseParked();
  Reply reply;
  ASSERT_EQ(client_->put(2, data), Trouble::none);
  expectUpload(2, data);
}

TEST_F(SharedBulkTest, ThreadsDoNotMixTheirBytes) {
  open();
  server_.shared_places_max = 3;
  constexpr int kThreads = 4;
  std::vector<std::vector<std::byte>> data;
  for (int t = 0; t < kThreads; ++t) {
    data.push_back(patternBytes(2500000 + 100001 * t, static_cast<uint32_t>(t)));
    server_.setDownload(100 + t, data.back());
  }
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      std::vector<std::byte> back(data[t].size());
      for (int round = 0; round < 5; ++round) {
        EXPECT_EQ(client_->put(static_cast<uint64_t>(1 + t + kThreads * round), data[t]),
                  Trouble::none);
        std::fill(back.begin(), back.end(), std::byte{0});
        EXPECT_EQ(client_->get(static_cast<uint64_t>(100 + t), back), Trouble::none);
        EXPECT_EQ(back, data[t]);
      }
    });
  }
  for (auto& thread : threads) thread.join();
  for (int i = 0; i < 5 * kThreads; ++i) {
    expectUpload(static_cast<uint64_t>(1 + i), data[static_cast<size_t>(i % kThreads)]);
  }
}

TEST_F(SharedBulkTest, AFailedGetLeavesTheSessionAlive) {
  open();
  std::vector<std::byte> back(3000000);
  EXPECT_EQ(client_->get(77, back), Trouble::callFailed);
  const auto data = patternBytes(3000000, 2);
  server_.setDownload(78, data);
  ASSERT_EQ(client_->get(78, back), Trouble::none);
  EXPECT_EQ(back, data);
}

TEST_F(SharedBulkTest, AServerThatHangsUpFailsWhoCopies) {
  open();
  server_.keep_leases = true;
  const auto data = patternBytes(1000000, 2);
  server_.setDownload(1, data);
  std::thread putting([&] {
    for (uint64_t i = 0; client_->put(1 + i % 2, data) == Trouble::none; ++i) {
    }
  });
  std::thread getting([&] {
    std::vector<std::byte> back(data.size());
    while (client_->get(1, back) == Trouble::none) {
    }
  });
  server_.waitFor([&] { return server_.upload_bytes[2] > 0; });
  server_.dropConnections();
  putting.join();
  getting.join();
  EXPECT_TRUE(client_->dead());
}

// ---- clients that break the rules

class SharedRules : public ::testing::Test {
 public:
  ~SharedRules() noexcept override {}

 protected:
  SharedRules() { server_.share_memory = true; }

  // gpud's first export is its bootstrap, the second the bulk service.
  static constexpr uint32_t kBulkExport = 1;

  void post(SharedCall call) {
    call.question = kDirectQuestions + next_++;
    postSharedCall(client_.stream(), call, kBulkExport);
    client_.stream().flushOutput();
    client_.scope.poll();
  }
  void expectEnded(const std::string& reason) {
    EXPECT_THAT(server_.firstEnd().reason, HasSubstr(reason));
    EXPECT_EQ(server_.firstEnd().trouble, Trouble::protocolViolation);
  }
  std::string share(int fd) {
    if (fd >= 0) client_.channel().sendDescriptor(fd);
    return bulk_.shareRequest().send().wait(client_.scope).getRefusal().cStr();
  }

  TestServer server_{freshUnixAddress()};
  RawClient client_{server_, ConnectionKind::bulk};
  rpc::Bulk::Client bulk_ = client_.bulk();
  uint32_t next_ = 0;
};

TEST_F(SharedRules, MemoryComesBeforeItsUse) {
  post({0, SharedMethod::put, 1, 0, 0, 100});
  expectEnded("100 bytes at place 0");
}

TEST_F(SharedRules, WithoutADescriptorNothingIsShared) {
  EXPECT_THAT(share(-1), HasSubstr("did not arrive"));
}

TEST_F(SharedRules, OnlySealedMemoryIsShared) {
  const int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  ASSERT_EQ(ftruncate(fd, kSharedRegionBytes), 0);
  EXPECT_THAT(share(fd), HasSubstr("not sealed"));
  close(fd);
}

TEST_F(SharedRules, MemoryIsSharedOnce) {
  auto region = SharedRegion::create();
  ASSERT_TRUE(region);
  EXPECT_EQ(share(region->fd()), "");
  EXPECT_NE(share(region->fd()), "");
  post({0, SharedMethod::put, 1, 0, 0, 100});
  server_.waitFor([&] { return server_.upload_bytes[1] == 100; });
}

TEST_F(SharedRules, PlacesHaveALimit) {
  auto region = SharedRegion::create();
  ASSERT_TRUE(region);
  EXPECT_EQ(share(region->fd()), "");
  post({0, SharedMethod::put, 1, 0, kUploadPartBytes - 50, 100});
  expectEnded("of shared memory");
}

TEST_F(SharedRules, LengthsHaveALimit) {
  auto region = SharedRegion::create();
  ASSERT_TRUE(region);
  EXPECT_EQ(share(region->fd()), "");
  post({0, SharedMethod::put, 1, 0, 0, ~uint32_t{0}});
  expectEnded("of shared memory");
}

TEST_F(SharedRules, OffsetsHaveALimit) {
  auto region = SharedRegion::create();
  ASSERT_TRUE(region);
  EXPECT_EQ(share(region->fd()), "");
  post({0, SharedMethod::get, 1, ~uint64_t{0} - 3, 0, 100});
  expectEnded("of shared memory");
}

TEST_F(SharedRules, OnlyWhatWasLentIsTaken) {
  auto region = SharedRegion::create();
  ASSERT_TRUE(region);
  EXPECT_EQ(share(region->fd()), "");
  post({0, SharedMethod::taken, 0, 0, 4096, 0});
  expectEnded("not its to use");
}

TEST_F(SharedRules, AnswersThatAreNotAskedForAreIgnored) {
  auto region = SharedRegion::create();
  ASSERT_TRUE(region);
  EXPECT_EQ(share(region->fd()), "");
  postDirectFinish(client_.stream(), kDirectQuestions + 99);
  post({0, SharedMethod::put, 1, 0, 0, 100});
  server_.waitFor([&] { return server_.upload_bytes[1] == 100; });
}

}  // namespace
}  // namespace farwarp::wire
