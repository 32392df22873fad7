#include "gpud/supervisor/status_text.h"

#include <fmt/format.h>

#include <chrono>

#include "protocol/status.h"

namespace farwarp {

StatusText::StatusText(const std::string& device_status, uint64_t ended_busy_ns) {
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  text_ =
      fmt::format("{}\nversion {}\nclock {}\n{}busy {}\n", wire::kStatusFirstLine, FARWARP_VERSION,
                  std::chrono::duration_cast<std::chrono::nanoseconds>(now).count(), device_status,
                  ended_busy_ns);
}

void StatusText::addSession(uint64_t number, const SessionCounters& counters, bool here) {
  std::string bytes;
  for (const auto& held : counters.memory_bytes) {
    bytes += fmt::format("{}{}", bytes.empty() ? "" : ",", held.load());
  }
  text_ += fmt::format("session {} {} {} {} {} {}\n", number, counters.client_pid.load(),
                       here ? 1 : 0, counters.busy_ns.load(), bytes, counters.program.get());
}

bool sameHost(const std::string& peer, const std::string& other) {
  return peer.substr(0, peer.rfind(':')) == other.substr(0, other.rfind(':'));
}

}  // namespace farwarp
