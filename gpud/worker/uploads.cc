#include "gpud/worker/uploads.h"

#include <algorithm>

namespace farwarp::worker {

std::span<std::byte> Uploads::destinationFor(uint64_t transfer, uint64_t offset, uint32_t length) {
  if (transfer == 0 || length == 0 || length > kStagingBufferBytes) return {};
  if (offset > wire::kTransferBytesMax - length) return {};
  Upload& upload = uploads_[transfer];
  // Chunks neither overlap nor come again.
  const auto next = upload.chunks.lower_bound(offset);
  const bool meets_next = next != upload.chunks.end() && next->first < offset + length;
  const bool meets_previous = next != upload.chunks.begin() &&
                              std::prev(next)->first + std::prev(next)->second.length > offset;
  StagingBuffer buffer = nullptr;
  if (offset >= upload.consumed && !meets_next && !meets_previous) {
    buffer = pool_.take(contexts_.current());
  }
  if (buffer == nullptr) {
    if (upload.chunks.empty() && upload.consumed == 0) uploads_.erase(transfer);
    return {};
  }
  upload.chunks.emplace(offset, Chunk{buffer, length, false});
  return {buffer, length};
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
    const Chunk chunk = first->second;
    if (chunk.length > bytes - upload.consumed) return Progress::malformed;
    if (sink({chunk.buffer, chunk.length}, upload.consumed, chunk.buffer)) pool_.give(chunk.buffer);
    upload.consumed += chunk.length;
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
  return consume(
      transfer, bytes, [&](std::span<const std::byte> part, uint64_t offset, StagingBuffer) {
        std::copy(part.begin(), part.end(), out.begin() + static_cast<ptrdiff_t>(offset));
        return true;
      });
}

Uploads::Progress Uploads::copyToDevice(uint64_t transfer, const DeviceBox& destination,
                                        CUstream stream, CUresult& result) {
  result = CUDA_SUCCESS;
  const auto known = uploads_.find(transfer);
  CUresult failure = known == uploads_.end() ? CUDA_SUCCESS : known->second.failure;
  const Progress progress =
      consume(transfer, destination.bytes(),
              [&](std::span<const std::byte> part, uint64_t offset, StagingBuffer buffer) {
                if (failure != CUDA_SUCCESS) return true;
                const DeviceBox::Outcome copied = destination.write(driver_, offset, part, stream);
                failure = copied.result;
                if (!copied.begun) return true;
                pool_.giveAfter(contexts_.current(), stream, buffer);
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
