// Occupancy: block sizes are tried out here, because the program's function tells their shared
// memory.
#include <algorithm>

#include "interposer/calls/kernels.h"
#include "interposer/calls/launch_attributes.h"

namespace farwarp::client::calls {

CUresult cuOccupancyMaxActiveClusters(int* clusters, CUfunction function,
                                      const CUlaunchConfig* config) {
  CallScope scope(CallId::cuOccupancyMaxActiveClusters);
  FARWARP_TRY(scope.enter(kNeedsInit | kNeedsContext));
  if (clusters == nullptr || config == nullptr) return CUDA_ERROR_INVALID_VALUE;
  wire::Args_cuOccupancyMaxActiveClusters args;
  FARWARP_TRY(scope.use(wire::HandleType::function, function, args.function));
  FARWARP_TRY(scope.use(wire::HandleType::stream, config->hStream, args.stream, true));
  LaunchShape shape{};
  LaunchAttributes attributes;
  FARWARP_TRY(attributes.read(config->attrs, config->numAttrs, shape));
  args.grid_x = config->gridDimX;
  args.grid_y = config->gridDimY;
  args.grid_z = config->gridDimZ;
  args.block_x = config->blockDimX;
  args.block_y = config->blockDimY;
  args.block_z = config->blockDimZ;
  args.shared_bytes = config->sharedMemBytes;
  args.attributes = attributes.wire();
  wire::Reply_cuOccupancyMaxActiveClusters reply;
  FARWARP_TRY(scope.call(args, reply));
  *clusters = reply.clusters;
  return CUDA_SUCCESS;
}

CUresult cuOccupancyMaxPotentialBlockSizeWithFlags(int* grid, int* block, CUfunction function,
                                                   CUoccupancyB2DSize shared_of_block,
                                                   size_t shared_bytes, int block_limit,
                                                   unsigned int flags) {
  CallScope scope(CallId::cuOccupancyMaxPotentialBlockSizeWithFlags);
  FARWARP_TRY(scope.enter(kNeedsInit | kNeedsContext));
  if (grid == nullptr || block == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if ((flags & ~static_cast<unsigned>(CU_OCCUPANCY_DISABLE_CACHING_OVERRIDE)) != 0) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  Kernel* kernel = nullptr;
  FARWARP_TRY(findFunction(scope, function, kernel));
  const DeviceLimits& device = scope.client().devices.find(currentContext(scope).device)->limits();
  const FunctionLimits limits = kernel->limits();
  uint32_t most = std::min(device.threads_per_block_max, limits.threads_per_block_max);
  if (block_limit > 0) most = std::min(most, static_cast<uint32_t>(block_limit));

  uint32_t best_block = 0, best_blocks = 0, best_threads = 0;
  uint32_t threads = most;
  while (threads > 0) {
    const size_t shared =
        shared_of_block != nullptr ? shared_of_block(static_cast<int>(threads)) : shared_bytes;
    const uint32_t blocks = activeBlocksPerMultiprocessor(device, limits, threads, shared);
    if (blocks * threads > best_threads) {
      best_threads = blocks * threads;
      best_block = threads;
      best_blocks = blocks;
      if (best_threads >= device.threads_per_sm_max) break;
    }
    // Whole warps, after a first try with the limit itself.
    threads = (threads - 1) / device.warp_size * device.warp_size;
  }
  *grid = static_cast<int>(best_blocks * device.multiprocessors);
  *block = static_cast<int>(best_block);
  return CUDA_SUCCESS;
}

CUresult cuOccupancyMaxPotentialBlockSize(int* grid, int* block, CUfunction function,
                                          CUoccupancyB2DSize shared_of_block, size_t shared_bytes,
                                          int block_limit) {
  return calls::cuOccupancyMaxPotentialBlockSizeWithFlags(
      grid, block, function, shared_of_block, shared_bytes, block_limit, CU_OCCUPANCY_DEFAULT);
}

}  // namespace farwarp::client::calls
