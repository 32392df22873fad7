#include "gpud/worker/reply_writer.h"

#include <fmt/format.h>

#include <cstring>
#include <stdexcept>

#include "protocol/record.h"

namespace farwarp::worker {

std::byte* ReplyWriter::body(size_t bytes) {
  const std::vector<uint64_t> completed = news_.takeCompleted();
  const size_t head = sizeof(wire::ReplyHeader) + completed.size() * sizeof(uint64_t);
  if (bytes > wire::kReplyBytesMax - head) {
    throw std::length_error(
        fmt::format("A reply has {} bytes; the limit is {}.", head + bytes, wire::kReplyBytesMax));
  }
  buffer_ = reply_->buffer(head + bytes);
  completed_ = static_cast<uint32_t>(completed.size());
  if (!completed.empty()) {
    std::memcpy(buffer_.data() + sizeof(wire::ReplyHeader), completed.data(),
                completed.size() * sizeof(uint64_t));
  }
  return buffer_.data() + head;
}

void ReplyWriter::send(CUresult result) {
  if (sent_) return;
  sent_ = true;
  if (!wanted()) {
    if (result != CUDA_SUCCESS) news_.keepError(result);
    return;
  }
  if (buffer_.empty()) body(0);
  const wire::ReplyHeader header{static_cast<int32_t>(result),
                                 static_cast<int32_t>(news_.takeDeferred()), completed_, 0};
  std::memcpy(buffer_.data(), &header, sizeof(header));
  news_.beforeReply();
  reply_->sendBuffer();
  reply_ = nullptr;
}

}  // namespace farwarp::worker
