// Goal: events over all streams of a context order the same work remotely as locally. Method: a
// host function holds one stream until the test lets it go; what must wait for it is not done
// before, and done after.
#include <future>

#include "tests/conformance/conformance.h"

namespace farwarp::conformance {
namespace {

class EventTest : public ConformanceTest {
 protected:
  void SetUp() override {
    ConformanceTest::SetUp();
    ASSERT_OK(cuStreamCreate(&held_, CU_STREAM_NON_BLOCKING));
    ASSERT_OK(cuEventCreate(&event_, CU_EVENT_DISABLE_TIMING));
  }
  void TearDown() override {
    letGo();
    ConformanceTest::TearDown();
  }
  // Nothing behind this runs in held_ before letGo().
  void hold() {
    gone_ = gate_.get_future().share();
    const auto wait = [](void* gone) { static_cast<std::shared_future<void>*>(gone)->wait(); };
    ASSERT_OK(cuLaunchHostFunc(held_, wait, &gone_));
  }
  void letGo() {
    if (!std::exchange(let_go_, true)) gate_.set_value();
  }

  CUstream held_ = nullptr;
  CUevent event_ = nullptr;
  std::promise<void> gate_;
  std::shared_future<void> gone_;
  bool let_go_ = false;
};

TEST_F(EventTest, OverAllStreamsOfAContext) {
  EXPECT_OK(cuCtxRecordEvent(context_, event_));
  EXPECT_OK(cuEventSynchronize(event_));
  hold();
  EXPECT_OK(cuCtxRecordEvent(context_, event_));
  EXPECT_CUDA(cuEventQuery(event_), CUDA_ERROR_NOT_READY);
  letGo();
  EXPECT_OK(cuEventSynchronize(event_));
  EXPECT_OK(cuEventQuery(event_));
}

TEST_F(EventTest, AllLaterWorkOfAContextWaits) {
  const CUdeviceptr memory = allocate(16);
  hold();
  EXPECT_OK(cuEventRecord(event_, held_));
  EXPECT_OK(cuCtxWaitEvent(context_, event_));
  // Also in streams that there were not yet.
  CUstream later = nullptr;
  ASSERT_OK(cuStreamCreate(&later, CU_STREAM_NON_BLOCKING));
  EXPECT_OK(cuMemsetD32Async(memory, 7, 4, later));
  EXPECT_CUDA(cuStreamQuery(later), CUDA_ERROR_NOT_READY);
  letGo();
  EXPECT_OK(cuStreamSynchronize(later));
  EXPECT_EQ(download(memory, 16),
            std::vector<unsigned char>({7, 0, 0, 0, 7, 0, 0, 0, 7, 0, 0, 0, 7, 0, 0, 0}));
}

TEST_F(EventTest, WhatIsRefused) {
  CUcontext other = nullptr, popped = nullptr;
  ASSERT_OK(cuCtxCreate_v2(&other, 0, device_));
  ASSERT_OK(cuCtxPopCurrent_v2(&popped));
  EXPECT_BAD_HANDLE(cuCtxRecordEvent(context_, nullptr), CUDA_ERROR_INVALID_HANDLE);
  EXPECT_BAD_HANDLE(cuCtxWaitEvent(context_, nullptr), CUDA_ERROR_INVALID_HANDLE);
  // Another context may wait for the event.
  EXPECT_OK(cuCtxRecordEvent(context_, event_));
  EXPECT_OK(cuCtxWaitEvent(other, event_));
  EXPECT_OK(cuCtxDestroy_v2(other));
  EXPECT_BAD_HANDLE(cuCtxRecordEvent(other, event_), CUDA_ERROR_INVALID_CONTEXT);
  EXPECT_BAD_HANDLE(cuCtxWaitEvent(other, event_), CUDA_ERROR_INVALID_CONTEXT);
}

TEST_F(EventTest, CapturesDoNotLikeIt) {
  ASSERT_OK(cuStreamBeginCapture_v2(held_, CU_STREAM_CAPTURE_MODE_RELAXED));
  EXPECT_CUDA(cuCtxRecordEvent(context_, event_), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
  CUgraph graph = nullptr;
  EXPECT_CUDA(cuStreamEndCapture(held_, &graph), CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
}

}  // namespace
}  // namespace farwarp::conformance
