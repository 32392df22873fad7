// A launch configuration as the driver takes it, from the fields of a record.
#pragma once

#include <cuda.h>

#include <array>
#include <span>

namespace farwarp::worker {

inline constexpr size_t kLaunchAttributesMax = 32;

// True for attributes that mean the same wherever they come from.
[[nodiscard]] bool holdNoPointers(std::span<const CUlaunchAttribute> attributes);

class LaunchConfig {
 public:
  // Takes grid, block, shared memory and attributes from `args`; the stream is the caller's to set.
  // Attributes that hold pointers or handles give CUDA_ERROR_NOT_SUPPORTED: from the wire they
  // would be addresses that the client made up.
  template <typename Args>
  [[nodiscard]] CUresult set(const Args& args) {
    config_.gridDimX = args.grid_x;
    config_.gridDimY = args.grid_y;
    config_.gridDimZ = args.grid_z;
    config_.blockDimX = args.block_x;
    config_.blockDimY = args.block_y;
    config_.blockDimZ = args.block_z;
    config_.sharedMemBytes = args.shared_bytes;
    return setAttributes(args.attributes);
  }

  CUlaunchConfig& get() { return config_; }

 private:
  CUresult setAttributes(std::span<const CUlaunchAttribute> attributes);

  CUlaunchConfig config_{};
  std::array<CUlaunchAttribute, kLaunchAttributesMax> attributes_;
};

}  // namespace farwarp::worker
