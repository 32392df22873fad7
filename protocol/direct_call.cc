#include "protocol/direct_call.h"

#include <capnp/orphan.h>
#include <capnp/rpc.capnp.h>
#include <kj/exception.h>

#include <cstring>

#include "protocol/direct_message.h"
#include "protocol/farwarp.capnp.h"

namespace farwarp::wire {
namespace {

using capnp::rpc::Message;

capnp::Data::Reader asData(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const kj::byte*>(bytes.data()), bytes.size()};
}

std::span<const std::byte> bytesOf(capnp::Data::Reader data) {
  return {reinterpret_cast<const std::byte*>(data.begin()), data.size()};
}

// A message that is kept until it is sent.
uint64_t postKept(MessageStream& stream, kj::Own<capnp::MallocMessageBuilder> message) {
  const auto segments = message->getSegmentsForOutput();
  return stream.post({segments.begin(), segments.size()}, kj::mv(message));
}

}  // namespace

namespace {

DirectMessage readReturn(capnp::rpc::Return::Reader message, DirectReturn& answer) {
  if (message.getAnswerId() < kDirectQuestions) return DirectMessage::other;
  answer.question = message.getAnswerId();
  if (message.isResults()) {
    // Answers without a reply have other types, but none that a reply could be mistaken for.
    answer.reply =
        bytesOf(message.getResults().getContent().getAs<rpc::Session::CallResults>().getReply());
    return DirectMessage::answer;
  }
  if (!message.isException()) return DirectMessage::malformed;
  answer.failed = true;
  answer.reason = message.getException().getReason().cStr();
  answer.disconnected =
      message.getException().getType() == capnp::rpc::Exception::Type::DISCONNECTED;
  return DirectMessage::answer;
}

}  // namespace

DirectMessage readAtServer(std::span<const Segment> segments, DirectCall& call,
                           DirectReturn& answer) {
  return readRoot(segments, [&](Message::Reader root) {
    if (root.isFinish()) return readFinish(root.getFinish());
    if (root.isReturn()) return readReturn(root.getReturn(), answer);
    if (!root.isCall() || !isDirect(root.getCall(), capnp::typeId<rpc::Session>(), 1)) {
      return DirectMessage::other;
    }
    const auto message = root.getCall();
    call.question = message.getQuestionId();
    call.method = static_cast<DirectMethod>(message.getMethodId());
    // The parameters of submit and call are laid out alike.
    const auto params = message.getParams().getContent().getAs<rpc::Session::CallParams>();
    call.seq = params.getSeq();
    call.batch = bytesOf(params.getBatch());
    return DirectMessage::call;
  });
}

DirectMessage readAtClient(std::span<const Segment> segments, DirectReturn& answer,
                           DirectOutput& output) {
  return readRoot(segments, [&](Message::Reader root) {
    if (root.isReturn()) return readReturn(root.getReturn(), answer);
    if (root.isFinish()) return readFinish(root.getFinish());
    if (!root.isCall() || !isDirect(root.getCall(), capnp::typeId<rpc::ClientCallbacks>(), 0)) {
      return DirectMessage::other;
    }
    const auto params =
        root.getCall().getParams().getContent().getAs<rpc::ClientCallbacks::OutputParams>();
    output = {root.getCall().getQuestionId(), params.getToStderr(), bytesOf(params.getText())};
    return DirectMessage::output;
  });
}

bool readSessionExport(std::span<const Segment> segments, uint32_t& session_export) {
  const DirectMessage found = readRoot(segments, [&](Message::Reader root) {
    if (!root.isReturn() || !root.getReturn().isResults()) return DirectMessage::other;
    // The one capability in the answer to hello.
    const auto capabilities = root.getReturn().getResults().getCapTable();
    const auto content = root.getReturn().getResults().getContent();
    if (!content.isStruct() || capabilities.size() != 1 || !capabilities[0].isSenderHosted()) {
      return DirectMessage::other;
    }
    session_export = capabilities[0].getSenderHosted();
    return DirectMessage::answer;
  });
  return found == DirectMessage::answer;
}

bool readCallbacksExport(std::span<const Segment> segments, uint32_t& callbacks_export) {
  constexpr uint16_t kSetCallbacks = 3;  // as numbered in farwarp.capnp
  const DirectMessage found = readRoot(segments, [&](Message::Reader root) {
    if (!root.isCall() || root.getCall().getInterfaceId() != capnp::typeId<rpc::Session>() ||
        root.getCall().getMethodId() != kSetCallbacks) {
      return DirectMessage::other;
    }
    const auto capabilities = root.getCall().getParams().getCapTable();
    if (capabilities.size() != 1 || !capabilities[0].isSenderHosted()) return DirectMessage::other;
    callbacks_export = capabilities[0].getSenderHosted();
    return DirectMessage::call;
  });
  return found == DirectMessage::call;
}

