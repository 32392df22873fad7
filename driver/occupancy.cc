#include "driver/occupancy.h"

#include <algorithm>

namespace farwarp {
namespace {

constexpr uint32_t kPortableClusterMax = 8, kClusterMax = 16;

uint64_t product(const uint32_t dims[3]) {
  return uint64_t{dims[0]} * dims[1] * dims[2];
}

// Blocks of the shape that fit the whole device.
CUresult blocksOnDevice(const DeviceLimits& device, const FunctionLimits& function,
                        const LaunchShape& shape, uint64_t* blocks) {
  const uint64_t threads = product(shape.block);
  if (!device.cluster_launch) return CUDA_ERROR_INVALID_CLUSTER_SIZE;
  if (threads == 0 || threads > device.threads_per_block_max) return CUDA_ERROR_INVALID_VALUE;
  *blocks = uint64_t{device.multiprocessors} *
            activeBlocksPerMultiprocessor(device, function, static_cast<uint32_t>(threads),
                                          shape.shared_dynamic);
  return CUDA_SUCCESS;
}

uint32_t clusterMax(const FunctionLimits& function) {
  return function.nonportable_cluster_allowed ? kClusterMax : kPortableClusterMax;
}

}  // namespace

CUresult availableDynamicShared(const DeviceLimits& device, const FunctionLimits& function,
                                int blocks, int threads, size_t* bytes) {
  if (blocks <= 0 || threads <= 0) return CUDA_ERROR_INVALID_VALUE;
  const auto fits = [&](uint64_t shared) {
    return activeBlocksPerMultiprocessor(device, function, static_cast<uint32_t>(threads),
                                         shared) >= static_cast<uint32_t>(blocks);
  };
  if (!fits(0)) return CUDA_ERROR_INVALID_VALUE;
  // The most that still fits; what fits shrinks as the size grows.
  uint64_t least = 0, most = function.shared_dynamic_max;
  while (least < most) {
    const uint64_t middle = least + (most - least + 1) / 2;
    if (fits(middle)) {
      least = middle;
    } else {
      most = middle - 1;
    }
  }
  *bytes = least;
  return CUDA_SUCCESS;
}

CUresult potentialBlockSize(const DeviceLimits& device, const FunctionLimits& function,
                            const std::function<size_t(int)>& shared_of_block, int limit, int* grid,
                            int* block) {
  if (limit < 0) return CUDA_ERROR_INVALID_VALUE;
  uint32_t most = std::min(device.threads_per_block_max, function.threads_per_block_max);
  if (limit != 0) most = std::min(most, static_cast<uint32_t>(limit));
  uint64_t best_threads = 0;
  int best_block = 0, best_grid = 0;
  // From the largest block down, by warps after a first try with the limit itself; the first of the
  // best fills the multiprocessor with fewest blocks.
  for (uint32_t threads = most; threads > 0;
       threads = (threads - 1) / device.warp_size * device.warp_size) {
    const uint64_t blocks = activeBlocksPerMultiprocessor(
        device, function, threads, shared_of_block(static_cast<int>(threads)));
    if (blocks * threads <= best_threads) continue;
    best_threads = blocks * threads;
    best_block = static_cast<int>(threads);
    best_grid = static_cast<int>(blocks * device.multiprocessors);
    if (best_threads >= device.threads_per_sm_max) break;
  }
  *grid = best_grid;
  *block = best_block;
  return CUDA_SUCCESS;
}

CUresult activeClusters(const DeviceLimits& device, const FunctionLimits& function,
                        const LaunchShape& shape, int* clusters) {
  const uint64_t size =
      product(shape.cluster) != 0 ? product(shape.cluster) : product(function.required_cluster);
  if (size == 0 || size > clusterMax(function)) return CUDA_ERROR_INVALID_CLUSTER_SIZE;
  uint64_t blocks = 0;
  if (CUresult r = blocksOnDevice(device, function, shape, &blocks); r != CUDA_SUCCESS) return r;
  *clusters = static_cast<int>(blocks / size);
  return CUDA_SUCCESS;
}

CUresult potentialClusterSize(const DeviceLimits& device, const FunctionLimits& function,
                              const LaunchShape& shape, int* size) {
  uint64_t blocks = 0;
  if (CUresult r = blocksOnDevice(device, function, shape, &blocks); r != CUDA_SUCCESS) return r;
  if (blocks == 0) return CUDA_ERROR_INVALID_VALUE;
  *size = static_cast<int>(std::min<uint64_t>(blocks, clusterMax(function)));
  return CUDA_SUCCESS;
}

void readDimensions(const CUlaunchConfig& config, LaunchShape& shape) {
  shape.grid[0] = config.gridDimX;
  shape.grid[1] = config.gridDimY;
  shape.grid[2] = config.gridDimZ;
  shape.block[0] = config.blockDimX;
  shape.block[1] = config.blockDimY;
  shape.block[2] = config.blockDimZ;
  shape.shared_dynamic = config.sharedMemBytes;
}

}  // namespace farwarp
