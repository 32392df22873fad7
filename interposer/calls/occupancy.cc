// Occupancy. The CPU device decides by driver/occupancy.h, and so does the client for it. Another
// driver is asked, once for each question. Block sizes are tried out here in any case, because the
// program's function tells their shared memory.
#include "driver/occupancy.h"

#include "interposer/calls/kernels.h"
#include "interposer/calls/launch_attributes.h"

namespace farwarp::client::calls {
namespace {

struct Query {
  uint64_t function = 0;
  int device_ordinal = 0;
  DeviceLimits device{};
  FunctionLimits limits{};
};

CUresult prepare(CallScope& scope, CUfunction handle, const void* output, Query& query) {
  FARWARP_TRY(scope.enter(kNeedsInit | kNeedsContext));
  if (output == nullptr) return CUDA_ERROR_INVALID_VALUE;
  Kernel* kernel = nullptr;
  FARWARP_TRY(findFunction(scope, handle, kernel));
  query.function = idOf(handle);
  query.device_ordinal = currentContext(scope).device;
  query.device = scope.client().devices.find(query.device_ordinal)->limits();
  query.limits = kernel->limits();
  return CUDA_SUCCESS;
}

bool areFlags(unsigned flags) {
  return (flags & ~unsigned{CU_OCCUPANCY_DISABLE_CACHING_OVERRIDE}) == 0;
}

OccupancyAnswers::Question question(CallId call, const Query& query, uint64_t first,
                                    uint64_t second, uint64_t flags) {
  return {static_cast<uint64_t>(call),
          query.function,
          static_cast<uint64_t>(query.device_ordinal),
          first,
          second,
          flags};
}

// The record of a question about a launch configuration.
template <typename Args>
CUresult fill(CallScope& scope, Args& args, const Query& query, const CUlaunchConfig& config,
              const LaunchAttributes& attributes) {
  args.function = query.function;
  FARWARP_TRY(scope.use(wire::HandleType::stream, config.hStream, args.stream, true));
  args.grid_x = config.gridDimX;
  args.grid_y = config.gridDimY;
  args.grid_z = config.gridDimZ;
  args.block_x = config.blockDimX;
  args.block_y = config.blockDimY;
  args.block_z = config.blockDimZ;
  args.shared_bytes = config.sharedMemBytes;
  args.attributes = attributes.wire();
  return CUDA_SUCCESS;
}

}  // namespace

CUresult cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int* blocks, CUfunction function,
                                                              int threads, size_t shared,
                                                              unsigned int flags) {
  constexpr CallId kCall = CallId::cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags;
  CallScope scope(kCall);
  Query query;
  FARWARP_TRY(prepare(scope, function, blocks, query));
  if (threads <= 0 || !areFlags(flags)) return CUDA_ERROR_INVALID_VALUE;
  Client& client = scope.client();
  if (client.devices.takesOnlyPtx()) {
    *blocks = static_cast<int>(activeBlocksPerMultiprocessor(
        query.device, query.limits, static_cast<uint32_t>(threads), shared));
    return CUDA_SUCCESS;
  }
  const auto asked = question(kCall, query, static_cast<uint64_t>(threads), shared, flags);
  std::optional<uint64_t> answer = client.occupancy.find(asked);
  if (!answer) {
    wire::Args_cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags args;
    args.func = query.function;
    args.blockSize = threads;
    args.dynamicSMemSize = shared;
    args.flags = flags;
    wire::Reply_cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags reply;
    FARWARP_TRY(scope.call(args, reply));
    answer = static_cast<uint64_t>(reply.numBlocks);
    client.occupancy.add(asked, *answer);
  }
  *blocks = static_cast<int>(*answer);
  return CUDA_SUCCESS;
}

CUresult cuOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, CUfunction function, int threads,
                                                     size_t shared) {
  return calls::cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(blocks, function, threads,
                                                                     shared, 0);
}

