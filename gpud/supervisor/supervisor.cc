#include "gpud/supervisor/supervisor.h"

#include <errno.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <spdlog/spdlog.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "gpud/supervisor/status_text.h"
#include "gpud/supervisor/uv_handles.h"
#include "protocol/status.h"

namespace farwarp {

using wire::PreambleStatus;

namespace {

// Time that a worker has to notice itself that its client is gone. It needs a moment; when it is
// stuck in the driver it never will.
constexpr uint64_t kOrphanGraceMs = 500;

int64_t unixMs() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

// A session that starts has the processor for itself for so long, before the next worker is warmed.
constexpr uint64_t kWarmUpDelayMs = 100;

// Status connections over TLS that are answered at one time.
constexpr size_t kStatusProcessesMax = 16;

// 32 bytes into an empty buffer. A failure means that the client is gone, which its watcher sees.
void answerOn(int fd, PreambleStatus status) {
  const wire::PreambleBytes bytes =
      wire::encodePreamble(wire::ServerPreamble{wire::kProtocolVersion, status});
  [[maybe_unused]] const ssize_t sent =
      send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
}

}  // namespace

struct Supervisor::Session {
  uint64_t number = 0;
  wire::SessionToken token{};
  wire::SessionRoute route{};
  std::chrono::steady_clock::time_point started;
  SessionReport report;
  std::unique_ptr<WorkerProcess> worker;
  // A copy of the control connection, watched for the client's end.
  int client_fd = -1;
  uv_poll_t* client_poll = nullptr;
  uv_timer_t* orphan_timer = nullptr;

