// Inside of ServerConnection, shared by server_connection.cc and server_bulk.cc.
#pragma once

#include <deque>
#include <memory>
#include <optional>

#include "protocol/codec_thread.h"
#include "protocol/compression.h"
#include "protocol/farwarp.capnp.h"
#include "protocol/placement.h"
#include "protocol/rpc_link.h"
#include "protocol/server_connection.h"
#include "protocol/uv_watch.h"

namespace farwarp::wire {

struct ServerConnection::Impl final : PlacementHook {
  // The RPC system can keep services and calls longer than the connection: they ask here first.
  struct Gate {
    Impl* impl = nullptr;
    // The connection, or an exception for the caller when it is over.
    Impl& open() const;
  };

  // A chunk of a put whose data goes, or went, to its place while the message arrives.
  struct PlacedChunk {
    uint64_t transfer;
    uint64_t offset;
    std::span<std::byte> destination;
  };

  Impl(UvEventPort& port, int fd, ConnectionKind kind, const SessionToken& token,
       SessionHandler& handler, const ServerConnectionOptions& options);
  ~Impl() noexcept(false);

  void abort(Trouble trouble, const std::string& reason);
  // Ends the connection because the peer broke the rules; returns what its call fails with.
  kj::Exception violate(const std::string& reason);
  void takeSeq(uint64_t seq, size_t batch_bytes);

  void linkGone();
  void announceEnd();
  void limitGreeting(uv_loop_t* loop, uint64_t timeout_ms);
  void stopGreetingTimer();

  // Whether a download may be packed, as far as is known without looking at it.
  bool mayPack(size_t bytes) const {
    return Compression::mayPack(compression, link->channel().linkRate(), bytes);
  }
  CodecThread& codec();

  // PlacementHook
  std::span<std::byte> place(std::span<const Segment> segments) override;

  kj::Promise<void> takePut(rpc::Bulk::PutParams::Reader params);
  kj::Promise<void> unpackPut(const Chunk& chunk, std::span<std::byte> memory);

  const ConnectionKind kind;
  const SessionToken token;
  SessionHandler& handler;
  const std::shared_ptr<Gate> gate;
  std::optional<RpcLink> link;
  std::optional<UvWatch> watch;

  bool greeted = false;  // hello or attachBulk came, with the right token
  uv_timer_t* greeting_timer = nullptr;
  bool close_requested = false;  // by the client
  bool over = false;             // abort() was called, or the peer is gone
  bool announced = false;        // the handler was told
  Trouble end_trouble = Trouble::none;
  std::string end_reason;
  kj::Promise<void> ending = nullptr;

  uint64_t next_seq = 1;
  uint32_t outstanding_calls = 0;
  uint32_t outstanding_gets = 0;
  kj::Maybe<rpc::ClientCallbacks::Client> callbacks;
  size_t unacknowledged_output_bytes = 0;
  std::function<void()> output_acknowledged;
  std::deque<PlacedChunk> placed;

  const CompressionMode compression;
  // Used on the codec thread, by jobs that keep them.
  const std::shared_ptr<Compression> packer;
  const std::shared_ptr<ChunkDecoder> decoder = std::make_shared<ChunkDecoder>();
  std::optional<PlacedChunk> unpacking;       // a put whose bytes are being unpacked to their place
  std::unique_ptr<CodecThread> codec_thread;  // started when first needed
  UvEventPort& port;
};

// Service for bulk connections (server_bulk.cc).
rpc::Bulk::Client makeBulkService(std::shared_ptr<ServerConnection::Impl::Gate> gate);

}  // namespace farwarp::wire
