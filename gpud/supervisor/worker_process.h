// One worker process as the supervisor sees it: started, watched, told to stop, reaped.
#pragma once

#include <uv.h>

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "gpud/metering/session_counters.h"
#include "protocol/preamble.h"

namespace farwarp {

// The environment of workers and probes: an allow list of gpud's own variables and what the
// administrator asked for (`worker_env`). LD_PRELOAD, CUDA_INJECTION64_PATH and the like do not
// pass.
std::vector<std::string> workerEnvironment(const std::vector<std::string>& worker_env);

struct WorkerExit {
  int64_t exit_status = 0;
  int signal = 0;  // 0 when it exited by itself
};

class WorkerProcess {
 public:
  struct Start {
    std::vector<std::string> arguments;    // without argv[0]
    std::vector<std::string> environment;  // NAME=VALUE
  };

  WorkerProcess() = default;
  ~WorkerProcess();
  WorkerProcess(const WorkerProcess&) = delete;
  WorkerProcess& operator=(const WorkerProcess&) = delete;

  // Starts the worker, which opens the device and waits for its session. False with a full sentence
  // in `error`.
  [[nodiscard]] bool start(uv_loop_t* loop, const Start& start, std::string& error);
  // Runs on the loop when the worker was reaped; the object may be destroyed there.
  void onExit(std::function<void(const WorkerExit&)> callback) { on_exit_ = std::move(callback); }

  // Gives the worker its session; the caller closes its copy of the control connection. False when
  // the worker is dead.
  [[nodiscard]] bool passSession(const wire::SessionToken& token, uint64_t number, int fd,
                                 bool tls);
  // Hands the worker a bulk connection; the caller closes its copy.
  [[nodiscard]] bool passBulkConnection(int fd, bool tls);
  void signal(int number);
  int pid() const;
  const SessionCounters& counters() const { return *counters_.get(); }

 private:
  static void exited(uv_process_t* process, int64_t exit_status, int term_signal);

  std::unique_ptr<uv_process_t> process_;
  bool running_ = false;
  int channel_ = -1;
  SharedCounters counters_;
  std::function<void(const WorkerExit&)> on_exit_;
};

}  // namespace farwarp
