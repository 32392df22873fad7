// gpud, the daemon: the supervisor, and the processes that it starts from the same file.
#include <fcntl.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <csignal>
#include <string>

#include "gpud/options.h"
#include "gpud/supervisor/probe.h"
#include "gpud/supervisor/supervisor.h"
#include "gpud/worker/worker_main.h"

namespace farwarp {
namespace {

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

int runSupervisor(Options& options) {
  std::string text;
  if (options.ready_fd >= 0) fcntl(options.ready_fd, F_SETFD, FD_CLOEXEC);
  if (!findDeviceLibrary(options, options.device_library, text) ||
      !probeDevice(options, text, text)) {
    spdlog::critical("{}", text);
    return 1;
  }
  spdlog::info("Device {}: {}.", options.device, text);
  Supervisor supervisor(options);
  if (!supervisor.start(text)) {
    spdlog::critical("{}", text);
    return 1;
  }
  announce(supervisor, options);
  supervisor.run();
  spdlog::info("Stopped.");
  return 0;
}

void setUpLog(const Options& options) {
  auto logger = spdlog::stderr_color_mt("gpud");
  logger->set_pattern(options.worker ? "%Y-%m-%d %H:%M:%S.%e worker %P %^%l%$ %v"
                                     : "%Y-%m-%d %H:%M:%S.%e gpud %P %^%l%$ %v");
  logger->set_level(
      spdlog::level::from_str(options.log_level == "warn" ? "warning" : options.log_level));
  spdlog::set_default_logger(std::move(logger));
}

}  // namespace
}  // namespace farwarp

int main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);
  farwarp::Options options;
  int status = 0;
  if (!farwarp::parseOptions(argc, argv, options, status)) return status;
  farwarp::setUpLog(options);
  if (options.worker) return farwarp::worker::runWorker(options);
  if (options.probe) return farwarp::runProbe(options);
  return farwarp::runSupervisor(options);
}
