// Goal: streams and events of the driver API: order, the three kinds of default stream behaviour,
// waits between streams, queries and times. Method: a kernel that spins until the host sets a word
// of page-locked memory holds a stream up for as long as the test wants. What must not have
// happened meanwhile is seen in the data when the gate opens.
#include <atomic>
#include <thread>

#include "tests/cpu_device/cuda_test.h"
#include "tests/cpu_device/kernels_ptx.h"

namespace farwarp::cpu {
namespace {

class Streams : public CudaTest {
 protected:
  void SetUp() override {
    CudaTest::SetUp();
    module_ = load(kKernels);
    gate_kernel_ = function(module_, "gate");
    store_kernel_ = function(module_, "store");
    copy_kernel_ = function(module_, "copy");
    void* words = nullptr;
    ASSERT_OK(cuMemHostAlloc(&words, 4096, 0));
    flag_ = static_cast<uint32_t*>(words);
    values_ = allocate(4096);
    ASSERT_OK(cuMemsetD8_v2(values_, 0, 4096));
    ASSERT_OK(cuCtxSynchronize());
  }
  void TearDown() override {
    open();
    CudaTest::TearDown();
  }

  void close(CUstream s) {
    std::atomic_ref<uint32_t>{*flag_}.store(0);
    CUdeviceptr flag = reinterpret_cast<CUdeviceptr>(flag_);
    void* params[] = {&flag};
    ASSERT_OK(cuLaunchKernel(gate_kernel_, 1, 1, 1, 1, 1, 1, 0, s, params, nullptr));
  }
  void open() { std::atomic_ref<uint32_t>{*flag_}.store(1); }
  void store(CUstream s, int word, uint32_t value) {
    CUdeviceptr at = values_ + 4 * word;
    void* params[] = {&at, &value};
    ASSERT_OK(cuLaunchKernel(store_kernel_, 1, 1, 1, 1, 1, 1, 0, s, params, nullptr));
  }
  // values[to] = values[from], which shows what was there when the stream got here.
  void observe(CUstream s, int to, int from) {
    CUdeviceptr to_address = values_ + 4 * to, from_address = values_ + 4 * from;
    void* params[] = {&to_address, &from_address};
    ASSERT_OK(cuLaunchKernel(copy_kernel_, 1, 1, 1, 1, 1, 1, 0, s, params, nullptr));
  }
  uint32_t value(int word) { return download<uint32_t>(values_ + 4 * word, 1)[0]; }

