#include "driver/launch_check.h"

#include <algorithm>

namespace farwarp {
namespace {

// Sets the sentence and gives the code.
CUresult refuse(CUresult code, std::string* why, std::string sentence) {
  if (why != nullptr) *why = std::move(sentence);
  return code;
}

std::string outOfRange(const char* what, int axis, uint64_t value, uint64_t limit) {
  return std::string(what) + " dimension " + "xyz"[axis] + " is " + std::to_string(value) +
         "; it must be from 1 to " + std::to_string(limit) + ".";
}

std::string tooMuch(const char* what, uint64_t value, uint64_t limit) {
  return std::string(what) + " is " + std::to_string(value) + "; the limit is " +
         std::to_string(limit) + ".";
}

uint64_t product(const uint32_t dims[3]) {
  return uint64_t{dims[0]} * dims[1] * dims[2];
}

CUresult checkShape(const DeviceLimits& device, const LaunchShape& shape, std::string* why) {
  for (int axis = 0; axis < 3; ++axis) {
    if (shape.grid[axis] == 0 || shape.grid[axis] > device.grid_max[axis]) {
      return refuse(CUDA_ERROR_INVALID_VALUE, why,
                    outOfRange("Grid", axis, shape.grid[axis], device.grid_max[axis]));
    }
    if (shape.block[axis] == 0 || shape.block[axis] > device.block_max[axis]) {
      return refuse(CUDA_ERROR_INVALID_VALUE, why,
                    outOfRange("Block", axis, shape.block[axis], device.block_max[axis]));
    }
  }
  if (product(shape.block) > device.threads_per_block_max) {
    return refuse(CUDA_ERROR_INVALID_VALUE, why,
                  tooMuch("The number of threads per block", product(shape.block),
                          device.threads_per_block_max));
  }
  return CUDA_SUCCESS;
}

CUresult checkResources(const DeviceLimits& device, const FunctionLimits& function,
                        const LaunchShape& shape, std::string* why) {
  for (int axis = 0; axis < 3 && product(function.required_block) != 0; ++axis) {
    if (shape.block[axis] == function.required_block[axis]) continue;
    return refuse(CUDA_ERROR_INVALID_VALUE, why,
                  std::string("Block dimension ") + "xyz"[axis] + " is " +
                      std::to_string(shape.block[axis]) + "; the kernel requires " +
                      std::to_string(function.required_block[axis]) + ".");
  }
  const uint64_t threads = product(shape.block);
  const uint64_t warps = (threads + device.warp_size - 1) / device.warp_size;
  const uint64_t registers = warps * device.warp_size * function.registers;
  if (registers > device.registers_per_block) {
    return refuse(
        CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES, why,
        tooMuch("The number of registers per block", registers, device.registers_per_block));
  }
  // A kernel's own limit that stems from its registers has been reported as that above.
  if (threads > function.threads_per_block_max) {
    return refuse(
        CUDA_ERROR_INVALID_VALUE, why,
        tooMuch("The number of threads per block", threads, function.threads_per_block_max));
  }
  if (shape.shared_dynamic > function.shared_dynamic_max) {
    return refuse(CUDA_ERROR_INVALID_VALUE, why,
                  tooMuch("Dynamic shared memory in bytes", shape.shared_dynamic,
                          function.shared_dynamic_max));
  }
  const uint64_t shared = uint64_t{function.shared_static} + shape.shared_dynamic;
  if (shared > std::max(device.shared_per_block, device.shared_per_block_optin)) {
    return refuse(CUDA_ERROR_INVALID_VALUE, why,
                  tooMuch("Shared memory per block in bytes", shared,
                          std::max(device.shared_per_block, device.shared_per_block_optin)));
  }
  return CUDA_SUCCESS;
}

constexpr uint64_t kPortableClusterBlocks = 8;
constexpr uint64_t kClusterBlocksMax = 16;

CUresult checkCluster(const DeviceLimits& device, const FunctionLimits& function,
                      const LaunchShape& shape, std::string* why) {
  const uint32_t* cluster = shape.cluster;
  const bool given = cluster[0] != 0 || cluster[1] != 0 || cluster[2] != 0;
  if (!given) {
    if (function.cluster_size_must_be_set && product(function.required_cluster) == 0) {
      return refuse(CUDA_ERROR_INVALID_CLUSTER_SIZE, why,
                    "The kernel needs a cluster size and the launch gives none.");
    }
    cluster = function.required_cluster;
    if (product(cluster) == 0) return CUDA_SUCCESS;
  }
  if (!device.cluster_launch) {
    return refuse(CUDA_ERROR_NOT_SUPPORTED, why, "The device does not support clusters.");
  }
  const uint64_t blocks = product(cluster);
  const uint64_t limit =
      function.nonportable_cluster_allowed ? kClusterBlocksMax : kPortableClusterBlocks;
  if (blocks == 0 || blocks > limit) {
    return refuse(CUDA_ERROR_INVALID_CLUSTER_SIZE, why,
                  tooMuch("The number of blocks per cluster", blocks, limit));
  }
  for (int axis = 0; axis < 3; ++axis) {
    const bool conflict = given && product(function.required_cluster) != 0 &&
                          cluster[axis] != function.required_cluster[axis];
    if (conflict || shape.grid[axis] % cluster[axis] != 0) {
      return refuse(conflict ? CUDA_ERROR_INVALID_CLUSTER_SIZE : CUDA_ERROR_INVALID_VALUE, why,
                    std::string("Cluster dimension ") + "xyz"[axis] + " is " +
                        std::to_string(cluster[axis]) +
                        (conflict ? ", which differs from the kernel's own."
                                  : ", which does not divide the grid's " +
                                        std::to_string(shape.grid[axis]) + "."));
    }
  }
  return CUDA_SUCCESS;
}

// Shared memory and registers are handed out in units of these, as on NVIDIA's devices since 8.0.
constexpr uint64_t kSharedUnit = 128;
constexpr uint64_t kRegistersPerWarpUnit = 256;

uint64_t roundUp(uint64_t value, uint64_t unit) {
  return (value + unit - 1) / unit * unit;
}

}  // namespace

CUresult checkLaunch(const DeviceLimits& device, const FunctionLimits& function,
                     const LaunchShape& shape, std::string* why) {
  if (CUresult r = checkShape(device, shape, why); r != CUDA_SUCCESS) return r;
  if (CUresult r = checkResources(device, function, shape, why); r != CUDA_SUCCESS) return r;
  if (CUresult r = checkCluster(device, function, shape, why); r != CUDA_SUCCESS) return r;
  if (!shape.cooperative) return CUDA_SUCCESS;
  if (!device.cooperative_launch) {
    return refuse(CUDA_ERROR_NOT_SUPPORTED, why,
                  "The device does not support cooperative launches.");
  }
  const uint64_t fit =
      uint64_t{device.multiprocessors} *
      activeBlocksPerMultiprocessor(device, function, static_cast<uint32_t>(product(shape.block)),
                                    shape.shared_dynamic);
  // The grid's product may pass 64 bits; the first two factors cannot.
  const uint64_t plane = uint64_t{shape.grid[0]} * shape.grid[1];
  if (plane > fit || plane * shape.grid[2] > fit) {
    return refuse(CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE, why,
                  "The cooperative launch has more blocks than the " + std::to_string(fit) +
                      " that fit the device at once.");
  }
  return CUDA_SUCCESS;
}

uint32_t activeBlocksPerMultiprocessor(const DeviceLimits& device, const FunctionLimits& function,
                                       uint32_t block_threads, uint64_t shared_dynamic) {
  if (block_threads == 0 || block_threads > device.threads_per_block_max ||
      block_threads > function.threads_per_block_max ||
      shared_dynamic > function.shared_dynamic_max) {
    return 0;
  }
  const uint64_t warps = (uint64_t{block_threads} + device.warp_size - 1) / device.warp_size;
  uint64_t blocks = device.blocks_per_sm_max;
  blocks = std::min(blocks, device.threads_per_sm_max / (warps * device.warp_size));
  if (function.registers != 0) {
    const uint64_t per_warp =
        roundUp(uint64_t{function.registers} * device.warp_size, kRegistersPerWarpUnit);
    blocks = std::min(blocks, device.registers_per_sm / per_warp / warps);
  }
  const uint64_t shared =
      roundUp(function.shared_static + shared_dynamic + device.shared_reserved, kSharedUnit);
  if (shared != 0) blocks = std::min(blocks, device.shared_per_sm / shared);
  return static_cast<uint32_t>(blocks);
}

}  // namespace farwarp
