// How many blocks and clusters fit a device at once, and which sizes fit it best: from the same
// limits that launches are checked with. NVIDIA documents what limits occupancy, not in which
// units; a driver may differ.
#pragma once

#include <cuda.h>

#include <cstdint>
#include <functional>

#include "driver/launch_check.h"

namespace farwarp {

// CUDA_ERROR_INVALID_VALUE when `blocks` blocks of `threads` threads do not fit a multiprocessor at
// all; otherwise the most dynamic shared memory, in bytes, that each can have then.
[[nodiscard]] CUresult availableDynamicShared(const DeviceLimits& device,
                                              const FunctionLimits& function, int blocks,
                                              int threads, size_t* bytes);

// The block size that fills a multiprocessor best, the largest of the best ones, and the blocks of
// it that fill the device. `shared_of_block` tells the dynamic shared memory of a block of so many
// threads. `limit` 0: none. CUDA_ERROR_INVALID_VALUE for a negative one.
[[nodiscard]] CUresult potentialBlockSize(const DeviceLimits& device,
                                          const FunctionLimits& function,
                                          const std::function<size_t(int)>& shared_of_block,
                                          int limit, int* grid, int* block);

// Clusters of the shape's size that fit the device at once, and the largest size of which one fits.
// CUDA_ERROR_INVALID_CLUSTER_SIZE, and CUDA_ERROR_INVALID_VALUE for a block that does not fit.
[[nodiscard]] CUresult activeClusters(const DeviceLimits& device, const FunctionLimits& function,
                                      const LaunchShape& shape, int* clusters);
[[nodiscard]] CUresult potentialClusterSize(const DeviceLimits& device,
                                            const FunctionLimits& function,
                                            const LaunchShape& shape, int* size);

// Grid, block and shared memory of a configuration; the attributes are for the caller.
void readDimensions(const CUlaunchConfig& config, LaunchShape& shape);

}  // namespace farwarp
