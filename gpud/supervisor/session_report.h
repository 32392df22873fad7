// What gpud says about a session when it ended: one line in the log, one JSON line in a file.
#pragma once

#include <cstdint>
#include <string>

#include "gpud/metering/session_counters.h"
#include "gpud/supervisor/worker_process.h"

namespace farwarp {

struct SessionReport {
  uint64_t session = 0;
  std::string peer;    // where the client connected from
  std::string device;  // "cuda" or "cpu"
  int worker_pid = 0;
  int64_t started_unix_ms = 0;
  int64_t duration_ms = 0;
  // Taken from the counters:
  std::string program;
  uint32_t client_pid = 0;
  uint64_t calls = 0;
  uint64_t waiting_calls = 0;
  uint64_t bytes_in = 0;
  uint64_t bytes_out = 0;
  uint64_t launches = 0;
  uint64_t kernel_ns = 0;
  uint64_t busy_ns = 0;
  std::string method;
  std::string end;  // why it ended
};

// Fills in what the worker counted, and why it ended: in its own words, or from how it died.
void takeCounters(const SessionCounters& counters, const WorkerExit& exit, SessionReport& report);

std::string sessionLogLine(const SessionReport& report);   // for people
std::string sessionJsonLine(const SessionReport& report);  // one object, with the newline

// The file of --session-log. Lines are appended whole; the file may be rotated by renaming and
// restarting.
class SessionLog {
 public:
  ~SessionLog();
  SessionLog() = default;
  SessionLog(const SessionLog&) = delete;
  SessionLog& operator=(const SessionLog&) = delete;
  [[nodiscard]] bool open(const std::string& path, std::string& error);
  [[nodiscard]] bool append(const SessionReport& report);  // true when no file was asked for

 private:
  int fd_ = -1;
};

}  // namespace farwarp
