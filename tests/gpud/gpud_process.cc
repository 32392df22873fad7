#include "tests/gpud/gpud_process.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iostream>
#include <sstream>
#include <thread>

#include "driver_calls_gen.h"
#include "gpud/certificates.h"
#include "protocol/endpoint.h"

extern char** environ;

namespace farwarp {
namespace {

// Only how long a test that fails takes to say so.
constexpr auto kPatience = std::chrono::seconds(60);

bool waitUntil(const std::function<bool()>& condition) {
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return true;
}

std::string readFile(const std::string& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

pid_t spawnGpud(std::vector<std::string> arguments, const std::string& log, int ready_fd) {
  arguments.insert(arguments.begin(), GPUD_PATH);
  std::vector<char*> pointers;
  for (std::string& argument : arguments) pointers.push_back(argument.data());
  pointers.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, log.c_str(),
                                   O_WRONLY | O_CREAT | O_APPEND, 0600);
  posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
  if (ready_fd >= 0) posix_spawn_file_actions_adddup2(&actions, ready_fd, 9);
  pid_t pid = -1;
  const int failed = posix_spawn(&pid, GPUD_PATH, &actions, nullptr, pointers.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  return failed == 0 ? pid : -1;
}

// The folder with the keys of all gpuds of this test program; removed when it ends.
struct TlsFolder {
  std::string path, fingerprint;
  TlsFolder() {
    std::string name = testing::TempDir() + "gpud_tls.XXXXXX";
    path = mkdtemp(name.data());
    const std::time_t now = std::time(nullptr);
    const Validity validity{now - 3600, now + 86400};
    KeyPair authority, server;
    std::string error;
    EXPECT_TRUE(makeAuthority("test authority", validity, authority, error)) << error;
    EXPECT_TRUE(makeServerCertificate(authority, {"127.0.0.1"}, validity, server, error)) << error;
    std::ofstream(path + "/server.crt") << server.certificate;
    std::ofstream(path + "/server.key") << server.key;
    fingerprint = fingerprintOf(authority.certificate);
  }
  ~TlsFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path, ignored);
  }
};

const TlsFolder& tlsFolder() {
  static const TlsFolder folder;
  return folder;
}

int statusOf(int status) {
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

}  // namespace

GpudProcess::GpudProcess(const std::vector<std::string>& extra) {
  std::string name = testing::TempDir() + "gpud.XXXXXX";
  folder_ = mkdtemp(name.data());
  unix_ = "unix:" + folder_ + "/gpud.sock";
  int ready[2];
  EXPECT_EQ(pipe2(ready, O_CLOEXEC), 0);
  std::vector<std::string> arguments{
      "--device",        "cpu",      "--cpu-device", MOCK_DRIVER_PATH, "--listen",
      "tcp:127.0.0.1:0", "--listen", unix_,          "--session-log",  folder_ + "/sessions.jsonl",
      "--ready-fd",      "9",        "--log-level",  "debug"};
  arguments.insert(arguments.end(), extra.begin(), extra.end());
  const std::string defaults[][2] = {{"--warm-workers", "0"},
                                     {"--tls-folder", tlsFolder().path},
                                     {"--content-folder", folder_ + "/content"}};
  for (const auto& [option, value] : defaults) {
    if (std::find(extra.begin(), extra.end(), option) != extra.end()) continue;
    arguments.insert(arguments.end(), {option, value});
  }
  pid_ = spawnGpud(arguments, folder_ + "/log", ready[1]);
  close(ready[1]);
  std::string said;
  char c;
  while (read(ready[0], &c, 1) == 1) said += c;
  close(ready[0]);
  std::istringstream lines(said);
  std::string line;
  bool is_ready = false;
  while (std::getline(lines, line)) {
    if (line.rfind("listening tcp:", 0) == 0) tcp_ = line.substr(10);
    if (line == "ready") is_ready = true;
  }
  EXPECT_TRUE(is_ready) << said << log();
}

GpudProcess::~GpudProcess() {
  if (status_ < 0) {
    signal(SIGTERM);
    EXPECT_EQ(wait(), 0) << log();
  }
  if (testing::Test::HasFailure()) std::cout << log();
  std::error_code ignored;
  std::filesystem::remove_all(folder_, ignored);
}

void GpudProcess::signal(int number) {
  kill(pid_, number);
}

int GpudProcess::wait() {
  int status = 0;
  if (status_ < 0 && waitpid(pid_, &status, 0) == pid_) status_ = statusOf(status);
  return status_;
}

std::string GpudProcess::log() const {
  return readFile(folder_ + "/log");
}

bool GpudProcess::logHas(const std::string& text) const {
  return waitUntil([&] { return log().find(text) != std::string::npos; });
}

std::vector<nlohmann::json> GpudProcess::sessions(size_t count) const {
  std::vector<nlohmann::json> sessions;
  waitUntil([&] {
    sessions.clear();
    std::istringstream lines(readFile(folder_ + "/sessions.jsonl"));
    std::string line;
    while (std::getline(lines, line)) {
      sessions.push_back(nlohmann::json::parse(line, nullptr, false));
    }
    return sessions.size() >= count;
  });
  EXPECT_EQ(sessions.size(), count);
  return sessions;
}

std::vector<pid_t> GpudProcess::workers(size_t count) const {
  std::vector<pid_t> pids;
  const std::string path =
      "/proc/" + std::to_string(pid_) + "/task/" + std::to_string(pid_) + "/children";
  waitUntil([&] {
    pids.clear();
    std::istringstream text(readFile(path));
    for (pid_t pid; text >> pid;) pids.push_back(pid);
    return pids.size() == count;
  });
  EXPECT_EQ(pids.size(), count);
  return pids;
}

wire::ClientOptions clientOptions() {
  wire::ClientOptions options;
  options.trust.fingerprint = tlsFolder().fingerprint;
  return options;
}

int runGpud(const std::vector<std::string>& arguments, std::string& said) {
  std::string name = testing::TempDir() + "gpud_log.XXXXXX";
  close(mkstemp(name.data()));
  const pid_t pid = spawnGpud(arguments, name, -1);
  int status = 0;
  waitpid(pid, &status, 0);
  said = readFile(name);
  unlink(name.c_str());
  return statusOf(status);
}

int connectTo(const std::string& text) {
  wire::Endpoint endpoint;
  std::string error;
  EXPECT_TRUE(wire::parseEndpoint(text, endpoint, error)) << error;
  return wire::connectTo(endpoint, 10000, error);
}

std::vector<std::byte> readFrom(int fd, size_t bytes) {
  std::vector<std::byte> got(bytes);
  size_t have = 0;
  while (have < bytes) {
    pollfd ready{fd, POLLIN, 0};
    if (poll(&ready, 1, 60000) != 1) break;
    const ssize_t n = recv(fd, got.data() + have, bytes - have, 0);
    if (n <= 0) break;
    have += static_cast<size_t>(n);
  }
  got.resize(have);
  return got;
}

void sendTo(int fd, const void* data, size_t bytes) {
  EXPECT_EQ(send(fd, data, bytes, MSG_NOSIGNAL), static_cast<ssize_t>(bytes));
}

std::unique_ptr<wire::ClientConnection> openSession(const std::string& endpoint,
                                                    wire::ConnectionError& error,
                                                    const std::string& program,
                                                    const wire::ClientOptions& options) {
  wire::ClientHello hello;
  hello.client_version = "test";
  hello.spec_version = kDriverFunctionCount;
  hello.pid = static_cast<uint32_t>(getpid());
  hello.program = program;
  hello.cuda_version = 13000;
  return wire::ClientConnection::open(endpoint, hello, options, error);
}

}  // namespace farwarp
