#include "gpud/supervisor/session_report.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <string.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

namespace farwarp {
namespace {

std::string describeExit(const WorkerExit& exit) {
  if (exit.signal != 0) {
    return fmt::format("The worker was ended by signal {} ({}).", exit.signal,
                       strsignal(exit.signal));
  }
  return fmt::format("The worker exited with status {} without giving a reason.", exit.exit_status);
}

}  // namespace

void takeCounters(const SessionCounters& counters, const WorkerExit& exit, SessionReport& report) {
  report.program = counters.program.get();
  report.client_pid = counters.client_pid;
  report.calls = counters.calls;
  report.waiting_calls = counters.waiting_calls;
  report.bytes_in = counters.bytes_in;
  report.bytes_out = counters.bytes_out;
  report.launches = counters.launches;
  report.kernel_ns = counters.kernel_ns;
  report.busy_ns = counters.busy_ns;
  report.method = meterMethodName(static_cast<MeterMethod>(counters.method.load()));
  const std::string reason = counters.end_reason.get();
  if (report.end.empty()) report.end = reason.empty() ? describeExit(exit) : reason;
}

std::string sessionLogLine(const SessionReport& report) {
  return fmt::format(
      "Session {} ended: program \"{}\", pid {}, {} calls, {} of them waited for, {} bytes in, {} "
      "bytes out, {} launches, kernel_ns {}, busy_ns {} ({}), {} ms. {}",
      report.session, report.program, report.client_pid, report.calls, report.waiting_calls,
      report.bytes_in, report.bytes_out, report.launches, report.kernel_ns, report.busy_ns,
      report.method, report.duration_ms, report.end);
}

std::string sessionJsonLine(const SessionReport& report) {
  const nlohmann::ordered_json json = {
      {"session", report.session},
      {"started_unix_ms", report.started_unix_ms},
      {"duration_ms", report.duration_ms},
      {"peer", report.peer},
      {"device", report.device},
      {"program", report.program},
      {"client_pid", report.client_pid},
      {"worker_pid", report.worker_pid},
      {"calls", report.calls},
      {"waiting_calls", report.waiting_calls},
      {"bytes_in", report.bytes_in},
      {"bytes_out", report.bytes_out},
      {"launches", report.launches},
      {"kernel_ns", report.kernel_ns},
      {"busy_ns", report.busy_ns},
      {"method", report.method},
      {"end", report.end},
  };
  // Names come from the client: bytes that are not UTF-8 are replaced, not refused.
  return json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

SessionLog::~SessionLog() {
  if (fd_ >= 0) ::close(fd_);
}

bool SessionLog::open(const std::string& path, std::string& error) {
  if (path.empty()) return true;
  fd_ = ::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
  if (fd_ < 0)
    error = fmt::format("The session log {} cannot be opened: {}.", path, strerror(errno));
  return fd_ >= 0;
}

bool SessionLog::append(const SessionReport& report) {
  if (fd_ < 0) return true;
  const std::string line = sessionJsonLine(report);
  return ::write(fd_, line.data(), line.size()) == static_cast<ssize_t>(line.size());
}

}  // namespace farwarp
