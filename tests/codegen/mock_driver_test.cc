// Goal: tests can rely on the mock driver: it fails when told to, checks handles and keeps memory
// within its bounds. Method: calls through its table, and the shared library's own exports by
// dlopen.
#include "codegen/mock/mock_driver.h"

#include <dlfcn.h>
#include <gtest/gtest.h>

#include <array>
#include <cstdlib>

namespace farwarp::mock {
namespace {

using wire::HandleType;

class MockDriver : public ::testing::Test {
 protected:
  MockDriver() { reset(); }
  const DriverTable& driver_ = mockDriverTable();
};

TEST_F(MockDriver, CountsCallsAndRemembersThem) {
  int count = 0;
  EXPECT_EQ(driver_.cuDeviceGetCount(&count), CUDA_SUCCESS);
  EXPECT_EQ(driver_.cuDeviceGetCount(&count), CUDA_SUCCESS);
  EXPECT_EQ(driver_.cuCtxSynchronize(), CUDA_SUCCESS);
  EXPECT_EQ(callCount(), 3u);
  EXPECT_EQ(callCount(CallId::cuDeviceGetCount), 2u);
  EXPECT_EQ(history().back(), CallId::cuCtxSynchronize);
}

TEST_F(MockDriver, TheKthCallFailsOnce) {
  failCall(2, CUDA_ERROR_ECC_UNCORRECTABLE);
  EXPECT_EQ(driver_.cuCtxSynchronize(), CUDA_SUCCESS);
  EXPECT_EQ(driver_.cuCtxSynchronize(), CUDA_ERROR_ECC_UNCORRECTABLE);
  EXPECT_EQ(driver_.cuCtxSynchronize(), CUDA_SUCCESS);
  failCallOf(CallId::cuMemAlloc_v2, 1, CUDA_ERROR_OUT_OF_MEMORY);
  EXPECT_EQ(driver_.cuCtxSynchronize(), CUDA_SUCCESS);
  CUdeviceptr address = 0;
  EXPECT_EQ(driver_.cuMemAlloc_v2(&address, 8), CUDA_ERROR_OUT_OF_MEMORY);
  EXPECT_EQ(liveAllocations(), 0u);
  EXPECT_EQ(driver_.cuMemAlloc_v2(&address, 8), CUDA_SUCCESS);
}

TEST_F(MockDriver, HandlesAreChecked) {
  CUstream stream = nullptr;
  ASSERT_EQ(driver_.cuStreamCreate(&stream, 0), CUDA_SUCCESS);
  EXPECT_EQ(liveHandles(HandleType::stream), 1u);
  EXPECT_EQ(driver_.cuStreamSynchronize(stream), CUDA_SUCCESS);
  EXPECT_EQ(driver_.cuEventQuery(reinterpret_cast<CUevent>(stream)), CUDA_ERROR_INVALID_HANDLE);
  EXPECT_EQ(driver_.cuStreamDestroy_v2(stream), CUDA_SUCCESS);
  EXPECT_EQ(driver_.cuStreamDestroy_v2(stream), CUDA_ERROR_INVALID_HANDLE);
  EXPECT_EQ(driver_.cuStreamSynchronize(stream), CUDA_ERROR_INVALID_HANDLE);
  EXPECT_EQ(driver_.cuStreamCreate(nullptr, 0), CUDA_ERROR_INVALID_VALUE);
}

TEST_F(MockDriver, KernelsAreFunctions) {
  CUlibrary library = nullptr;
  CUkernel kernel = nullptr;
  ASSERT_EQ(driver_.cuLibraryLoadData(&library, "", nullptr, nullptr, 0, nullptr, nullptr, 0),
            CUDA_SUCCESS);
  ASSERT_EQ(driver_.cuLibraryGetKernel(&kernel, library, "kernel"), CUDA_SUCCESS);
  EXPECT_EQ(driver_.cuLaunchKernel(reinterpret_cast<CUfunction>(kernel), 1, 1, 1, 1, 1, 1, 0,
                                   nullptr, nullptr, nullptr),
            CUDA_SUCCESS);
}

TEST_F(MockDriver, MemoryHoldsWhatWasWrittenAndHasBounds) {
  CUdeviceptr address = 0;
  ASSERT_EQ(driver_.cuMemAlloc_v2(&address, 16), CUDA_SUCCESS);
  const std::array<char, 17> in{"0123456789abcdef"};
  std::array<char, 17> out{};
  EXPECT_EQ(driver_.cuMemcpyHtoD_v2(address, in.data(), 16), CUDA_SUCCESS);
  EXPECT_EQ(driver_.cuMemcpyDtoH_v2(out.data(), address, 16), CUDA_SUCCESS);
  EXPECT_EQ(in, out);
  EXPECT_EQ(driver_.cuMemcpyHtoD_v2(address, in.data(), 17), CUDA_ERROR_INVALID_VALUE);
  EXPECT_EQ(driver_.cuMemcpyHtoD_v2(address + 8, in.data(), 9), CUDA_ERROR_INVALID_VALUE);
  EXPECT_EQ(driver_.cuMemcpyDtoH_v2(out.data(), address - 1, 1), CUDA_ERROR_INVALID_VALUE);
  EXPECT_EQ(driver_.cuMemsetD32_v2(address, 0, ~size_t{0} / 2), CUDA_ERROR_INVALID_VALUE);
  EXPECT_EQ(driver_.cuMemFree_v2(address + 8), CUDA_ERROR_INVALID_VALUE);
  EXPECT_EQ(driver_.cuMemFree_v2(address), CUDA_SUCCESS);
  EXPECT_EQ(driver_.cuMemFree_v2(address), CUDA_ERROR_INVALID_VALUE);
}

TEST_F(MockDriver, MoreThanTheDeviceHasIsRefused) {
  CUdeviceptr address = 0;
  EXPECT_EQ(driver_.cuMemAlloc_v2(&address, ~size_t{0}), CUDA_ERROR_OUT_OF_MEMORY);
  size_t pitch = 0;
  EXPECT_EQ(driver_.cuMemAllocPitch_v2(&address, &pitch, 1 << 20, ~size_t{0} >> 8, 4),
            CUDA_ERROR_OUT_OF_MEMORY);
}

TEST_F(MockDriver, UnsupportedCallsSaySo) {
  EXPECT_EQ(driver_.cuGraphicsUnregisterResource(nullptr), CUDA_ERROR_NOT_SUPPORTED);
  EXPECT_EQ(callCount(CallId::cuGraphicsUnregisterResource), 1u);
}

TEST(MockLibrary, ExportsEverySymbolAndObeysTheEnvironment) {
  ASSERT_EQ(setenv("FARWARP_MOCK_FAIL", "2:214", 1), 0);
  void* library = dlopen(FARWARP_MOCK_LIBRARY, RTLD_NOW | RTLD_LOCAL);
  ASSERT_NE(library, nullptr) << dlerror();
  for (const char* name : kDriverSymbolNames) EXPECT_NE(dlsym(library, name), nullptr) << name;
  const auto init = reinterpret_cast<CUresult (*)(unsigned)>(dlsym(library, "cuInit"));
  EXPECT_EQ(init(0), CUDA_SUCCESS);
  EXPECT_EQ(init(0), CUDA_ERROR_ECC_UNCORRECTABLE);
  EXPECT_EQ(init(0), CUDA_SUCCESS);
  unsetenv("FARWARP_MOCK_FAIL");
}

}  // namespace
}  // namespace farwarp::mock
