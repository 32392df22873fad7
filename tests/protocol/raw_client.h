// A client without our client's manners, for tests of what gpud refuses.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <memory>
#include <string>
#include <vector>

#include "protocol/client_connection.h"
#include "protocol/farwarp.capnp.h"
#include "protocol/rpc_link.h"
#include "protocol/uv_watch.h"
#include "tests/protocol/test_server.h"

namespace farwarp::wire {

inline int greetedSocket(const TestServer& server, ConnectionKind kind) {
  Endpoint endpoint;
  std::string error;
  EXPECT_TRUE(parseEndpoint(server.address(), endpoint, error));
  const int fd = connectTo(endpoint, 5000, error);
  ClientPreamble preamble;
  preamble.kind = kind;
  PreambleBytes bytes = encodePreamble(preamble);
  EXPECT_EQ(send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL), 32);
  EXPECT_EQ(recv(fd, bytes.data(), bytes.size(), MSG_WAITALL), 32);
  return fd;
}

class RawClient {
 public:
  explicit RawClient(const TestServer& server, ConnectionKind kind = ConnectionKind::control)
      : fd_(greetedSocket(server, kind)),
        link_(port_.flushers(), std::make_unique<SocketChannel>(fd_), nullptr,
              controlStreamOptions(), nullptr),
        watch_(port_.uvLoop(), fd_, link_.stream()),
        gpud(link_.bootstrap().castAs<rpc::Gpud>()) {}
  ~RawClient() noexcept {}

  rpc::Session::Client session() {
    auto request = gpud.helloRequest();
    request.initClient().setProgram("raw");
    return request.send().wait(scope).getSession();
  }
  rpc::Bulk::Client bulk() {
    auto request = gpud.attachBulkRequest();
    const uint8_t token[16] = {1, 2, 3, 4, 5, 6, 7, 8};
    request.setToken(kj::arrayPtr(token, 16));
    return request.send().wait(scope).getBulk();
  }
  // For messages that are written by hand.
  MessageStream& stream() { return link_.stream(); }
  ByteChannel& channel() { return link_.channel(); }

 private:
  UvEventPort port_;

 public:
  kj::WaitScope scope{port_.eventLoop()};

 private:
  int fd_;
  RpcLink link_;
  UvWatch watch_;

 public:
  rpc::Gpud::Client gpud;
};

inline capnp::Data::Reader data(const std::vector<std::byte>& bytes) {
  return {reinterpret_cast<const kj::byte*>(bytes.data()), bytes.size()};
}

// Runs `request` to its end; the text of its failure, or "" if it worked.
template <typename Request>
std::string failureOf(Request&& request, kj::WaitScope& scope) {
  std::string text;
  KJ_IF_MAYBE (exception,
               kj::runCatchingExceptions([&] { request.send().ignoreResult().wait(scope); })) {
    text = exception->getDescription().cStr();
  }
  return text;
}

class Rules : public ::testing::Test {
 protected:
  // The session ended because of `reason`, and the server still serves.
  void expectEnded(const std::string& reason) {
    EXPECT_THAT(server_.firstEnd().reason, ::testing::HasSubstr(reason));
    EXPECT_EQ(server_.firstEnd().trouble, Trouble::protocolViolation);
    ConnectionError error;
    const auto other =
        ClientConnection::open(server_.address(), ClientHello{}, clearOptions(), error);
    ASSERT_NE(other, nullptr) << error.sentence;
    Reply reply;
    EXPECT_EQ(other->wait(other->start(testBatch(TestOp::echo, 8)), reply), Trouble::none);
  }

  TestServer server_{"127.0.0.1:0"};
};

}  // namespace farwarp::wire
