#include "protocol/server_connection.h"

#include <kj/debug.h>

#include <algorithm>
#include <utility>

#include "protocol/hello_schema.h"
#include "protocol/server_impl.h"
#include "protocol/session_end.h"
#include "protocol/tls.h"

namespace farwarp::wire {
namespace {

using Gate = ServerConnection::Impl::Gate;

std::span<const std::byte> bytesOf(capnp::Data::Reader data) {
  return {reinterpret_cast<const std::byte*>(data.begin()), data.size()};
}

kj::Exception endedException(const std::string& reason) {
  return KJ_EXCEPTION(FAILED, kj::str(kEndedPrefix, reason.c_str()));
}

class PendingReply final : public CallReply {
 public:
  using Context = capnp::CallContext<rpc::Session::CallParams, rpc::Session::CallResults>;

  PendingReply(std::shared_ptr<Gate> gate, Context context,
               kj::Own<kj::PromiseFulfiller<void>> fulfiller)
      : gate_(std::move(gate)), context_(context), fulfiller_(kj::mv(fulfiller)) {
    ++gate_->open().outstanding_calls;
  }

  ~PendingReply() noexcept(false) override {
    if (!answered_) fail("The call was given up.");
  }

  void send(std::span<const std::byte> bytes) override {
    checkSize(bytes.size());
    if (!begin()) return;
    const capnp::MessageSize size{bytes.size() / sizeof(capnp::word) + 8, 0};
    context_.getResults(size).setReply(
        capnp::Data::Reader(reinterpret_cast<const kj::byte*>(bytes.data()), bytes.size()));
    fulfiller_->fulfill();
  }

  std::span<std::byte> buffer(size_t bytes) override {
    checkSize(bytes);
    if (!fulfiller_->isWaiting()) {
      discarded_ = kj::heapArray<std::byte>(bytes);
      return {discarded_.begin(), discarded_.size()};
    }
    const capnp::MessageSize size{bytes / sizeof(capnp::word) + 8, 0};
    auto data = context_.getResults(size).initReply(static_cast<uint>(bytes));
    return {reinterpret_cast<std::byte*>(data.begin()), data.size()};
  }

  void sendBuffer() override {
    if (begin()) fulfiller_->fulfill();
  }

  void fail(const std::string& reason) override {
    if (begin()) fulfiller_->reject(KJ_EXCEPTION(FAILED, reason.c_str()));
  }

 private:
  static void checkSize(size_t bytes) {
    KJ_REQUIRE(bytes <= kReplyBytesMax, "a reply is over the protocol's limit", bytes,
               kReplyBytesMax);
  }

  // False when there is nobody to answer any more; the context is gone then.
  bool begin() {
    if (answered_) return false;
    answered_ = true;
    if (gate_->impl != nullptr) --gate_->impl->outstanding_calls;
    return fulfiller_->isWaiting();
  }

  const std::shared_ptr<Gate> gate_;
  Context context_;
  kj::Own<kj::PromiseFulfiller<void>> fulfiller_;
  kj::Array<std::byte> discarded_;
  bool answered_ = false;
};

// A submit that came through the RPC system.
class PendingSubmit final : public BatchLease {
 public:
  explicit PendingSubmit(kj::Own<kj::PromiseFulfiller<void>> done) : done_(kj::mv(done)) {}
  ~PendingSubmit() noexcept(false) override { done_->fulfill(); }

 private:
  kj::Own<kj::PromiseFulfiller<void>> done_;
};

class SessionService final : public rpc::Session::Server {
 public:
  explicit SessionService(std::shared_ptr<Gate> gate) : gate_(std::move(gate)) {}

  kj::Promise<void> submit(SubmitContext context) override {
    auto& impl = gate_->open();
    const auto params = context.getParams();
    const auto batch = bytesOf(params.getBatch());
    impl.takeSeq(params.getSeq(), batch.size());
    auto paf = kj::newPromiseAndFulfiller<void>();
    impl.handler.submit(params.getSeq(), batch, kj::heap<PendingSubmit>(kj::mv(paf.fulfiller)));
    return kj::mv(paf.promise);
  }

