// Goal: launches: every way to pass parameters, CUDA's errors for wrong shapes, occupancy, errors
// that poison the context, and the exact times of kernels. Method: small PTX kernels whose effect
// is read back; deliberate faults.
#include <atomic>
#include <cstring>
#include <mutex>

#include "gpud/device/kernel_records.h"
#include "tests/cpu_device/cuda_test.h"
#include "tests/cpu_device/kernels_ptx.h"

namespace farwarp::cpu {
namespace {

class Launches : public CudaTest {
 protected:
  void SetUp() override {
    CudaTest::SetUp();
    module_ = load(kKernels);
  }
  CUresult launch(const char* name, void** params, unsigned grid = 1, unsigned block = 1,
                  unsigned shared = 0) {
    return cuLaunchKernel(function(module_, name), grid, 1, 1, block, 1, 1, shared, nullptr, params,
                          nullptr);
  }
  // A kernel that writes where there is no memory.
  void fault() {
    CUdeviceptr nowhere = allocate(16) + 4096;
    uint32_t value = 1;
    void* params[] = {&nowhere, &value};
    ASSERT_OK(launch("store", params));
  }
  CUmodule module_ = nullptr;
};

TEST_F(Launches, TakeParametersByPointer) {
  CUdeviceptr values = upload(std::vector<float>(1000, 2.0f));
  uint32_t count = 999;
  float factor = 3.0f, offset = 0.5f;
  void* params[] = {&values, &count, &factor, &offset};
  ASSERT_OK(launch("scale", params, 8, 128));
  const auto result = download<float>(values, 1000);
  for (int i = 0; i < 999; ++i) ASSERT_EQ(result[i], 6.5f);
  EXPECT_EQ(result[999], 2.0f);
  void* missing[] = {&values, nullptr, &factor, &offset};
  EXPECT_CUDA(launch("scale", missing), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(launch("scale", nullptr), CUDA_ERROR_INVALID_VALUE);
}

TEST_F(Launches, TakeParametersPacked) {
  struct {
    CUdeviceptr at;
    uint32_t value;
  } packed{allocate(4), 77};
  size_t bytes = 12;
  void* extra[] = {CU_LAUNCH_PARAM_BUFFER_POINTER, &packed, CU_LAUNCH_PARAM_BUFFER_SIZE, &bytes,
                   CU_LAUNCH_PARAM_END};
  CUfunction store = function(module_, "store");
  ASSERT_OK(cuLaunchKernel(store, 1, 1, 1, 1, 1, 1, 0, nullptr, nullptr, extra));
  EXPECT_EQ(download<uint32_t>(packed.at, 1)[0], 77u);
  bytes = 11;
  EXPECT_CUDA(cuLaunchKernel(store, 1, 1, 1, 1, 1, 1, 0, nullptr, nullptr, extra),
              CUDA_ERROR_INVALID_VALUE);
  void* unknown[] = {reinterpret_cast<void*>(9), &packed, CU_LAUNCH_PARAM_END};
  EXPECT_CUDA(cuLaunchKernel(store, 1, 1, 1, 1, 1, 1, 0, nullptr, nullptr, unknown),
              CUDA_ERROR_INVALID_VALUE);
}

TEST_F(Launches, TakeAConfigurationWithAttributes) {
  CUdeviceptr at = allocate(4);
  uint32_t value = 5;
  void* params[] = {&at, &value};
  CUlaunchAttribute attributes[2] = {};
  attributes[0].id = CU_LAUNCH_ATTRIBUTE_COOPERATIVE;
  attributes[0].value.cooperative = 1;
  attributes[1].id = CU_LAUNCH_ATTRIBUTE_PRIORITY;
  CUlaunchConfig config = {};
  config.gridDimX = config.gridDimY = config.gridDimZ = 1;
  config.blockDimX = config.blockDimY = config.blockDimZ = 1;
  config.attrs = attributes;
  config.numAttrs = 2;
  CUfunction store = function(module_, "store");
  ASSERT_OK(cuLaunchKernelEx(&config, store, params, nullptr));
  EXPECT_EQ(download<uint32_t>(at, 1)[0], 5u);
  config.gridDimX = 1 << 20;
  EXPECT_CUDA(cuLaunchKernelEx(&config, store, params, nullptr),
              CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE);
  EXPECT_CUDA(cuLaunchCooperativeKernel(store, 1 << 20, 1, 1, 1, 1, 1, 0, nullptr, params),
              CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE);
  attributes[1].id = CU_LAUNCH_ATTRIBUTE_LAUNCH_COMPLETION_EVENT;
  EXPECT_CUDA(cuLaunchKernelEx(&config, store, params, nullptr), CUDA_ERROR_NOT_SUPPORTED);
}

TEST_F(Launches, WrongShapesAreRefusedAtTheCall) {
  EXPECT_CUDA(launch("nothing", nullptr, 0), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(launch("nothing", nullptr, 1, 0), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(launch("nothing", nullptr, 1, 1025), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(launch("nothing", nullptr, 1, 1, 48 * 1024 + 1), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(launch("bounded", nullptr, 1, 65), CUDA_ERROR_INVALID_VALUE);
  EXPECT_OK(launch("bounded", nullptr, 1, 64));
  EXPECT_CUDA(cuLaunchKernel(reinterpret_cast<CUfunction>(module_), 1, 1, 1, 1, 1, 1, 0, nullptr,
                             nullptr, nullptr),
              CUDA_ERROR_INVALID_HANDLE);
  EXPECT_OK(cuCtxSynchronize()) << "refusals leave the context well";
}

TEST_F(Launches, OccupancyAgreesWithItself) {
  CUfunction nothing = function(module_, "nothing");
  int blocks = 0, grid = 0, block = 0;
  EXPECT_OK(cuOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, nothing, 1024, 0));
  EXPECT_EQ(blocks, 2);
  EXPECT_OK(cuOccupancyMaxPotentialBlockSize(&grid, &block, nothing, nullptr, 0, 0));
  EXPECT_EQ(block, 1024);
  EXPECT_EQ(grid, 2 * 16);
  size_t bytes = 0;
  EXPECT_OK(
      cuFuncSetAttribute(nothing, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, 200 << 10));
  EXPECT_OK(cuOccupancyAvailableDynamicSMemPerBlock(&bytes, nothing, 2, 128));
  EXPECT_GT(bytes, 100u << 10);
  EXPECT_OK(cuOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, nothing, 128, bytes));
  EXPECT_EQ(blocks, 2);
  EXPECT_OK(cuOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, nothing, 128, bytes + 128));
  EXPECT_EQ(blocks, 1);
  EXPECT_CUDA(cuOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, nothing, 0, 0),
              CUDA_ERROR_INVALID_VALUE);
}

TEST_F(Launches, AnIllegalAddressPoisonsTheContextAndOnlyIt) {
  CUdeviceptr good = allocate(16);
  fault();
  EXPECT_CUDA(cuCtxSynchronize(), CUDA_ERROR_ILLEGAL_ADDRESS);
  EXPECT_CUDA(cuCtxSynchronize(), CUDA_ERROR_ILLEGAL_ADDRESS);
  EXPECT_CUDA(cuMemcpyDtoD_v2(good, good + 8, 8), CUDA_ERROR_ILLEGAL_ADDRESS);
  EXPECT_CUDA(cuMemFree_v2(good), CUDA_ERROR_ILLEGAL_ADDRESS);
  EXPECT_CUDA(cuStreamSynchronize(nullptr), CUDA_ERROR_ILLEGAL_ADDRESS);
  CUstream s = nullptr;
  EXPECT_CUDA(cuStreamCreate(&s, 0), CUDA_ERROR_ILLEGAL_ADDRESS);
  CUcontext second = nullptr;
  ASSERT_OK(cuCtxCreate_v2(&second, 0, device_));
  EXPECT_OK(cuMemFree_v2(allocate(16)));
  EXPECT_OK(cuCtxDestroy_v2(second));
}

TEST_F(Launches, AResetHealsThePrimaryContext) {
  CUcontext primary = nullptr;
  ASSERT_OK(cuDevicePrimaryCtxRetain(&primary, device_));
  ASSERT_OK(cuCtxPushCurrent_v2(primary));
  CUmodule kept = module_;
  module_ = load(kKernels);
  fault();
  EXPECT_CUDA(cuCtxSynchronize(), CUDA_ERROR_ILLEGAL_ADDRESS);
  EXPECT_OK(cuDevicePrimaryCtxReset_v2(device_));
  ASSERT_OK(cuDevicePrimaryCtxRetain(&primary, device_));
  EXPECT_OK(cuCtxSynchronize());
  EXPECT_OK(cuMemFree_v2(allocate(16)));
  EXPECT_OK(cuDevicePrimaryCtxRelease_v2(device_));
  ASSERT_OK(cuCtxPopCurrent_v2(nullptr));
  module_ = kept;
}

TEST_F(Launches, OtherFaultsHaveTheirOwnCodes) {
  CUdeviceptr odd = allocate(16) + 2;
  uint32_t value = 1;
  void* params[] = {&odd, &value};
  ASSERT_OK(launch("store", params));
  EXPECT_CUDA(cuCtxSynchronize(), CUDA_ERROR_MISALIGNED_ADDRESS);
}

TEST_F(Launches, HostMemoryOfTheProgramIsOutOfReach) {
  uint32_t mine = 1;
  CUdeviceptr address = reinterpret_cast<CUdeviceptr>(&mine);
  uint32_t value = 2;
  void* params[] = {&address, &value};
  ASSERT_OK(launch("store", params));
  EXPECT_CUDA(cuCtxSynchronize(), CUDA_ERROR_ILLEGAL_ADDRESS);
  EXPECT_EQ(mine, 1u);
}

struct Seen {
  std::mutex mutex;
  std::vector<KernelRecord> records;
};

TEST_F(Launches, SubscribersLearnTheTimeOfEachKernel) {
  const void* found = nullptr;
  ASSERT_OK(cuGetExportTable(&found, &kKernelRecordsTableId));
  const auto* table = static_cast<const KernelRecordsTable*>(found);
  ASSERT_GE(table->bytes, sizeof(KernelRecordsTable));
  Seen seen;
  const auto record = [](void* user, const KernelRecord* r) {
    auto* seen = static_cast<Seen*>(user);
    std::lock_guard lock(seen->mutex);
    seen->records.push_back(*r);
  };
  ASSERT_OK(table->subscribe(record, &seen));
  EXPECT_NE(table->subscribe(record, &seen), CUDA_SUCCESS) << "one subscriber";
  for (int i = 0; i < 5; ++i) ASSERT_OK(launch("nothing", nullptr));
  ASSERT_OK(cuCtxSynchronize());
  ASSERT_OK(table->subscribe(nullptr, nullptr));
  ASSERT_OK(launch("nothing", nullptr));
  ASSERT_OK(cuCtxSynchronize());
  ASSERT_EQ(seen.records.size(), 5u);
  for (size_t i = 0; i < 5; ++i) {
    EXPECT_LE(seen.records[i].start_ns, seen.records[i].end_ns);
    if (i > 0) {
      EXPECT_LE(seen.records[i - 1].end_ns, seen.records[i].start_ns);
    }
    EXPECT_EQ(seen.records[i].device, 0u);
  }
}

}  // namespace
}  // namespace farwarp::cpu
