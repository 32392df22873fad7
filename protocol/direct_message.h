// What direct_call.cc and direct_bulk.cc share: messages of rpc.capnp read and written by hand.
#pragma once

#include <capnp/message.h>
#include <capnp/rpc.capnp.h>
#include <kj/exception.h>

#include "protocol/direct_call.h"

namespace farwarp::wire {

// Fields of a call besides its batch, and of a return besides its reply, with room to spare.
inline constexpr size_t kFieldWords = 32;

// Runs `read` on the message; malformed when it cannot be understood.
template <typename Read>
DirectMessage readRoot(std::span<const Segment> segments, Read read) {
  try {
    capnp::ReaderOptions options;
    options.traversalLimitInWords = 4 * kMessageBytesMax / sizeof(capnp::word);
    options.nestingLimit = 16;
    capnp::SegmentArrayMessageReader message(kj::arrayPtr(segments.data(), segments.size()),
                                             options);
    return read(message.getRoot<capnp::rpc::Message>());
  } catch (const kj::Exception&) {
    return DirectMessage::malformed;
  }
}

inline uint64_t post(MessageStream& stream, capnp::MessageBuilder& message) {
  const auto segments = message.getSegmentsForOutput();
  return stream.post({segments.begin(), segments.size()});
}

// A message of a few fixed fields.
template <typename Fill>
void postSmall(MessageStream& stream, Fill fill) {
  capnp::word scratch[kFieldWords] = {};
  capnp::MallocMessageBuilder message(kj::arrayPtr(scratch, kFieldWords));
  fill(message.initRoot<capnp::rpc::Message>());
  post(stream, message);
}

inline capnp::rpc::Return::Builder initReturn(capnp::rpc::Message::Builder root,
                                              uint32_t question) {
  auto answer = root.initReturn();
  answer.setAnswerId(question);
  answer.setReleaseParamCaps(false);  // there were none
  return answer;
}

inline DirectMessage readFinish(capnp::rpc::Finish::Reader message) {
  return message.getQuestionId() >= kDirectQuestions ? DirectMessage::finish : DirectMessage::other;
}

// A call of one of the first methods of an interface, with a question of ours.
inline bool isDirect(capnp::rpc::Call::Reader message, uint64_t interface, uint16_t method_max) {
  return message.getQuestionId() >= kDirectQuestions && message.getInterfaceId() == interface &&
         message.getMethodId() <= method_max && message.getTarget().isImportedCap();
}

}  // namespace farwarp::wire
