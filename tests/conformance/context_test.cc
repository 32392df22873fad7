// Goal: contexts and streams tell and keep remotely what they do locally. Method: every setting is
// asked for, changed and asked for again, and what CUDA refuses is refused with its code.
#include "tests/conformance/conformance.h"

namespace farwarp::conformance {
namespace {

class ContextTest : public ConformanceTest {};

TEST_F(ContextTest, TellsWhatItIs) {
  unsigned version = 0, flags = 77;
  EXPECT_OK(cuCtxGetApiVersion(context_, &version));
  EXPECT_GE(version, 3020u);
  EXPECT_CUDA(cuCtxGetApiVersion(context_, nullptr), CUDA_ERROR_INVALID_VALUE);
  CUdevice device = -1;
  EXPECT_OK(cuCtxGetDevice_v2(&device, context_));
  EXPECT_EQ(device, device_);
  EXPECT_OK(cuCtxGetDevice_v2(&device, nullptr));
  EXPECT_CUDA(cuCtxGetDevice_v2(nullptr, context_), CUDA_ERROR_INVALID_VALUE);
  EXPECT_OK(cuCtxGetFlags(&flags));
  EXPECT_EQ(flags, 0u);
  EXPECT_OK(cuCtxSetFlags(CU_CTX_SCHED_SPIN));
  EXPECT_OK(cuCtxGetFlags(&flags));
  EXPECT_EQ(flags, static_cast<unsigned>(CU_CTX_SCHED_SPIN));
  EXPECT_CUDA(cuCtxSetFlags(0x8000), CUDA_ERROR_INVALID_VALUE);
  int least = 77, greatest = 77;
  EXPECT_OK(cuCtxGetStreamPriorityRange(&least, &greatest));
  EXPECT_GE(least, greatest) << "lower numbers come first";
  EXPECT_OK(cuCtxGetStreamPriorityRange(nullptr, nullptr));
}

TEST_F(ContextTest, KeepsItsSettings) {
  CUfunc_cache cache = CU_FUNC_CACHE_PREFER_EQUAL;
  EXPECT_OK(cuCtxGetCacheConfig(&cache));
  EXPECT_OK(cuCtxSetCacheConfig(CU_FUNC_CACHE_PREFER_L1));
  EXPECT_OK(cuCtxGetCacheConfig(&cache));
  EXPECT_EQ(cache, CU_FUNC_CACHE_PREFER_L1);
  CUsharedconfig banks = CU_SHARED_MEM_CONFIG_DEFAULT_BANK_SIZE;
  EXPECT_OK(cuCtxSetSharedMemConfig(CU_SHARED_MEM_CONFIG_FOUR_BYTE_BANK_SIZE));
  EXPECT_OK(cuCtxGetSharedMemConfig(&banks));
  EXPECT_EQ(banks, CU_SHARED_MEM_CONFIG_FOUR_BYTE_BANK_SIZE);
  EXPECT_CUDA(cuCtxGetSharedMemConfig(nullptr), CUDA_ERROR_INVALID_VALUE);
  size_t bytes = 0;
  EXPECT_OK(cuCtxSetLimit(CU_LIMIT_MALLOC_HEAP_SIZE, 16 << 20));
  EXPECT_OK(cuCtxGetLimit(&bytes, CU_LIMIT_MALLOC_HEAP_SIZE));
  EXPECT_GE(bytes, size_t{16} << 20);
  EXPECT_CUDA(cuCtxGetLimit(nullptr, CU_LIMIT_STACK_SIZE), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuCtxGetLimit(&bytes, CU_LIMIT_MAX), CUDA_ERROR_INVALID_VALUE);
  EXPECT_OK(cuCtxResetPersistingL2Cache());
  CUexecAffinityParam affinity{};
  EXPECT_CUDA(cuCtxGetExecAffinity(&affinity, CU_EXEC_AFFINITY_TYPE_SM_COUNT),
              CUDA_ERROR_UNSUPPORTED_EXEC_AFFINITY);
  EXPECT_CUDA(cuCtxGetExecAffinity(nullptr, CU_EXEC_AFFINITY_TYPE_SM_COUNT),
              CUDA_ERROR_INVALID_VALUE);
}

TEST_F(ContextTest, EveryVersionOfCreating) {
  CUcontext context = nullptr;
  EXPECT_OK(cuCtxCreate_v3(&context, nullptr, 0, 0, device_));
  EXPECT_OK(cuCtxSynchronize_v2(context));
  EXPECT_OK(cuCtxDestroy_v2(context));
  CUexecAffinityParam affinity{};
  affinity.type = CU_EXEC_AFFINITY_TYPE_SM_COUNT;
  affinity.param.smCount.val = 1;
  EXPECT_CUDA(cuCtxCreate_v3(&context, &affinity, 1, 0, device_),
              CUDA_ERROR_UNSUPPORTED_EXEC_AFFINITY);
  EXPECT_OK(cuCtxCreate_v4(&context, nullptr, 0, device_));
  EXPECT_OK(cuCtxDestroy_v2(context));
  CUctxCreateParams params{};
  EXPECT_OK(cuCtxCreate_v4(&context, &params, 0, device_));
  EXPECT_OK(cuCtxDestroy_v2(context));
  params.execAffinityParams = &affinity;
  params.numExecAffinityParams = 1;
  EXPECT_CUDA(cuCtxCreate_v4(&context, &params, 0, device_), CUDA_ERROR_UNSUPPORTED_EXEC_AFFINITY);
  EXPECT_CUDA(cuCtxCreate_v4(&context, nullptr, 0, 77), CUDA_ERROR_INVALID_DEVICE);
}

TEST_F(ContextTest, AttachAndDetach) {
  CUcontext made = nullptr, attached = nullptr;
  EXPECT_OK(cuCtxCreate_v2(&made, 0, device_));
  EXPECT_OK(cuCtxAttach(&attached, 0));
  EXPECT_EQ(attached, made);
  EXPECT_CUDA(cuCtxAttach(&attached, 1), CUDA_ERROR_INVALID_VALUE);
  EXPECT_OK(cuCtxDetach(made));
  CUcontext current = nullptr;
  EXPECT_OK(cuCtxGetCurrent(&current));
  EXPECT_EQ(current, context_);
}

TEST_F(ContextTest, PrimaryContextsUnderTheirOldNames) {
  unsigned flags = 0;
  int active = -1;
  EXPECT_OK(cuDevicePrimaryCtxSetFlags_v2(1, CU_CTX_SCHED_YIELD));
  EXPECT_OK(cuDevicePrimaryCtxGetState(1, &flags, &active));
  EXPECT_EQ(flags & CU_CTX_SCHED_MASK, static_cast<unsigned>(CU_CTX_SCHED_YIELD));
  EXPECT_EQ(active, 0);
  EXPECT_OK(cuDevicePrimaryCtxSetFlags(1, CU_CTX_SCHED_AUTO));
  EXPECT_CUDA(cuDevicePrimaryCtxSetFlags_v2(1, 0x8000), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuDevicePrimaryCtxSetFlags(77, 0), CUDA_ERROR_INVALID_DEVICE);
  CUcontext primary = nullptr;
  EXPECT_OK(cuDevicePrimaryCtxRetain(&primary, 1));
  EXPECT_OK(cuDevicePrimaryCtxGetState(1, &flags, &active));
  EXPECT_EQ(active, 1);
  EXPECT_OK(cuDevicePrimaryCtxRelease(1));
  EXPECT_CUDA(cuDevicePrimaryCtxRelease(1), CUDA_ERROR_INVALID_CONTEXT);
  EXPECT_OK(cuDevicePrimaryCtxRetain(&primary, 1));
  EXPECT_OK(cuDevicePrimaryCtxReset(1));
  EXPECT_OK(cuDevicePrimaryCtxGetState(1, &flags, &active));
  EXPECT_EQ(active, 0);
}

TEST_F(ContextTest, StreamsTellWhatTheyAre) {
  CUstream stream = nullptr;
  ASSERT_OK(cuStreamCreateWithPriority(&stream, CU_STREAM_NON_BLOCKING, 0));
  unsigned flags = 0;
  EXPECT_OK(cuStreamGetFlags(stream, &flags));
  EXPECT_EQ(flags, static_cast<unsigned>(CU_STREAM_NON_BLOCKING));
  EXPECT_OK(cuStreamGetFlags(nullptr, &flags));
  EXPECT_EQ(flags, 0u);
  int priority = 77;
  EXPECT_OK(cuStreamGetPriority(stream, &priority));
  EXPECT_EQ(priority, 0);
  CUdevice device = -1;
  EXPECT_OK(cuStreamGetDevice(stream, &device));
  EXPECT_EQ(device, device_);
  unsigned long long id = 0, legacy = 0;
  EXPECT_OK(cuStreamGetId(stream, &id));
  EXPECT_OK(cuStreamGetId(CU_STREAM_LEGACY, &legacy));
  EXPECT_NE(id, legacy);
  EXPECT_CUDA(cuStreamGetFlags(stream, nullptr), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuStreamGetPriority(stream, nullptr), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuStreamGetId(stream, nullptr), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuStreamGetDevice(stream, nullptr), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuStreamCreateWithPriority(nullptr, 0, 0), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuStreamCreateWithPriority(&stream, 0x80, 0), CUDA_ERROR_INVALID_VALUE);
  EXPECT_OK(cuStreamDestroy_v2(stream));
  EXPECT_BAD_HANDLE(cuStreamGetFlags(stream, &flags), CUDA_ERROR_INVALID_HANDLE);
}

TEST_F(ContextTest, TheTimeBetweenEventsUnderItsOldName) {
  CUevent start = nullptr, end = nullptr;
  ASSERT_OK(cuEventCreate(&start, CU_EVENT_DEFAULT));
  ASSERT_OK(cuEventCreate(&end, CU_EVENT_DEFAULT));
  EXPECT_OK(cuEventRecord(start, nullptr));
  EXPECT_OK(cuEventRecord(end, nullptr));
  EXPECT_OK(cuEventSynchronize(end));
  float milliseconds = -1;
  EXPECT_OK(cuEventElapsedTime(&milliseconds, start, end));
  EXPECT_GE(milliseconds, 0);
  EXPECT_CUDA(cuEventElapsedTime(nullptr, start, end), CUDA_ERROR_INVALID_VALUE);
  EXPECT_OK(cuEventDestroy_v2(start));
  EXPECT_OK(cuEventDestroy_v2(end));
}

}  // namespace
}  // namespace farwarp::conformance
