// Bulk data through memory that is shared with the client, as gpud serves it.
#include <unistd.h>

#include <utility>

#include "protocol/direct_bulk.h"
#include "protocol/server_impl.h"

namespace farwarp::wire {
namespace {

// A putShared that is not answered yet.
class SharedLease final : public BatchLease {
 public:
  SharedLease(std::shared_ptr<ServerGate> gate, uint32_t question)
      : gate_(std::move(gate)), question_(question) {
    ++gate_->impl->outstanding_shared;
  }
  ~SharedLease() noexcept(false) override {
    if (gate_->impl == nullptr) return;
    --gate_->impl->outstanding_shared;
    postSharedAnswer(gate_->impl->link->stream(), {question_, false, {}, false, 0});
  }

 private:
  const std::shared_ptr<ServerGate> gate_;
  const uint32_t question_;
};

class PendingSharedReply final : public SharedReply {
 public:
  PendingSharedReply(std::shared_ptr<ServerGate> gate, uint32_t question, uint32_t length)
      : gate_(std::move(gate)), question_(question), length_(length) {
    ++gate_->impl->outstanding_shared;
  }
  ~PendingSharedReply() noexcept(false) override { answer({question_, false, {}, false, 0}); }

  void at(uint32_t place) override {
    if (gate_->impl != nullptr) gate_->impl->shared_bytes_out += length_;
    answer({question_, false, {}, true, place});
  }
  void fail(const std::string& reason) override { answer({question_, true, reason, false, 0}); }

 private:
  void answer(const SharedAnswer& what) {
    if (std::exchange(answered_, true) || gate_->impl == nullptr) return;
    --gate_->impl->outstanding_shared;
    postSharedAnswer(gate_->impl->link->stream(), what);
  }

  const std::shared_ptr<ServerGate> gate_;
  const uint32_t question_;
  const uint32_t length_;
  bool answered_ = false;
};

}  // namespace

std::string ServerConnection::Impl::share() {
  const int fd = link->channel().takeDescriptor();
  link->channel().keepDescriptor(false);
  if (fd < 0) return "The descriptor of the memory to share did not arrive.";
  if (shares_memory) {
    close(fd);
    return "Memory is shared already.";
  }
  std::string why;
  auto region = SharedRegion::adopt(fd, why);
  if (!region) return why;
  upload_part = region->uploads();
  if (!handler.shareMemory(std::move(*region))) return "This gpud does not share memory.";
  shares_memory = true;
  return {};
}

bool ServerConnection::Impl::takeShared(std::span<const Segment> segments) {
  SharedCall call;
  switch (readSharedCall(segments, call)) {
    case DirectMessage::finish:
      return true;  // answers are not kept
    case DirectMessage::call:
      break;
    default:
      return false;
  }
  constexpr uint32_t kOutstandingMax = kOutstandingCallsMax;  // a few for each thread that copies
  const bool in_range = call.length > 0 && call.length <= kChunkBytesMax &&
                        call.offset <= kTransferBytesMax - kChunkBytesMax;
  if (!shares_memory || outstanding_shared >= kOutstandingMax ||
      (call.method != SharedMethod::taken && !in_range) ||
      (call.method == SharedMethod::put &&
       (call.place > upload_part.size() || call.length > upload_part.size() - call.place))) {
    violate("The client asks for " + std::to_string(call.length) + " bytes at place " +
            std::to_string(call.place) + " of shared memory, or for too many at once.");
    return true;
  }
  bool sane = true;
  switch (call.method) {
    case SharedMethod::put:
      shared_bytes_in += call.length;
      sane = handler.putShared(call.transfer, call.offset,
                               upload_part.subspan(call.place, call.length),
                               kj::heap<SharedLease>(gate, call.question));
      break;
    case SharedMethod::get:
      handler.getShared(call.transfer, call.offset, call.length,
                        kj::heap<PendingSharedReply>(gate, call.question, call.length));
      break;
    case SharedMethod::taken:
      sane = handler.takenShared(call.place);
      postSharedAnswer(link->stream(), {call.question, false, {}, false, 0});
      break;
  }
  if (!sane) violate("The client uses shared memory that is not its to use now.");
  return true;
}

}  // namespace farwarp::wire
