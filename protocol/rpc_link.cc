#include "protocol/rpc_link.h"

#include <capnp/message.h>

namespace farwarp::wire {

RpcLink::RpcLink(OutputFlushers& flushers, std::unique_ptr<ByteChannel> channel,
                 PlacementHook* hook, const StreamOptions& options,
                 kj::Maybe<capnp::Capability::Client> bootstrap)
    : channel_(std::move(channel)) {
  stream_.emplace(flushers, *channel_, hook, options);
  KJ_IF_MAYBE (offered, bootstrap) {
    network_.emplace(*stream_, capnp::rpc::twoparty::Side::SERVER, readerOptions());
    system_.emplace(capnp::makeRpcServer(*network_, kj::mv(*offered)));
    // Calls that wait in gpud hold their messages; no more are read beyond this.
    system_->setFlowLimit(kIncomingCallBytesMax / sizeof(capnp::word));
  } else {
    network_.emplace(*stream_, capnp::rpc::twoparty::Side::CLIENT, readerOptions());
    system_.emplace(capnp::makeRpcClient(*network_));
  }
  gone_watch_ = network_->onDisconnect()
                    .then([this] { becomeGone(); }, [this](kj::Exception&&) { becomeGone(); })
                    .eagerlyEvaluate(nullptr);
}

void RpcLink::becomeGone() {
  rpc_gone_ = true;
  if (on_gone_) on_gone_();
}

void RpcLink::onGone(std::function<void()> callback) {
  on_gone_ = std::move(callback);
  // The RPC system notices an end only when its output is gone too; a peer may never take that.
  stream_->onEnd(on_gone_);
}

RpcLink::~RpcLink() noexcept(false) {
  on_gone_ = nullptr;
  stream_->onEnd(nullptr);
  gone_watch_ = nullptr;
  system_.reset();
  stream_->abandonOutput();
  network_.reset();
  stream_.reset();
}

capnp::Capability::Client RpcLink::bootstrap() {
  capnp::MallocMessageBuilder message(8);
  auto peer = message.initRoot<capnp::rpc::twoparty::VatId>();
  peer.setSide(capnp::rpc::twoparty::Side::SERVER);
  return system_->bootstrap(peer);
}

capnp::ReaderOptions RpcLink::readerOptions() {
  capnp::ReaderOptions options;
  options.traversalLimitInWords = 4 * kMessageBytesMax / sizeof(capnp::word);
  options.nestingLimit = 32;
  return options;
}

StreamOptions controlStreamOptions() {
  return StreamOptions{};
}

StreamOptions controlStreamOptionsOfServer() {
  StreamOptions options;
  options.output_bytes_max = kUntakenOutputBytesMax;
  return options;
}

StreamOptions bulkStreamOptions() {
  StreamOptions options;
  options.read_ahead_bytes = 1024;
  options.message_bytes_max = kChunkBytesMax + (64u << 10);
  options.pool_bytes_max = 4u << 20;
  return options;
}

}  // namespace farwarp::wire
