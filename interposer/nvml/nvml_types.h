// The part of NVIDIA's management library (NVML) that this library answers: numbers and layouts as
// programs that were built for the real one expect them.
#pragma once

#include <cstdint>

namespace farwarp::nvml {

enum Result : int {
  kSuccess = 0,
  kUninitialized = 1,
  kInvalidArgument = 2,
  kNotSupported = 3,
  kNotFound = 6,
  kInsufficientSize = 7,
  kDriverNotLoaded = 9,
  kArgumentVersionMismatch = 25,
  kUnknown = 999,
};

struct Memory {  // bytes
  uint64_t total, free, used;
};

struct MemoryV2 {
  static constexpr uint32_t kVersion = 0x02000028;  // the layout's number, and its size
  uint32_t version;
  uint64_t total, reserved, free, used;
};
static_assert(sizeof(MemoryV2) == 0x28);

struct Utilization {  // percent of the time
  uint32_t gpu, memory;
};

struct PciInfo {
  char legacy_bus_id[16];  // with a domain of four digits
  uint32_t domain, bus, device;
  uint32_t device_id, subsystem_id;
  char bus_id[32];  // with a domain of eight digits
};

struct Process {
  uint32_t pid;
  uint64_t used_bytes;
  uint32_t gpu_instance, compute_instance;  // of a partitioned GPU; all ones when it is not
};
struct ProcessV1 {
  uint32_t pid;
  uint64_t used_bytes;
};

constexpr uint32_t kNotPartitioned = 0xffffffff;

}  // namespace farwarp::nvml
