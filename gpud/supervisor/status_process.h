// Answers one status connection (protocol/status.h) over TLS.
//
// A process of its own does it: the supervisor never parses what strangers send and never has the
// private key, and workers belong to their sessions.
#pragma once

#include <uv.h>

#include <functional>
#include <memory>
#include <string>

#include "gpud/options.h"

namespace farwarp {

class StatusProcess {
 public:
  StatusProcess() = default;
  ~StatusProcess();
  StatusProcess(const StatusProcess&) = delete;
  StatusProcess& operator=(const StatusProcess&) = delete;

  // Starts the process, which sends `text` on `fd`, where the preambles were said; the caller
  // closes its copy. `on_exit` runs on the loop; the object may be destroyed there. False with a
  // full sentence in `error`.
  [[nodiscard]] bool start(uv_loop_t* loop, const Options& options, int fd, const std::string& text,
                           std::function<void()> on_exit, std::string& error);
  void kill();

 private:
  std::unique_ptr<uv_process_t> process_;
  bool running_ = false;
  std::function<void()> on_exit_;
};

// The process itself; its exit status.
int runStatusProcess(const Options& options);

}  // namespace farwarp
