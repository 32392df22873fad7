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

#include "interposer/nvml/snapshot.h"
#include "protocol/status.h"
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

// Over TCP `preamble.tls` must be set.
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
  const int fd = connectTo(gpud.unixSocket());
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
  preamble.route.fill(7);
  preamble.tls = true;
  sendPreamble(fd, preamble);
  EXPECT_EQ(answerOf(fd).status, wire::PreambleStatus::unknownSession);
  close(fd);
}

TEST(Supervisor, SaysWhenTheDeviceCannotBeUsed) {
  std::string said;
  EXPECT_EQ(runGpud({"--device", "cuda", "--cuda-driver", "/nowhere/libcuda.so.1", "--listen",
                     "tcp:127.0.0.1:0", "--insecure"},
                    said),
            1);
  EXPECT_THAT(said, HasSubstr("--device cuda cannot be used."));
  EXPECT_THAT(said, HasSubstr("/nowhere/libcuda.so.1"));
  EXPECT_THAT(said, HasSubstr("say --device cpu"));
  EXPECT_EQ(runGpud({"--device", "cpu", "--cpu-device", "/nowhere/libcuda.so.1", "--listen",
                     "tcp:127.0.0.1:0", "--insecure"},
                    said),
            1);
  EXPECT_THAT(said, HasSubstr("does not exist"));
  // A library that is no driver.
  EXPECT_EQ(runGpud({"--device", "cuda", "--cuda-driver", "libz.so.1", "--listen",
                     "tcp:127.0.0.1:0", "--insecure"},
                    said),
            1);
  EXPECT_THAT(said, HasSubstr("not a CUDA 12 or later driver"));
}

TEST(Supervisor, SaysWhenItCannotListen) {
  GpudProcess other;
  std::string said;
  EXPECT_EQ(runGpud({"--device", "cpu", "--cpu-device", MOCK_DRIVER_PATH, "--listen", other.tcp(),
                     "--insecure"},
                    said),
            1);
  EXPECT_THAT(said, HasSubstr(other.tcp().substr(4)));
  EXPECT_EQ(runGpud({"--device", "cpu", "--cpu-device", MOCK_DRIVER_PATH, "--listen", "here",
                     "--insecure"},
                    said),
            1);
}

TEST(Supervisor, TellsClientsInClearThatTlsIsNeededAndTheReverse) {
  wire::ClientOptions clear;
  clear.insecure = true;
  wire::ConnectionError error;
  GpudProcess gpud;
  EXPECT_EQ(openSession(gpud.tcp(), error, "clear", clear), nullptr);
  EXPECT_THAT(error.sentence, HasSubstr("takes only encrypted connections"));
  EXPECT_TRUE(gpud.logHas("it is not encrypted, and gpud runs without --insecure."));
  GpudProcess insecure({"--insecure"});
  EXPECT_EQ(openSession(insecure.tcp(), error), nullptr);
  EXPECT_THAT(error.sentence, HasSubstr("it was started with --insecure"));
  EXPECT_NE(openSession(insecure.tcp(), error, "clear", clear), nullptr) << error.sentence;
}

TEST(Supervisor, EndsSessionsThatNeverGreet) {
  GpudProcess gpud({"--preamble-timeout-ms", "300", "--max-pending-connections", "2"});
  std::vector<int> silent;
  for (int i = 0; i < 2; ++i) {
    silent.push_back(connectTo(gpud.unixSocket()));
    sendPreamble(silent.back());
    EXPECT_EQ(answerOf(silent.back()).status, wire::PreambleStatus::ok);
  }
  for (const auto& session : gpud.sessions(2)) {
    EXPECT_EQ(session["end"], "The client did not finish its greeting in time.");
  }
  for (int fd : silent) close(fd);
}

