// What gpud told about its devices when the session opened; questions about them need no server.
#pragma once

#include <cuda.h>

#include <array>
#include <bitset>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "driver/driver_front.h"
#include "driver/launch_check.h"
#include "protocol/hello.h"

namespace farwarp::client {

class Device {
 public:
  // `server_ordinal`: its number in gpud, which sees all devices.
  Device(const wire::DeviceSnapshot& snapshot, int server_ordinal);

  const wire::DeviceSnapshot& snapshot() const { return snapshot_; }
  const DeviceLimits& limits() const { return limits_; }
  DeviceIdentity identity() const;
  int serverOrdinal() const { return server_ordinal_; }
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
  int server_ordinal_;
  std::array<int32_t, CU_DEVICE_ATTRIBUTE_MAX> values_{};
  std::bitset<CU_DEVICE_ATTRIBUTE_MAX> known_;
  DeviceLimits limits_{};
};

// Filled once, at connect: the devices that the program may see, in its order.
class Devices {
 public:
  // `visible` and `order` are the values of CUDA_VISIBLE_DEVICES and CUDA_DEVICE_ORDER, null when
  // unset.
  void fill(const wire::ServerHello& hello, const char* visible, const char* order);

  int count() const { return static_cast<int>(devices_.size()); }
  // Null when there is no such device.
  const Device* find(int ordinal) const {
    return ordinal < 0 || ordinal >= count() ? nullptr : &devices_[static_cast<size_t>(ordinal)];
  }
  // What gpud calls the device `ordinal`, which there is; and the other way round, -1 for one that
  // the program does not see.
  int toServer(int ordinal) const { return find(ordinal)->serverOrdinal(); }
  int fromServer(int server_ordinal) const;
  // The device that a PCI bus id names ("0000:3b:00.0", also without the domain); -1 for none.
  int findByPciBusId(const char* text) const;
  // gpud executes kernels from PTX on its CPU.
  bool takesOnlyPtx() const { return cpu_; }

 private:
  std::vector<Device> devices_;
  bool cpu_ = false;
};

}  // namespace farwarp::client