CUresult cuOccupancyAvailableDynamicSMemPerBlock(size_t* bytes, CUfunction function, int blocks,
                                                 int threads) {
  constexpr CallId kCall = CallId::cuOccupancyAvailableDynamicSMemPerBlock;
  CallScope scope(kCall);
  Query query;
  FARWARP_TRY(prepare(scope, function, bytes, query));
  if (blocks <= 0 || threads <= 0) return CUDA_ERROR_INVALID_VALUE;
  Client& client = scope.client();
  if (client.devices.takesOnlyPtx()) {
    return availableDynamicShared(query.device, query.limits, blocks, threads, bytes);
  }
  const auto asked =
      question(kCall, query, static_cast<uint64_t>(blocks), static_cast<uint64_t>(threads), 0);
  std::optional<uint64_t> answer = client.occupancy.find(asked);
  if (!answer) {
    wire::Args_cuOccupancyAvailableDynamicSMemPerBlock args;
    args.func = query.function;
    args.numBlocks = blocks;
    args.blockSize = threads;
    wire::Reply_cuOccupancyAvailableDynamicSMemPerBlock reply;
    FARWARP_TRY(scope.call(args, reply));
    answer = reply.dynamicSmemSize;
    client.occupancy.add(asked, *answer);
  }
  *bytes = *answer;
  return CUDA_SUCCESS;
}

CUresult cuOccupancyMaxActiveClusters(int* clusters, CUfunction function,
                                      const CUlaunchConfig* config) {
  CallScope scope(CallId::cuOccupancyMaxActiveClusters);
  Query query;
  FARWARP_TRY(prepare(scope, function, clusters, query));
  if (config == nullptr) return CUDA_ERROR_INVALID_VALUE;
  LaunchShape shape{};
  readDimensions(*config, shape);
  LaunchAttributes attributes;
  FARWARP_TRY(attributes.read(config->attrs, config->numAttrs, shape));
  if (scope.client().devices.takesOnlyPtx()) {
    return activeClusters(query.device, query.limits, shape, clusters);
  }
  wire::Args_cuOccupancyMaxActiveClusters args;
  FARWARP_TRY(fill(scope, args, query, *config, attributes));
  wire::Reply_cuOccupancyMaxActiveClusters reply;
  FARWARP_TRY(scope.call(args, reply));
  *clusters = reply.clusters;
  return CUDA_SUCCESS;
}

CUresult cuOccupancyMaxPotentialClusterSize(int* size, CUfunction function,
                                            const CUlaunchConfig* config) {
  CallScope scope(CallId::cuOccupancyMaxPotentialClusterSize);
  Query query;
  FARWARP_TRY(prepare(scope, function, size, query));
  if (config == nullptr) return CUDA_ERROR_INVALID_VALUE;
  LaunchShape shape{};
  readDimensions(*config, shape);
  LaunchAttributes attributes;
  FARWARP_TRY(attributes.read(config->attrs, config->numAttrs, shape));
  if (scope.client().devices.takesOnlyPtx()) {
    return potentialClusterSize(query.device, query.limits, shape, size);
  }
  wire::Args_cuOccupancyMaxPotentialClusterSize args;
  FARWARP_TRY(fill(scope, args, query, *config, attributes));
  wire::Reply_cuOccupancyMaxPotentialClusterSize reply;
  FARWARP_TRY(scope.call(args, reply));
  *size = reply.size;
  return CUDA_SUCCESS;
}

CUresult cuOccupancyMaxPotentialBlockSizeWithFlags(int* grid, int* block, CUfunction function,
                                                   CUoccupancyB2DSize shared_of_block,
                                                   size_t shared, int limit, unsigned int flags) {
  CallScope scope(CallId::cuOccupancyMaxPotentialBlockSizeWithFlags);
  Query query;
  FARWARP_TRY(prepare(scope, function, grid, query));
  if (block == nullptr || !areFlags(flags)) return CUDA_ERROR_INVALID_VALUE;
  const auto shared_of = [&](int threads) {
    return shared_of_block != nullptr ? shared_of_block(threads) : shared;
  };
  return potentialBlockSize(query.device, query.limits, shared_of, limit, grid, block);
}

CUresult cuOccupancyMaxPotentialBlockSize(int* grid, int* block, CUfunction function,
                                          CUoccupancyB2DSize shared_of_block, size_t shared,
                                          int limit) {
  return calls::cuOccupancyMaxPotentialBlockSizeWithFlags(grid, block, function, shared_of_block,
                                                          shared, limit, CU_OCCUPANCY_DEFAULT);
}

}  // namespace farwarp::client::calls
