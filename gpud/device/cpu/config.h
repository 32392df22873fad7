// What the CPU device pretends to be, from the environment variable FARWARP_CPU_DEVICE:
//
//   FARWARP_CPU_DEVICE="name=My
//   device,cc=8.6,sms=8,memory=2GiB,count=2,threads=4,quiet=1,memcheck=1,order=7"
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace farwarp::cpu {

struct Config {
  std::string name = "Farwarp CPU device";
  uint32_t cc_major = 9;
  uint32_t cc_minor = 0;
  uint32_t multiprocessors = 16;
  uint64_t memory_bytes = 0;  // per device; 0 = half of what the machine or its control group has
  uint32_t devices = 1;
  uint32_t threads = 0;            // that run blocks; 0 = one per CPU
  uint64_t kernel_timeout_ms = 0;  // 0 = kernels may run for ever
  bool quiet = false;              // no explanations on stderr
  bool memcheck = false;           // kernels stop at the first byte outside of all allocations
  uint64_t order = 0;              // not 0: kernels run in an order made from this number
};

inline constexpr uint32_t kDevicesMax = 16;

// Reads "key=value,..." into `config`. False, with a sentence in `why`, for unknown keys and values
// out of range; `config` then keeps what was read before.
[[nodiscard]] bool parseConfig(std::string_view text, Config& config, std::string& why);

// Memory of this machine, or of the control group that the process is in, in bytes.
uint64_t machineMemoryBytes();

}  // namespace farwarp::cpu
