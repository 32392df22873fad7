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
#include <optional>
#include <span>
#include <vector>

#include "driver_calls_gen.h"
#include "gpud/worker/waits.h"
#include "protocol/limits.h"
#include "protocol/server_connection.h"
#include "protocol/shared_region.h"

namespace farwarp::worker {

inline constexpr size_t kStagingBufferBytes = wire::kChunkBytesMax;
static_assert(kStagingBufferBytes == wire::kDownloadSlotBytes);

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
  // Gives the buffer back when all that was issued to `stream` so far is done; or ends the lease of
  // memory that is not the pool's, then.
  void giveAfter(CUcontext context, CUstream stream, StagingBuffer buffer);
  void giveAfter(CUcontext context, CUstream stream, kj::Own<wire::BatchLease> lease);

  // Memory that is shared with the client. Once.
  bool share(wire::SharedRegion region);
  // Its part for uploads; empty without it.
  std::span<std::byte> uploadPart() const {
    return region_ ? region_->uploads() : std::span<std::byte>();
  }
  // The device is about to read it.
  void prepareShared(CUcontext context) {
    if (context != nullptr && region_) registerSlab(region_->uploads().data(), context);
  }
  // A buffer of its part for downloads, or null; give() takes it back as any other.
  [[nodiscard]] StagingBuffer takeShared(CUcontext context);
  // There is such a part, and it has none left.
  bool sharedIsFull() const { return region_.has_value() && free_shared_.empty(); }
  // Where a buffer lies in that part; nothing for other buffers.
  std::optional<uint32_t> placeOf(StagingBuffer buffer) const;

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
    size_t bytes;
    CUcontext registered_in = nullptr;
    bool refused = false;  // the driver does not register it
  };
  struct Retiring {
    Marker marker;
    StagingBuffer buffer;
    kj::Own<wire::BatchLease> lease;
  };
  void retire(CUcontext context, CUstream stream, StagingBuffer buffer,
              kj::Own<wire::BatchLease> lease);
  void watchLeases();
  bool grow();
  void registerSlab(StagingBuffer buffer, CUcontext context);

  const DriverTable& driver_;
  Waits& waits_;
  const uint64_t bytes_max_;
  uint64_t bytes_in_use_ = 0;
  std::map<std::byte*, Slab> slabs_;  // by their first byte
  std::vector<StagingBuffer> free_;
  std::deque<Retiring> retiring_;
  std::optional<wire::SharedRegion> region_;
  std::vector<StagingBuffer> free_shared_;
  size_t leases_retiring_ = 0;
  bool watching_leases_ = false;
};

}  // namespace farwarp::worker
