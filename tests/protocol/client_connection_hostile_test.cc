// Goal: whatever answers in place of a gpud, the client says what is wrong, names the server, and
// never hangs; a connected gpud that turns hostile ends the session. Method: small false servers on
// a thread; the test server for the orderly refusals.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>
#include <thread>

#include "protocol/client_connection.h"
#include "tests/protocol/test_server.h"

namespace farwarp::wire {
namespace {

using ::testing::HasSubstr;

// Accepts one connection and runs `serve` on it.
class FalseServer {
 public:
  explicit FalseServer(std::function<void(int)> serve) {
    Endpoint endpoint;
    std::string error;
    EXPECT_TRUE(parseEndpoint("127.0.0.1:0", endpoint, error, true));
    listener_ = listenOn(endpoint, 8, error);
    EXPECT_TRUE(boundEndpoint(listener_, endpoint));
    address = endpoint.text();
    thread_ = std::thread([this, serve = std::move(serve)] {
      pollfd entry{listener_, POLLIN, 0};
      poll(&entry, 1, -1);
      const int fd = accept(listener_, nullptr, nullptr);
      if (fd < 0) return;
      serve(fd);
      close(fd);
    });
  }
  ~FalseServer() {
    shutdown(listener_, SHUT_RDWR);
    thread_.join();
    close(listener_);
  }
  std::string address;

 private:
  int listener_ = -1;
  std::thread thread_;
};

void waitForEnd(int fd) {
  char buffer[4096];
  while (recv(fd, buffer, sizeof(buffer), 0) > 0) {
  }
}

void greet(int fd, ServerPreamble preamble = {}) {
  const PreambleBytes bytes = encodePreamble(preamble);
  (void)!send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
}

ConnectionError failureOf(const std::string& address, int timeout_ms = 10000) {
  ConnectionError error;
  ClientOptions options = clearOptions();
  options.connect_timeout_ms = timeout_ms;
  EXPECT_EQ(ClientConnection::open(address, ClientHello{}, options, error), nullptr);
  return error;
}

TEST(OpenFails, WhenTheAddressMakesNoSense) {
  EXPECT_EQ(failureOf("nonsense").kind, Trouble::badEndpoint);
}

TEST(OpenFails, WhenNothingListens) {
  const std::string address = freshUnixAddress();
  const ConnectionError error = failureOf(address);
  EXPECT_EQ(error.kind, Trouble::unreachable);
  EXPECT_THAT(error.sentence, HasSubstr("Nothing listens at " + address));
}

TEST(OpenFails, WhenAnotherProtocolAnswers) {
  FalseServer server([](int fd) {
    const char text[] = "HTTP/1.1 400 Bad Request\r\nServer: web\r\n\r\n";
    (void)!send(fd, text, sizeof(text) - 1, MSG_NOSIGNAL);
    waitForEnd(fd);
  });
  const ConnectionError error = failureOf(server.address);
  EXPECT_EQ(error.kind, Trouble::notGpud);
  EXPECT_THAT(error.sentence, HasSubstr(server.address));
  EXPECT_THAT(error.sentence, HasSubstr("HTTP/1.1 400"));
}

TEST(OpenFails, WhenAShortTextAnswersAndWaits) {
  // Fewer bytes than a preamble, and then silence: known for a stranger by its first byte.
  FalseServer server([](int fd) {
    (void)!send(fd, "220 hi\n", 7, MSG_NOSIGNAL);
    waitForEnd(fd);
  });
  EXPECT_EQ(failureOf(server.address).kind, Trouble::notGpud);
}

TEST(OpenFails, WhenTheServerClosesWithoutAWord) {
  FalseServer server([](int) {});
  EXPECT_EQ(failureOf(server.address).kind, Trouble::notGpud);
}

TEST(OpenFails, WhenTheServerIsSilent) {
  FalseServer server([](int fd) { waitForEnd(fd); });
  const ConnectionError error = failureOf(server.address, 100);
  EXPECT_EQ(error.kind, Trouble::timedOut);
  EXPECT_THAT(error.sentence, HasSubstr("said nothing within 100 ms"));
}

TEST(OpenFails, WhenTheVersionIsAnother) {
  FalseServer server([](int fd) {
    greet(fd, {99, PreambleStatus::versionRefused});
    waitForEnd(fd);
  });
  const ConnectionError error = failureOf(server.address);
  EXPECT_EQ(error.kind, Trouble::versionRefused);
  EXPECT_THAT(error.sentence, HasSubstr("speaks protocol version 99"));
}

TEST(OpenFails, WhenGpudIsBusyOrDraining) {
  TestServer server("127.0.0.1:0");
  server.preamble_status = PreambleStatus::busy;
  EXPECT_EQ(failureOf(server.address()).kind, Trouble::busy);
  server.preamble_status = PreambleStatus::draining;
  EXPECT_EQ(failureOf(server.address()).kind, Trouble::draining);
  server.preamble_status = PreambleStatus::internalError;
  EXPECT_EQ(failureOf(server.address()).kind, Trouble::refused);
}

TEST(OpenFails, WhenTheHelloIsRefused) {
  TestServer server(freshUnixAddress());
  server.refuse_hello = true;
  const ConnectionError error = failureOf(server.address());
  EXPECT_EQ(error.kind, Trouble::refused);
  EXPECT_THAT(error.sentence, HasSubstr("is not welcome here"));
  EXPECT_THAT(error.sentence, HasSubstr(server.address()));
}

TEST(OpenFails, WhenTheHelloIsNeverAnswered) {
  FalseServer server([](int fd) {
    greet(fd);
    waitForEnd(fd);
  });
  EXPECT_EQ(failureOf(server.address, 200).kind, Trouble::timedOut);
}

TEST(OpenFails, WhenTheServerDiesDuringTheHello) {
  FalseServer server([](int fd) {
    char buffer[kPreambleBytes];
    (void)!recv(fd, buffer, sizeof(buffer), MSG_WAITALL);
    greet(fd);
    (void)!recv(fd, buffer, sizeof(buffer), 0);
  });
  const ConnectionError error = failureOf(server.address);
  EXPECT_EQ(error.kind, Trouble::connectionLost);
  EXPECT_THAT(error.sentence, HasSubstr(server.address));
}

TEST(OpenFails, WhenTheServerAnswersGarbageAfterItsPreamble) {
  FalseServer server([](int fd) {
    greet(fd);
    const std::string garbage(256, '\xff');
    (void)!send(fd, garbage.data(), garbage.size(), MSG_NOSIGNAL);
    waitForEnd(fd);
  });
  const ConnectionError error = failureOf(server.address);
  EXPECT_NE(error.kind, Trouble::none);
  EXPECT_NE(error.kind, Trouble::timedOut);
}

TEST(OpenFails, WhenWellFramedNonsenseAnswers) {
  FalseServer server([](int fd) {
    greet(fd);
    const uint32_t words[] = {0, 2, 0xdeadbeef, 0x12345678, 0xffffffff, 0x00000001};
    (void)!send(fd, words, sizeof(words), MSG_NOSIGNAL);
    waitForEnd(fd);
  });
  EXPECT_NE(failureOf(server.address).kind, Trouble::timedOut);
}

}  // namespace
}  // namespace farwarp::wire
