// The text that protocol/status.h describes, from what the supervisor knows.
#pragma once

#include <cstdint>
#include <string>

#include "gpud/metering/session_counters.h"

namespace farwarp {

class StatusText {
 public:
  // `device_status`: whole lines about the devices. `ended_busy_ns`: of the sessions that are over.
  StatusText(const std::string& device_status, uint64_t ended_busy_ns);
  // `here`: the session's client is on the host that asks.
  void addSession(uint64_t number, const SessionCounters& counters, bool here);
  // The whole text.
  std::string text() const { return text_ + "end\n"; }

 private:
  std::string text_;
};

// Whether two peers, as the log names them, are on one host: Unix sockets are, and TCP connections
// from one address.
bool sameHost(const std::string& peer, const std::string& other);

}  // namespace farwarp
