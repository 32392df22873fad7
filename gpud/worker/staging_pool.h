// Host memory between the network and the device: buffers of one chunk each, carved from slabs that
// are registered with the driver when it allows it, so that copies are asynchronous and fast.
//
// The memory is our own, not the driver's: it outlives the contexts that it was registered with.
#pragma once

#include <cuda.h>

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <vector>

#include "driver_calls_gen.h"
#include "gpud/worker/waits.h"
#include "protocol/limits.h"

namespace farwarp::worker {

inline constexpr size_t kStagingBufferBytes = wire::kChunkBytesMax;

using StagingBuffer = std::byte*;  // kStagingBufferBytes, page-aligned; null: none

class StagingPool {
 public:
  // `bytes_max`: what may be in use at all.
  StagingPool(const DriverTable& driver, Waits& waits, uint64_t bytes_max)
      : driver_(driver), waits_(waits), bytes_max_(bytes_max) {}
  ~StagingPool();
  StagingPool(const StagingPool&) = delete;
  StagingPool& operator=(const StagingPool&) = delete;

  // A buffer, or null when the limit is reached or the system has no memory. `context`: the current
  // context or null.
  [[nodiscard]] StagingBuffer take(CUcontext context);
  void give(StagingBuffer buffer);
  // Gives the buffer back when all that was issued to `stream` so far is done.
  void giveAfter(CUcontext context, CUstream stream, StagingBuffer buffer);

  uint64_t bytesInUse() const { return bytes_in_use_; }
  // Some buffers come back by themselves when the device is done with them.
  bool awaitsDevice() const { return !retiring_.empty(); }
  // Takes back what the device is done with.
  void collect();
  // Calls `then` when the device is done with the oldest such buffer.
  void whenDeviceProgresses(std::function<void()> then);

  // The context is about to be destroyed, and is idle.
  void contextEnds(CUcontext context);

 private:
  // Memory of one mmap, and the context that it was registered in: without registration an
  // asynchronous copy would hold up the issuing thread.
  struct Slab {
    CUcontext registered_in = nullptr;
    bool refused = false;  // the driver does not register it
  };
  struct Retiring {
    Marker marker;
    StagingBuffer buffer;
  };
  bool grow();
  void registerSlab(StagingBuffer buffer, CUcontext context);

  const DriverTable& driver_;
  Waits& waits_;
  const uint64_t bytes_max_;
  uint64_t bytes_in_use_ = 0;
  std::map<std::byte*, Slab> slabs_;  // by their first byte
  std::vector<StagingBuffer> free_;
  std::deque<Retiring> retiring_;
};

}  // namespace farwarp::worker
