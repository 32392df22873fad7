// What a gpud says about itself (protocol/status.h), asked and read.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "interposer/session/options.h"

namespace farwarp::nvml {

inline constexpr size_t kDevicesMax = 16;
inline constexpr size_t kSessionsMax = 4096;

struct DeviceStatus {
  std::string uuid;  // 32 hexadecimal digits
  uint64_t bytes = 0;
  uint32_t pci_domain = 0, pci_bus = 0, pci_device = 0;
  int major = 0, minor = 0;
  std::string name;
};

struct SessionStatus {
  uint32_t pid = 0;
  bool here = false;  // its client is on this host
  std::array<uint64_t, kDevicesMax> bytes{};
  std::string program;
};

struct Snapshot {
  std::string version;  // of gpud
  int driver = 0;       // as cuDriverGetVersion tells it
  uint64_t clock_ns = 0;
  uint64_t busy_ns = 0;  // of all sessions that there were
  std::vector<DeviceStatus> devices;
  std::vector<SessionStatus> sessions;
};

// False when `text` is not whole. Lines that are not known are skipped.
[[nodiscard]] bool parseSnapshot(std::string_view text, Snapshot& out);

// Asks the gpud that the environment names. Waits for at most some seconds. False with a full
// sentence in `error` when it cannot be asked or its answer is not whole.
[[nodiscard]] bool fetchSnapshot(const client::Options& options, Snapshot& out, std::string& error);

}  // namespace farwarp::nvml
