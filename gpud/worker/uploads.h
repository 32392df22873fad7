// Bytes on their way from the client to the device: received into staging buffers, copied on by the
// call that names the transfer, in whichever order the two arrive.
#pragma once

#include <cuda.h>
#include <kj/async.h>

#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "gpud/worker/contexts.h"
#include "gpud/worker/device_box.h"
#include "gpud/worker/staging_pool.h"

namespace farwarp::worker {

class Uploads {
 public:
  struct Limits {
    uint64_t staging_bytes_max;  // beyond it the sender is slowed down
  };

  Uploads(const DriverTable& driver, StagingPool& pool, Contexts& contexts, Limits limits)
      : driver_(driver), pool_(pool), contexts_(contexts), limits_(limits) {}

  // Network side (protocol/server_connection.h). An empty destination refuses the chunk.
  std::span<std::byte> destinationFor(uint64_t transfer, uint64_t offset, uint32_t length);
  // `log_waits`: the log stands still until bytes arrive, so the sender must not.
  kj::Promise<void> arrived(uint64_t transfer, uint64_t offset, bool log_waits);
  void aborted(uint64_t transfer, uint64_t offset);
  // All bytes of a transfer come from here instead. False when some came already, or there is no
  // room.
  [[nodiscard]] bool supply(uint64_t transfer, std::span<const std::byte> bytes);
  // The same for bytes that have arrived in shared memory; false refuses them.
  bool arrivedShared(uint64_t transfer, uint64_t offset, std::span<std::byte> bytes,
                     kj::Own<wire::BatchLease> lease);
  // The log stands still from now on: nobody who has bytes may be held back.
  void logWaits() { releaseSenders(); }

  struct Chunk {
    StagingBuffer buffer;
    uint32_t length;
    bool arrived;
    kj::Own<wire::BatchLease> lease;  // of shared memory; then the buffer is not the pool's
  };

  // Log side: moves what has arrived, in order, to `sink`. `sink` takes the chunk and its offset,
  // and gives true when the buffer may be reused at once.
  enum class Progress { complete, waiting, malformed };
  using Sink = std::function<bool(Chunk& chunk, uint64_t offset)>;
  Progress consume(uint64_t transfer, uint64_t bytes, const Sink& sink);

  // Takes a transfer whole, once all of it is there. `out` gets `bytes` bytes.
  Progress takeWhole(uint64_t transfer, uint64_t bytes, std::span<std::byte> out);

  // Copies a transfer, of as many bytes as `destination` takes, to the device in `stream`. `result`
  // is meaningful when complete.
  Progress copyToDevice(uint64_t transfer, const DeviceBox& destination, CUstream stream,
                        CUresult& result);

  size_t transfers() const { return uploads_.size(); }

 private:
  struct Upload {
    std::map<uint64_t, Chunk> chunks;  // by offset
    uint64_t consumed = 0;
    CUresult failure = CUDA_SUCCESS;
  };

  static bool hasRoom(const Upload& upload, uint64_t offset, uint32_t length);
  bool senderMustWait() const {
    return pool_.bytesInUse() > limits_.staging_bytes_max && pool_.awaitsDevice();
  }
  void watchDevice();
  void releaseSenders();

  const DriverTable& driver_;
  StagingPool& pool_;
  Contexts& contexts_;
  const Limits limits_;
  std::unordered_map<uint64_t, Upload> uploads_;
  std::vector<kj::Own<kj::PromiseFulfiller<void>>> held_;  // senders that wait for buffers
  bool watching_ = false;
};

}  // namespace farwarp::worker
