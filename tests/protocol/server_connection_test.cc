// Goal: a client that breaks a rule or a limit of the protocol loses its session, with a reason in
// gpud's log, and gpud goes on serving others. Method: a bare Cap'n Proto client without our
// client's manners against the test server.
#include "protocol/server_connection.h"

#include <unistd.h>

#include <cstring>

#include "protocol/chunk_codec.h"
#include "tests/protocol/raw_client.h"
#include "tests/protocol/test_data.h"

namespace farwarp::wire {
namespace {

using ::testing::HasSubstr;

TEST_F(Rules, SequenceNumbersHaveNoGaps) {
  RawClient client(server_);
  auto session = client.session();
  auto request = session.callRequest();
  request.setSeq(2);
  request.setBatch(data(testBatch(TestOp::echo, 8)));
  EXPECT_THAT(failureOf(request, client.scope), HasSubstr("batch 2 where batch 1 must come"));
  expectEnded("batch 2 where batch 1 must come");
}

TEST_F(Rules, SequenceNumbersAreNotRepeated) {
  RawClient client(server_);
  auto session = client.session();
  for (int i = 0; i < 2; ++i) {
    auto request = session.submitRequest();
    request.setSeq(1);
    request.setBatch(data(testBatch(TestOp::echo, 8)));
    request.send().wait(client.scope);
  }
  EXPECT_THAT(failureOf(session.statsRequest(), client.scope), HasSubstr("session ended"));
  expectEnded("batch 1 where batch 2 must come");
}

TEST_F(Rules, BatchesHaveASize) {
  for (size_t bytes : {size_t{0}, size_t{kBatchBytesMax} + 8}) {
    TestServer server("127.0.0.1:0");
    RawClient client(server);
    auto session = client.session();
    auto request = session.callRequest();
    request.setSeq(1);
    request.setBatch(data(std::vector<std::byte>(bytes)));
    EXPECT_THAT(failureOf(request, client.scope),
                HasSubstr("a batch of " + std::to_string(bytes) + " bytes"));
  }
}

TEST_F(Rules, WaitingCallsHaveALimit) {
  RawClient client(server_);
  auto session = client.session();
  kj::Vector<kj::Promise<void>> calls;
  const auto batch = testBatch(TestOp::park, 8);
  for (uint32_t i = 0; i <= kOutstandingCallsMax; ++i) {
    auto request = session.callRequest();
    request.setSeq(i + 1);
    request.setBatch(data(batch));
    calls.add(request.send().ignoreResult());
  }
  std::string text;
  KJ_IF_MAYBE (exception, kj::runCatchingExceptions([&] { calls.back().wait(client.scope); })) {
    text = exception->getDescription().cStr();
  }
  EXPECT_THAT(text, HasSubstr("more than 4096 calls at once"));
  expectEnded("more than 4096 calls");
}

TEST_F(Rules, OneHelloPerConnection) {
  RawClient client(server_);
  auto session = client.session();
  EXPECT_THAT(failureOf(client.gpud.helloRequest(), client.scope), HasSubstr("greets twice"));
  expectEnded("greets twice");
}

TEST_F(Rules, HelloStringsHaveALimit) {
  RawClient client(server_);
  auto request = client.gpud.helloRequest();
  request.initClient().setProgram(std::string(2000, 'x'));
  EXPECT_THAT(failureOf(request, client.scope), HasSubstr("2000 bytes; the limit is 1024"));
  expectEnded("hello is malformed");
}

TEST_F(Rules, ControlConnectionsHaveNoBulkService) {
  RawClient client(server_);
  EXPECT_THAT(failureOf(client.gpud.attachBulkRequest(), client.scope), HasSubstr("for bulk"));
  expectEnded("for bulk");
}

TEST_F(Rules, BulkConnectionsHaveNoSession) {
  RawClient client(server_, ConnectionKind::bulk);
  EXPECT_THAT(failureOf(client.gpud.helloRequest(), client.scope), HasSubstr("on a bulk"));
  // It never proved that it belongs to the session, whose end it therefore is not.
  server_.waitFor([this] { return !server_.strangers.empty(); });
  server_.onLoop([this] {
    EXPECT_THAT(server_.strangers[0], HasSubstr("hello on a bulk connection"));
    EXPECT_TRUE(server_.ended.empty());
  });
}

TEST_F(Rules, BulkConnectionsNeedTheSessionsToken) {
  for (size_t bytes : {size_t{0}, size_t{15}, size_t{16}, size_t{17}}) {
    TestServer server("127.0.0.1:0");
    RawClient client(server, ConnectionKind::bulk);
    auto request = client.gpud.attachBulkRequest();
    request.setToken(data(std::vector<std::byte>(bytes)));
    EXPECT_THAT(failureOf(request, client.scope), HasSubstr("another session's token"));
  }
}

TEST_F(Rules, ChunksHaveALimit) {
  RawClient client(server_, ConnectionKind::bulk);
  auto bulk = client.bulk();
  auto request = bulk.putRequest();
  request.setTransfer(1);
  request.setData(data(std::vector<std::byte>(kChunkBytesMax + 8)));
  request.send().wait(client.scope);
  EXPECT_NE(failureOf(bulk.getRequest(), client.scope), "");
  expectEnded("malformed or oversized chunk");
}

TEST_F(Rules, HeadsAndTailsAreShort) {
  RawClient client(server_, ConnectionKind::bulk);
  auto bulk = client.bulk();
  auto request = bulk.putRequest();
  request.setTail(data(std::vector<std::byte>(8)));
  request.send().wait(client.scope);
  EXPECT_NE(failureOf(bulk.getRequest(), client.scope), "");
  expectEnded("malformed or oversized chunk");
}

TEST_F(Rules, OffsetsHaveALimit) {
  RawClient client(server_, ConnectionKind::bulk);
  auto bulk = client.bulk();
  auto request = bulk.putRequest();
  request.setOffset(~uint64_t{0} - 3);
  request.setData(data(std::vector<std::byte>(8)));
  request.send().wait(client.scope);
  EXPECT_NE(failureOf(bulk.getRequest(), client.scope), "");
  expectEnded("malformed or oversized chunk");
}

TEST(PackedChunks, ThatMakeNoSenseEndTheConnection) {
  const auto text = textBytes(20000);
  std::vector<std::byte> sound(20000);
  const ptrdiff_t bytes = ChunkEncoder().encode({ChunkForm::zstd, 1}, text, sound);
  ASSERT_GT(bytes, 0);
  sound.resize(static_cast<size_t>(bytes));
  auto cut = sound;
  cut.resize(cut.size() - 1);
  const struct {
    uint8_t form;
    uint32_t length;
    std::vector<std::byte> data, tail;
    const char* reason;
  } cases[] = {
      {6, 20000, sound, {}, "malformed or oversized chunk"},
      {255, 20000, sound, {}, "malformed or oversized chunk"},
      {2, 0, sound, {}, "malformed or oversized chunk"},
      {2, kChunkBytesMax + 1, sound, {}, "malformed or oversized chunk"},
      {2, 20000, sound, {std::byte{1}}, "malformed or oversized chunk"},
      {2, 19999, sound, {}, "does not say that it has the 19999 bytes that were announced"},
      {2, kChunkBytesMax, sound, {}, "that were announced"},
      {2, 20000, cut, {}, "does not hold whole zstd frames"},
      {1, 20000, sound, {}, "A chunk of zeros comes with"},
      {2, 100, patternBytes(100, 1), {}, "that were announced"},
  };
  for (const auto& hostile : cases) {
    TestServer server("127.0.0.1:0");
    RawClient client(server, ConnectionKind::bulk);
    auto bulk = client.bulk();
    auto request = bulk.putRequest();
    request.setTransfer(1);
    request.setForm(hostile.form);
    request.setLength(hostile.length);
    request.setData(data(hostile.data));
    request.setTail(data(hostile.tail));
    request.send().wait(client.scope);
    EXPECT_NE(failureOf(bulk.getRequest(), client.scope), "");
    EXPECT_THAT(server.firstEnd().reason, HasSubstr(hostile.reason));
    EXPECT_EQ(server.firstEnd().trouble, Trouble::protocolViolation);
  }
  // The same chunk as it should be.
  TestServer server("127.0.0.1:0");
  RawClient client(server, ConnectionKind::bulk);
  auto request = client.bulk().putRequest();
  request.setTransfer(1);
  request.setForm(2);
  request.setLength(20000);
  request.setData(data(std::as_const(sound)));
  request.send().wait(client.scope);
  client.scope.poll();  // a chunk that fits the window is only queued; now it leaves
  server.waitFor([&] { return server.upload_bytes[1] >= 20000; });
  auto stored = server.upload(1);
  stored.resize(text.size());
  EXPECT_EQ(stored, text);
}

TEST_F(Rules, GetsAskForSomethingSensible) {
  const struct {
    uint64_t offset;
    uint32_t length;
  } cases[] = {{0, 0}, {0, kChunkBytesMax + 1}, {~uint64_t{0}, 8}};
  for (const auto& c : cases) {
    TestServer server("127.0.0.1:0");
    RawClient client(server, ConnectionKind::bulk);
    auto bulk = client.bulk();
    auto request = bulk.getRequest();
    request.setOffset(c.offset);
    request.setLength(c.length);
    EXPECT_THAT(failureOf(request, client.scope), HasSubstr("a chunk has from 1 to 1048576"));
  }
}

TEST_F(Rules, GetsHaveALimit) {
  RawClient client(server_, ConnectionKind::bulk);
  auto bulk = client.bulk();
  server_.onLoop([this] { server_.park_gets = true; });
  kj::Vector<kj::Promise<void>> gets;
  for (uint32_t i = 0; i <= kOutstandingGetsMax; ++i) {
    auto request = bulk.getRequest();
    request.setLength(8);
    gets.add(request.send().ignoreResult());
  }
  std::string text;
  KJ_IF_MAYBE (exception, kj::runCatchingExceptions([&] { gets.back().wait(client.scope); })) {
    text = exception->getDescription().cStr();
  }
  EXPECT_THAT(text, HasSubstr("more than 256 chunks at once"));
}

TEST_F(Rules, GarbageAfterThePreambleEndsOnlyThatConnection) {
  for (const std::string& garbage :
       {std::string(64, '\xff'), std::string("\0\0\0\0\2\0\0\0garbage!garbage?", 24)}) {
    TestServer server("127.0.0.1:0");
    const int fd = greetedSocket(server, ConnectionKind::control);
    EXPECT_EQ(send(fd, garbage.data(), garbage.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(garbage.size()));
    EXPECT_EQ(server.firstEnd().trouble, Trouble::protocolViolation);
    close(fd);
  }
}

// Reads one message of the peer and drops it.
void skipMessage(int fd) {
  uint32_t head[2];
  ASSERT_EQ(recv(fd, head, sizeof(head), MSG_WAITALL), 8);
  ASSERT_EQ(head[0], 0u);
  std::vector<std::byte> body(size_t{head[1]} * 8);
  ASSERT_EQ(recv(fd, body.data(), body.size(), MSG_WAITALL), static_cast<ssize_t>(body.size()));
}

TEST_F(Rules, AClientCutOffInsideAPlacedChunkAbortsThePut) {
  // Half of a chunk's data arrives in its destination, then the client is gone.
  RawClient sender(server_, ConnectionKind::bulk);
  const int fd = greetedSocket(server_, ConnectionKind::bulk);
  // Record what a well-behaved client writes, then send a part of it.
  struct Recorder final : ByteChannel {
    std::vector<std::byte> bytes;
    ssize_t read(void*, size_t) override { return -EAGAIN; }
    ssize_t write(const iovec* pieces, int count) override {
      size_t total = 0;
      for (int i = 0; i < count; ++i) {
        const auto* at = static_cast<const std::byte*>(pieces[i].iov_base);
        bytes.insert(bytes.end(), at, at + pieces[i].iov_len);
        total += pieces[i].iov_len;
      }
      return static_cast<ssize_t>(total);
    }
    void shutdownWrite() override {}
    void shutdownBoth() override {}
    int fd() const override { return -1; }
  } recorder;
  size_t greeting = 0;
  {
    OutputFlushers flushers;
    MessageStream stream(flushers, recorder, nullptr);
    capnp::TwoPartyVatNetwork network(stream, capnp::rpc::twoparty::Side::CLIENT);
    auto system = capnp::makeRpcClient(network);
    capnp::MallocMessageBuilder message(8);
    auto peer = message.initRoot<capnp::rpc::twoparty::VatId>();
    peer.setSide(capnp::rpc::twoparty::Side::SERVER);
    auto attach = system.bootstrap(peer).castAs<rpc::Gpud>().attachBulkRequest();
    const uint8_t token[16] = {1, 2, 3, 4, 5, 6, 7, 8};
    attach.setToken(kj::arrayPtr(token, 16));
    auto bulk = attach.send().getBulk();
    sender.scope.poll();
    flushers.flushAll();
    greeting = recorder.bytes.size();
    auto request = bulk.putRequest();
    const auto bytes = patternBytes(1 << 20, 3);
    auto orphanage = capnp::Orphanage::getForMessageContaining(
        static_cast<rpc::Bulk::PutParams::Builder>(request));
    request.setTransfer(4);
    request.adoptData(orphanage.referenceExternalData(data(bytes)));
    auto sent = request.send();
    sender.scope.poll();
    flushers.flushAll();
  }
  ASSERT_GT(recorder.bytes.size(), size_t{1} << 20);
  const auto sendPart = [&](size_t from, size_t to) {
    while (from < to) {
      const ssize_t n = send(fd, recorder.bytes.data() + from, to - from, MSG_NOSIGNAL);
      ASSERT_GT(n, 0);
      from += static_cast<size_t>(n);
    }
  };
  // Chunks are placed once the service is attached: wait for the answers to bootstrap and
  // attachBulk.
  sendPart(0, greeting);
  skipMessage(fd);
  skipMessage(fd);
  sendPart(greeting, recorder.bytes.size() - (1 << 19));
  shutdown(fd, SHUT_WR);
  EXPECT_THAT(server_.firstEnd().reason, HasSubstr("inside a message"));
  server_.dropConnections();
  server_.onLoop([this] {
    EXPECT_EQ(server_.placements, 1u);
    EXPECT_EQ(server_.aborted_puts, 1u);
    EXPECT_EQ(server_.upload_bytes[4], 0u);
  });
  close(fd);
}

}  // namespace
}  // namespace farwarp::wire