bool sentFromItsPlace(std::span<const std::byte> batch) {
  return batch.size() >= kDirectReferenceMin && batch.size() % sizeof(capnp::word) == 0 &&
         reinterpret_cast<uintptr_t>(batch.data()) % sizeof(capnp::word) == 0;
}

namespace {

void fillCall(Message::Builder root, const DirectCall& call, uint32_t session_export) {
  auto fields = root.initCall();
  fields.setQuestionId(call.question);
  fields.initTarget().setImportedCap(session_export);
  fields.setInterfaceId(capnp::typeId<rpc::Session>());
  fields.setMethodId(static_cast<uint16_t>(call.method));
  auto params = fields.initParams().getContent().initAs<rpc::Session::CallParams>();
  params.setSeq(call.seq);
  if (sentFromItsPlace(call.batch)) {
    auto orphanage = capnp::Orphanage::getForMessageContaining(params);
    params.adoptBatch(orphanage.referenceExternalData(asData(call.batch)));
  } else {
    params.setBatch(asData(call.batch));
  }
}

}  // namespace

uint64_t postDirectCall(MessageStream& stream, const DirectCall& call, uint32_t session_export) {
  constexpr size_t kSmallWords = 256;
  const bool copied = !sentFromItsPlace(call.batch);
  const size_t words = kFieldWords + (copied ? call.batch.size() / sizeof(capnp::word) + 1 : 0);
  if (words <= kSmallWords) {
    capnp::word scratch[kSmallWords];
    std::memset(scratch, 0, words * sizeof(capnp::word));
    capnp::MallocMessageBuilder message(kj::arrayPtr(scratch, words));
    fillCall(message.initRoot<Message>(), call, session_export);
    return post(stream, message);
  }
  auto message = kj::heap<capnp::MallocMessageBuilder>(static_cast<uint>(words));
  fillCall(message->initRoot<Message>(), call, session_export);
  return postKept(stream, kj::mv(message));
}

void postDirectOutput(MessageStream& stream, const DirectOutput& output,
                      uint32_t callbacks_export) {
  const size_t words = kFieldWords + output.text.size() / sizeof(capnp::word) + 1;
  auto message = kj::heap<capnp::MallocMessageBuilder>(static_cast<uint>(words));
  auto fields = message->initRoot<Message>().initCall();
  fields.setQuestionId(output.question);
  fields.initTarget().setImportedCap(callbacks_export);
  fields.setInterfaceId(capnp::typeId<rpc::ClientCallbacks>());
  fields.setMethodId(0);
  auto params = fields.initParams().getContent().initAs<rpc::ClientCallbacks::OutputParams>();
  params.setToStderr(output.to_stderr);
  params.setText(asData(output.text));
  postKept(stream, kj::mv(message));
}

void postDirectFinish(MessageStream& stream, uint32_t question) {
  postSmall(stream, [question](Message::Builder root) {
    auto finish = root.initFinish();
    finish.setQuestionId(question);
    finish.setReleaseResultCaps(false);  // there were none
  });
}

void postDirectReturn(MessageStream& stream, uint32_t question) {
  postSmall(stream, [question](Message::Builder root) {
    initReturn(root, question).initResults().getContent().initAs<rpc::Session::CallResults>();
  });
}

void postDirectException(MessageStream& stream, uint32_t question, const std::string& reason) {
  constexpr size_t kReasonBytesMax = 4096;  // short enough to be copied
  capnp::MallocMessageBuilder message;
  auto exception = initReturn(message.initRoot<Message>(), question).initException();
  exception.setReason(reason.substr(0, kReasonBytesMax));
  exception.setType(capnp::rpc::Exception::Type::FAILED);
  post(stream, message);
}

std::span<std::byte> DirectReply::begin(uint32_t question, size_t bytes) {
  const size_t words = kFieldWords + bytes / sizeof(capnp::word) + 1;
  capnp::MallocMessageBuilder* message;
  if (words <= kSmallWords) {
    message = &small_.emplace(kj::arrayPtr(scratch_, kSmallWords));
  } else {
    large_ = kj::heap<capnp::MallocMessageBuilder>(static_cast<uint>(words));
    message = large_.get();
  }
  auto results = initReturn(message->initRoot<Message>(), question).initResults();
  auto reply =
      results.getContent().initAs<rpc::Session::CallResults>().initReply(static_cast<uint>(bytes));
  return {reinterpret_cast<std::byte*>(reply.begin()), reply.size()};
}

void DirectReply::post(MessageStream& stream) {
  if (small_) {
    wire::post(stream, *small_);
    small_.reset();
    return;
  }
  postKept(stream, kj::mv(large_));
}

}  // namespace farwarp::wire
