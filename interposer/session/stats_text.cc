#include "interposer/session/stats_text.h"

#include <cinttypes>
#include <cstdio>
#include <iterator>

namespace farwarp::client {
namespace {

template <typename... Values>
std::string format(const char* pattern, Values... values) {
  char line[512];
  std::snprintf(line, sizeof(line), pattern, values...);
  return line;
}

double milliseconds(uint64_t ns) {
  return static_cast<double>(ns) / 1e6;
}

// How bulk data went, where a Unix socket left the choice.
std::string sharedText(const wire::ClientCounters& counters) {
  if (counters.bytes_shared != 0) {
    return " (" + bytesText(counters.bytes_shared) + " through shared memory)";
  }
  return counters.why_not_shared.empty() ? "" : " (not shared: " + counters.why_not_shared + ")";
}

}  // namespace

std::string bytesText(uint64_t bytes) {
  static constexpr const char* kUnits[] = {"KiB", "MiB", "GiB", "TiB", "PiB"};
  if (bytes < 1024) return std::to_string(bytes) + " B";
  double value = static_cast<double>(bytes) / 1024;
  size_t unit = 0;
  while (value >= 1024 && unit + 1 < std::size(kUnits)) {
    value /= 1024;
    ++unit;
  }
  return format("%.1f %s", value, kUnits[unit]);
}

std::vector<std::string> statsLines(const SessionFigures& f) {
  const uint64_t sent = f.async_calls + f.sync_calls;
  const uint64_t local = f.calls > sent ? f.calls - sent : 0;
  std::vector<std::string> lines;
  lines.push_back("session of " + f.program + " on " + f.server);
  lines.push_back(format("  calls        %" PRIu64 " (%" PRIu64 " answered here, %" PRIu64
                         " sent without waiting, %" PRIu64 " waited for)",
                         f.calls, local, f.async_calls, f.sync_calls));
  lines.push_back(format("  waited       %.3f ms", milliseconds(f.connection.waited_ns)));
  lines.push_back("  bytes        " + bytesText(f.connection.bytes_sent) + " to gpud, " +
                  bytesText(f.connection.bytes_received) + " from gpud" + sharedText(f.connection));
  if (const uint64_t plain = f.connection.unpacked_bytes; plain > 0) {
    const uint64_t packed = f.connection.packed_bytes;
    lines.push_back("  compressed   " + bytesText(plain) + " to " + bytesText(packed) +
                    format(" (%.2fx, ", static_cast<double>(plain) /
                                            static_cast<double>(packed == 0 ? 1 : packed)) +
                    bytesText(plain - packed) + " saved)");
  }
  if (f.known_bytes > 0) {
    lines.push_back("  not sent     " + bytesText(f.known_bytes) + " of modules that gpud had");
  }
  lines.push_back(format("  launches     %" PRIu64, f.launches));
  if (f.server_known) {
    lines.push_back(format("  kernel time  %.3f ms (device busy %.3f ms, measured by %s)",
                           milliseconds(f.server_stats.kernel_ns),
                           milliseconds(f.server_stats.busy_ns), f.server_stats.method.c_str()));
  } else {
    lines.push_back("  kernel time  unknown: gpud could not be asked");
  }
  return lines;
}

}  // namespace farwarp::client
