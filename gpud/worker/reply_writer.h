// Writes one reply: the head with the result, the error kept since the last reply and the transfers
// that completed, then the call's own fields.
#pragma once

#include <cuda.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "protocol/server_connection.h"

namespace farwarp::worker {

// What every reply of a session carries.
class ReplyNews {
 public:
  // The first error kept from asynchronous calls since it was last taken.
  virtual CUresult takeDeferred() = 0;
  // Asynchronous device-to-host transfers that are complete and were not told yet.
  virtual std::vector<uint64_t> takeCompleted() = 0;
  // Anything that must reach the client before the reply.
  virtual void beforeReply() = 0;
  // A call that nobody waits for failed.
  virtual void keepError(CUresult result) = 0;

 protected:
  ~ReplyNews() = default;
};

class ReplyWriter {
 public:
  // `reply` may be null: nobody waits, and a failure is kept.
  ReplyWriter(ReplyNews& news, kj::Own<wire::CallReply> reply)
      : news_(news), reply_(kj::mv(reply)) {}

  bool wanted() const { return reply_.get() != nullptr; }

  // Room for the call's fields, zero-filled. Throws std::length_error when the reply is over the
  // protocol's limit.
  std::byte* body(size_t bytes);

  // Sends, once; the batch of the call is gone after it.
  void send(CUresult result);

 private:
  ReplyNews& news_;
  kj::Own<wire::CallReply> reply_;
  std::span<std::byte> buffer_;  // empty until body() or send()
  uint32_t completed_ = 0;
  bool sent_ = false;
};

}  // namespace farwarp::worker
