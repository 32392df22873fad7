#include "gpud/supervisor/worker_process.h"

#include <fmt/format.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <string_view>

#include "gpud/supervisor/channel.h"

extern char** environ;

namespace farwarp {
namespace {

// Names, and prefixes ending in '*'. What a driver, the C library and the sanitizers need.
constexpr std::string_view kPassed[] = {
    "PATH",
    "HOME",
    "LANG",
    "LC_*",
    "TZ",
    "TMPDIR",
    "LD_LIBRARY_PATH",
    "CUDA_VISIBLE_DEVICES",
    "CUDA_DEVICE_ORDER",
    "CUDA_CACHE_PATH",
    "NVIDIA_*",
    "FARWARP_CPU_*",
    "ASAN_OPTIONS",
    "UBSAN_OPTIONS",
    "TSAN_OPTIONS",
    "LSAN_OPTIONS",
};

bool passes(std::string_view name) {
  return std::any_of(std::begin(kPassed), std::end(kPassed), [name](std::string_view rule) {
    if (rule.ends_with('*')) return name.starts_with(rule.substr(0, rule.size() - 1));
    return name == rule;
  });
}

std::string_view nameOf(std::string_view variable) {
  return variable.substr(0, variable.find('='));
}

std::vector<char*> pointers(const std::vector<std::string>& strings) {
  std::vector<char*> out;
  for (const std::string& text : strings) out.push_back(const_cast<char*>(text.c_str()));
  out.push_back(nullptr);
  return out;
}

}  // namespace

std::vector<std::string> workerEnvironment(const std::vector<std::string>& worker_env) {
  std::vector<std::string> environment;
  for (char** variable = environ; *variable != nullptr; ++variable) {
    if (passes(nameOf(*variable))) environment.emplace_back(*variable);
  }
  for (const std::string& wish : worker_env) {
    const std::string name(nameOf(wish));
    std::erase_if(environment, [&](const std::string& have) { return nameOf(have) == name; });
    if (wish.find('=') != std::string::npos) {
      environment.push_back(wish);
    } else if (const char* value = getenv(name.c_str())) {
      environment.push_back(name + "=" + value);
    }
  }
  return environment;
}

WorkerProcess::~WorkerProcess() {
  if (channel_ >= 0) close(channel_);
  // libuv owns the handle until its close callback.
  if (process_ != nullptr && running_) {
    uv_close(reinterpret_cast<uv_handle_t*>(process_.release()),
             [](uv_handle_t* handle) { delete reinterpret_cast<uv_process_t*>(handle); });
  }
}

bool WorkerProcess::start(uv_loop_t* loop, const Start& start, std::string& error) {
  int channel[2] = {-1, -1};
  if (!counters_.create() || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, channel) != 0) {
    error =
        fmt::format("The worker's shared memory and channel cannot be made: {}.", strerror(errno));
    return false;
  }
  channel_ = channel[0];
  std::vector<std::string> arguments{"gpud", "--worker"};
  arguments.insert(arguments.end(), start.arguments.begin(), start.arguments.end());
  std::vector<char*> argument_pointers = pointers(arguments);
  std::vector<char*> environment_pointers = pointers(start.environment);
  uv_stdio_container_t stdio[5] = {};
  stdio[0].flags = UV_IGNORE;
  const auto inherit = [&stdio](int child_fd, int fd) {
    stdio[child_fd].flags = UV_INHERIT_FD;
    stdio[child_fd].data.fd = fd;
  };
  inherit(1, STDERR_FILENO);  // a driver that prints must not disturb gpud's stdout
  inherit(2, STDERR_FILENO);
  inherit(kWorkerChannelFd, channel[1]);
  inherit(kWorkerCountersFd, counters_.fd());

  uv_process_options_t options{};
  options.file = "/proc/self/exe";
  options.args = argument_pointers.data();
  options.env = environment_pointers.data();
  options.stdio = stdio;
  options.stdio_count = 5;
  options.exit_cb = &WorkerProcess::exited;
  process_ = std::make_unique<uv_process_t>();
  process_->data = this;
  const int spawned = uv_spawn(loop, process_.get(), &options);
  close(channel[1]);
  running_ = true;  // the handle is initialised even when the spawn failed
  if (spawned != 0) {
    error = fmt::format("The worker process cannot be started: {}.", uv_strerror(spawned));
    return false;
  }
  return true;
}

bool WorkerProcess::passSession(const wire::SessionToken& token, uint64_t number, int fd,
                                bool tls) {
  return sendChannelMessage(channel_, {ChannelMessageKind::session, tls, token, number}, fd);
}

bool WorkerProcess::passBulkConnection(int fd, bool tls) {
  return sendChannelMessage(channel_, {ChannelMessageKind::bulkConnection, tls, {}, 0}, fd);
}

void WorkerProcess::signal(int number) {
  uv_process_kill(process_.get(), number);
}

int WorkerProcess::pid() const {
  return process_ != nullptr ? process_->pid : 0;
}

void WorkerProcess::exited(uv_process_t* process, int64_t exit_status, int term_signal) {
  auto* self = static_cast<WorkerProcess*>(process->data);
  const auto on_exit = std::move(self->on_exit_);
  if (on_exit) on_exit({exit_status, term_signal});
}

}  // namespace farwarp
