// What client and gpud tell each other when a session opens, and a session's statistics.
//
// Plain values, so that users of ClientConnection and ServerConnection need no generated types.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "protocol/compression_mode.h"
#include "protocol/preamble.h"

namespace farwarp::wire {

struct ClientHello {
  std::string client_version;  // of Farwarp, such as "0.1.0"
  uint32_t spec_version = 0;   // number of call ids in ids.lock
  uint32_t pid = 0;
  std::string program;       // file name of the program
  int32_t cuda_version = 0;  // as cuDriverGetVersion tells it, such as 13000
  CompressionMode compression = CompressionMode::off;  // filled by ClientConnection
};

struct DeviceAttribute {
  int32_t id = 0;  // CUdevice_attribute
  int32_t value = 0;
  bool operator==(const DeviceAttribute&) const = default;
};

struct DeviceLimit {
  int32_t id = 0;  // CUlimit
  uint64_t value = 0;
  bool operator==(const DeviceLimit&) const = default;
};

struct DeviceSnapshot {
  std::string name;
  std::array<uint8_t, 16> uuid{};
  uint64_t total_memory_bytes = 0;
  int32_t compute_major = 0;
  int32_t compute_minor = 0;
  std::string pci_bus_id;
  int32_t stream_priority_least = 0;
  int32_t stream_priority_greatest = 0;
  std::vector<DeviceAttribute> attributes;  // every attribute that the driver answered
  std::vector<DeviceLimit> default_limits;  // of a fresh context
  bool operator==(const DeviceSnapshot&) const = default;
};

struct ServerLimits {
  uint32_t batch_bytes_max = 0;
  uint32_t chunk_bytes_max = 0;
  uint32_t pending_transfers_max = 0;
};

struct ServerHello {
  std::string server_version;
  uint32_t spec_version = 0;
  SessionToken token{};        // names the session on bulk connections
  int32_t driver_version = 0;  // as cuDriverGetVersion tells it
  std::string device_kind;     // "cuda" or "cpu"
  ServerLimits limits;         // filled by ServerConnection
  std::vector<DeviceSnapshot> devices;
  CompressionMode compression = CompressionMode::off;  // what both sides do
  bool keeps_content = false;  // what the client offers by its digest may be there already
};

struct SessionStats {
  uint64_t calls = 0;          // driver calls that reached gpud
  uint64_t waiting_calls = 0;  // of these, the ones whose reply the client waited for
  uint64_t bytes_in = 0;       // to gpud, control and bulk, as on the wire
  uint64_t bytes_out = 0;
  uint64_t launches = 0;
  uint64_t kernel_ns = 0;  // sum of kernel durations
  uint64_t busy_ns = 0;    // union of the kernels' intervals
  std::string method;      // how the kernels were timed: "exact", "events", "cupti"
};

}  // namespace farwarp::wire
