// gpud, the daemon: the supervisor, and the processes that it starts from the same file.
#include <fcntl.h>
#include <fmt/format.h>
#include <spdlog/sinks/ansicolor_sink.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <memory>
#include <string>
#include <utility>

#include "gpud/init.h"
#include "gpud/options.h"
#include "gpud/supervisor/probe.h"
#include "gpud/supervisor/status_process.h"
#include "gpud/supervisor/supervisor.h"
#include "gpud/worker/worker_main.h"
#include "protocol/tls.h"

namespace farwarp {
namespace {

constexpr int64_t kWarnDaysLeft = 30;

void writeAll(int fd, const std::string& text) {
  size_t done = 0;
  while (done < text.size()) {
    const ssize_t wrote = write(fd, text.data() + done, text.size() - done);
    if (wrote <= 0) return;  // whoever asked went away
    done += static_cast<size_t>(wrote);
  }
}

// Tells scripts and tests where gpud listens and that it is ready.
void announce(const Supervisor& supervisor, const Options& options) {
  std::string text;
  for (const std::string& endpoint : supervisor.endpoints()) text += "listening " + endpoint + "\n";
  text += "ready\n";
  if (options.print_ports) writeAll(STDOUT_FILENO, text);
  if (options.ready_fd >= 0) {
    writeAll(options.ready_fd, text);
    close(options.ready_fd);
  }
}

bool needsTls(const Options& options) {
  return !options.insecure &&
         std::any_of(options.listen.begin(), options.listen.end(),
                     [](const std::string& endpoint) { return !endpoint.starts_with("unix:"); });
}

// Looks whether TLS can be spoken, before anyone connects. Workers read the files themselves.
bool checkTls(Options& options, std::string& error) {
  if (!needsTls(options)) {
    options.tls_folder.clear();
    return true;
  }
  if (options.tls_folder.empty()) options.tls_folder = defaultTlsFolder();
  const TlsFiles files = tlsFilesIn(options.tls_folder);
  const auto server = wire::TlsServer::load(files.certificate, files.key, error);
  if (server == nullptr) {
    error +=
        " TCP is encrypted: make a certificate with gpud init, name its folder with "
        "--tls-folder, or, on a network that you trust, say --insecure.";
    return false;
  }
  const int64_t days_left = server->secondsLeft() / 86400;
  if (server->secondsLeft() <= 0) {
    error =
        fmt::format("The certificate {} has expired. Renew it with gpud init.", files.certificate);
    return false;
  }
  if (days_left < kWarnDaysLeft) {
    spdlog::warn("The certificate {} expires in {} days. Renew it with gpud init.",
                 files.certificate, days_left);
  }
  return true;
}

int runSupervisor(Options& options) {
  std::string text;
  std::string device_status;
  if (options.ready_fd >= 0) fcntl(options.ready_fd, F_SETFD, FD_CLOEXEC);
  if (options.content_folder.empty()) options.content_folder = defaultContentFolder();
  if (!checkTls(options, text) || !findDeviceLibrary(options, options.device_library, text) ||
      !probeDevice(options, text, device_status, text)) {
    spdlog::critical("{}", text);
    return 1;
  }
  spdlog::info("Device {}: {}.", options.device, text);
  Supervisor supervisor(options, std::move(device_status));
  if (!supervisor.start(text)) {
    spdlog::critical("{}", text);
    return 1;
  }
  announce(supervisor, options);
  supervisor.run();
  spdlog::info("Stopped.");
  return 0;
}

void setUpLog(const Options& options, std::FILE* log) {
  using Sink = spdlog::sinks::ansicolor_sink<spdlog::details::console_mutex>;
  auto logger = std::make_shared<spdlog::logger>(
      "gpud", std::make_shared<Sink>(log, spdlog::color_mode::automatic));
  logger->set_pattern(options.worker ? "%Y-%m-%d %H:%M:%S.%e worker %P %^%l%$ %v"
                                     : "%Y-%m-%d %H:%M:%S.%e gpud %P %^%l%$ %v");
  logger->set_level(
      spdlog::level::from_str(options.log_level == "warn" ? "warning" : options.log_level));
  spdlog::set_default_logger(std::move(logger));
}

}  // namespace
}  // namespace farwarp

#ifdef __SANITIZE_THREAD__
// By default a process with threads sleeps for a second at its end; workers are waited for less
// long.
extern "C" __attribute__((visibility("default"))) const char* __tsan_default_options() {
  return "atexit_sleep_ms=0";
}
#endif

int main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);
  if (argc > 1 && std::strcmp(argv[1], "init") == 0) return farwarp::runInit(argc - 1, argv + 1);
  farwarp::Options options;
  int status = 0;
  if (!farwarp::parseOptions(argc, argv, options, status)) return status;
  farwarp::worker::StandardStreams streams;
  std::string error;
  const bool replaced = !options.worker || streams.replace(error);
  farwarp::setUpLog(options, streams.log());
  if (!replaced) {
    spdlog::critical("{}", error);
    return 1;
  }
  if (options.worker) return farwarp::worker::runWorker(options, streams);
  if (options.probe) return farwarp::runProbe(options);
  if (options.answer_status) return farwarp::runStatusProcess(options);
  return farwarp::runSupervisor(options);
}
