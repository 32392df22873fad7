// Answers a call after its handler returned. Used on the loop's thread only: what waits elsewhere
// comes back there first (waits.h).
#pragma once

#include <memory>

#include "gpud/worker/reply_writer.h"

namespace farwarp::worker {

class Completion {
 public:
  explicit Completion(std::shared_ptr<ReplyWriter> writer) : writer_(std::move(writer)) {}

  // The call is over; only the first finish counts. A failure that nobody waits for is kept for the
  // next sync point.
  void finish(CUresult result) { writer_->send(result); }
  // The same with reply fields. A failed call is answered without them.
  template <typename Reply>
  void finish(CUresult result, const Reply& reply) {
    if (result == CUDA_SUCCESS && writer_->wanted()) {
      reply.encode(writer_->body(reply.encodedBytes()));
    }
    writer_->send(result);
  }

 private:
  std::shared_ptr<ReplyWriter> writer_;  // shared: callbacks must be copyable
};

}  // namespace farwarp::worker