  CUmodule module_ = nullptr;
  CUfunction gate_kernel_ = nullptr, store_kernel_ = nullptr, copy_kernel_ = nullptr;
  uint32_t* flag_ = nullptr;
  CUdeviceptr values_ = 0;
};

TEST_F(Streams, RunBesideEachOther) {
  CUstream a = stream(), b = stream();
  close(a);
  store(b, 0, 5);
  EXPECT_OK(cuStreamSynchronize(b));
  EXPECT_CUDA(cuStreamQuery(a), CUDA_ERROR_NOT_READY);
  EXPECT_OK(cuStreamQuery(b));
  open();
  EXPECT_OK(cuStreamSynchronize(a));
  EXPECT_OK(cuStreamQuery(a));
  EXPECT_EQ(value(0), 5u);
}

TEST_F(Streams, CopiesOverlapKernels) {
  CUstream a = stream(CU_STREAM_NON_BLOCKING), b = stream(CU_STREAM_NON_BLOCKING);
  close(a);
  const uint32_t seven = 7;
  EXPECT_OK(cuMemcpyHtoDAsync_v2(values_, &seven, 4, b));
  uint32_t back = 0;
  EXPECT_OK(cuMemcpyDtoHAsync_v2(&back, values_, 4, b));
  EXPECT_OK(cuStreamSynchronize(b));
  EXPECT_EQ(back, 7u);
  EXPECT_CUDA(cuStreamQuery(a), CUDA_ERROR_NOT_READY);
  open();
}

TEST_F(Streams, LegacyComesAfterBlockingAndBeforeWhatFollows) {
  CUstream a = stream(), b = stream();
  close(a);
  store(a, 0, 1);
  observe(nullptr, 1, 0);  // legacy: waits for a
  store(nullptr, 2, 2);
  observe(b, 3, 2);  // blocking: waits for legacy
  EXPECT_CUDA(cuStreamQuery(b), CUDA_ERROR_NOT_READY);
  EXPECT_CUDA(cuStreamQuery(nullptr), CUDA_ERROR_NOT_READY);
  open();
  EXPECT_OK(cuCtxSynchronize());
  EXPECT_EQ(value(1), 1u);
  EXPECT_EQ(value(3), 2u);
}

TEST_F(Streams, NonBlockingIgnoresLegacy) {
  CUstream free = stream(CU_STREAM_NON_BLOCKING);
  close(nullptr);
  store(nullptr, 0, 1);
  observe(free, 1, 0);
  EXPECT_OK(cuStreamSynchronize(free));
  open();
  EXPECT_OK(cuCtxSynchronize());
  EXPECT_EQ(value(0), 1u);
  EXPECT_EQ(value(1), 0u) << "it ran before the legacy stream's store";
}

TEST_F(Streams, PerThreadStreamsAreBlockingStreamsOfTheirThreads) {
  close(CU_STREAM_PER_THREAD);
  std::thread([&] {
    ASSERT_OK(cuCtxSetCurrent(context_));
    store(CU_STREAM_PER_THREAD, 0, 4);
    EXPECT_OK(cuStreamSynchronize(CU_STREAM_PER_THREAD));
    EXPECT_EQ(cuStreamQuery_ptsz(nullptr), CUDA_SUCCESS);
  }).join();
  EXPECT_CUDA(cuStreamQuery(CU_STREAM_PER_THREAD), CUDA_ERROR_NOT_READY);
  EXPECT_CUDA(cuStreamQuery_ptsz(nullptr), CUDA_ERROR_NOT_READY);
  store(CU_STREAM_PER_THREAD, 1, 6);
  observe(CU_STREAM_LEGACY, 2, 1);
  EXPECT_CUDA(cuStreamQuery(CU_STREAM_LEGACY), CUDA_ERROR_NOT_READY);
  open();
  EXPECT_OK(cuCtxSynchronize());
  EXPECT_EQ(value(0), 4u);
  EXPECT_EQ(value(2), 6u);
}

TEST_F(Streams, WaitForEventsOfOtherStreams) {
  CUstream a = stream(CU_STREAM_NON_BLOCKING), b = stream(CU_STREAM_NON_BLOCKING);
  CUevent recorded = event(), never = event();
  close(a);
  store(a, 0, 8);
  EXPECT_OK(cuEventRecord(recorded, a));
  EXPECT_OK(cuStreamWaitEvent(b, never, 0));
  EXPECT_OK(cuStreamSynchronize(b));
  EXPECT_OK(cuStreamWaitEvent(b, recorded, 0));
  observe(b, 1, 0);
  EXPECT_CUDA(cuStreamQuery(b), CUDA_ERROR_NOT_READY);
  EXPECT_CUDA(cuEventQuery(recorded), CUDA_ERROR_NOT_READY);
  EXPECT_OK(cuEventDestroy_v2(recorded));
  open();
  EXPECT_OK(cuStreamSynchronize(b));
  EXPECT_EQ(value(1), 8u);
}

TEST_F(Streams, EventsMeasureTimeBetweenThem) {
  CUstream a = stream();
  CUevent first = event(), last = event(), never = event(),
          untimed = event(CU_EVENT_DISABLE_TIMING);
  float ms = -1;
  EXPECT_OK(cuEventQuery(never));
  EXPECT_OK(cuEventSynchronize(never));
  EXPECT_OK(cuEventRecord(first, a));
  close(a);
  EXPECT_OK(cuEventRecord(last, a));
  EXPECT_OK(cuEventRecord(untimed, a));
  EXPECT_CUDA(cuEventElapsedTime_v2(&ms, first, last), CUDA_ERROR_NOT_READY);
  open();
  EXPECT_OK(cuEventSynchronize(last));
  EXPECT_OK(cuEventElapsedTime_v2(&ms, first, last));
  EXPECT_GT(ms, 0.0f);
  float back = 0;
  EXPECT_OK(cuEventElapsedTime_v2(&back, last, first));
  EXPECT_EQ(back, -ms);
  EXPECT_CUDA(cuEventElapsedTime_v2(&ms, first, never), CUDA_ERROR_INVALID_HANDLE);
  EXPECT_OK(cuEventSynchronize(untimed));
  EXPECT_CUDA(cuEventElapsedTime_v2(&ms, first, untimed), CUDA_ERROR_INVALID_HANDLE);
}

TEST_F(Streams, FreeWaitsForKernelsThatMayUseTheMemory) {
  CUstream a = stream(CU_STREAM_NON_BLOCKING);
  const CUdeviceptr memory = allocate(4096);
  close(a);
  CUdeviceptr at = memory;
  uint32_t word = 3;
  void* params[] = {&at, &word};
  ASSERT_OK(cuLaunchKernel(store_kernel_, 1, 1, 1, 1, 1, 1, 0, a, params, nullptr));
  std::thread opener([&] { open(); });
  EXPECT_OK(cuMemFree_v2(memory));
  opener.join();
  EXPECT_OK(cuCtxSynchronize()) << "the kernel wrote before the memory went";
}

TEST_F(Streams, ADestroyedStreamFinishesItsWork) {
  CUstream a = stream();
  close(a);
  store(a, 0, 11);
  EXPECT_OK(cuStreamDestroy_v2(a));
  EXPECT_CUDA(cuStreamSynchronize(a), CUDA_ERROR_INVALID_HANDLE);
  EXPECT_CUDA(cuStreamDestroy_v2(a), CUDA_ERROR_INVALID_HANDLE);
  open();
  EXPECT_OK(cuCtxSynchronize());
  EXPECT_EQ(value(0), 11u);
}

TEST_F(Streams, TellWhatTheyAre) {
  CUstream a = stream(CU_STREAM_NON_BLOCKING);
  unsigned flags = 9;
  int priority = 9;
  unsigned long long id = 0, legacy_id = 0;
  CUcontext owner = nullptr;
  CUdevice device = 9;
  CUstreamCaptureStatus capture = CU_STREAM_CAPTURE_STATUS_ACTIVE;
  EXPECT_OK(cuStreamGetFlags(a, &flags));
  EXPECT_EQ(flags, unsigned{CU_STREAM_NON_BLOCKING});
  EXPECT_OK(cuStreamGetPriority(a, &priority));
  EXPECT_EQ(priority, 0);
  EXPECT_OK(cuStreamGetId(a, &id));
  EXPECT_OK(cuStreamGetId(nullptr, &legacy_id));
  EXPECT_NE(id, legacy_id);
  EXPECT_OK(cuStreamGetCtx(a, &owner));
  EXPECT_EQ(owner, context_);
  EXPECT_OK(cuStreamGetDevice(a, &device));
  EXPECT_EQ(device, device_);
  EXPECT_OK(cuStreamIsCapturing(a, &capture));
  EXPECT_EQ(capture, CU_STREAM_CAPTURE_STATUS_NONE);
  EXPECT_CUDA(cuStreamCreate(&a, 8), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuStreamQuery(reinterpret_cast<CUstream>(0xdead00)), CUDA_ERROR_INVALID_HANDLE);
  EXPECT_CUDA(cuStreamDestroy_v2(CU_STREAM_LEGACY), CUDA_ERROR_INVALID_HANDLE);
}

}  // namespace
}  // namespace farwarp::cpu