  kj::Promise<void> call(CallContext context) override {
    auto& impl = gate_->open();
    const auto params = context.getParams();
    const auto batch = bytesOf(params.getBatch());
    impl.takeSeq(params.getSeq(), batch.size());
    impl.checkOutstanding();
    auto paf = kj::newPromiseAndFulfiller<void>();
    impl.handler.call(params.getSeq(), batch,
                      kj::heap<PendingReply>(gate_, context, kj::mv(paf.fulfiller)));
    return kj::mv(paf.promise);
  }

  kj::Promise<void> stats(StatsContext context) override {
    writeStats(gate_->open().handler.stats(), context.getResults().initStats());
    return kj::READY_NOW;
  }

  kj::Promise<void> kernelTimeline(KernelTimelineContext context) override {
    const KernelTimeline timeline =
        gate_->open().handler.kernelTimeline(context.getParams().getStart());
    writeTimeline(timeline, context.getResults().initTimeline());
    return kj::READY_NOW;
  }

  kj::Promise<void> setCallbacks(SetCallbacksContext context) override {
    gate_->open().callbacks = context.getParams().getClient();
    return kj::READY_NOW;
  }

  kj::Promise<void> close(CloseContext context) override {
    auto& impl = gate_->open();
    impl.close_requested = true;
    impl.handler.closeRequested();
    writeStats(impl.handler.stats(), context.getResults().initStats());
    return kj::READY_NOW;
  }

 private:
  const std::shared_ptr<Gate> gate_;
};

class GpudService final : public rpc::Gpud::Server {
 public:
  explicit GpudService(std::shared_ptr<Gate> gate) : gate_(std::move(gate)) {}

  kj::Promise<void> hello(HelloContext context) override {
    auto& impl = gate_->open();
    begin(impl, ConnectionKind::control);
    ClientHello client;
    ServerHello server;
    std::string refusal;
    if (!readHello(context.getParams().getClient(), client, refusal)) {
      kj::throwFatalException(impl.violate("The client's hello is malformed. " + refusal));
    }
    impl.greeted = true;
    impl.stopGreetingTimer();
    if (!impl.handler.hello(client, server, refusal)) {
      kj::throwFatalException(KJ_EXCEPTION(FAILED, kj::str(kRefusedPrefix, refusal.c_str())));
    }
    server.limits = {kBatchBytesMax, static_cast<uint32_t>(kChunkBytesMax), kPendingTransfersMax};
    auto results = context.getResults();
    writeHello(server, results.initServer());
    results.setSession(kj::heap<SessionService>(gate_));
    return kj::READY_NOW;
  }

  kj::Promise<void> attachBulk(AttachBulkContext context) override {
    auto& impl = gate_->open();
    begin(impl, ConnectionKind::bulk);
    const auto token = context.getParams().getToken();
    uint8_t difference = token.size() == impl.token.size() ? 0 : 1;
    for (size_t i = 0; i < std::min(token.size(), impl.token.size()); ++i) {
      difference |= token[i] ^ impl.token[i];  // as long for every wrong token
    }
    if (difference != 0) {
      kj::throwFatalException(impl.violate("The bulk connection names another session's token."));
    }
    impl.greeted = true;
    impl.stopGreetingTimer();
    context.getResults().setBulk(makeBulkService(gate_));
    return kj::READY_NOW;
  }

 private:
  void begin(ServerConnection::Impl& impl, ConnectionKind kind) {
    if (impl.kind != kind) {
      kj::throwFatalException(impl.violate(kind == ConnectionKind::control
                                               ? "The client says hello on a bulk connection."
                                               : "The client asks a control connection for bulk "
                                                 "service."));
    }
    if (impl.greeted) {
      kj::throwFatalException(impl.violate("The client greets twice on one connection."));
    }
  }

