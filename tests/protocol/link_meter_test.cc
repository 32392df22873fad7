// Goal: the rate is that of the network alone, and is not known when the sender never fills the
// socket. Method: moments that the test chooses, and a socket pair whose buffer is full or empty.
#include "protocol/link_meter.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

namespace farwarp::wire {
namespace {

using std::chrono::milliseconds;

struct Sockets {
  Sockets() { EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0); }
  ~Sockets() {
    for (int fd : ends) close(fd);
  }
  int ends[2];
};

TEST(LinkMeter, CountsFromOneFullBufferToTheNext) {
  LinkMeter meter;
  const LinkMeter::Clock::time_point begin{};
  EXPECT_EQ(meter.bytesPerSecond(), 0u);
  meter.wrote(5 << 20);  // into the empty buffer: not the network's speed
  meter.full(begin);
  EXPECT_EQ(meter.bytesPerSecond(), 0u);
  meter.wrote(10'000'000);
  meter.full(begin + milliseconds(100));
  EXPECT_EQ(meter.bytesPerSecond(), 100'000'000u);
  meter.wrote(2'000'000);
  meter.full(begin + milliseconds(200));
  EXPECT_EQ(meter.bytesPerSecond(), 80'000'000u);  // a quarter of the new one
}

TEST(LinkMeter, WaitsForEnoughToCount) {
  LinkMeter meter;
  const LinkMeter::Clock::time_point begin{};
  meter.full(begin);
  meter.wrote(1000);
  meter.full(begin + milliseconds(50));
  EXPECT_EQ(meter.bytesPerSecond(), 0u);
  meter.wrote(999'000);
  meter.full(begin + milliseconds(100));
  EXPECT_EQ(meter.bytesPerSecond(), 10'000'000u);
}

TEST(LinkMeter, TimeInWhichTheNetworkHadNothingToDoDoesNotCount) {
  Sockets sockets;
  LinkMeter meter;
  const LinkMeter::Clock::time_point begin{};
  meter.full(begin);
  meter.beforeWrite(sockets.ends[0]);  // empty
  meter.wrote(10'000'000);
  meter.full(begin + milliseconds(100));
  EXPECT_EQ(meter.bytesPerSecond(), 0u);
  ASSERT_EQ(send(sockets.ends[0], "x", 1, 0), 1);
  meter.beforeWrite(sockets.ends[0]);  // not empty
  meter.wrote(10'000'000);
  meter.full(begin + milliseconds(200));
  EXPECT_EQ(meter.bytesPerSecond(), 100'000'000u);
}

}  // namespace
}  // namespace farwarp::wire
