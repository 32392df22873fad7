// Bytes on their way from the device to the client: copied into staging buffers in stream order,
// and fetched by the client chunk by chunk (Bulk.get).
//
// A download that the client waits for is staged through a window, refilled as it is fetched. One
// that it does not wait for is staged whole at the call, because the stream goes on behind it.
#pragma once

#include <cuda.h>
#include <kj/async.h>

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <unordered_map>
#include <vector>

#include "gpud/worker/contexts.h"
#include "gpud/worker/device_box.h"
#include "gpud/worker/staging_pool.h"
#include "gpud/worker/waits.h"
#include "protocol/server_connection.h"

namespace farwarp::worker {

class Downloads {
 public:
  struct Limits {
    uint64_t window_bytes_max;  // staged at one time for one download that is waited for
  };

  Downloads(const DriverTable& driver, StagingPool& pool, Contexts& contexts, Waits& waits,
            Limits limits)
      : driver_(driver), pool_(pool), contexts_(contexts), waits_(waits), limits_(limits) {}

  // True when the client may use this number for a new download: not 0, not in use, and not too
  // many.
  bool mayStart(uint64_t transfer, uint64_t bytes) const;

  // Issues the copy of `source` in `stream` as `transfer`; the current context owns the stream.
  // `started` is called on the loop, with the result, when the first bytes are there or the copy
  // failed. Returns what the driver said to the first part; `started` is not called when that is an
  // error.
  [[nodiscard]] CUresult startWaited(uint64_t transfer, const DeviceBox& source, CUstream stream,
                                     std::function<void(CUresult)> started);

  // The same for a copy that nobody waits for. CUDA_ERROR_OUT_OF_MEMORY when it cannot be staged
  // whole.
  [[nodiscard]] CUresult startAsync(uint64_t transfer, const DeviceBox& source, CUstream stream);

  // Async downloads that are complete now and were not fetched yet. Each is told again until it was
  // fetched: of two threads of the client, the one that is told first may act last.
  std::vector<uint64_t> listCompleted();

  // Serves one fetch as soon as its bytes are there.
  kj::Promise<wire::GetResult> get(uint64_t transfer, uint64_t offset, uint32_t length);

  // The same into memory that is shared with the client, where there is room.
  void getShared(uint64_t transfer, uint64_t offset, uint32_t length,
                 kj::Own<wire::SharedReply> reply);
  // The client has taken what lay at a place there. False: nothing did.
  bool takenShared(uint32_t place);

  // The context is idle and about to go.
  void contextEnds(CUcontext context);

  size_t transfers() const { return downloads_.size(); }
  uint64_t bytesServed() const { return bytes_served_; }

 private:
  struct Chunk {
    StagingBuffer buffer = nullptr;
    Marker marker;
    uint32_t length = 0;
    uint32_t served = 0;
    bool ready = false;
    bool awaited = false;
    bool lent = false;  // to the client, in shared memory
  };
  // One of the two takes the answer.
  struct Fetch {
    uint64_t offset;
    uint32_t length;
    kj::Own<kj::PromiseFulfiller<wire::GetResult>> fulfiller;
    kj::Own<wire::SharedReply> reply;

    void fail(kj::Exception&& reason);
  };
  // Shared memory that the client reads.
  struct Lent {
    uint64_t transfer;  // 0: a copy of a chunk that is gone
    uint64_t index;
    uint32_t length;
    StagingBuffer buffer;
  };
  struct Download {
    uint64_t id = 0;
    DeviceBox source;
    uint64_t bytes = 0;
    CUstream stream = nullptr;
    CUcontext context = nullptr;
    uint64_t issued = 0;  // bytes
    CUresult failure = CUDA_SUCCESS;
    std::map<uint64_t, Chunk> chunks;  // live ones, by index
    std::vector<Fetch> fetches;
    std::function<void(CUresult)> started;
  };
  using DownloadPtr = std::shared_ptr<Download>;
  class Served;

  enum class Into { any, pool };
  [[nodiscard]] CUresult issueChunk(Download& download, Into into);
  void refill(const DownloadPtr& download);
  void await(const DownloadPtr& download, uint64_t index);
  void chunkReady(const DownloadPtr& download, uint64_t index, CUresult result);
  void serveFetches(const DownloadPtr& download);
  bool serve(const DownloadPtr& download, Fetch& fetch);
  void lend(const DownloadPtr& download, uint64_t index, Fetch& fetch);
  void served(uint64_t transfer, uint64_t index, uint32_t length);
  void fail(const DownloadPtr& download, CUresult result);

  const DriverTable& driver_;
  StagingPool& pool_;
  Contexts& contexts_;
  Waits& waits_;
  const Limits limits_;
  uint64_t bytes_served_ = 0;
  std::unordered_map<uint64_t, DownloadPtr> downloads_;
  std::map<uint32_t, Lent> lent_;                     // by place
  std::map<CUstream, std::deque<uint64_t>> pending_;  // async transfers not yet told, in order
  size_t pending_count_ = 0;
  std::vector<uint64_t> completed_;  // known complete, to be told with every reply until fetched
};

}  // namespace farwarp::worker