  const std::shared_ptr<Gate> gate_;
};

}  // namespace

ServerConnection::Impl& ServerGate::open() const {
  if (impl == nullptr) kj::throwFatalException(KJ_EXCEPTION(DISCONNECTED, "The connection ended."));
  if (impl->over) kj::throwFatalException(endedException(impl->end_reason));
  return *impl;
}

ServerConnection::Impl::Impl(UvEventPort& port, int fd, ConnectionKind kind,
                             const SessionToken& token, SessionHandler& handler,
                             const ServerConnectionOptions& options)
    : kind(kind),
      token(token),
      handler(handler),
      gate(std::make_shared<Gate>(Gate{this})),
      compression(options.compression),
      packer(std::make_shared<Compression>(options.tls != nullptr)),
      port(port) {
  const bool control = kind == ConnectionKind::control;
  auto channel =
      options.tls != nullptr ? options.tls->accept(fd) : std::make_unique<SocketChannel>(fd);
  KJ_REQUIRE(channel != nullptr, "there is no memory for TLS");
  link.emplace(port.flushers(), std::move(channel), control ? nullptr : this,
               control ? controlStreamOptionsOfServer() : bulkStreamOptions(),
               capnp::Capability::Client(kj::heap<GpudService>(gate)));
  link->stream().setTaker(this);
  link->channel().keepDescriptor(!control);
  link->onGone([this] { linkGone(); });
  watch.emplace(port.uvLoop(), fd, link->stream());
  if (options.greeting_timeout_ms > 0) limitGreeting(port.uvLoop(), options.greeting_timeout_ms);
}

void ServerConnection::Impl::limitGreeting(uv_loop_t* loop, uint64_t timeout_ms) {
  greeting_timer = new uv_timer_t;
  uv_timer_init(loop, greeting_timer);
  greeting_timer->data = this;
  // A worker that was kept ready has not run its loop for a while, and timers count from its clock.
  uv_update_time(loop);
  uv_timer_start(
      greeting_timer,
      [](uv_timer_t* timer) {
        auto* self = static_cast<Impl*>(timer->data);
        self->stopGreetingTimer();
        self->abort(Trouble::timedOut, "The client did not finish its greeting in time.");
      },
      timeout_ms, 0);
}

void ServerConnection::Impl::stopGreetingTimer() {
  if (greeting_timer == nullptr) return;
  uv_close(reinterpret_cast<uv_handle_t*>(std::exchange(greeting_timer, nullptr)),
           [](uv_handle_t* handle) { delete reinterpret_cast<uv_timer_t*>(handle); });
}

ServerConnection::Impl::~Impl() noexcept(false) {
  gate->impl = nullptr;
  stopGreetingTimer();
  ending = nullptr;
  callbacks = nullptr;
  link->stream().setTaker(nullptr);
  link->stream().flushOutput();
  link->onGone(nullptr);
  watch.reset();
  link.reset();
  codec_thread.reset();
  if (unpacking) placed.push_back(*unpacking);
  for (const PlacedChunk& chunk : placed) {
    handler.putAborted(chunk.transfer, chunk.offset,
                       static_cast<uint32_t>(chunk.destination.size()));
  }
}

void ServerConnection::Impl::takeSeq(uint64_t seq, size_t batch_bytes) {
  if (seq != next_seq) {
    kj::throwFatalException(violate("The client sent batch " + std::to_string(seq) +
                                    " where batch " + std::to_string(next_seq) + " must come."));
  }
  if (batch_bytes == 0 || batch_bytes > kBatchBytesMax) {
    kj::throwFatalException(violate("The client sent a batch of " + std::to_string(batch_bytes) +
                                    " bytes; it must have from 1 to " +
                                    std::to_string(kBatchBytesMax) + "."));
  }
  ++next_seq;
}

void ServerConnection::Impl::checkOutstanding() {
  if (outstanding_calls < kOutstandingCallsMax) return;
  kj::throwFatalException(violate("The client waits for more than " +
                                  std::to_string(kOutstandingCallsMax) +
                                  " calls at once, which is the limit."));
}

kj::Exception ServerConnection::Impl::violate(const std::string& reason) {
  abort(Trouble::protocolViolation, reason);
  return endedException(reason);
}

void ServerConnection::Impl::abort(Trouble trouble, const std::string& reason) {
  if (over) return;
  over = true;
  end_trouble = trouble;
  end_reason = reason;
  KJ_IF_MAYBE (client, callbacks) {
    auto request = client->endedRequest();
    request.setReason(reason);
    request.send().ignoreResult().detach([](kj::Exception&&) {});
  }
  // After the messages that say why were written.
  ending = kj::evalLast([this] {
             link->stream().flushOutput();
             link->channel().shutdownWrite();
             announceEnd();
           }).eagerlyEvaluate(nullptr);
}

void ServerConnection::Impl::linkGone() {
  if (over) return;
  over = true;
  const MessageStream& stream = link->stream();
  if (stream.violated()) {
    end_trouble = Trouble::protocolViolation;
    end_reason = stream.endReason();
  } else if (!stream.endReason().empty()) {
    end_trouble = Trouble::connectionLost;
    end_reason = stream.endReason();
  } else if (!stream.ended()) {
    end_trouble = Trouble::protocolViolation;
    end_reason = "The client sent messages that Cap'n Proto cannot understand.";
  } else if (close_requested) {
    end_reason = "The client closed its session.";
  } else {
    end_trouble = Trouble::connectionLost;
    end_reason = "The client went away without closing its session.";
  }
  ending = kj::evalLater([this] { announceEnd(); }).eagerlyEvaluate(nullptr);
}

void ServerConnection::Impl::announceEnd() {
  if (std::exchange(announced, true)) return;
  stopGreetingTimer();
  link->stream().abandon();
  if (kind == ConnectionKind::bulk && !greeted) return handler.strangerLeft(end_reason);
  handler.disconnected(kind, end_trouble, end_reason);
}

ServerConnection::ServerConnection(UvEventPort& port, int fd, ConnectionKind kind,
                                   const SessionToken& token, SessionHandler& handler,
                                   const ServerConnectionOptions& options)
    : impl_(std::make_unique<Impl>(port, fd, kind, token, handler, options)) {}

ServerConnection::~ServerConnection() noexcept(false) = default;

bool ServerConnection::sendOutput(bool to_stderr, std::span<const std::byte> text) {
  if (impl_->over || impl_->unacknowledged_output_bytes + text.size() > kOutputBytesMax) {
    return false;
  }
  if (!impl_->callbacks_export) return false;
  impl_->postOutput(to_stderr, text);
  return true;
}

size_t ServerConnection::unacknowledgedOutputBytes() const {
  return impl_->unacknowledged_output_bytes;
}

void ServerConnection::onOutputAcknowledged(std::function<void()> callback) {
  impl_->output_acknowledged = std::move(callback);
}

kj::Promise<void> ServerConnection::runHostFunction(uint64_t number, int32_t status,
                                                    std::span<const uint64_t> completed) {
  KJ_IF_MAYBE (client, impl_->callbacks) {
    if (!impl_->over) {
      auto request = client->hostFunctionRequest();
      request.setNumber(number);
      request.setStatus(status);
      request.setCompleted(kj::ArrayPtr<const uint64_t>(completed.data(), completed.size()));
      return request.send().ignoreResult();
    }
  }
  return KJ_EXCEPTION(DISCONNECTED, "The client cannot be called back.");
}

void ServerConnection::abort(Trouble trouble, const std::string& reason) {
  impl_->abort(trouble, reason);
}

bool ServerConnection::isStranger() const {
  return impl_->announced && !impl_->greeted;
}

uint64_t ServerConnection::bytesReceived() const {
  return impl_->link->channel().bytesRead() + impl_->shared_bytes_in;
}
uint64_t ServerConnection::bytesSent() const {
  return impl_->link->channel().bytesWritten() + impl_->shared_bytes_out;
}

}  // namespace farwarp::wire
