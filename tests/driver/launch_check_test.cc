// Goal: a launch is refused exactly when CUDA refuses it, with CUDA's code and a sentence with the
// limit. Method: a device like an H100 and a plain kernel; each case moves one figure to its limit
// and past it.
#include "driver/launch_check.h"

#include <gtest/gtest.h>

namespace farwarp {
namespace {

constexpr DeviceLimits kDevice{.grid_max = {0x7fffffff, 65535, 65535},
                               .block_max = {1024, 1024, 64},
                               .threads_per_block_max = 1024,
                               .threads_per_sm_max = 2048,
                               .blocks_per_sm_max = 32,
                               .registers_per_block = 65536,
                               .registers_per_sm = 65536,
                               .shared_per_block = 49152,
                               .shared_per_block_optin = 232448,
                               .shared_per_sm = 233472,
                               .shared_reserved = 1024,
                               .multiprocessors = 16,
                               .warp_size = 32,
                               .cooperative_launch = true,
                               .cluster_launch = true};
constexpr FunctionLimits kFunction{.threads_per_block_max = 1024,
                                   .shared_static = 1024,
                                   .shared_dynamic_max = 48128,
                                   .registers = 32};
constexpr LaunchShape kShape{.grid = {1, 1, 1}, .block = {32, 1, 1}, .shared_dynamic = 0};

CUresult check(const LaunchShape& shape, const FunctionLimits& function = kFunction) {
  std::string why;
  const CUresult result = checkLaunch(kDevice, function, shape, &why);
  EXPECT_EQ(why.empty(), result == CUDA_SUCCESS) << why;
  EXPECT_EQ(checkLaunch(kDevice, function, shape), result) << "the same without a sentence";
  return result;
}

TEST(LaunchCheck, GridAndBlockDimensionsHaveLimits) {
  EXPECT_EQ(check(kShape), CUDA_SUCCESS);
  for (int axis = 0; axis < 3; ++axis) {
    LaunchShape shape = kShape;
    shape.grid[axis] = kDevice.grid_max[axis];
    EXPECT_EQ(check(shape), CUDA_SUCCESS);
    shape.grid[axis] = 0;
    EXPECT_EQ(check(shape), CUDA_ERROR_INVALID_VALUE);
    shape.grid[axis] = kDevice.grid_max[axis] + 1;
    EXPECT_EQ(check(shape), CUDA_ERROR_INVALID_VALUE);
    shape = kShape;
    shape.block[0] = 1;
    shape.block[axis] = kDevice.block_max[axis];
    EXPECT_EQ(check(shape), CUDA_SUCCESS);
    shape.block[axis] = 0;
    EXPECT_EQ(check(shape), CUDA_ERROR_INVALID_VALUE);
    shape.block[axis] = kDevice.block_max[axis] + 1;
    EXPECT_EQ(check(shape), CUDA_ERROR_INVALID_VALUE);
  }
}

TEST(LaunchCheck, ThreadsPerBlockAreLimitedByDeviceAndKernel) {
  LaunchShape shape = kShape;
  shape.block[0] = 32;
  shape.block[1] = 32;
  EXPECT_EQ(check(shape), CUDA_SUCCESS);
  shape.block[1] = 33;
  EXPECT_EQ(check(shape), CUDA_ERROR_INVALID_VALUE);
  FunctionLimits bounded = kFunction;
  bounded.threads_per_block_max = 128;
  shape.block[1] = 4;
  EXPECT_EQ(check(shape, bounded), CUDA_SUCCESS);
  shape.block[1] = 5;
  EXPECT_EQ(check(shape, bounded), CUDA_ERROR_INVALID_VALUE);
}

TEST(LaunchCheck, BlocksHaveTheSizeThatTheKernelRequires) {
  FunctionLimits function = kFunction;
  function.required_block[0] = 16;
  function.required_block[1] = 2;
  function.required_block[2] = 1;
  LaunchShape shape = kShape;
  EXPECT_EQ(check(shape, function), CUDA_ERROR_INVALID_VALUE) << "as many threads, another shape";
  shape.block[0] = 16;
  shape.block[1] = 2;
  EXPECT_EQ(check(shape, function), CUDA_SUCCESS);
  shape.block[2] = 2;
  EXPECT_EQ(check(shape, function), CUDA_ERROR_INVALID_VALUE);
}

TEST(LaunchCheck, TooManyRegistersAreOutOfResources) {
  FunctionLimits hungry = kFunction;
  hungry.registers = 128;
  hungry.threads_per_block_max = 512;
  LaunchShape shape = kShape;
  shape.block[0] = 512;
  EXPECT_EQ(check(shape, hungry), CUDA_SUCCESS);
  shape.block[0] = 513;
  EXPECT_EQ(check(shape, hungry), CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES);
}

TEST(LaunchCheck, SharedMemoryNeedsOptInAboveTheDefault) {
  LaunchShape shape = kShape;
  shape.shared_dynamic = kFunction.shared_dynamic_max;
  EXPECT_EQ(check(shape), CUDA_SUCCESS);
  shape.shared_dynamic++;
  EXPECT_EQ(check(shape), CUDA_ERROR_INVALID_VALUE);
  FunctionLimits opted = kFunction;
  opted.shared_dynamic_max = kDevice.shared_per_block_optin - kFunction.shared_static;
  shape.shared_dynamic = opted.shared_dynamic_max;
  EXPECT_EQ(check(shape, opted), CUDA_SUCCESS);
  opted.shared_dynamic_max = 0xffffffff;
  shape.shared_dynamic = 0xffffffff;
  EXPECT_EQ(check(shape, opted), CUDA_ERROR_INVALID_VALUE);
}

TEST(LaunchCheck, ClustersMustDivideTheGridAndStaySmall) {
  LaunchShape shape = kShape;
  shape.grid[0] = 16;
  shape.cluster[0] = shape.cluster[1] = shape.cluster[2] = 1;
  shape.cluster[0] = 8;
  EXPECT_EQ(check(shape), CUDA_SUCCESS);
  shape.cluster[0] = 16;
  EXPECT_EQ(check(shape), CUDA_ERROR_INVALID_CLUSTER_SIZE);
  FunctionLimits large = kFunction;
  large.nonportable_cluster_allowed = true;
  EXPECT_EQ(check(shape, large), CUDA_SUCCESS);
  shape.cluster[0] = 3;
  EXPECT_EQ(check(shape), CUDA_ERROR_INVALID_VALUE);
  FunctionLimits fixed = kFunction;
  fixed.required_cluster[0] = 4;
  fixed.required_cluster[1] = fixed.required_cluster[2] = 1;
  shape.cluster[0] = 2;
  EXPECT_EQ(check(shape, fixed), CUDA_ERROR_INVALID_CLUSTER_SIZE);
  shape.cluster[0] = 4;
  EXPECT_EQ(check(shape, fixed), CUDA_SUCCESS);
}

TEST(LaunchCheck, CooperativeGridsMustFitAtOnce) {
  LaunchShape shape = kShape;
  shape.cooperative = true;
  shape.block[0] = 1024;
  shape.grid[0] = 2 * 16;
  EXPECT_EQ(check(shape), CUDA_SUCCESS);
  shape.grid[0]++;
  EXPECT_EQ(check(shape), CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE);
  shape.grid[0] = 0x7fffffff;
  shape.grid[1] = shape.grid[2] = 65535;
  EXPECT_EQ(check(shape), CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE);
}

TEST(Occupancy, IsBoundByTheScarcestResource) {
  const auto blocks = [](uint32_t threads, uint64_t shared, FunctionLimits function = kFunction) {
    return activeBlocksPerMultiprocessor(kDevice, function, threads, shared);
  };
  FunctionLimits light{.threads_per_block_max = 1024,
                       .shared_static = 0,
                       .shared_dynamic_max = 232448,
                       .registers = 16};
  EXPECT_EQ(blocks(1024, 0, light), 2u) << "threads";
  EXPECT_EQ(blocks(32, 0, light), 32u) << "blocks";
  light.registers = 64;
  EXPECT_EQ(blocks(256, 0, light), 4u) << "registers";
  EXPECT_EQ(blocks(32, 100 * 1024, light), 2u) << "shared memory";
  EXPECT_EQ(blocks(0, 0), 0u);
  EXPECT_EQ(blocks(1025, 0), 0u);
  EXPECT_EQ(blocks(32, kFunction.shared_dynamic_max + 1), 0u);
}

}  // namespace
}  // namespace farwarp
