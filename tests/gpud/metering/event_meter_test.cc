// Goal: event brackets give each launch's duration, the sum and the union, also when launches of
// several streams finish out of order, when the base event is moved along, and when launches or
// events fail. Method: a driver table whose events carry a clock that the test sets; the union is
// computed by hand.
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <set>

#include "gpud/device/driver_table.h"
#include "gpud/metering/kernel_meter.h"

namespace farwarp {
namespace {

// Events of the fake device: recorded at `now_ns` plus what the stream is behind, ready when told.
struct FakeDevice {
  uint64_t now_ns = 1000000;
  std::map<CUstream, uint64_t> stream_ns;   // where the stream's work ends
  std::map<CUevent, uint64_t> recorded_ns;  // of every live event
  std::map<CUevent, CUstream> stream_of;
  std::set<CUstream> held;  // streams whose events are not ready yet
  uintptr_t next_event = 1;
  CUresult query_error = CUDA_SUCCESS;

  void runKernel(CUstream stream, uint64_t ns) {
    stream_ns[stream] = std::max(stream_ns[stream], now_ns) + ns;
  }
};
FakeDevice* device = nullptr;

CUresult create(CUevent* event, unsigned) {
  *event = reinterpret_cast<CUevent>(device->next_event++);
  device->recorded_ns[*event] = 0;
  return CUDA_SUCCESS;
}
CUresult destroy(CUevent event) {
  return device->recorded_ns.erase(event) == 1 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}
CUresult record(CUevent event, CUstream stream) {
  device->recorded_ns.at(event) = std::max(device->now_ns, device->stream_ns[stream]);
  device->stream_of[event] = stream;
  return CUDA_SUCCESS;
}
CUresult query(CUevent event) {
  if (device->query_error != CUDA_SUCCESS) return device->query_error;
  return device->held.count(device->stream_of.at(event)) != 0 ? CUDA_ERROR_NOT_READY : CUDA_SUCCESS;
}
CUresult synchronize(CUevent event) {
  device->held.erase(device->stream_of.at(event));
  return CUDA_SUCCESS;
}
CUresult elapsed(float* ms, CUevent start, CUevent end) {
  const auto from = static_cast<double>(device->recorded_ns.at(start));
  *ms = static_cast<float>((static_cast<double>(device->recorded_ns.at(end)) - from) / 1e6);
  return CUDA_SUCCESS;
}

class EventMeter : public testing::Test {
 protected:
  EventMeter() {
    device = &device_;
    driver_.cuEventCreate = create;
    driver_.cuEventDestroy_v2 = destroy;
    driver_.cuEventRecord = record;
    driver_.cuEventQuery = query;
    driver_.cuEventSynchronize = synchronize;
    driver_.cuEventElapsedTime = elapsed;
    meter_ = makeEventMeter(driver_, {launches_, kernel_ns_, busy_ns_});
  }

  void launch(CUstream stream, uint64_t ns, CUresult result = CUDA_SUCCESS) {
    meter_->beforeLaunch(context_, 0, stream, "kernel");
    if (result == CUDA_SUCCESS) device_.runKernel(stream, ns);
    meter_->afterLaunch(result);
  }

  static CUstream stream(uintptr_t n) { return reinterpret_cast<CUstream>(n); }

  FakeDevice device_;
  DriverTable driver_{};
  CUcontext context_ = reinterpret_cast<CUcontext>(1);
  std::atomic<uint64_t> launches_{0}, kernel_ns_{0}, busy_ns_{0};
  std::unique_ptr<KernelMeter> meter_;
};

TEST_F(EventMeter, SumsKernelsOfOneStream) {
  launch(stream(7), 5000);
  device_.now_ns += 100000;
  launch(stream(7), 3000);
  meter_->poll();
  EXPECT_EQ(launches_, 2u);
  EXPECT_EQ(kernel_ns_, 8000u);
  EXPECT_EQ(busy_ns_, 8000u);
}

TEST_F(EventMeter, CountsOverlapOfStreamsOnceInTheUnion) {
  launch(stream(7), 5000);
  device_.now_ns += 2000;
  launch(stream(8), 5000);  // overlaps for 3000 ns
  meter_->poll();
  EXPECT_EQ(kernel_ns_, 10000u);
  EXPECT_EQ(busy_ns_, 7000u);
}

TEST_F(EventMeter, TakesInOutOfOrder) {
  device_.held.insert(stream(7));
  launch(stream(7), 9000);
  device_.now_ns += 1000;
  launch(stream(8), 2000);
  meter_->poll();
  EXPECT_EQ(kernel_ns_, 2000u);
  device_.held.clear();
  meter_->poll();
  EXPECT_EQ(kernel_ns_, 11000u);
  EXPECT_EQ(busy_ns_, 9000u);
}

TEST_F(EventMeter, StaysExactOverHours) {
  // The base must move: a float of milliseconds holds no nanoseconds after an hour.
  for (int i = 0; i < 1000; ++i) {
    device_.now_ns += 10'000'000'000;
    launch(stream(7), 1000);
    launch(stream(8), 1000);  // at the same time
    meter_->poll();
  }
  EXPECT_EQ(kernel_ns_, 2000u * 1000);
  EXPECT_NEAR(static_cast<double>(busy_ns_.load()), 1000.0 * 1000, 100.0 * 1000);
}

TEST_F(EventMeter, FailedLaunchesCountNothing) {
  launch(stream(7), 0, CUDA_ERROR_INVALID_VALUE);
  meter_->poll();
  EXPECT_EQ(launches_, 0u);
  EXPECT_EQ(kernel_ns_, 0u);
}

TEST_F(EventMeter, BrokenContextEndsWithoutWaitingForever) {
  device_.held.insert(stream(7));
  launch(stream(7), 1000);
  device_.query_error = CUDA_ERROR_ILLEGAL_ADDRESS;
  meter_->poll();
  EXPECT_EQ(launches_, 1u);
  EXPECT_EQ(kernel_ns_, 0u);
}

TEST_F(EventMeter, LetsAllEventsGoWithTheContext) {
  for (int i = 0; i < 100; ++i) launch(stream(7 + i % 3), 10);
  meter_->contextEnds(context_);
  EXPECT_EQ(kernel_ns_, 1000u);
  EXPECT_TRUE(device_.recorded_ns.empty());
}

TEST_F(EventMeter, BoundsWhatIsPending) {
  device_.held.insert(stream(7));
  for (int i = 0; i < 1100; ++i) launch(stream(7), 10);  // the 1025th waits for the first
  EXPECT_LE(device_.recorded_ns.size(), 2u * 1024 + 8);
  meter_->poll();
  EXPECT_EQ(kernel_ns_, 11000u);
}

}  // namespace
}  // namespace farwarp
