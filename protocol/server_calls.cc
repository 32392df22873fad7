// submit and call as gpud serves them, and the output of kernels: past the RPC system.
#include <kj/debug.h>

#include <utility>

#include "protocol/server_impl.h"

namespace farwarp::wire {

// What a message is charged with besides its batch.
constexpr size_t kHeldOverheadBytes = 512;

HeldBatch::HeldBatch(std::shared_ptr<ServerGate> gate, const DirectCall& call,
                     MessageMemory& memory)
    : gate_(std::move(gate)), call_(call), memory_(std::move(memory)) {
  gate_->impl->holdBytes(call_.batch.size() + kHeldOverheadBytes);
}

HeldBatch::~HeldBatch() {
  if (impl() == nullptr) return;
  impl()->releaseBytes(call_.batch.size() + kHeldOverheadBytes);
}

ServerConnection::Impl* HeldBatch::impl() const {
  return gate_ != nullptr ? gate_->impl : nullptr;
}

namespace {

class DirectSubmit final : public BatchLease {
 public:
  explicit DirectSubmit(HeldBatch batch) : batch_(std::move(batch)) {}

  ~DirectSubmit() noexcept(false) override {
    if (batch_.impl() == nullptr) return;
    postDirectReturn(batch_.impl()->link->stream(), batch_.call().question);
    batch_.impl()->submitDone();
  }

 private:
  HeldBatch batch_;
};

class DirectCallReply final : public CallReply {
 public:
  explicit DirectCallReply(HeldBatch batch) : batch_(std::move(batch)) {
    ++batch_.impl()->outstanding_calls;
  }
  ~DirectCallReply() noexcept(false) override {
    if (!answered_) fail("The call was given up.");
  }

  void send(std::span<const std::byte> bytes) override {
    const std::span<std::byte> room = buffer(bytes.size());
    std::copy(bytes.begin(), bytes.end(), room.begin());
    sendBuffer();
  }

  std::span<std::byte> buffer(size_t bytes) override {
    return reply_.begin(batch_.call().question, bytes);
  }

  void sendBuffer() override {
    if (MessageStream* stream = begin()) reply_.post(*stream);
  }

  void fail(const std::string& reason) override {
    if (MessageStream* stream = begin())
      postDirectException(*stream, batch_.call().question, reason);
  }

 private:
  // Null when there is nobody to answer any more.
  MessageStream* begin() {
    if (std::exchange(answered_, true) || batch_.impl() == nullptr) return nullptr;
    --batch_.impl()->outstanding_calls;
    return &batch_.impl()->link->stream();
  }

  HeldBatch batch_;
  DirectReply reply_;
  bool answered_ = false;
};

}  // namespace

bool ServerConnection::Impl::take(std::span<const Segment> segments, MessageMemory& memory) {
  if (kind == ConnectionKind::bulk) return greeted && !over && takeShared(segments);
  uint32_t found = 0;
  if (!callbacks_export && readCallbacksExport(segments, found)) callbacks_export = found;
  if (!greeted || over) return false;
  DirectCall call;
  DirectReturn answer;
  switch (readAtServer(segments, call, answer)) {
    case DirectMessage::call:
      break;
    case DirectMessage::answer:
      outputAcknowledged(answer.question);
      return true;
    case DirectMessage::finish:
      return true;  // answers are not kept
    default:
      return false;
  }
  HeldBatch batch(gate, call, memory);
  if (submit_runs || !waiting_batches.empty()) {
    waiting_batches.push_back(std::move(batch));
  } else {
    takeCall(std::move(batch));
  }
  return true;
}

void ServerConnection::Impl::takeCall(HeldBatch batch) {
  const DirectCall call = batch.call();
  try {
    takeSeq(call.seq, call.batch.size());
    if (call.method == DirectMethod::call) {
      checkOutstanding();
      return handler.call(call.seq, call.batch, kj::heap<DirectCallReply>(std::move(batch)));
    }
    submit_runs = true;
    handler.submit(call.seq, call.batch, kj::heap<DirectSubmit>(std::move(batch)));
  } catch (const kj::Exception& failure) {
    postDirectException(link->stream(), call.question, failure.getDescription().cStr());
  }
}

void ServerConnection::Impl::submitDone() {
  submit_runs = false;
  if (waiting_batches.empty() || takes_waiting) return;
  // In a turn of its own: the handler is in the middle of something.
  taking_waiting = kj::evalLater([this] { takeWaiting(); }).eagerlyEvaluate(nullptr);
}

void ServerConnection::Impl::takeWaiting() {
  takes_waiting = true;
  while (!waiting_batches.empty() && !submit_runs && !over) {
    HeldBatch batch = std::move(waiting_batches.front());
    waiting_batches.pop_front();
    takeCall(std::move(batch));
  }
  takes_waiting = false;
}

// As many bytes as the RPC system would hold; then nothing more is read.
void ServerConnection::Impl::holdBytes(size_t bytes) {
  held_bytes += bytes;
  if (held_bytes <= kIncomingCallBytesMax || holds_input) return;
  holds_input = true;
  link->stream().pause();
}

void ServerConnection::Impl::releaseBytes(size_t bytes) {
  held_bytes -= bytes;
  if (!holds_input || held_bytes > kIncomingCallBytesMax / 2) return;
  holds_input = false;
  link->stream().resume();
}

void ServerConnection::Impl::postOutput(bool to_stderr, std::span<const std::byte> text) {
  const uint32_t question = kDirectQuestions + next_output++ % kDirectQuestions;
  outputs.emplace(question, text.size());
  unacknowledged_output_bytes += text.size();
  postDirectOutput(link->stream(), {question, to_stderr, text}, *callbacks_export);
}

void ServerConnection::Impl::outputAcknowledged(uint32_t question) {
  const auto found = outputs.find(question);
  if (found == outputs.end()) return;
  unacknowledged_output_bytes -= found->second;
  outputs.erase(found);
  postDirectFinish(link->stream(), question);
  if (output_acknowledged) output_acknowledged();
}

}  // namespace farwarp::wire
