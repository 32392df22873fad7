// The process that listens: admits sessions, starts a worker for each, routes bulk connections to
// them, and reports each session when it ended. It never touches the device and never reads more
// than a preamble from a client.
#pragma once

#include <uv.h>

#include <chrono>
#include <list>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "gpud/options.h"
#include "gpud/supervisor/listener.h"
#include "gpud/supervisor/pending_connection.h"
#include "gpud/supervisor/session_report.h"
#include "gpud/supervisor/status_process.h"
#include "gpud/supervisor/worker_process.h"

namespace farwarp {

class Supervisor {
 public:
  // `options` must stay as long as the supervisor. `device_status`: the devices' lines of
  // protocol/status.h.
  explicit Supervisor(const Options& options, std::string device_status = {});
  ~Supervisor();
  Supervisor(const Supervisor&) = delete;
  Supervisor& operator=(const Supervisor&) = delete;

  // Opens the session log and listens. False with a full sentence in `error`.
  [[nodiscard]] bool start(std::string& error);
  // Endpoints that it listens on, with the ports that the system chose.
  std::vector<std::string> endpoints() const;
  // Serves until SIGTERM or SIGINT, then ends the sessions and returns.
  void run();

 private:
  struct Session;

  void onConnection(int fd, const std::string& peer, bool tls);
  void onPreamble(PendingConnection& connection, const PendingConnection::Outcome& outcome);
  void admit(PendingConnection& connection);
  void startSession(PendingConnection& connection);
  // A worker that has opened the device, or a fresh one; null with a sentence in `error`.
  std::unique_ptr<WorkerProcess> takeWorker(std::string& error);
  std::unique_ptr<WorkerProcess> startWorker(std::string& error);
  void warmUpSoon();
  void warmUp();
  void routeBulk(PendingConnection& connection, const wire::SessionRoute& route);
  void answerStatus(PendingConnection& connection);
  void answerStatusEncrypted(PendingConnection& connection, const std::string& text);
  void watchClient(Session& session, int fd);
  void onWorkerExit(Session& session, const WorkerExit& exit);
  void stop(int signal_number);
  void killLeftovers();
  void drop(PendingConnection& connection);
  void finishIfIdle();

  const Options& options_;
  const std::string device_status_;
  uint64_t ended_busy_ns_ = 0;  // of sessions that ended
  uv_loop_t loop_;
  uv_signal_t* terminate_ = nullptr;
  uv_signal_t* interrupt_ = nullptr;
  uv_timer_t* grace_ = nullptr;
  uv_timer_t* warm_timer_ = nullptr;
  bool stopping_ = false;
  uint64_t next_session_ = 1;
  SessionLog session_log_;
  std::vector<std::unique_ptr<Listener>> listeners_;
  std::list<std::unique_ptr<PendingConnection>> pending_;  // oldest first
  std::map<uint64_t, std::unique_ptr<Session>> sessions_;
  std::list<std::unique_ptr<WorkerProcess>> warm_;  // workers that wait for a session
  std::list<std::unique_ptr<StatusProcess>> status_processes_;
};

}  // namespace farwarp
