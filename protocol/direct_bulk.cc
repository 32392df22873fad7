#include "protocol/direct_bulk.h"

#include <capnp/rpc.capnp.h>
#include <kj/exception.h>

#include "protocol/direct_message.h"
#include "protocol/farwarp.capnp.h"

namespace farwarp::wire {

using capnp::rpc::Message;

DirectMessage readSharedCall(std::span<const Segment> segments, SharedCall& call) {
  return readRoot(segments, [&](Message::Reader root) {
    if (root.isFinish()) return readFinish(root.getFinish());
    if (!root.isCall()) return DirectMessage::other;
    const auto message = root.getCall();
    const uint16_t method = message.getMethodId();
    if (!isDirect(message, capnp::typeId<rpc::Bulk>(), method) ||
        method < static_cast<uint16_t>(SharedMethod::put) ||
        method > static_cast<uint16_t>(SharedMethod::taken)) {
      return DirectMessage::other;
    }
    call = {message.getQuestionId(), static_cast<SharedMethod>(method), 0, 0, 0, 0};
    const auto content = message.getParams().getContent();
    if (call.method == SharedMethod::taken) {
      call.place = content.getAs<rpc::Bulk::TakenParams>().getPlace();
    } else if (call.method == SharedMethod::get) {
      const auto params = content.getAs<rpc::Bulk::GetSharedParams>();
      call.transfer = params.getTransfer();
      call.offset = params.getOffset();
      call.length = params.getLength();
    } else {
      const auto params = content.getAs<rpc::Bulk::PutSharedParams>();
      call.transfer = params.getTransfer();
      call.offset = params.getOffset();
      call.place = params.getPlace();
      call.length = params.getLength();
    }
    return DirectMessage::call;
  });
}

DirectMessage readSharedAnswer(std::span<const Segment> segments, SharedAnswer& answer) {
  return readRoot(segments, [&](Message::Reader root) {
    if (!root.isReturn() || root.getReturn().getAnswerId() < kDirectQuestions) {
      return DirectMessage::other;
    }
    const auto message = root.getReturn();
    answer.question = message.getAnswerId();
    if (message.isException()) {
      answer.failed = true;
      answer.reason = message.getException().getReason().cStr();
      return DirectMessage::answer;
    }
    if (!message.isResults()) return DirectMessage::malformed;
    // The others' results are empty.
    const auto results = message.getResults().getContent().getAs<rpc::Bulk::GetSharedResults>();
    answer.shared = results.getShared();
    answer.place = results.getPlace();
    return DirectMessage::answer;
  });
}

void postSharedCall(MessageStream& stream, const SharedCall& call, uint32_t bulk_export) {
  postSmall(stream, [&](Message::Builder root) {
    auto fields = root.initCall();
    fields.setQuestionId(call.question);
    fields.initTarget().setImportedCap(bulk_export);
    fields.setInterfaceId(capnp::typeId<rpc::Bulk>());
    fields.setMethodId(static_cast<uint16_t>(call.method));
    auto content = fields.initParams().getContent();
    if (call.method == SharedMethod::taken) {
      content.initAs<rpc::Bulk::TakenParams>().setPlace(call.place);
    } else if (call.method == SharedMethod::get) {
      auto params = content.initAs<rpc::Bulk::GetSharedParams>();
      params.setTransfer(call.transfer);
      params.setOffset(call.offset);
      params.setLength(call.length);
    } else {
      auto params = content.initAs<rpc::Bulk::PutSharedParams>();
      params.setTransfer(call.transfer);
      params.setOffset(call.offset);
      params.setPlace(call.place);
      params.setLength(call.length);
    }
  });
}

void postSharedAnswer(MessageStream& stream, const SharedAnswer& answer) {
  if (answer.failed) return postDirectException(stream, answer.question, answer.reason);
  postSmall(stream, [&](Message::Builder root) {
    auto results = initReturn(root, answer.question)
                       .initResults()
                       .getContent()
                       .initAs<rpc::Bulk::GetSharedResults>();
    results.setShared(answer.shared);
    results.setPlace(answer.place);
  });
}

}  // namespace farwarp::wire
