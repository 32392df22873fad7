// The memory pools that need no creating: each device's default one, and the one that is current on
// it.
#pragma once

#include <array>
#include <cstdint>
#include <mutex>

#include "protocol/limits.h"

namespace farwarp::client {

class MemoryPools {
 public:
  // Held while a default pool gets its id or the current pools change, so that gpud is told of
  // these in the order in which they happened. Taken before the session log's lock.
  std::mutex transitions;

  // The rest only under `transitions`. Ids are 0 until somebody asks.
  uint64_t& defaultOf(int device) { return devices_[static_cast<size_t>(device)].default_id; }
  // 0: the default one.
  uint64_t& currentOf(int device) { return devices_[static_cast<size_t>(device)].current_id; }

  bool isDefault(uint64_t id) const {
    for (const Device& device : devices_) {
      if (device.default_id == id) return true;
    }
    return false;
  }
  // The pool is over: devices on which it was current go back to their default.
  void forget(uint64_t id) {
    for (Device& device : devices_) {
      if (device.current_id == id) device.current_id = 0;
    }
  }

 private:
  struct Device {
    uint64_t default_id = 0;
    uint64_t current_id = 0;
  };
  std::array<Device, wire::kDevicesMax> devices_{};
};

}  // namespace farwarp::client
