// One call on its way through the worker: decoded, executed, answered.
//
// Handlers (generated in worker_dispatch_gen.cc, or hand-written in gpud/worker/calls) run on the
// worker's one issuing thread, in the order of the session's log. A handler ends with exactly one
// of finish, malformed, detach or stall.
#pragma once

#include <cuda.h>

#include <cstddef>
#include <span>
#include <string>
#include <utility>

#include "driver_calls_gen.h"
#include "protocol/handle_id.h"
#include "protocol/record.h"

namespace farwarp::worker {

class Session;
class Completion;  // completion.h: answers a call later

class CallContext {
 public:
  CallContext(const wire::RecordHeader& header, std::span<const std::byte> args, bool wants_reply)
      : header(header), args(args), wants_reply(wants_reply) {}

  const wire::RecordHeader header;
  const std::span<const std::byte> args;  // the record's body
  const bool wants_reply;                 // the client waits for this call

  // The call is over. Without a waiting client a failure is kept for the next sync point.
  void finish(CUresult result) { result_ = result, state_ = State::finished; }
  // The same with reply fields. A failed call is answered without them.
  template <typename Reply>
  void finish(CUresult result, const Reply& reply) {
    finish(result);
    if (wants_reply && result == CUDA_SUCCESS) reply.encode(replyBytes(reply.encodedBytes()));
  }
  // The same for a call whose reply says more about a failure (the logs of a module load).
  template <typename Reply>
  void finishWithReply(CUresult result, const Reply& reply) {
    finish(result);
    if (wants_reply) reply.encode(replyBytes(reply.encodedBytes()));
  }

  // The peer sent nonsense. Ends the session; `reason` goes to the log.
  void malformed(std::string reason) { reason_ = std::move(reason), state_ = State::malformed; }

  // The call was issued; its end is awaited elsewhere. The log goes on with the next call. `args`
  // must not be used after the completion was finished.
  Completion detach();

  // Bulk data that the call needs has not arrived. The log stops and runs this call again.
  void stall() { state_ = State::stalled; }

  enum class State { running, finished, malformed, detached, stalled };
  State state() const { return state_; }
  CUresult result() const { return result_; }
  const std::string& reason() const { return reason_; }

 private:
  friend class Session;
  // Room for the reply's fields behind the ReplyHeader, in the session's reply buffer.
  std::byte* replyBytes(size_t bytes);

  State state_ = State::running;
  CUresult result_ = CUDA_SUCCESS;
  std::string reason_;
  Session* session_ = nullptr;
};

}  // namespace farwarp::worker
