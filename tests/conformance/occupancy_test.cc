// Goal: the client, which answers questions of occupancy itself, says what the device says. Method:
// many block sizes and amounts of shared memory for kernels with limits of different kinds; each
// answer is noted, and the notes of the run in-process and of that through gpud must be equal. What
// must hold between answers is asserted.
#include "tests/conformance/conformance.h"

namespace farwarp::conformance {
namespace {

constexpr const char* kKernels = R"(
.version 8.0
.target sm_90
.address_size 64
.visible .entry plain() { ret; }
.visible .entry shared() { .shared .align 4 .b8 s[20000]; .reg .u32 %r; mov.u32 %r, s;
  st.shared.u32 [%r], %r; ret; }
.visible .entry narrow() .maxntid 96, 1, 1 { ret; }
)";

class Occupancy : public ConformanceTest {
 protected:
  void SetUp() override {
    ConformanceTest::SetUp();
    ASSERT_OK(cuModuleLoadData(&module_, kKernels));
  }
  CUfunction function(const char* name) {
    CUfunction function = nullptr;
    EXPECT_OK(cuModuleGetFunction(&function, module_, name));
    return function;
  }
  // The answer, noted with the question.
  static long long noted(const std::string& question, CUresult result, long long answer) {
    note((question + " = " + (result == CUDA_SUCCESS ? std::to_string(answer) : "-")).c_str(),
         result);
    return result == CUDA_SUCCESS ? answer : -1;
  }
  static int blocksOf(CUfunction kernel, int threads, size_t shared) {
    int blocks = -1;
    const CUresult result =
        cuOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, kernel, threads, shared);
    return static_cast<int>(
        noted("blocks of " + std::to_string(threads) + " with " + std::to_string(shared), result,
              blocks));
  }

  CUmodule module_ = nullptr;
};

TEST_F(Occupancy, OfBlocksIsTheDevices) {
  for (const char* name : {"plain", "shared", "narrow"}) {
    const CUfunction kernel = function(name);
    for (int threads = 1; threads <= 1100; threads += 37) {
      int before = 1 << 30;
      for (size_t shared : {0, 100, 5000, 30000, 48 * 1024, 60000}) {
        const int blocks = blocksOf(kernel, threads, shared);
        EXPECT_LE(blocks, before) << "more shared memory never means more blocks";
        before = blocks;
      }
      size_t available = 0;
      const CUresult result =
          cuOccupancyAvailableDynamicSMemPerBlock(&available, kernel, 2, threads);
      noted("available for 2 blocks of " + std::to_string(threads), result,
            static_cast<long long>(available));
      if (result != CUDA_SUCCESS) continue;
      EXPECT_GE(blocksOf(kernel, threads, available), 2);
      EXPECT_LT(blocksOf(kernel, threads, available + 1), 2);
    }
  }
}

TEST_F(Occupancy, FollowsAttributes) {
  const CUfunction kernel = function("plain");
  EXPECT_EQ(blocksOf(kernel, 64, 60000), 0);
  EXPECT_OK(cuFuncSetAttribute(kernel, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, 60000));
  EXPECT_GT(blocksOf(kernel, 64, 60000), 0);
}

TEST_F(Occupancy, FindsTheBestBlockSize) {
  const auto per_thread = [](int threads) -> size_t { return static_cast<size_t>(threads) * 40; };
  for (const char* name : {"plain", "shared", "narrow"}) {
    const CUfunction kernel = function(name);
    for (int limit : {0, 100, 256, 5000}) {
      int grid = -1, block = -1;
      CUresult result =
          cuOccupancyMaxPotentialBlockSize(&grid, &block, kernel, nullptr, 1000, limit);
      noted("best block below " + std::to_string(limit), result, block);
      EXPECT_EQ(grid % 16, 0) << "all multiprocessors have as many";
      const int blocks = blocksOf(kernel, block, 1000);
      EXPECT_EQ(grid, blocks * 16);
      for (int other = 32; other <= (limit == 0 ? 1024 : limit) && other <= 1024; other += 32) {
        EXPECT_LE(blocksOf(kernel, other, 1000) * other, blocks * block);
      }
      result = cuOccupancyMaxPotentialBlockSizeWithFlags(&grid, &block, kernel, per_thread, 0,
                                                         limit, CU_OCCUPANCY_DEFAULT);
      noted("best block with memory for each thread", result, block * 100000ll + grid);
    }
  }
}

TEST_F(Occupancy, OfClusters) {
  const CUfunction kernel = function("plain");
  CUlaunchAttribute attribute{};
  attribute.id = CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION;
  CUlaunchConfig config{};
  config.gridDimX = 64;
  config.gridDimY = config.gridDimZ = 1;
  config.blockDimY = config.blockDimZ = 1;
  for (unsigned threads : {32u, 128u, 1024u}) {
    config.blockDimX = threads;
    config.attrs = nullptr;
    config.numAttrs = 0;
    int most = 0;
    EXPECT_OK(cuOccupancyMaxPotentialClusterSize(&most, kernel, &config));
    noted("cluster of blocks of " + std::to_string(threads), CUDA_SUCCESS, most);
    config.attrs = &attribute;
    config.numAttrs = 1;
    for (unsigned size : {1u, 2u, 8u, 16u}) {
      attribute.value.clusterDim = {size, 1, 1};
      int clusters = 0;
      const CUresult result = cuOccupancyMaxActiveClusters(&clusters, kernel, &config);
      noted("clusters of " + std::to_string(size), result, clusters);
      EXPECT_EQ(result == CUDA_SUCCESS, size <= static_cast<unsigned>(most));
    }
  }
  config.blockDimX = 2000;
  int most = 0;
  EXPECT_CUDA(cuOccupancyMaxPotentialClusterSize(&most, kernel, &config), CUDA_ERROR_INVALID_VALUE);
}

TEST_F(Occupancy, RefusesWhatCudaRefuses) {
  const CUfunction kernel = function("plain");
  const auto no_kernel = reinterpret_cast<CUfunction>(0x1230);
  int blocks = 0, block = 0;
  size_t bytes = 0;
  EXPECT_CUDA(cuOccupancyMaxActiveBlocksPerMultiprocessor(nullptr, kernel, 32, 0),
              CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, no_kernel, 32, 0),
              CUDA_ERROR_INVALID_HANDLE);
  EXPECT_CUDA(cuOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, kernel, 0, 0),
              CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(&blocks, kernel, 32, 0, 6),
              CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuOccupancyAvailableDynamicSMemPerBlock(&bytes, kernel, 0, 32),
              CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuOccupancyAvailableDynamicSMemPerBlock(&bytes, kernel, 1000, 32),
              CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuOccupancyMaxPotentialBlockSize(&blocks, nullptr, kernel, nullptr, 0, 0),
              CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuOccupancyMaxPotentialBlockSize(&blocks, &block, kernel, nullptr, 0, -1),
              CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuOccupancyMaxActiveClusters(&blocks, kernel, nullptr), CUDA_ERROR_INVALID_VALUE);
}

}  // namespace
}  // namespace farwarp::conformance
