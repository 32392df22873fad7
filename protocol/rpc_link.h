// One connection's socket, message stream and Cap'n Proto RPC system, for either side.
#pragma once

#include <capnp/rpc-twoparty.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "protocol/message_stream.h"

namespace farwarp::wire {

class RpcLink {
 public:
  // The KJ loop must be current, here and in the destructor. `bootstrap` is null on the client's
  // side.
  RpcLink(OutputFlushers& flushers, std::unique_ptr<ByteChannel> channel, PlacementHook* hook,
          const StreamOptions& options, kj::Maybe<capnp::Capability::Client> bootstrap);
  ~RpcLink() noexcept(false);
  KJ_DISALLOW_COPY(RpcLink);

  // What the other side offers.
  capnp::Capability::Client bootstrap();

  ByteChannel& channel() { return *channel_; }
  const ByteChannel& channel() const { return *channel_; }
  MessageStream& stream() { return *stream_; }
  // True when nothing more can be said to the peer.
  bool gone() const { return rpc_gone_ || stream_->ended(); }
  // Told inside the loop, at least once, when gone() came true.
  void onGone(std::function<void()> callback);

  static capnp::ReaderOptions readerOptions();

 private:
  void becomeGone();

  std::unique_ptr<ByteChannel> channel_;
  std::optional<MessageStream> stream_;
  std::optional<capnp::TwoPartyVatNetwork> network_;
  std::optional<capnp::RpcSystem<capnp::rpc::twoparty::VatId>> system_;
  bool rpc_gone_ = false;
  std::function<void()> on_gone_;
  kj::Promise<void> gone_watch_ = nullptr;
};

// Bulk messages carry their data in a segment of its own, which is read straight to its place: a
// small read-ahead keeps that data out of the buffer.
StreamOptions controlStreamOptions();
StreamOptions controlStreamOptionsOfServer();
StreamOptions bulkStreamOptions();

}  // namespace farwarp::wire
