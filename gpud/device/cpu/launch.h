// Launches of kernels: checks, packs the parameters, queues, and turns the engine's result into
// CUDA's.
#pragma once

#include <cuda.h>

#include <cstdint>

#include "driver/launch_check.h"

namespace farwarp::cpu {

struct LaunchRequest {
  CUfunction function = nullptr;
  LaunchShape shape{};
  CUstream stream = nullptr;
  uint16_t record_flags = 0;
  void** params = nullptr;  // one pointer per parameter, or null
  void** extra = nullptr;   // CU_LAUNCH_PARAM_... list, or null
};

// Returns when the launch is queued.
[[nodiscard]] CUresult launch(const LaunchRequest& request);

// Reads the attributes of a cuLaunchKernelEx into `shape`. CUDA_ERROR_NOT_SUPPORTED for those that
// the CPU device does not have.
[[nodiscard]] CUresult readLaunchAttributes(const CUlaunchConfig& config, LaunchShape& shape);

}  // namespace farwarp::cpu
