// Goal: bulk data that is compressed on its way arrives as it was, both ways, from several threads,
// over TLS too, and the counters say what it was on the wire. Method: sessions in which both sides
// say "on", with data of every kind; what was asked for and what was got is compared.
#include <gtest/gtest.h>

#include <thread>

#include "protocol/client_connection.h"
#include "tests/protocol/test_certificates.h"
#include "tests/protocol/test_data.h"
#include "tests/protocol/test_server.h"

namespace farwarp::wire {
namespace {

std::vector<std::byte> mixedBytes(size_t bytes) {
  // Chunks of every kind, one after the other.
  std::vector<std::byte> data;
  for (uint32_t i = 0; data.size() < bytes; ++i) {
    const auto part = i % 4 == 0   ? textBytes(kChunkBytesMax)
                      : i % 4 == 1 ? patternBytes(kChunkBytesMax, i)
                      : i % 4 == 2 ? std::vector<std::byte>(kChunkBytesMax)
                                   : weightBytes(kChunkBytesMax, i);
    data.insert(data.end(), part.begin(), part.end());
  }
  data.resize(bytes);
  return data;
}

struct Pair {
  Pair(const std::string& address, CompressionMode ours, CompressionMode theirs,
       ClientOptions options = clearOptions(), TlsServer* tls = nullptr)
      : server(address, tls) {
    server.compression = theirs;
    options.compression = ours;
    ConnectionError error;
    client = ClientConnection::open(server.address(), ClientHello{}, options, error);
    EXPECT_NE(client, nullptr) << error.sentence;
  }
  void thereAndBack(uint64_t transfer, const std::vector<std::byte>& data) {
    ASSERT_EQ(client->put(transfer, data), Trouble::none);
    server.waitFor([&] { return server.upload_bytes[transfer] >= data.size(); });
    auto stored = server.upload(transfer);
    stored.resize(data.size());
    EXPECT_EQ(stored, data);
    server.setDownload(transfer + 1000, data);
    std::vector<std::byte> back(data.size());
    ASSERT_EQ(client->get(transfer + 1000, back), Trouble::none);
    EXPECT_EQ(back, data);
  }
  TestServer server;
  std::unique_ptr<ClientConnection> client;
};

using enum CompressionMode;

TEST(CompressedBulk, ComesThroughBothWays) {
  Pair pair("127.0.0.1:0", automatic, on);
  uint64_t transfer = 1;
  for (const size_t bytes :
       {size_t{1}, size_t{5000}, size_t{70001}, kChunkBytesMax, 6 * kChunkBytesMax + 12345}) {
    pair.thereAndBack(transfer++, textBytes(bytes));
    pair.thereAndBack(transfer++, mixedBytes(bytes));
  }
  const ClientCounters counters = pair.client->counters();
  EXPECT_GT(counters.unpacked_bytes, 20 * kChunkBytesMax);
  EXPECT_LT(counters.packed_bytes, counters.unpacked_bytes / 2);
  EXPECT_LT(counters.bytes_sent + counters.bytes_received, counters.unpacked_bytes);
}

TEST(CompressedBulk, OverTls) {
  Certificates certificates;
  Pair pair("127.0.0.1:0", on, on, certificates.byFile(), certificates.tls.get());
  pair.thereAndBack(1, mixedBytes(5 * kChunkBytesMax + 77));
  EXPECT_GT(pair.client->counters().unpacked_bytes, 0u);
}

TEST(CompressedBulk, DoesNotHappenWhenOneSideSaysNo) {
  for (const auto& [ours, theirs] : {std::pair{off, on}, std::pair{on, off}}) {
    Pair pair("127.0.0.1:0", ours, theirs);
    pair.thereAndBack(1, textBytes(3 * kChunkBytesMax));
    EXPECT_EQ(pair.client->counters().unpacked_bytes, 0u);
  }
  // Nor on a Unix socket, unless somebody insists.
  Pair local(freshUnixAddress(), automatic, automatic);
  local.thereAndBack(1, textBytes(3 * kChunkBytesMax));
  EXPECT_EQ(local.client->counters().unpacked_bytes, 0u);
  Pair insists(freshUnixAddress(), on, automatic);
  insists.thereAndBack(1, textBytes(3 * kChunkBytesMax));
  EXPECT_GT(insists.client->counters().unpacked_bytes, 0u);
}

TEST(CompressedBulk, SeveralThreadsAtOnce) {
  Pair pair("127.0.0.1:0", on, on);
  std::vector<std::thread> threads;
  for (uint64_t t = 1; t <= 4; ++t) {
    threads.emplace_back([&, t] {
      const auto data = t % 2 == 0 ? mixedBytes(3 * kChunkBytesMax + t)
                                   : weightBytes(3 * kChunkBytesMax + t, static_cast<uint32_t>(t));
      for (uint64_t round = 0; round < 3; ++round) pair.thereAndBack(10 * t + round, data);
    });
  }
  for (auto& thread : threads) thread.join();
}

TEST(CompressedBulk, AConnectionThatEndsInTheMiddle) {
  // The thread of the codec works for it then, on memory that goes.
  for (int round = 0; round < 5; ++round) {
    Pair pair("127.0.0.1:0", on, on);
    const auto data = textBytes(7 * kChunkBytesMax);
    pair.server.setDownload(1, data);
    std::thread getting([&] {
      std::vector<std::byte> back(data.size());
      (void)pair.client->get(1, back);
    });
    std::thread putting([&] { (void)pair.client->put(2, data); });
    pair.server.waitFor([&] { return pair.server.placements > 2; });
    pair.server.dropConnections();
    getting.join();
    putting.join();
    while (!pair.client->dead()) pair.client->backgroundTick();  // ends, or the test times out
  }
}

}  // namespace
}  // namespace farwarp::wire
