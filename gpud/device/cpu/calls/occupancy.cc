// Occupancy: how many blocks a multiprocessor holds, from the same limits that launches are checked
// with.
#include <algorithm>

#include "cpu_calls_gen.h"
#include "driver/launch_check.h"
#include "gpud/device/cpu/calls/enter.h"
#include "gpud/device/cpu/launch.h"

namespace farwarp::cpu::calls {
namespace {

struct Query {
  DeviceLimits device;
  FunctionLimits function;
};

CUresult prepare(CUfunction handle, const void* output, Query& query) {
  std::shared_ptr<Context> context;
  if (CUresult r = enter(context); r != CUDA_SUCCESS) return r;
  if (output == nullptr) return CUDA_ERROR_INVALID_VALUE;
  const auto function = context->driver().functions().find(handle);
  if (function == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  query = {context->device().limits(), function->limits(context->device())};
  return CUDA_SUCCESS;
}

uint64_t product(const uint32_t dims[3]) {
  return uint64_t{dims[0]} * dims[1] * dims[2];
}

}  // namespace

CUresult cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int* blocks, CUfunction function,
                                                              int threads, size_t shared,
                                                              unsigned int flags) {
  Query query;
  if (CUresult r = prepare(function, blocks, query); r != CUDA_SUCCESS) return r;
  if (threads <= 0 || (flags & ~unsigned{CU_OCCUPANCY_DISABLE_CACHING_OVERRIDE}) != 0) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  *blocks = static_cast<int>(
      activeBlocksPerMultiprocessor(query.device, query.function, threads, shared));
  return CUDA_SUCCESS;
}

CUresult cuOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, CUfunction function, int threads,
                                                     size_t shared) {
  return calls::cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(blocks, function, threads,
                                                                     shared, 0);
}

CUresult cuOccupancyAvailableDynamicSMemPerBlock(size_t* bytes, CUfunction function, int blocks,
                                                 int threads) {
  Query query;
  if (CUresult r = prepare(function, bytes, query); r != CUDA_SUCCESS) return r;
  if (blocks <= 0 || threads <= 0) return CUDA_ERROR_INVALID_VALUE;
  const auto fits = [&](uint64_t shared) {
    return activeBlocksPerMultiprocessor(query.device, query.function, threads, shared) >=
           static_cast<unsigned>(blocks);
  };
  if (!fits(0)) return CUDA_ERROR_INVALID_VALUE;
  // The most that still fits; what fits shrinks as the size grows.
  uint64_t least = 0, most = query.function.shared_dynamic_max;
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

CUresult cuOccupancyMaxActiveClusters(int* clusters, CUfunction function,
                                      const CUlaunchConfig* config) {
  Query query;
  if (CUresult r = prepare(function, clusters, query); r != CUDA_SUCCESS) return r;
  if (config == nullptr) return CUDA_ERROR_INVALID_VALUE;
  LaunchShape shape{};
  if (CUresult r = readLaunchAttributes(*config, shape); r != CUDA_SUCCESS) return r;
  const uint32_t* dims =
      product(shape.cluster) != 0 ? shape.cluster : query.function.required_cluster;
  if (!query.device.cluster_launch || product(dims) == 0) return CUDA_ERROR_INVALID_CLUSTER_SIZE;
  const uint64_t portable = query.function.nonportable_cluster_allowed ? 16 : 8;
  if (product(dims) > portable) return CUDA_ERROR_INVALID_CLUSTER_SIZE;
  const uint64_t threads = uint64_t{config->blockDimX} * config->blockDimY * config->blockDimZ;
  if (threads == 0 || threads > query.device.threads_per_block_max) return CUDA_ERROR_INVALID_VALUE;
  const uint64_t blocks = activeBlocksPerMultiprocessor(
      query.device, query.function, static_cast<uint32_t>(threads), config->sharedMemBytes);
  *clusters = static_cast<int>(blocks * query.device.multiprocessors / product(dims));
  return CUDA_SUCCESS;
}

CUresult cuOccupancyMaxPotentialBlockSizeWithFlags(int* grid, int* block, CUfunction function,
                                                   CUoccupancyB2DSize shared_of_block,
                                                   size_t shared, int limit, unsigned int flags) {
  Query query;
  if (CUresult r = prepare(function, grid, query); r != CUDA_SUCCESS) return r;
  if (block == nullptr || limit < 0 ||
      (flags & ~unsigned{CU_OCCUPANCY_DISABLE_CACHING_OVERRIDE}) != 0) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  uint32_t most =
      std::min(query.device.threads_per_block_max, query.function.threads_per_block_max);
  if (limit != 0) most = std::min(most, static_cast<uint32_t>(limit));
  uint64_t best_threads = 0;
  *grid = *block = 0;
  // From the largest block down by warps; the first of the best fills the multiprocessor with
  // fewest blocks.
  for (uint32_t threads = most; threads > 0;) {
    const uint64_t bytes = shared_of_block != nullptr ? shared_of_block(threads) : shared;
    const uint64_t blocks =
        activeBlocksPerMultiprocessor(query.device, query.function, threads, bytes);
    if (blocks * threads > best_threads) {
      best_threads = blocks * threads;
      *block = static_cast<int>(threads);
      *grid = static_cast<int>(blocks * query.device.multiprocessors);
    }
    const uint32_t warp = query.device.warp_size;
    threads = threads % warp != 0 ? threads - threads % warp : threads - warp;
  }
  return CUDA_SUCCESS;
}

CUresult cuOccupancyMaxPotentialBlockSize(int* grid, int* block, CUfunction function,
                                          CUoccupancyB2DSize shared_of_block, size_t shared,
                                          int limit) {
  return calls::cuOccupancyMaxPotentialBlockSizeWithFlags(grid, block, function, shared_of_block,
                                                          shared, limit, 0);
}

}  // namespace farwarp::cpu::calls
