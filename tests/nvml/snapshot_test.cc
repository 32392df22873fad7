// Goal: the management library reads what gpud says about itself, and nothing else.
// Method: texts made by the supervisor's own StatusText are read whole, cut after every byte, and
// changed by hand.
#include "interposer/nvml/snapshot.h"

#include <gtest/gtest.h>

#include "gpud/supervisor/status_text.h"

namespace farwarp::nvml {
namespace {

constexpr char kDevices[] =
    "driver 13000\n"
    "device 0 66617277617280708063707500000000 2147483648 0000:01:00.0 9 0 Farwarp CPU device\n"
    "device 1 66617277617280708063707500000001 1073741824 - 9 0 Another\n";

std::string statusOfTwoSessions() {
  StatusText status(kDevices, 500);
  SharedCounters counters;
  EXPECT_TRUE(counters.create());
  counters.get()->program.set("two words");
  counters.get()->client_pid = 4711;
  counters.get()->busy_ns = 30;
  counters.get()->memory_bytes[1] = 4096;
  status.addSession(1, *counters.get(), true);
  counters.get()->client_pid = 12;
  status.addSession(2, *counters.get(), false);
  return status.text();
}

TEST(Snapshot, HasWhatTheSupervisorKnows) {
  Snapshot read;
  ASSERT_TRUE(parseSnapshot(statusOfTwoSessions(), read));
  EXPECT_EQ(read.driver, 13000);
  EXPECT_GT(read.clock_ns, 0u);
  EXPECT_EQ(read.busy_ns, 560u);
  ASSERT_EQ(read.devices.size(), 2u);
  EXPECT_EQ(read.devices[0].name, "Farwarp CPU device");
  EXPECT_EQ(read.devices[0].bytes, uint64_t{2} << 30);
  EXPECT_EQ(read.devices[0].pci_bus, 1u);
  EXPECT_EQ(read.devices[0].major, 9);
  EXPECT_EQ(read.devices[1].pci_bus, 0u);
  ASSERT_EQ(read.sessions.size(), 2u);
  EXPECT_EQ(read.sessions[0].pid, 4711u);
  EXPECT_TRUE(read.sessions[0].here);
  EXPECT_EQ(read.sessions[0].bytes[0], 0u);
  EXPECT_EQ(read.sessions[0].bytes[1], 4096u);
  EXPECT_EQ(read.sessions[0].program, "two words");
  EXPECT_FALSE(read.sessions[1].here);
}

TEST(Snapshot, IsNotReadWhenItIsCut) {
  const std::string text = statusOfTwoSessions();
  for (size_t bytes = 0; bytes + sizeof("end") - 1 < text.size(); ++bytes) {
    Snapshot read;
    EXPECT_FALSE(parseSnapshot(std::string_view(text).substr(0, bytes), read)) << bytes;
  }
}

TEST(Snapshot, TakesNoOtherFirstLineAndNoDeviceOutOfOrder) {
  Snapshot read;
  EXPECT_FALSE(parseSnapshot("farwarp-status 2\nend\n", read));
  EXPECT_FALSE(parseSnapshot(
      "farwarp-status 1\ndevice 1 66617277617280708063707500000000 1 - 9 0 x\nend\n", read));
  EXPECT_FALSE(parseSnapshot("farwarp-status 1\ndevice 0 short 1 - 9 0 x\nend\n", read));
  EXPECT_TRUE(parseSnapshot("farwarp-status 1\nnews of a later version\nend\n", read));
}

TEST(Snapshot, KnowsPeersOfOneHost) {
  EXPECT_TRUE(sameHost("unix socket", "unix socket"));
  EXPECT_TRUE(sameHost("10.0.0.1:4000", "10.0.0.1:50"));
  EXPECT_TRUE(sameHost("[::1]:4000", "[::1]:50"));
  EXPECT_FALSE(sameHost("10.0.0.1:4000", "10.0.0.2:4000"));
  EXPECT_FALSE(sameHost("unix socket", "10.0.0.2:4000"));
}

}  // namespace
}  // namespace farwarp::nvml
