// Session.call, Session.submit and ClientCallbacks.output, past the RPC system.
//
// The first two carry every driver call. The RPC system of Cap'n Proto spends several microseconds
// on a call, in promises, tables and memory that it takes and gives back; here the same messages
// (Call, Return and Finish of rpc.capnp) are written and read by hand. What crosses the wire is
// plain Cap'n Proto RPC: a peer that uses the RPC system for these calls understands them, and is
// understood.
//
// The two sides of a connection do not collide with the RPC system beside them because their
// questions have numbers of their own, from kDirectQuestions on; the RPC system counts from 0.
#pragma once

#include <capnp/message.h>

#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "protocol/message_stream.h"

namespace farwarp::wire {

inline constexpr uint32_t kDirectQuestions = 1u << 30;

enum class DirectMethod : uint16_t { submit = 0, call = 1 };  // as numbered in farwarp.capnp

struct DirectCall {
  uint32_t question = 0;
  DirectMethod method = DirectMethod::call;
  uint64_t seq = 0;
  std::span<const std::byte> batch;
};

struct DirectReturn {
  uint32_t question = 0;
  bool failed = false;
  std::span<const std::byte> reply;  // of a call that did not fail
  std::string reason;                // of one that did
  bool disconnected = false;         // its kind
};

// A call of ClientCallbacks.output, which must not be overtaken by the replies behind it.
struct DirectOutput {
  uint32_t question = 0;
  bool to_stderr = false;
  std::span<const std::byte> text;
};

enum class DirectMessage { call, output, finish, answer, other, malformed };

// What a message of the peer's is, at gpud and at the client; fills what it names, whose spans
// refer to the segments. `other` and `malformed` are for the RPC system. Never throws.
DirectMessage readAtServer(std::span<const Segment> segments, DirectCall& call,
                           DirectReturn& answer);
DirectMessage readAtClient(std::span<const Segment> segments, DirectReturn& answer,
                           DirectOutput& output);

// The export under which the answer to hello names the session: what calls are addressed to.
// Nothing when the message is something else. Never throws.
bool readSessionExport(std::span<const Segment> segments, uint32_t& session_export);
// The same for what a call of Session.setCallbacks brings.
bool readCallbacksExport(std::span<const Segment> segments, uint32_t& callbacks_export);

// Large aligned batches are not copied: they must stay until `stream` has sent them. What
// postDirectCall returns is the position of that (MessageStream::sentTotal).
inline constexpr size_t kDirectReferenceMin = 8u << 10;
bool sentFromItsPlace(std::span<const std::byte> batch);

uint64_t postDirectCall(MessageStream& stream, const DirectCall& call, uint32_t session_export);
void postDirectOutput(MessageStream& stream, const DirectOutput& output, uint32_t callbacks_export);
void postDirectFinish(MessageStream& stream, uint32_t question);
// For what has no results.
void postDirectReturn(MessageStream& stream, uint32_t question);
void postDirectException(MessageStream& stream, uint32_t question, const std::string& reason);

// The answer to a call, filled in place. Small ones take no memory from the heap.
class DirectReply {
 public:
  // Zero-filled, aligned to 8 bytes, valid until the end of post. Once between two posts.
  std::span<std::byte> begin(uint32_t question, size_t bytes);
  void post(MessageStream& stream);

 private:
  static constexpr size_t kSmallWords = 64;

  capnp::word scratch_[kSmallWords] = {};
  std::optional<capnp::MallocMessageBuilder> small_;
  kj::Own<capnp::MallocMessageBuilder> large_;
};

}  // namespace farwarp::wire
