// Goal: contexts, primary contexts and the stack of each thread behave as the driver's manual says.
// Method: calls of the driver API; death and fork in child processes.
#include <sys/wait.h>
#include <unistd.h>

#include <thread>

#include "tests/cpu_device/cuda_test.h"

namespace farwarp::cpu {
namespace {

class Contexts : public CudaTest {};

TEST_F(Contexts, EveryThreadHasAStackOfItsOwn) {
  CUcontext second = nullptr, current = nullptr, popped = nullptr;
  ASSERT_OK(cuCtxCreate_v2(&second, 0, device_));
  EXPECT_OK(cuCtxGetCurrent(&current));
  EXPECT_EQ(current, second);
  std::thread([&] {
    CUcontext there = context_;
    EXPECT_OK(cuCtxGetCurrent(&there));
    EXPECT_EQ(there, nullptr);
    CUdeviceptr address = 0;
    EXPECT_CUDA(cuMemAlloc_v2(&address, 1), CUDA_ERROR_INVALID_CONTEXT);
    EXPECT_CUDA(cuCtxPopCurrent_v2(&there), CUDA_ERROR_INVALID_CONTEXT);
    EXPECT_OK(cuCtxSetCurrent(context_));
    EXPECT_OK(cuMemAlloc_v2(&address, 1));
  }).join();
  EXPECT_OK(cuCtxPushCurrent_v2(context_));
  EXPECT_OK(cuCtxPopCurrent_v2(&popped));
  EXPECT_EQ(popped, context_);
  EXPECT_OK(cuCtxDestroy_v2(second));
  EXPECT_OK(cuCtxGetCurrent(&current));
  EXPECT_EQ(current, context_) << "destroying the current context pops it";
}

TEST_F(Contexts, ADestroyedContextIsRecognised) {
  CUcontext second = nullptr;
  ASSERT_OK(cuCtxCreate_v2(&second, 0, device_));
  CUstream s = stream();
  CUevent e = event();
  ASSERT_OK(cuCtxPushCurrent_v2(context_));
  ASSERT_OK(cuCtxDestroy_v2(second));
  EXPECT_CUDA(cuCtxDestroy_v2(second), CUDA_ERROR_INVALID_CONTEXT);
  EXPECT_CUDA(cuCtxSetCurrent(second), CUDA_ERROR_INVALID_CONTEXT);
  EXPECT_CUDA(cuStreamSynchronize(s), CUDA_ERROR_INVALID_HANDLE);
  EXPECT_CUDA(cuEventQuery(e), CUDA_ERROR_INVALID_HANDLE);
  ASSERT_OK(cuCtxPopCurrent_v2(nullptr));
  CUdeviceptr address = 0;
  EXPECT_CUDA(cuMemAlloc_v2(&address, 1), CUDA_ERROR_CONTEXT_IS_DESTROYED);
  ASSERT_OK(cuCtxPopCurrent_v2(nullptr));
}

TEST_F(Contexts, ThePrimaryContextLivesWhileItIsRetained) {
  CUcontext primary = nullptr, again = nullptr;
  unsigned flags = 9;
  int active = 9;
  EXPECT_OK(cuDevicePrimaryCtxGetState(device_, &flags, &active));
  EXPECT_EQ(active, 0);
  EXPECT_OK(cuDevicePrimaryCtxSetFlags_v2(device_, CU_CTX_SCHED_YIELD));
  ASSERT_OK(cuDevicePrimaryCtxRetain(&primary, device_));
  ASSERT_OK(cuDevicePrimaryCtxRetain(&again, device_));
  EXPECT_EQ(primary, again);
  EXPECT_OK(cuDevicePrimaryCtxGetState(device_, &flags, &active));
  EXPECT_EQ(active, 1);
  EXPECT_EQ(flags, unsigned{CU_CTX_SCHED_YIELD});
  ASSERT_OK(cuCtxPushCurrent_v2(primary));
  const CUdeviceptr address = allocate(100);
  EXPECT_OK(cuDevicePrimaryCtxRelease_v2(device_));
  EXPECT_OK(cuMemcpyDtoD_v2(address, address, 100));
  EXPECT_OK(cuDevicePrimaryCtxRelease_v2(device_));
  EXPECT_CUDA(cuDevicePrimaryCtxRelease_v2(device_), CUDA_ERROR_INVALID_CONTEXT);
  EXPECT_CUDA(cuMemcpyDtoD_v2(address, address, 100), CUDA_ERROR_CONTEXT_IS_DESTROYED);
  EXPECT_CUDA(cuCtxDestroy_v2(primary), CUDA_ERROR_INVALID_CONTEXT);
  ASSERT_OK(cuDevicePrimaryCtxRetain(&again, device_));
  EXPECT_EQ(primary, again);
  EXPECT_CUDA(cuMemFree_v2(address), CUDA_ERROR_INVALID_VALUE) << "memory ended with the context";
  EXPECT_OK(cuDevicePrimaryCtxReset_v2(device_));
  EXPECT_OK(cuDevicePrimaryCtxGetState(device_, &flags, &active));
  EXPECT_EQ(active, 0);
  ASSERT_OK(cuCtxPopCurrent_v2(nullptr));
}

TEST_F(Contexts, LimitsAndFlagsAreKept) {
  size_t value = 0;
  EXPECT_OK(cuCtxSetLimit(CU_LIMIT_STACK_SIZE, 4096));
  EXPECT_OK(cuCtxGetLimit(&value, CU_LIMIT_STACK_SIZE));
  EXPECT_EQ(value, 4096u);
  EXPECT_CUDA(cuCtxSetLimit(CU_LIMIT_STACK_SIZE, SIZE_MAX), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuCtxSetLimit(CU_LIMIT_MAX, 1), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuCtxGetLimit(&value, CU_LIMIT_DEV_RUNTIME_SYNC_DEPTH), CUDA_ERROR_UNSUPPORTED_LIMIT);
  unsigned long long first = 0, second = 0;
  EXPECT_OK(cuCtxGetId(context_, &first));
  EXPECT_OK(cuCtxGetId(nullptr, &second));
  EXPECT_EQ(first, second);
  CUcontext other = nullptr;
  EXPECT_CUDA(cuCtxCreate_v2(&other, 0x4000, device_), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuCtxCreate_v2(&other, 0, 77), CUDA_ERROR_INVALID_DEVICE);
}

TEST_F(Contexts, AChildOfForkIsToldThatItHasNoDriver) {
  const CUdeviceptr address = allocate(16);
  const pid_t child = fork();
  if (child == 0) {
    int count = 0;
    const bool right = cuDeviceGetCount(&count) == CUDA_ERROR_NOT_INITIALIZED &&
                       cuMemFree_v2(address) == CUDA_ERROR_NOT_INITIALIZED &&
                       cuInit(0) == CUDA_ERROR_NOT_INITIALIZED;
    _exit(right ? 0 : 1);
  }
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  EXPECT_OK(cuMemFree_v2(address));
}

TEST(Init, WhatNeedsNoDriverWorksBeforeInit) {
  int version = 0;
  EXPECT_OK(cuDriverGetVersion(&version));
  EXPECT_GE(version, 13000);
  void* found = nullptr;
  CUdriverProcAddressQueryResult status;
  EXPECT_OK(cuGetProcAddress_v2("cuMemAlloc", &found, 13000, 0, &status));
  EXPECT_NE(found, nullptr);
  EXPECT_CUDA(cuInit(1), CUDA_ERROR_INVALID_VALUE);
}

TEST(Init, AnUnsupportedCallSaysSo) {
  ASSERT_OK(cuInit(0));
  int descriptor = -1;
  EXPECT_CUDA(cuMemGetHandleForAddressRange(&descriptor, 4096, 4096,
                                            CU_MEM_RANGE_HANDLE_TYPE_DMA_BUF_FD, 0),
              CUDA_ERROR_NOT_SUPPORTED);
}

}  // namespace
}  // namespace farwarp::cpu
