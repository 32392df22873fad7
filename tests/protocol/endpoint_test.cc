// Goal: every way to write a server address is understood or refused with the value and the limit,
// and connecting and listening fail in full sentences. Method: a table of texts; real sockets on
// port 0 and in a fresh folder.
#include "protocol/endpoint.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/protocol/test_server.h"

namespace farwarp::wire {
namespace {

using ::testing::HasSubstr;

TEST(Endpoint, Understands) {
  const struct {
    const char* text;
    const char* canonical;
  } cases[] = {{"gpu1:7070", "tcp:gpu1:7070"},
               {"tcp:gpu1:7070", "tcp:gpu1:7070"},
               {"10.0.0.1:1", "tcp:10.0.0.1:1"},
               {"[::1]:65535", "tcp:[::1]:65535"},
               {"tcp:[fe80::1]:80", "tcp:[fe80::1]:80"},
               {"unix:/run/farwarp.sock", "unix:/run/farwarp.sock"},
               {"unix:rel", "unix:rel"}};
  for (const auto& c : cases) {
    Endpoint endpoint;
    std::string error;
    EXPECT_TRUE(parseEndpoint(c.text, endpoint, error)) << error;
    EXPECT_EQ(endpoint.text(), c.canonical);
  }
}

TEST(Endpoint, RefusesWithTheValueAndTheLimit) {
  const struct {
    std::string text;
    const char* says;
  } cases[] = {{"", "is empty"},
               {"gpu1", "has no port"},
               {"gpu1:", "from 1 to 65535"},
               {"gpu1:0", "from 1 to 65535"},
               {"gpu1:65536", "\"65536\""},
               {"gpu1:-1", "\"-1\""},
               {"gpu1:12x", "\"12x\""},
               {":80", "0 characters"},
               {"::1:80", "in brackets"},
               {"[::1]", "[IPV6]:PORT"},
               {"[::1:80", "[IPV6]:PORT"},
               {"unix:", "from 1 to 107"},
               {"unix:" + std::string(108, 'p'), "108 characters"},
               {std::string(254, 'h') + ":1", "254 characters"},
               {std::string(600, 'x'), "600 characters; the limit is 512"},
               {std::string("a\0b:1", 5), "zero character"}};
  for (const auto& c : cases) {
    Endpoint endpoint;
    std::string error;
    EXPECT_FALSE(parseEndpoint(c.text, endpoint, error)) << c.text;
    EXPECT_THAT(error, HasSubstr(c.says)) << c.text;
  }
}

TEST(Endpoint, PortZeroIsForListening) {
  Endpoint endpoint;
  std::string error;
  EXPECT_TRUE(parseEndpoint("127.0.0.1:0", endpoint, error, true)) << error;
}

TEST(Endpoint, ListensAndConnects) {
  for (const std::string& text : {std::string("tcp:127.0.0.1:0"), freshUnixAddress()}) {
    Endpoint endpoint, bound;
    std::string error;
    ASSERT_TRUE(parseEndpoint(text, endpoint, error, true));
    const int listener = listenOn(endpoint, 8, error);
    ASSERT_GE(listener, 0) << error;
    ASSERT_TRUE(boundEndpoint(listener, bound));
    EXPECT_EQ(bound.port != 0, bound.kind == Endpoint::Kind::tcp);
    const int fd = connectTo(bound, 5000, error);
    ASSERT_GE(fd, 0) << error;
    EXPECT_NE(fcntl(fd, F_GETFD) & FD_CLOEXEC, 0);
    EXPECT_EQ(fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
    const int again = listenOn(bound, 8, error);
    EXPECT_EQ(again, -1);
    EXPECT_THAT(error, HasSubstr("Cannot listen at " + bound.text()));
    close(fd);
    close(listener);
    // Nobody is there now: the same sentence for the user in both worlds.
    bool timed_out = true;
    EXPECT_EQ(connectTo(bound, 5000, error, &timed_out), -1);
    EXPECT_THAT(error, HasSubstr("Nothing listens at " + bound.text()));
    EXPECT_FALSE(timed_out);
  }
}

TEST(Endpoint, ReplacesAStaleSocketFileButNoOtherFile) {
  Endpoint endpoint;
  std::string error;
  ASSERT_TRUE(parseEndpoint(freshUnixAddress(), endpoint, error));
  close(listenOn(endpoint, 8, error));
  const int fd = listenOn(endpoint, 8, error);
  EXPECT_GE(fd, 0) << error;
  close(fd);
  unlink(endpoint.path.c_str());
  close(open(endpoint.path.c_str(), O_CREAT | O_WRONLY, 0600));
  EXPECT_EQ(listenOn(endpoint, 8, error), -1);
  EXPECT_EQ(access(endpoint.path.c_str(), F_OK), 0);
}

TEST(Endpoint, AFullBacklogEndsInATimeout) {
  // A listener that never accepts: its queue fills, then connecting must give up at the deadline.
  Endpoint endpoint;
  std::string error;
  ASSERT_TRUE(parseEndpoint(freshUnixAddress(), endpoint, error));
  const int listener = listenOn(endpoint, 1, error);
  std::vector<int> waiting;
  bool timed_out = false;
  for (int i = 0; i < 8 && !timed_out; ++i) {
    const int fd = connectTo(endpoint, 50, error, &timed_out);
    if (fd >= 0) waiting.push_back(fd);
  }
  EXPECT_TRUE(timed_out);
  EXPECT_THAT(error, HasSubstr("within 50 ms"));
  for (int fd : waiting) close(fd);
  close(listener);
}

TEST(Endpoint, AnUnknownNameIsSaid) {
  Endpoint endpoint;
  std::string error;
  ASSERT_TRUE(parseEndpoint("no-such-host.invalid:1", endpoint, error));
  EXPECT_EQ(connectTo(endpoint, 5000, error), -1);
  EXPECT_THAT(error, HasSubstr("no-such-host.invalid"));
}

}  // namespace
}  // namespace farwarp::wire
