// Goal: gpud lets in who should be let in, tells the others why, is not held up by strangers, and
// ends in good order. Method: real gpud processes and plain sockets that send garbage, half a
// preamble, another version, or nothing; counts of processes, exit status, log and session log are
// looked at.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "tests/gpud/gpud_process.h"

namespace farwarp {
namespace {

using testing::HasSubstr;
using testing::Not;

wire::ServerPreamble answerOf(int fd) {
  const auto bytes = readFrom(fd, wire::kPreambleBytes);
  wire::ServerPreamble preamble;
  std::string reason;
  EXPECT_TRUE(wire::parseServerPreamble(bytes, preamble, reason)) << reason;
  return preamble;
}

void sendPreamble(int fd, wire::ClientPreamble preamble = {}) {
  const auto bytes = wire::encodePreamble(preamble);
  sendTo(fd, bytes.data(), bytes.size());
}

TEST(Supervisor, ListensOnBothKindsAndEndsOnSigterm) {
  GpudProcess gpud;
  EXPECT_THAT(gpud.tcp(), Not(HasSubstr(":0\n")));
  for (const std::string& endpoint : {gpud.tcp(), gpud.unixSocket()}) {
    wire::ConnectionError error;
    auto client = openSession(endpoint, error);
    ASSERT_NE(client, nullptr) << error.sentence;
    EXPECT_EQ(client->server().device_kind, "cpu");
    ASSERT_EQ(client->server().devices.size(), 1u);
    EXPECT_EQ(client->server().devices[0].name, "Farwarp mock device");
  }
  gpud.signal(SIGTERM);
  EXPECT_EQ(gpud.wait(), 0);
  EXPECT_FALSE(std::filesystem::exists(gpud.folder() + "/gpud.sock"));
}

TEST(Supervisor, SigtermEndsOpenSessions) {
  GpudProcess gpud;
  wire::ConnectionError error;
  auto client = openSession(gpud.tcp(), error);
  ASSERT_NE(client, nullptr) << error.sentence;
  gpud.signal(SIGTERM);
  EXPECT_EQ(gpud.wait(), 0);
  wire::SessionStats stats;
  EXPECT_NE(client->stats(stats), wire::Trouble::none);
  const auto sessions = gpud.sessions(1);
  EXPECT_EQ(sessions[0]["end"], "gpud was told to stop.");
}

TEST(Supervisor, KillsAWorkerThatDoesNotEnd) {
  GpudProcess gpud({"--stop-grace-ms", "50"});
  wire::ConnectionError error;
  auto client = openSession(gpud.tcp(), error);
  ASSERT_NE(client, nullptr) << error.sentence;
  kill(gpud.workers(1)[0], SIGSTOP);
  gpud.signal(SIGTERM);
  EXPECT_EQ(gpud.wait(), 0);
  EXPECT_THAT(gpud.sessions(1)[0]["end"].get<std::string>(), HasSubstr("it was killed"));
}

TEST(Supervisor, ClosesStrangersWithoutAnAnswer) {
  GpudProcess gpud;
  for (const char* garbage :
       {"GET / HTTP/1.1\r\nHost: x\r\n\r\n and a lot more than 32 bytes", "\0\0\0\0"}) {
    const int fd = connectTo(gpud.tcp());
    sendTo(fd, garbage, std::max<size_t>(4, strlen(garbage)));
    EXPECT_TRUE(readFrom(fd, 1).empty());
    close(fd);
  }
  EXPECT_TRUE(gpud.logHas("closed: "));
  gpud.workers(0);
}

TEST(Supervisor, TellsOtherVersions) {
  GpudProcess gpud;
  const int fd = connectTo(gpud.unixSocket());
  wire::ClientPreamble preamble;
  preamble.version = wire::kProtocolVersion + 1;
  sendPreamble(fd, preamble);
  const wire::ServerPreamble answer = answerOf(fd);
  EXPECT_EQ(answer.status, wire::PreambleStatus::versionRefused);
  EXPECT_EQ(answer.version, wire::kProtocolVersion);
  EXPECT_TRUE(readFrom(fd, 1).empty());
  close(fd);
}

TEST(Supervisor, ClosesWhoTakesTooLong) {
  GpudProcess gpud({"--preamble-timeout-ms", "30"});
  const int fd = connectTo(gpud.tcp());
  const auto bytes = wire::encodePreamble(wire::ClientPreamble{});
  sendTo(fd, bytes.data(), 10);
  EXPECT_TRUE(readFrom(fd, 1).empty());
  EXPECT_TRUE(gpud.logHas("It sent 10 of 32 bytes in the time allowed."));
  close(fd);
}

TEST(Supervisor, TakesAPreambleInPieces) {
  GpudProcess gpud;
  const int fd = connectTo(gpud.tcp());
  const auto bytes = wire::encodePreamble(wire::ClientPreamble{});
  for (std::byte b : bytes) sendTo(fd, &b, 1);
  EXPECT_EQ(answerOf(fd).status, wire::PreambleStatus::ok);
  close(fd);
}

TEST(Supervisor, KeepsStrangersFromHoldingItUp) {
  GpudProcess gpud({"--max-pending-connections", "4"});
  std::vector<int> silent;
  for (int i = 0; i < 10; ++i) silent.push_back(connectTo(gpud.unixSocket()));
  wire::ConnectionError error;
  EXPECT_NE(openSession(gpud.unixSocket(), error), nullptr) << error.sentence;
  EXPECT_TRUE(readFrom(silent[0], 1).empty());  // the oldest were closed
  for (int fd : silent) close(fd);
}

TEST(Supervisor, LimitsSessions) {
  GpudProcess gpud({"--max-sessions", "2"});
  wire::ConnectionError error;
  auto first = openSession(gpud.tcp(), error);
  auto second = openSession(gpud.tcp(), error);
  ASSERT_TRUE(first && second) << error.sentence;
  EXPECT_EQ(openSession(gpud.tcp(), error), nullptr);
  EXPECT_EQ(error.kind, wire::Trouble::busy);
  first.reset();
  gpud.workers(1);
  EXPECT_NE(openSession(gpud.tcp(), error), nullptr) << error.sentence;
}

TEST(Supervisor, RefusesBulkConnectionsOfUnknownSessions) {
  GpudProcess gpud;
  const int fd = connectTo(gpud.tcp());
  wire::ClientPreamble preamble;
  preamble.kind = wire::ConnectionKind::bulk;
  preamble.token.fill(7);
  sendPreamble(fd, preamble);
  EXPECT_EQ(answerOf(fd).status, wire::PreambleStatus::unknownSession);
  close(fd);
}

TEST(Supervisor, SaysWhenTheDeviceCannotBeUsed) {
  std::string said;
  EXPECT_EQ(runGpud({"--device", "cuda", "--cuda-driver", "/nowhere/libcuda.so.1", "--listen",
                     "tcp:127.0.0.1:0"},
                    said),
            1);
  EXPECT_THAT(said, HasSubstr("--device cuda cannot be used."));
  EXPECT_THAT(said, HasSubstr("/nowhere/libcuda.so.1"));
  EXPECT_THAT(said, HasSubstr("say --device cpu"));
  EXPECT_EQ(runGpud({"--device", "cpu", "--cpu-device", "/nowhere/libcuda.so.1", "--listen",
                     "tcp:127.0.0.1:0"},
                    said),
            1);
  EXPECT_THAT(said, HasSubstr("does not exist"));
  // A library that is no driver.
  EXPECT_EQ(
      runGpud({"--device", "cuda", "--cuda-driver", "libz.so.1", "--listen", "tcp:127.0.0.1:0"},
              said),
      1);
  EXPECT_THAT(said, HasSubstr("not a CUDA 12 or later driver"));
}

TEST(Supervisor, SaysWhenItCannotListen) {
  GpudProcess other;
  std::string said;
  EXPECT_EQ(
      runGpud({"--device", "cpu", "--cpu-device", MOCK_DRIVER_PATH, "--listen", other.tcp()}, said),
      1);
  EXPECT_THAT(said, HasSubstr(other.tcp().substr(4)));
  EXPECT_EQ(
      runGpud({"--device", "cpu", "--cpu-device", MOCK_DRIVER_PATH, "--listen", "here"}, said), 1);
}

TEST(Supervisor, GivesWorkersACleanEnvironment) {
  setenv("LD_PRELOAD_TEST_MARKER", "1", 1);
  setenv("CUDA_INJECTION64_PATH", "/tmp/x.so", 1);
  setenv("CUDA_VISIBLE_DEVICES", "0", 1);
  GpudProcess gpud({"--worker-env", "FARWARP_TEST=yes"});
  unsetenv("CUDA_INJECTION64_PATH");
  unsetenv("CUDA_VISIBLE_DEVICES");
  wire::ConnectionError error;
  auto client = openSession(gpud.tcp(), error);
  ASSERT_NE(client, nullptr) << error.sentence;
  std::ifstream file("/proc/" + std::to_string(gpud.workers(1)[0]) + "/environ");
  const std::string environment((std::istreambuf_iterator<char>(file)), {});
  EXPECT_THAT(environment, HasSubstr("FARWARP_TEST=yes"));
  EXPECT_THAT(environment, HasSubstr("CUDA_VISIBLE_DEVICES=0"));
  EXPECT_THAT(environment, Not(HasSubstr("MARKER")));
  EXPECT_THAT(environment, Not(HasSubstr("CUDA_INJECTION64_PATH")));
}

}  // namespace
}  // namespace farwarp
