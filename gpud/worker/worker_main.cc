#include "gpud/worker/worker_main.h"

#include <errno.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <spdlog/spdlog.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <memory>

#include "gpud/device/driver_table.h"
#include "gpud/supervisor/channel.h"
#include "gpud/worker/session.h"
#include "protocol/tls.h"
#include "protocol/uv_event_port.h"

namespace farwarp::worker {
namespace {

[[noreturn]] void leave(int status) {
  // Not exit(): a driver's handlers take long, and may hang after an error.
  _exit(status);
}

[[noreturn]] void leave(SessionCounters* counters, const std::string& reason) {
  spdlog::error("{}", reason);
  if (counters != nullptr) counters->end_reason.set(reason);
  leave(1);
}

// A worker never outlives its supervisor and never gains privileges.
void confine(const Options& options) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != options.supervisor_pid) leave(1);
  prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  signal(SIGINT, SIG_IGN);  // of a terminal: the supervisor decides
  for (int fd : {kWorkerChannelFd, kWorkerCountersFd}) {
    fcntl(fd, F_SETFD, FD_CLOEXEC);
  }
}

// Waits for the session that this worker is to serve, as long as it takes.
ChannelMessage readSession(SessionCounters* counters, int& connection) {
  for (;;) {
    pollfd ready{kWorkerChannelFd, POLLIN, 0};
    if (poll(&ready, 1, -1) < 0 && errno == EINTR) continue;
    ChannelMessage message;
    const ChannelRead read = readChannelMessage(kWorkerChannelFd, message, connection);
    if (read == ChannelRead::nothing) continue;
    if (read == ChannelRead::closed) leave(1);  // the supervisor is gone
    if (message.kind == ChannelMessageKind::session && connection >= 0) return message;
    leave(counters, "The supervisor did not tell the session first.");
  }
}

std::unique_ptr<wire::TlsServer> loadTls(const Options& options, SessionCounters* counters) {
  if (options.tls_folder.empty()) return nullptr;
  const TlsFiles files = tlsFilesIn(options.tls_folder);
  std::string error;
  auto server = wire::TlsServer::load(files.certificate, files.key, error);
  if (server == nullptr) leave(counters, error);
  return server;
}

// What the loop watches besides the connections: the supervisor, and its signal to stop.
class Watcher {
 public:
  Watcher(uv_loop_t* loop, Session& session) : session_(session) {
    uv_poll_init(loop, &channel_, kWorkerChannelFd);
    channel_.data = this;
    uv_poll_start(&channel_, UV_READABLE, [](uv_poll_t* poll, int, int) {
      static_cast<Watcher*>(poll->data)->readChannel();
    });
    uv_signal_init(loop, &terminate_);
    terminate_.data = this;
    uv_signal_start(
        &terminate_,
        [](uv_signal_t* signal, int) {
          static_cast<Watcher*>(signal->data)
              ->session_.end(wire::Trouble::sessionEnded, "gpud was told to stop.");
        },
        SIGTERM);
  }

 private:
  void readChannel() {
    for (;;) {
      ChannelMessage message;
      int fd = -1;
      const ChannelRead read = readChannelMessage(kWorkerChannelFd, message, fd);
      if (read == ChannelRead::nothing) return;
      if (read == ChannelRead::closed) leave(1);  // the supervisor is gone
      if (fd < 0) continue;
      if (message.kind == ChannelMessageKind::bulkConnection) {
        session_.addConnection(fd, wire::ConnectionKind::bulk, message.tls != 0);
      } else {
        close(fd);
      }
    }
  }

  Session& session_;
  uv_poll_t channel_;
  uv_signal_t terminate_;
};

void openDriver(const Options& options, Driver& driver, SessionCounters* counters) {
  std::string error;
  if (!driver.load(options.device_library, error)) leave(counters, error);
  if (const CUresult r = driver.table().cuInit(0); r != CUDA_SUCCESS) {
    leave(counters,
          fmt::format("cuInit of {} failed with {}.", options.device_library, static_cast<int>(r)));
  }
}

SessionSettings settingsOf(const Options& options) {
  SessionSettings settings;
  settings.device_kind = options.device;
  settings.wait_threads_max = options.wait_threads_max;
  settings.handles_max = options.handles_max;
  settings.staging_bytes_max = options.staging_bytes_max;
  settings.bulk_bytes_max = options.bulk_bytes_max;
  settings.content_folder = options.content_folder;
  settings.content_bytes_max = options.content_bytes_max;
  settings.host_memory_bytes_max = options.host_memory_bytes_max;
  settings.greeting_timeout_ms = options.preamble_timeout_ms;
  (void)wire::parseCompressionMode(options.compression, settings.compression);  // it was checked
  return settings;
}

// Does not return, and leaves without taking anything down: threads may wait for the device for
// ever.
[[noreturn]] void serve(const Options& options, const StandardStreams& streams,
                        SessionCounters* counters) {
  SessionSettings settings = settingsOf(options);
  const std::unique_ptr<wire::TlsServer> tls = loadTls(options, counters);
  settings.tls = tls.get();
  Driver driver;
  openDriver(options, driver, counters);
  wire::UvEventPort port;
  // All that takes long is done: what follows may come much later.
  int connection = -1;
  const ChannelMessage start = readSession(counters, connection);
  settings.token = start.token;
  settings.number = start.number;
  kj::WaitScope scope(port.eventLoop());
  Session session(driver.table(), port, *counters, settings);
  if (streams.outEnd() >= 0) session.captureOutput(streams.outEnd(), streams.errEnd());
  Watcher watcher(port.uvLoop(), session);
  try {
    session.addConnection(connection, wire::ConnectionKind::control, start.tls != 0);
    session.whenEnded().wait(scope);
  } catch (const kj::Exception& failure) {
    leave(counters, fmt::format("The worker failed: {} ({}:{}).", failure.getDescription().cStr(),
                                failure.getFile(), failure.getLine()));
  } catch (const std::exception& failure) {
    leave(counters, fmt::format("The worker failed: {}.", failure.what()));
  }
  leave(0);
}

}  // namespace

int runWorker(const Options& options, const StandardStreams& streams) {
  confine(options);
  SharedCounters counters;
  if (!counters.open(kWorkerCountersFd)) leave(nullptr, "The session's counters cannot be mapped.");
  serve(options, streams, counters.get());
}

}  // namespace farwarp::worker
