#include "gpud/worker/downloads.h"

#include <kj/debug.h>

#include <algorithm>
#include <cstring>

namespace farwarp::worker {

// Keeps a chunk until the bytes of one fetch are on the wire.
class Downloads::Served {
 public:
  Served(Downloads& downloads, uint64_t transfer, uint64_t index, uint32_t length)
      : downloads_(downloads), transfer_(transfer), index_(index), length_(length) {}
  ~Served() { downloads_.served(transfer_, index_, length_); }
  KJ_DISALLOW_COPY(Served);

 private:
  Downloads& downloads_;
  const uint64_t transfer_;
  const uint64_t index_;
  const uint32_t length_;
};

bool Downloads::mayStart(uint64_t transfer, uint64_t bytes) const {
  return transfer != 0 && bytes != 0 && bytes <= wire::kTransferBytesMax &&
         downloads_.find(transfer) == downloads_.end() &&
         downloads_.size() < 2 * wire::kPendingTransfersMax &&
         pending_count_ < wire::kPendingTransfersMax;
}

void Downloads::Fetch::fail(kj::Exception&& reason) {
  if (reply.get() != nullptr) {
    reply->fail(reason.getDescription().cStr());
  } else {
    fulfiller->reject(kj::mv(reason));
  }
}

CUresult Downloads::issueChunk(Download& download, Into into) {
  Chunk chunk;
  if (into == Into::any) chunk.buffer = pool_.takeShared(download.context);
  if (chunk.buffer == nullptr) chunk.buffer = pool_.take(download.context);
  if (chunk.buffer == nullptr) return CUDA_ERROR_OUT_OF_MEMORY;
  chunk.length = static_cast<uint32_t>(
      std::min<uint64_t>(kStagingBufferBytes, download.bytes - download.issued));
  const DeviceBox::Outcome copied =
      download.source.read(driver_, download.issued, {chunk.buffer, chunk.length}, download.stream);
  if (copied.result != CUDA_SUCCESS) {
    if (copied.begun) {
      pool_.giveAfter(download.context, download.stream, chunk.buffer);
    } else {
      pool_.give(chunk.buffer);
    }
    return copied.result;
  }
  const CUresult result = waits_.mark(download.context, download.stream, chunk.marker);
  if (result != CUDA_SUCCESS)
    return result;  // the device may still write: the buffer is not reused
  download.chunks.emplace(download.issued / kStagingBufferBytes, chunk);
  download.issued += chunk.length;
  return CUDA_SUCCESS;
}

CUresult Downloads::startWaited(uint64_t transfer, const DeviceBox& source, CUstream stream,
                                std::function<void(CUresult)> started) {
  auto download = std::make_shared<Download>();
  download->id = transfer;
  download->source = source;
  download->bytes = source.bytes();
  download->stream = stream;
  download->context = contexts_.current();
  if (CUresult r = issueChunk(*download, Into::any); r != CUDA_SUCCESS) return r;
  download->started = std::move(started);
  downloads_.emplace(transfer, download);
  refill(download);
  await(download, 0);
  return CUDA_SUCCESS;
}

CUresult Downloads::startAsync(uint64_t transfer, const DeviceBox& source, CUstream stream) {
  auto download = std::make_shared<Download>();
  download->id = transfer;
  download->source = source;
  download->bytes = source.bytes();
  download->stream = stream;
  download->context = contexts_.current();
  downloads_.emplace(transfer, download);
  while (download->issued < download->bytes) {
    // Nobody is about to fetch it: shared memory is for those that are.
    if (CUresult r = issueChunk(*download, Into::pool); r != CUDA_SUCCESS) {
      // What was issued is written to buffers that come back when the stream has passed.
      for (auto& [index, chunk] : download->chunks) {
        pool_.giveAfter(download->context, stream, chunk.buffer);
        waits_.release(chunk.marker);
      }
      download->chunks.clear();
      fail(download, r);
      return r;
    }
  }
  pending_[stream].push_back(transfer);
  ++pending_count_;
  return CUDA_SUCCESS;
}

void Downloads::refill(const DownloadPtr& download) {
  const CUcontext before = contexts_.current();
  while (download->failure == CUDA_SUCCESS && download->issued < download->bytes) {
    const bool first_in_window = download->chunks.empty();
    if (!first_in_window &&
        (download->chunks.size() * kStagingBufferBytes >= limits_.window_bytes_max ||
         pool_.sharedIsFull())) {
      break;
    }
    contexts_.use(download->context);
    const CUresult result = issueChunk(*download, Into::any);
    // With chunks in flight there is another chance when one was fetched.
    if (result == CUDA_ERROR_OUT_OF_MEMORY && !first_in_window) break;
    if (result != CUDA_SUCCESS) fail(download, result);
  }
  contexts_.use(before);
}

void Downloads::await(const DownloadPtr& download, uint64_t index) {
  const auto it = download->chunks.find(index);
  if (it == download->chunks.end() || it->second.ready || it->second.awaited) return;
  it->second.awaited = true;
  waits_.whenReached(it->second.marker, [this, download, index](CUresult result) {
    chunkReady(download, index, result);
  });
}

void Downloads::chunkReady(const DownloadPtr& download, uint64_t index, CUresult result) {
  const auto it = download->chunks.find(index);
  if (it == download->chunks.end() || it->second.ready) return;
  if (result != CUDA_SUCCESS) return fail(download, result);
  // The copies of one download are in one stream: all before this one are there, too.
  for (auto chunk = download->chunks.begin(); chunk != std::next(it); ++chunk) {
    if (chunk->second.ready) continue;
    chunk->second.ready = true;
    waits_.release(chunk->second.marker);
  }
  if (download->started) {
    const auto started = std::move(download->started);
    download->started = nullptr;
    started(CUDA_SUCCESS);
  }
  serveFetches(download);
}

std::vector<uint64_t> Downloads::listCompleted() {
  std::erase_if(completed_, [this](uint64_t id) { return !downloads_.contains(id); });
  for (auto stream = pending_.begin(); stream != pending_.end();) {
    std::deque<uint64_t>& queue = stream->second;
    while (!queue.empty()) {
      const auto found = downloads_.find(queue.front());
      if (found != downloads_.end() && found->second->failure == CUDA_SUCCESS) {
        const DownloadPtr download = found->second;
        const auto last = std::prev(download->chunks.end());
        CUresult result = CUDA_SUCCESS;
        if (!last->second.ready && !waits_.reached(last->second.marker, result)) break;
        chunkReady(download, last->first, result);
        if (result == CUDA_SUCCESS) completed_.push_back(download->id);
      }
      queue.pop_front();
      --pending_count_;
    }
    stream = queue.empty() ? pending_.erase(stream) : std::next(stream);
  }
  return completed_;
}

kj::Promise<wire::GetResult> Downloads::get(uint64_t transfer, uint64_t offset, uint32_t length) {
  const auto found = downloads_.find(transfer);
  if (found == downloads_.end()) {
    return KJ_EXCEPTION(FAILED,
                        "The transfer is not there: it was never announced, it failed, or it "
                        "was fetched already.",
                        transfer);
  }
  const DownloadPtr download = found->second;
  if (length == 0 || length > kStagingBufferBytes || offset > download->bytes ||
      length > download->bytes - offset) {
    return KJ_EXCEPTION(FAILED, "The range lies outside of the transfer.", transfer, offset, length,
                        download->bytes);
  }
  if (download->failure != CUDA_SUCCESS) {
    return KJ_EXCEPTION(FAILED, "The copy from the device failed.", transfer,
                        static_cast<int>(download->failure));
  }
  auto fetch = kj::newPromiseAndFulfiller<wire::GetResult>();
  download->fetches.push_back({offset, length, kj::mv(fetch.fulfiller), {}});
  serveFetches(download);
  return kj::mv(fetch.promise);
}

void Downloads::getShared(uint64_t transfer, uint64_t offset, uint32_t length,
                          kj::Own<wire::SharedReply> reply) {
  const auto found = downloads_.find(transfer);
  if (found == downloads_.end()) return reply->fail("The transfer is not there.");
  const DownloadPtr download = found->second;
  if (offset % kStagingBufferBytes != 0 || length > kStagingBufferBytes ||
      offset > download->bytes || length > download->bytes - offset) {
    return reply->fail("The range is not a chunk of the transfer.");
  }
  if (download->failure != CUDA_SUCCESS) return reply->fail("The copy from the device failed.");
  download->fetches.push_back({offset, length, {}, kj::mv(reply)});
  serveFetches(download);
}

// The chunk is there, and the fetch is for shared memory. Without room there the reply is dropped,
// which tells the client to fetch over the socket.
void Downloads::lend(const DownloadPtr& download, uint64_t index, Fetch& fetch) {
  Chunk& chunk = download->chunks.at(index);
  Lent lent{download->id, index, fetch.length, chunk.buffer};
  const bool is_shared = pool_.placeOf(chunk.buffer).has_value();
  if (!is_shared) {
    lent.buffer = pool_.takeShared(nullptr);
    if (lent.buffer == nullptr) return;
    std::memcpy(lent.buffer, chunk.buffer, fetch.length);
    lent.transfer = 0;
  }
  const uint32_t place = *pool_.placeOf(lent.buffer);
  auto reply = kj::mv(fetch.reply);
  chunk.lent = is_shared;
  bytes_served_ += fetch.length;
  lent_.emplace(place, lent);
  reply->at(place);
  if (!is_shared) served(download->id, index, fetch.length);
}

bool Downloads::takenShared(uint32_t place) {
  const auto found = lent_.find(place);
  if (found == lent_.end()) return false;
  const Lent lent = found->second;
  lent_.erase(found);
  const auto download = downloads_.find(lent.transfer);
  if (download == downloads_.end() || !download->second->chunks.contains(lent.index)) {
    pool_.give(lent.buffer);
  } else {
    download->second->chunks.at(lent.index).lent = false;
    served(lent.transfer, lent.index, lent.length);
  }
  return true;
}

void Downloads::serveFetches(const DownloadPtr& download) {
  std::vector<Fetch> waiting = std::move(download->fetches);
  download->fetches.clear();
  for (Fetch& fetch : waiting) {
    if (!serve(download, fetch)) download->fetches.push_back(std::move(fetch));
  }
}

bool Downloads::serve(const DownloadPtr& download, Fetch& fetch) {
  const uint64_t first = fetch.offset / kStagingBufferBytes;
  const uint64_t last = (fetch.offset + fetch.length - 1) / kStagingBufferBytes;
  for (uint64_t index = first; index <= last; ++index) {
    const auto chunk = download->chunks.find(index);
    if (chunk == download->chunks.end()) {
      if (index * kStagingBufferBytes >= download->issued) return false;  // comes with a refill
      fetch.fail(
          KJ_EXCEPTION(FAILED, "These bytes of the transfer were fetched already.", download->id));
      return true;
    }
    if (chunk->second.lent) {
      fetch.fail(KJ_EXCEPTION(FAILED, "These bytes of the transfer are being fetched already."));
      return true;
    }
    if (!chunk->second.ready) {
      await(download, index);
      // It may have become ready inside; then the fetch is served by the same turn's retry.
      const auto now = download->chunks.find(index);
      if (now == download->chunks.end() || !now->second.ready) return false;
    }
  }
  if (fetch.reply.get() != nullptr) {
    lend(download, first, fetch);
    fetch.reply = nullptr;
    return true;
  }
  const uint64_t within = fetch.offset % kStagingBufferBytes;
  bytes_served_ += fetch.length;
  if (first == last) {
    const std::byte* at = download->chunks.at(first).buffer + within;
    auto owner = kj::heap<Served>(*this, download->id, first, fetch.length);
    fetch.fulfiller->fulfill(wire::GetResult{{at, fetch.length}, kj::mv(owner)});
    return true;
  }
  // Over a chunk's edge: only a client with another idea of chunks does that.
  auto copy = kj::heapArray<kj::byte>(fetch.length);
  const uint32_t head = static_cast<uint32_t>(kStagingBufferBytes - within);
  std::memcpy(copy.begin(), download->chunks.at(first).buffer + within, head);
  std::memcpy(copy.begin() + head, download->chunks.at(last).buffer, fetch.length - head);
  const std::span<const std::byte> bytes(reinterpret_cast<const std::byte*>(copy.begin()),
                                         copy.size());
  const uint64_t id = download->id;
  const uint32_t length = fetch.length;
  fetch.fulfiller->fulfill(wire::GetResult{bytes, kj::heap(kj::mv(copy))});
  served(id, first, head);
  served(id, last, length - head);
  return true;
}

void Downloads::served(uint64_t transfer, uint64_t index, uint32_t length) {
  const auto found = downloads_.find(transfer);
  if (found == downloads_.end()) return;
  const DownloadPtr download = found->second;
  const auto chunk = download->chunks.find(index);
  if (chunk == download->chunks.end()) return;
  chunk->second.served += length;
  if (chunk->second.served < chunk->second.length) return;
  pool_.give(chunk->second.buffer);
  download->chunks.erase(chunk);
  if (download->issued == download->bytes && download->chunks.empty()) {
    downloads_.erase(transfer);
    return;
  }
  if (download->issued < download->bytes) {
    refill(download);
    serveFetches(download);
  }
}

void Downloads::fail(const DownloadPtr& download, CUresult result) {
  download->failure = result;
  for (auto& [index, chunk] : download->chunks) {
    // Not ready: a broken context's device may still write to the buffer, so it is not used again.
    // What is lent comes back when the client has taken it.
    if (chunk.ready && chunk.served == 0 && !chunk.lent) pool_.give(chunk.buffer);
  }
  download->chunks.clear();
  downloads_.erase(download->id);
  std::vector<Fetch> fetches = std::move(download->fetches);
  download->fetches.clear();
  for (Fetch& fetch : fetches) {
    fetch.fail(KJ_EXCEPTION(FAILED, "The copy from the device failed.", download->id,
                            static_cast<int>(result)));
  }
  if (!download->started) return;
  const auto started = std::move(download->started);
  download->started = nullptr;
  started(result);
}

void Downloads::contextEnds(CUcontext context) {
  // The context is idle: what was issued is there, and what was not never will be.
  std::vector<DownloadPtr> all;
  for (const auto& [id, download] : downloads_) all.push_back(download);
  for (const DownloadPtr& download : all) {
    if (download->context != context) continue;
    if (download->issued < download->bytes) {
      fail(download, CUDA_ERROR_CONTEXT_IS_DESTROYED);
    } else if (!download->chunks.empty()) {
      chunkReady(download, std::prev(download->chunks.end())->first, CUDA_SUCCESS);
    }
  }
  static_cast<void>(listCompleted());
}

}  // namespace farwarp::worker