  ~Session() {
    closeAndDelete(client_poll);
    closeAndDelete(orphan_timer);
    if (client_fd >= 0) close(client_fd);
  }
};

Supervisor::Supervisor(const Options& options, std::string device_status)
    : options_(options), device_status_(std::move(device_status)) {
  uv_loop_init(&loop_);
}

Supervisor::~Supervisor() {
  listeners_.clear();
  pending_.clear();
  sessions_.clear();
  warm_.clear();
  status_processes_.clear();
  closeAndDelete(warm_timer_);
  closeAndDelete(terminate_);
  closeAndDelete(interrupt_);
  closeAndDelete(grace_);
  uv_run(&loop_, UV_RUN_DEFAULT);
  uv_loop_close(&loop_);
}

bool Supervisor::start(std::string& error) {
  if (!session_log_.open(options_.session_log, error)) return false;
  for (const std::string& endpoint : options_.listen) {
    const bool tls = !options_.insecure && !endpoint.starts_with("unix:");
    auto listener = std::make_unique<Listener>(
        &loop_, [this, tls](int fd, const std::string& peer) { onConnection(fd, peer, tls); });
    if (!listener->open(endpoint, error)) return false;
    spdlog::info("Listening on {}{}.", listener->endpoint().text(), tls ? " with TLS" : "");
    listeners_.push_back(std::move(listener));
  }
  const auto watch = [this](uv_signal_t*& handle, int number) {
    handle = new uv_signal_t;
    uv_signal_init(&loop_, handle);
    handle->data = this;
    uv_signal_start(
        handle, [](uv_signal_t* s, int n) { static_cast<Supervisor*>(s->data)->stop(n); }, number);
  };
  watch(terminate_, SIGTERM);
  watch(interrupt_, SIGINT);
  warm_timer_ = new uv_timer_t;
  uv_timer_init(&loop_, warm_timer_);
  warm_timer_->data = this;
  warmUp();
  return true;
}

std::vector<std::string> Supervisor::endpoints() const {
  std::vector<std::string> texts;
  for (const auto& listener : listeners_) texts.push_back(listener->endpoint().text());
  return texts;
}

void Supervisor::run() {
  uv_run(&loop_, UV_RUN_DEFAULT);
}

void Supervisor::onConnection(int fd, const std::string& peer, bool tls) {
  if (pending_.size() >= options_.max_pending_connections) {
    spdlog::warn("Connection from {} closed: it had not said who it is, and {} newer ones wait.",
                 pending_.front()->peer(), options_.max_pending_connections);
    pending_.pop_front();
  }
  pending_.push_back(std::make_unique<PendingConnection>(
      &loop_, fd, peer, tls, options_.preamble_timeout_ms,
      [this](PendingConnection& connection, const PendingConnection::Outcome& outcome) {
        onPreamble(connection, outcome);
      }));
}

void Supervisor::onPreamble(PendingConnection& connection,
                            const PendingConnection::Outcome& outcome) {
  if (outcome.complete && outcome.status == PreambleStatus::ok &&
      outcome.preamble.tls != connection.tls()) {
    spdlog::warn("Connection from {} refused: {}", connection.peer(),
                 connection.tls() ? "it is not encrypted, and gpud runs without --insecure."
                                  : "it wants TLS, which is not spoken here.");
    connection.answer(connection.tls() ? PreambleStatus::tlsRequired
                                       : PreambleStatus::tlsUnavailable);
  } else if (outcome.complete && outcome.status == PreambleStatus::ok) {
    if (outcome.preamble.kind == wire::ConnectionKind::control) {
      admit(connection);
    } else if (outcome.preamble.kind == wire::kStatusConnection) {
      answerStatus(connection);
    } else {
      routeBulk(connection, outcome.preamble.route);
    }
  } else {
    spdlog::warn("Connection from {} closed: {}", connection.peer(), outcome.reason);
    // A stranger gets no answer; a client of another version is told so.
    if (outcome.status == PreambleStatus::versionRefused) connection.answer(outcome.status);
  }
  drop(connection);
}

void Supervisor::admit(PendingConnection& connection) {
  if (sessions_.size() >= options_.max_sessions) {
    spdlog::warn("Session from {} refused: {} sessions are open, as many as --max-sessions allows.",
                 connection.peer(), sessions_.size());
    connection.answer(PreambleStatus::busy);
    return;
  }
  // Whoever may connect can make a worker start and then say nothing.
  const auto silent = std::count_if(sessions_.begin(), sessions_.end(), [](const auto& entry) {
    return entry.second->worker->counters().greeted == 0;
  });
  if (static_cast<uint64_t>(silent) >= options_.max_pending_connections) {
    spdlog::warn(
        "Session from {} refused: {} others have not finished their greeting, as many as "
        "--max-pending-connections allows.",
        connection.peer(), silent);
    connection.answer(PreambleStatus::busy);
    return;
  }
  startSession(connection);
}

void Supervisor::startSession(PendingConnection& connection) {
  auto session = std::make_unique<Session>();
  session->number = next_session_++;
  session->started = std::chrono::steady_clock::now();
  session->report.session = session->number;
  session->report.peer = connection.peer();
  session->report.device = options_.device;
  session->report.started_unix_ms = unixMs();
  if (getrandom(session->token.data(), session->token.size(), 0) !=
      static_cast<ssize_t>(session->token.size())) {
    spdlog::error("No random bytes for a session's token: {}.", strerror(errno));
    connection.answer(PreambleStatus::internalError);
    return;
  }
  session->route = wire::routeOf(session->token);
  const int fd = connection.release();
  std::string error;
  Session& started = *session;
  // A warm worker may have died a moment ago; the next one is tried then.
  do {
    started.worker = takeWorker(error);
  } while (started.worker != nullptr &&
           !started.worker->passSession(started.token, started.number, fd, connection.tls()));
  if (started.worker == nullptr) {
    spdlog::error("Session {} cannot start. {}", started.number, error);
    answerOn(fd, PreambleStatus::internalError);
    close(fd);
    return;
  }
  started.worker->onExit([this, &started](const WorkerExit& exit) { onWorkerExit(started, exit); });
  started.report.worker_pid = started.worker->pid();
  sessions_.emplace(started.number, std::move(session));
  spdlog::info("Session {} from {} started, worker {}.", started.number, connection.peer(),
               started.worker->pid());
  watchClient(started, fd);
  warmUpSoon();
}

std::unique_ptr<WorkerProcess> Supervisor::takeWorker(std::string& error) {
  if (warm_.empty()) return startWorker(error);
  std::unique_ptr<WorkerProcess> worker = std::move(warm_.front());
  warm_.pop_front();
  return worker;
}

std::unique_ptr<WorkerProcess> Supervisor::startWorker(std::string& error) {
  WorkerProcess::Start start;
  start.arguments = childArguments(options_);
  start.arguments.push_back(fmt::format("--supervisor-pid={}", getpid()));
  start.environment = workerEnvironment(options_.worker_env);
  auto worker = std::make_unique<WorkerProcess>();
  return worker->start(&loop_, start, error) ? std::move(worker) : nullptr;
}

void Supervisor::warmUpSoon() {
  uv_timer_start(
      warm_timer_, [](uv_timer_t* timer) { static_cast<Supervisor*>(timer->data)->warmUp(); },
      kWarmUpDelayMs, 0);
}

void Supervisor::warmUp() {
  while (!stopping_ && warm_.size() < options_.warm_workers) {
    std::string error;
    std::unique_ptr<WorkerProcess> worker = startWorker(error);
    if (worker == nullptr) {
      spdlog::warn("No worker can be kept ready for the next session. {}", error);
      return;
    }
    WorkerProcess* raw = worker.get();
    // Not started again before the next session: a device that fails now would fail again at once.
    worker->onExit([this, raw](const WorkerExit&) {
      if (!stopping_) {
        spdlog::warn("Worker {} ended before it had a session. {}", raw->pid(),
                     raw->counters().end_reason.get());
      }
      warm_.remove_if([raw](const auto& owned) { return owned.get() == raw; });
      finishIfIdle();
    });
    warm_.push_back(std::move(worker));
  }
}

void Supervisor::routeBulk(PendingConnection& connection, const wire::SessionRoute& route) {
  const auto it = std::find_if(sessions_.begin(), sessions_.end(),
                               [&](const auto& entry) { return entry.second->route == route; });
  if (it == sessions_.end()) {
    spdlog::warn("Bulk connection from {} closed: its session is not there.", connection.peer());
    connection.answer(PreambleStatus::unknownSession);
    return;
  }
  if (!connection.answer(PreambleStatus::ok)) return;
  const int fd = connection.release();
  if (!it->second->worker->passBulkConnection(fd, connection.tls())) {
    spdlog::warn("Bulk connection of session {} closed: its worker does not take it.",
                 it->second->number);
  }
  close(fd);
}

void Supervisor::answerStatus(PendingConnection& connection) {
  StatusText status(device_status_, ended_busy_ns_);
  for (const auto& [number, session] : sessions_) {
    status.addSession(number, session->worker->counters(),
                      sameHost(session->report.peer, connection.peer()));
  }
  if (connection.tls()) return answerStatusEncrypted(connection, status.text());
  if (!connection.answer(PreambleStatus::ok)) return;
  const std::string text = status.text();
  // What does not fit into the socket's buffer is lost, and the reader misses the last line.
  const int fd = connection.release();
  [[maybe_unused]] const ssize_t sent =
      send(fd, text.data(), text.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  close(fd);
}

void Supervisor::answerStatusEncrypted(PendingConnection& connection, const std::string& text) {
  if (status_processes_.size() >= kStatusProcessesMax) {
    spdlog::warn("Status for {} refused: {} others are being answered, which is the limit.",
                 connection.peer(), kStatusProcessesMax);
    connection.answer(PreambleStatus::busy);
    return;
  }
  auto process = std::make_unique<StatusProcess>();
  StatusProcess* raw = process.get();
  std::string error;
  const auto on_exit = [this, raw] {
    status_processes_.remove_if([raw](const auto& owned) { return owned.get() == raw; });
    finishIfIdle();
  };
  const int fd = connection.release();
  const bool started = process->start(&loop_, options_, fd, text, on_exit, error);
  answerOn(fd, started ? PreambleStatus::ok : PreambleStatus::internalError);
  close(fd);
  if (started) {
    status_processes_.push_back(std::move(process));
  } else {
    spdlog::error("{} is not told the status. {}", connection.peer(), error);
  }
}

void Supervisor::watchClient(Session& session, int fd) {
  session.client_fd = fd;
  answerOn(fd, PreambleStatus::ok);
  session.client_poll = new uv_poll_t;
  uv_poll_init(&loop_, session.client_poll, fd);
  session.client_poll->data = &session;
  uv_poll_start(session.client_poll, UV_DISCONNECT, [](uv_poll_t* poll, int, int) {
    auto* gone = static_cast<Session*>(poll->data);
    uv_poll_stop(poll);
    gone->orphan_timer = new uv_timer_t;
    uv_timer_init(poll->loop, gone->orphan_timer);
    gone->orphan_timer->data = gone;
    uv_timer_start(
        gone->orphan_timer,
        [](uv_timer_t* timer) {
          auto* orphan = static_cast<Session*>(timer->data);
          orphan->report.end = fmt::format(
              "The client is gone and the worker did not end within {} ms; it was killed.",
              kOrphanGraceMs);
          orphan->worker->signal(SIGKILL);
        },
        kOrphanGraceMs, 0);
  });
}

void Supervisor::onWorkerExit(Session& session, const WorkerExit& exit) {
  SessionReport& report = session.report;
  report.duration_ms = std::chrono::duration_cast<std::chrono::milliseconds>(
                           std::chrono::steady_clock::now() - session.started)
                           .count();
  takeCounters(session.worker->counters(), exit, report);
  ended_busy_ns_ += report.busy_ns;
  spdlog::info("{}", sessionLogLine(report));
  if (!session_log_.append(report)) {
    spdlog::error("The session log cannot be written: {}.", strerror(errno));
  }
  sessions_.erase(session.number);
  finishIfIdle();
}

void Supervisor::stop(int signal_number) {
  if (stopping_) return;
  stopping_ = true;
  spdlog::info("Stopping on {}; {} sessions are open.", strsignal(signal_number), sessions_.size());
  listeners_.clear();
  for (auto& connection : pending_) connection->answer(PreambleStatus::draining);
  pending_.clear();
  for (auto& [number, session] : sessions_) session->worker->signal(SIGTERM);
  for (auto& worker : warm_) worker->signal(SIGKILL);
  for (auto& process : status_processes_) process->kill();
  grace_ = new uv_timer_t;
  uv_timer_init(&loop_, grace_);
  grace_->data = this;
  uv_timer_start(
      grace_, [](uv_timer_t* timer) { static_cast<Supervisor*>(timer->data)->killLeftovers(); },
      options_.stop_grace_ms, 0);
  finishIfIdle();
}

void Supervisor::killLeftovers() {
  for (auto& [number, session] : sessions_) {
    session->report.end =
        fmt::format("gpud stopped and the worker did not end within {} ms; it was killed.",
                    options_.stop_grace_ms);
    session->worker->signal(SIGKILL);
  }
}

void Supervisor::drop(PendingConnection& connection) {
  pending_.remove_if([&](const auto& owned) { return owned.get() == &connection; });
}

void Supervisor::finishIfIdle() {
  if (stopping_ && sessions_.empty() && warm_.empty() && status_processes_.empty()) {
    uv_stop(&loop_);
  }
}

}  // namespace farwarp
