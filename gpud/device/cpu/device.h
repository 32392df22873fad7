// One device: who it is and what it can do. Immutable.
#pragma once

#include <cuda.h>

#include <cstdint>
#include <string>

#include "driver/driver_front.h"
#include "driver/launch_check.h"
#include "gpud/device/cpu/config.h"

namespace farwarp::cpu {

class Device {
 public:
  // `ordinal` is the device's number for this program, `index` its place among all of the
  // configuration, which says who it is.
  Device(const Config& config, int ordinal, int index);

  int ordinal() const { return ordinal_; }
  int index() const { return index_; }
  const std::string& name() const { return config_.name; }
  const Config& config() const { return config_; }
  uint64_t memoryBytes() const { return memory_bytes_; }
  uint32_t architecture() const { return config_.cc_major * 10 + config_.cc_minor; }
  const DeviceLimits& limits() const { return limits_; }
  DeviceIdentity identity() const;
  // "0000:01:00.0"
  std::string pciAddress() const;
  // CUDA_ERROR_INVALID_VALUE for an attribute that CUDA 13.0 does not have.
  CUresult attribute(CUdevice_attribute which, int* value) const;

 private:
  Config config_;
  int ordinal_;
  int index_;
  uint64_t memory_bytes_;
  DeviceLimits limits_;
};

}  // namespace farwarp::cpu
