// Measures the kernels of one session. One interface; how exact it is depends on the device, and
// the method is part of every record. CUPTI will be a third implementation.
#pragma once

#include <cuda.h>

#include <atomic>
#include <cstdint>
#include <memory>

#include "gpud/metering/session_counters.h"

namespace farwarp {

struct DriverTable;
class KernelTimeline;

// Where a meter writes. Plain atomics, so that they may lie in memory shared with the supervisor.
struct KernelTotals {
  std::atomic<uint64_t>& launches;
  std::atomic<uint64_t>& kernel_ns;
  std::atomic<uint64_t>& busy_ns;
  KernelTimeline* timeline = nullptr;  // told each kernel, if given
};

// All functions are called on the worker's issuing thread.
class KernelMeter {
 public:
  virtual ~KernelMeter() = default;
  KernelMeter() = default;
  KernelMeter(const KernelMeter&) = delete;
  KernelMeter& operator=(const KernelMeter&) = delete;

  virtual MeterMethod method() const = 0;

  // Brackets one launch: before it is issued, and after with its result. `context` is current and
  // owns `stream`; `device` is its ordinal. `name` is for the timeline, and may be null.
  virtual void beforeLaunch(CUcontext context, CUdevice device, CUstream stream,
                            const char* name) = 0;
  virtual void afterLaunch(CUresult result) = 0;

  // Takes in what has finished. Called after waits and now and then; never waits itself. May change
  // the current context.
  virtual void poll() = 0;

  // The context is about to be destroyed: waits for its launches and lets its objects go.
  virtual void contextEnds(CUcontext context) = 0;
};

// Exact stamps from the device, when it offers them (device/kernel_records.h); null otherwise.
std::unique_ptr<KernelMeter> makeStampMeter(const DriverTable& driver, KernelTotals totals);

// Events around each launch, on any driver.
std::unique_ptr<KernelMeter> makeEventMeter(const DriverTable& driver, KernelTotals totals);

// The best that the device offers.
std::unique_ptr<KernelMeter> makeKernelMeter(const DriverTable& driver, KernelTotals totals);

}  // namespace farwarp
