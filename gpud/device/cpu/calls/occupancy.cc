// Occupancy.
#include "driver/occupancy.h"

#include "cpu_calls_gen.h"
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

CUresult prepare(CUfunction handle, const void* output, const CUlaunchConfig* config, Query& query,
                 LaunchShape& shape) {
  if (CUresult r = prepare(handle, output, query); r != CUDA_SUCCESS) return r;
  if (config == nullptr) return CUDA_ERROR_INVALID_VALUE;
  readDimensions(*config, shape);
  return readLaunchAttributes(*config, shape);
}

bool areFlags(unsigned flags) {
  return (flags & ~unsigned{CU_OCCUPANCY_DISABLE_CACHING_OVERRIDE}) == 0;
}

}  // namespace

CUresult cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int* blocks, CUfunction function,
                                                              int threads, size_t shared,
                                                              unsigned int flags) {
  Query query;
  if (CUresult r = prepare(function, blocks, query); r != CUDA_SUCCESS) return r;
  if (threads <= 0 || !areFlags(flags)) return CUDA_ERROR_INVALID_VALUE;
  *blocks = static_cast<int>(activeBlocksPerMultiprocessor(query.device, query.function,
                                                           static_cast<uint32_t>(threads), shared));
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
  return availableDynamicShared(query.device, query.function, blocks, threads, bytes);
}

CUresult cuOccupancyMaxActiveClusters(int* clusters, CUfunction function,
                                      const CUlaunchConfig* config) {
  Query query;
  LaunchShape shape{};
  if (CUresult r = prepare(function, clusters, config, query, shape); r != CUDA_SUCCESS) return r;
  return activeClusters(query.device, query.function, shape, clusters);
}

CUresult cuOccupancyMaxPotentialClusterSize(int* size, CUfunction function,
                                            const CUlaunchConfig* config) {
  Query query;
  LaunchShape shape{};
  if (CUresult r = prepare(function, size, config, query, shape); r != CUDA_SUCCESS) return r;
  return potentialClusterSize(query.device, query.function, shape, size);
}

CUresult cuOccupancyMaxPotentialBlockSizeWithFlags(int* grid, int* block, CUfunction function,
                                                   CUoccupancyB2DSize shared_of_block,
                                                   size_t shared, int limit, unsigned int flags) {
  Query query;
  if (CUresult r = prepare(function, grid, query); r != CUDA_SUCCESS) return r;
  if (block == nullptr || !areFlags(flags)) return CUDA_ERROR_INVALID_VALUE;
  const auto shared_of = [&](int threads) {
    return shared_of_block != nullptr ? shared_of_block(threads) : shared;
  };
  return potentialBlockSize(query.device, query.function, shared_of, limit, grid, block);
}

CUresult cuOccupancyMaxPotentialBlockSize(int* grid, int* block, CUfunction function,
                                          CUoccupancyB2DSize shared_of_block, size_t shared,
                                          int limit) {
  return calls::cuOccupancyMaxPotentialBlockSizeWithFlags(grid, block, function, shared_of_block,
                                                          shared, limit, 0);
}

}  // namespace farwarp::cpu::calls