TEST(Supervisor, AStrangersBulkConnectionLeavesTheSessionAlone) {
  GpudProcess gpud;
  wire::ConnectionError error;
  auto client = openSession(gpud.tcp(), error);
  ASSERT_NE(client, nullptr) << error.sentence;
  // The route can be read on the wire; the token cannot.
  wire::ClientPreamble preamble;
  preamble.kind = wire::ConnectionKind::bulk;
  preamble.route = wire::routeOf(client->server().token);
  preamble.tls = true;
  const int fd = connectTo(gpud.tcp());
  sendPreamble(fd, preamble);
  EXPECT_EQ(answerOf(fd).status, wire::PreambleStatus::ok);
  sendTo(fd, "nonsense in the place of TLS", 28);
  EXPECT_TRUE(gpud.logHas("was closed before it proved that it belongs to it"));
  wire::SessionStats stats;
  EXPECT_EQ(client->stats(stats), wire::Trouble::none);
  close(fd);
}

TEST(Supervisor, KeepsAWorkerReadyForTheNextSession) {
  GpudProcess gpud({"--warm-workers", "1"});
  const pid_t ready = gpud.workers(1)[0];
  wire::ConnectionError error;
  auto client = openSession(gpud.tcp(), error);
  ASSERT_NE(client, nullptr) << error.sentence;
  EXPECT_TRUE(gpud.logHas("worker " + std::to_string(ready) + "."));
  gpud.workers(2);
  client.reset();
  EXPECT_EQ(gpud.sessions(1)[0]["worker_pid"], ready);
  // One that dies before its time costs no session.
  kill(gpud.workers(1)[0], SIGKILL);
  EXPECT_TRUE(gpud.logHas("ended before it had a session."));
  EXPECT_NE(openSession(gpud.tcp(), error), nullptr) << error.sentence;
}

client::Options statusOptions(const std::string& endpoint) {
  client::Options options;
  options.server = endpoint;
  options.fingerprint = clientOptions().trust.fingerprint;
  return options;
}

TEST(Supervisor, TellsItsStatusInClearAndOverTls) {
  GpudProcess gpud;
  wire::ConnectionError error;
  auto client = openSession(gpud.tcp(), error, "asked about");
  ASSERT_NE(client, nullptr) << error.sentence;
  for (const std::string& endpoint : {gpud.tcp(), gpud.unixSocket()}) {
    nvml::Snapshot status;
    std::string why;
    ASSERT_TRUE(nvml::fetchSnapshot(statusOptions(endpoint), status, why)) << why;
    ASSERT_EQ(status.sessions.size(), 1u);
    EXPECT_EQ(status.sessions[0].program, "asked about");
  }
  nvml::Snapshot status;
  std::string why;
  client::Options options = statusOptions(gpud.tcp());
  options.fingerprint = "sha256:" + std::string(64, '0');
  EXPECT_FALSE(nvml::fetchSnapshot(options, status, why));
  EXPECT_THAT(why, HasSubstr("is not the one that FARWARP_FINGERPRINT names"));
  options.insecure = true;
  EXPECT_FALSE(nvml::fetchSnapshot(options, status, why));
  EXPECT_THAT(why, HasSubstr("takes only encrypted connections"));
}

TEST(Supervisor, WhoAsksForTheStatusAndSaysNothingIsLimited) {
  GpudProcess gpud;
  wire::ClientPreamble preamble;
  preamble.kind = wire::kStatusConnection;
  preamble.tls = true;
  std::vector<int> silent;
  for (int i = 0; i < 17; ++i) {
    silent.push_back(connectTo(gpud.tcp()));
    sendPreamble(silent.back(), preamble);
    EXPECT_EQ(answerOf(silent.back()).status,
              i < 16 ? wire::PreambleStatus::ok : wire::PreambleStatus::busy);
  }
  gpud.workers(16);
  for (int fd : silent) close(fd);
  gpud.workers(0);
  // One more, which is there when gpud ends.
  const int fd = connectTo(gpud.tcp());
  sendPreamble(fd, preamble);
  EXPECT_EQ(answerOf(fd).status, wire::PreambleStatus::ok);
  gpud.signal(SIGTERM);
  EXPECT_EQ(gpud.wait(), 0);
  close(fd);
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
