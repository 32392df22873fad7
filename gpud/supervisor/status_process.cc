#include "gpud/supervisor/status_process.h"

#include <errno.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <spdlog/spdlog.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <vector>

#include "gpud/supervisor/worker_process.h"
#include "protocol/status.h"
#include "protocol/tls.h"

namespace farwarp {
namespace {

using Clock = std::chrono::steady_clock;

// Descriptors of the process.
constexpr int kTextFd = STDIN_FILENO;
constexpr int kConnectionFd = 3;

// A file in memory that holds `text`, at its start. -1 with errno.
int memoryFile(const std::string& text) {
  const int fd = memfd_create("farwarp-status", MFD_CLOEXEC);
  if (fd < 0) return -1;
  if (pwrite(fd, text.data(), text.size(), 0) == static_cast<ssize_t>(text.size())) return fd;
  close(fd);
  return -1;
}

std::string readText() {
  std::string text(wire::kStatusBytesMax, '\0');
  const ssize_t got = pread(kTextFd, text.data(), text.size(), 0);
  text.resize(got > 0 ? static_cast<size_t>(got) : 0);
  return text;
}

// Waits until the channel may go on. False at the deadline.
bool waitFor(const wire::ByteChannel& channel, short events, Clock::time_point deadline) {
  pollfd entry{channel.fd(), events, 0};
  if (channel.hasUnsentOutput()) entry.events |= POLLOUT;
  const auto left =
      std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now()).count();
  return left > 0 && poll(&entry, 1, static_cast<int>(left)) > 0;
}

// Sends all of `text`, and stays until the peer has it. False with a reason.
bool sendText(wire::ByteChannel& channel, const std::string& text, Clock::time_point deadline,
              std::string& reason) {
  size_t sent = 0;
  for (;;) {
    // Reading shakes hands; the peer has nothing else to say.
    char nothing[256];
    const ssize_t got = channel.read(nothing, sizeof(nothing));
    if (got >= 0 || got != -EAGAIN) {
      reason = got < 0 ? channel.explain(static_cast<int>(-got)) : "it went away";
      return sent == text.size() && !channel.hasUnsentOutput();
    }
    const iovec piece{const_cast<char*>(text.data()) + sent, text.size() - sent};
    const ssize_t wrote = sent < text.size() ? channel.write(&piece, 1) : channel.flush();
    if (wrote > 0) sent += static_cast<size_t>(wrote);
    if (sent == text.size() && !channel.hasUnsentOutput()) channel.shutdownWrite();
    const bool waits_to_write = wrote == -EAGAIN;
    if (!waitFor(channel, static_cast<short>(POLLIN | (waits_to_write ? POLLOUT : 0)), deadline)) {
      reason = "it took too long";
      return false;
    }
  }
}

}  // namespace

StatusProcess::~StatusProcess() {
  // libuv owns the handle until its close callback.
  if (running_) {
    uv_close(reinterpret_cast<uv_handle_t*>(process_.release()),
             [](uv_handle_t* handle) { delete reinterpret_cast<uv_process_t*>(handle); });
  }
}

bool StatusProcess::start(uv_loop_t* loop, const Options& options, int fd, const std::string& text,
                          std::function<void()> on_exit, std::string& error) {
  const int text_fd = memoryFile(text);
  if (text_fd < 0) {
    error = fmt::format("The status of {} bytes cannot be kept in memory: {}.", text.size(),
                        strerror(errno));
    return false;
  }
  std::vector<std::string> words{"gpud", "--answer-status"};
  for (const std::string& word : childArguments(options)) words.push_back(word);
  words.push_back(fmt::format("--supervisor-pid={}", getpid()));
  std::vector<std::string> variables = workerEnvironment({});
  const auto pointers = [](std::vector<std::string>& strings) {
    std::vector<char*> out;
    for (std::string& word : strings) out.push_back(word.data());
    out.push_back(nullptr);
    return out;
  };
  std::vector<char*> word_pointers = pointers(words);
  std::vector<char*> variable_pointers = pointers(variables);
  uv_stdio_container_t stdio[4] = {};
  const int inherited[] = {text_fd, STDERR_FILENO, STDERR_FILENO, fd};
  for (int i = 0; i < 4; ++i) {
    stdio[i].flags = UV_INHERIT_FD;
    stdio[i].data.fd = inherited[i];
  }
  uv_process_options_t process{};
  process.file = "/proc/self/exe";
  process.args = word_pointers.data();
  process.env = variable_pointers.data();
  process.stdio = stdio;
  process.stdio_count = 4;
  process.exit_cb = [](uv_process_t* ended, int64_t, int) {
    const auto then = std::move(static_cast<StatusProcess*>(ended->data)->on_exit_);
    then();
  };
  on_exit_ = std::move(on_exit);
  process_ = std::make_unique<uv_process_t>();
  process_->data = this;
  const int spawned = uv_spawn(loop, process_.get(), &process);
  close(text_fd);
  running_ = true;  // the handle is initialised even when the spawn failed
  if (spawned != 0) {
    error = fmt::format("The process that answers cannot be started: {}.", uv_strerror(spawned));
    return false;
  }
  return true;
}

void StatusProcess::kill() {
  uv_process_kill(process_.get(), SIGKILL);
}

int runStatusProcess(const Options& options) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  if (getppid() != options.supervisor_pid) return 1;
  const auto deadline = Clock::now() + std::chrono::milliseconds(options.preamble_timeout_ms);
  const TlsFiles files = tlsFilesIn(options.tls_folder);
  std::string reason;
  const auto tls = wire::TlsServer::load(files.certificate, files.key, reason);
  if (tls == nullptr) {
    spdlog::error("{}", reason);
    return 1;
  }
  const std::unique_ptr<wire::ByteChannel> channel = tls->accept(kConnectionFd);
  if (channel == nullptr) return 1;
  if (sendText(*channel, readText(), deadline, reason)) return 0;
  spdlog::warn("Who asked for the status did not take it: {}.", reason);
  return 1;
}

}  // namespace farwarp
