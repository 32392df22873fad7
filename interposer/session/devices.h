// What gpud told about its devices when the session opened; questions about them need no server.
#pragma once

#include <cuda.h>

#include <array>
#include <bitset>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "driver/launch_check.h"
#include "protocol/hello.h"

namespace farwarp::client {

class Device {
 public:
  explicit Device(const wire::DeviceSnapshot& snapshot);

  const wire::DeviceSnapshot& snapshot() const { return snapshot_; }
  const DeviceLimits& limits() const { return limits_; }
  // 10 * major + minor.
  uint32_t sm() const {
    return static_cast<uint32_t>(snapshot_.compute_major * 10 + snapshot_.compute_minor);
  }
  // Nothing when gpud's driver did not know the attribute.
  std::optional<int> attribute(CUdevice_attribute attribute) const;
  // The same, with 0 for what is not known.
  int value(CUdevice_attribute name) const { return attribute(name).value_or(0); }

 private:
  wire::DeviceSnapshot snapshot_;
  std::array<int32_t, CU_DEVICE_ATTRIBUTE_MAX> values_{};
  std::bitset<CU_DEVICE_ATTRIBUTE_MAX> known_;
  DeviceLimits limits_{};
};

// Filled once, at connect.
class Devices {
 public:
  void fill(const wire::ServerHello& hello);

  int count() const { return static_cast<int>(devices_.size()); }
  // Null when there is no such device.
  const Device* find(int ordinal) const {
    return ordinal < 0 || ordinal >= count() ? nullptr : &devices_[static_cast<size_t>(ordinal)];
  }
  // The device that a PCI bus id names ("0000:3b:00.0", also without the domain); -1 for none.
  int findByPciBusId(const char* text) const;
  // gpud executes kernels from PTX on its CPU.
  bool takesOnlyPtx() const { return cpu_; }

 private:
  std::vector<Device> devices_;
  bool cpu_ = false;
};

}  // namespace farwarp::client
