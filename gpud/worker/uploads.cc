#include "gpud/worker/uploads.h"

#include <algorithm>
#include <cstring>

namespace farwarp::worker {

std::span<std::byte> Uploads::destinationFor(uint64_t transfer, uint64_t offset, uint32_t length) {
  if (transfer == 0 || length == 0 || length > kStagingBufferBytes) return {};
  if (offset > wire::kTransferBytesMax - length) return {};
  Upload& upload = uploads_[transfer];
  StagingBuffer buffer =
      hasRoom(upload, offset, length) ? pool_.take(contexts_.current()) : nullptr;
  if (buffer == nullptr) {
    if (upload.chunks.empty() && upload.consumed == 0) uploads_.erase(transfer);
    return {};
  }
  upload.chunks.emplace(offset, Chunk{buffer, length, false, {}});
  return {buffer, length};
}

// Chunks neither overlap nor come again.
bool Uploads::hasRoom(const Upload& upload, uint64_t offset, uint32_t length) {
  const auto next = upload.chunks.lower_bound(offset);
  const bool meets_next = next != upload.chunks.end() && next->first < offset + length;
  const bool meets_previous = next != upload.chunks.begin() &&
                              std::prev(next)->first + std::prev(next)->second.length > offset;
  return offset >= upload.consumed && !meets_next && !meets_previous;
}

bool Uploads::arrivedShared(uint64_t transfer, uint64_t offset, std::span<std::byte> bytes,
                            kj::Own<wire::BatchLease> lease) {
  if (transfer == 0 || offset > wire::kTransferBytesMax - bytes.size()) return false;
  const auto length = static_cast<uint32_t>(bytes.size());
  Upload& upload = uploads_[transfer];
  if (!hasRoom(upload, offset, length)) return false;
  pool_.prepareShared(contexts_.current());
  upload.chunks.emplace(offset, Chunk{bytes.data(), length, true, kj::mv(lease)});
  return true;
}

kj::Promise<void> Uploads::arrived(uint64_t transfer, uint64_t offset, bool log_waits) {
  const auto upload = uploads_.find(transfer);
  if (upload != uploads_.end()) {
    const auto chunk = upload->second.chunks.find(offset);
    if (chunk != upload->second.chunks.end()) chunk->second.arrived = true;
  }
  if (log_waits || !senderMustWait()) return kj::READY_NOW;
  auto held = kj::newPromiseAndFulfiller<void>();
  held_.push_back(kj::mv(held.fulfiller));
  watchDevice();
  return kj::mv(held.promise);
}

void Uploads::aborted(uint64_t transfer, uint64_t offset) {
  const auto upload = uploads_.find(transfer);
  if (upload == uploads_.end()) return;
  const auto chunk = upload->second.chunks.find(offset);
  if (chunk == upload->second.chunks.end() || chunk->second.arrived) return;
  pool_.give(chunk->second.buffer);
  upload->second.chunks.erase(chunk);
}

bool Uploads::supply(uint64_t transfer, std::span<const std::byte> bytes) {
  if (uploads_.contains(transfer)) return false;
  for (size_t offset = 0; offset < bytes.size();) {
    const size_t length = std::min(kStagingBufferBytes, bytes.size() - offset);
    const auto room = destinationFor(transfer, offset, static_cast<uint32_t>(length));
    if (room.empty()) return false;
    std::copy_n(bytes.begin() + static_cast<ptrdiff_t>(offset), length, room.begin());
    uploads_[transfer].chunks[offset].arrived = true;
    offset += length;
  }
  return true;
}

Uploads::Progress Uploads::consume(uint64_t transfer, uint64_t bytes, const Sink& sink) {
  if (transfer == 0 || bytes == 0 || bytes > wire::kTransferBytesMax) return Progress::malformed;
  Upload& upload = uploads_[transfer];
  while (!upload.chunks.empty()) {
    const auto first = upload.chunks.begin();
    if (first->first != upload.consumed || !first->second.arrived) break;
    Chunk& chunk = first->second;
    const uint32_t length = chunk.length;
    if (length > bytes - upload.consumed) return Progress::malformed;
    const bool shared = chunk.lease.get() != nullptr;
    if (sink(chunk, upload.consumed) && !shared) pool_.give(chunk.buffer);
    upload.consumed += length;
    upload.chunks.erase(first);
  }
  if (upload.consumed < bytes) return Progress::waiting;
  if (!upload.chunks.empty()) return Progress::malformed;
  uploads_.erase(transfer);
  return Progress::complete;
}

Uploads::Progress Uploads::takeWhole(uint64_t transfer, uint64_t bytes, std::span<std::byte> out) {
  if (transfer == 0 || bytes == 0 || bytes > out.size()) return Progress::malformed;
  const auto upload = uploads_.find(transfer);
  uint64_t there = 0;
  if (upload != uploads_.end()) {
    for (const auto& [offset, chunk] : upload->second.chunks) {
      if (offset == there && chunk.arrived) there += chunk.length;
    }
  }
  if (there < bytes) return Progress::waiting;
  return consume(transfer, bytes, [&](const Chunk& chunk, uint64_t offset) {
    std::memcpy(out.data() + offset, chunk.buffer, chunk.length);
    return true;
  });
}

Uploads::Progress Uploads::copyToDevice(uint64_t transfer, const DeviceBox& destination,
                                        CUstream stream, CUresult& result) {
  result = CUDA_SUCCESS;
  const auto known = uploads_.find(transfer);
  CUresult failure = known == uploads_.end() ? CUDA_SUCCESS : known->second.failure;
  const Progress progress =
      consume(transfer, destination.bytes(), [&](Chunk& chunk, uint64_t offset) {
        if (failure != CUDA_SUCCESS) return true;
        const DeviceBox::Outcome copied =
            destination.write(driver_, offset, {chunk.buffer, chunk.length}, stream);
        failure = copied.result;
        if (!copied.begun) return true;
        if (chunk.lease.get() != nullptr) {
          pool_.giveAfter(contexts_.current(), stream, kj::mv(chunk.lease));
        } else {
          pool_.giveAfter(contexts_.current(), stream, chunk.buffer);
        }
        return false;
      });
  // After an error the rest of the bytes is taken and dropped: it was sent before the client knows.
  if (progress == Progress::waiting) uploads_[transfer].failure = failure;
  if (progress == Progress::complete) result = failure;
  if (!held_.empty()) watchDevice();
  return progress;
}

void Uploads::watchDevice() {
  if (watching_) return;
  if (!senderMustWait()) return releaseSenders();
  watching_ = true;
  pool_.whenDeviceProgresses([this] {
    watching_ = false;
    watchDevice();
  });
}

void Uploads::releaseSenders() {
  for (auto& sender : held_) sender->fulfill();
  held_.clear();
}

}  // namespace farwarp::worker
