// Inside of ServerConnection, shared by server_connection.cc, server_calls.cc and
// server_bulk.cc.
#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <unordered_map>

#include "protocol/codec_thread.h"
#include "protocol/compression.h"
#include "protocol/direct_call.h"
#include "protocol/farwarp.capnp.h"
#include "protocol/placement.h"
#include "protocol/rpc_link.h"
#include "protocol/server_connection.h"
#include "protocol/uv_watch.h"

namespace farwarp::wire {

// The RPC system can keep services and calls longer than the connection: they ask here first.
struct ServerGate {
  ServerConnection::Impl* impl = nullptr;
  // The connection, or an exception for the caller when it is over.
  ServerConnection::Impl& open() const;
};

// A batch that has arrived, until it is done.
class HeldBatch {
 public:
  HeldBatch(std::shared_ptr<ServerGate> gate, const DirectCall& call, MessageMemory& memory);
  HeldBatch(HeldBatch&&) = default;
  HeldBatch& operator=(HeldBatch&&) = delete;
  ~HeldBatch();

  const DirectCall& call() const { return call_; }
  ServerConnection::Impl* impl() const;  // null when the connection is gone

 private:
  std::shared_ptr<ServerGate> gate_;  // null when moved away
  DirectCall call_;
  MessageMemory memory_;
};

struct ServerConnection::Impl final : PlacementHook, MessageTaker {
  using Gate = ServerGate;

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
  void checkOutstanding();

  void linkGone();
  void announceEnd();
  void limitGreeting(uv_loop_t* loop, uint64_t timeout_ms);
  void stopGreetingTimer();

  // Whether a download may be packed, as far as is known without looking at it. Not what the client
  // can change meanwhile: nobody promises that a codec stands that.
  bool mayPack(size_t bytes) const {
    return !shares_memory && Compression::mayPack(compression, link->channel().linkRate(), bytes);
  }
  CodecThread& codec();

  // PlacementHook
  std::span<std::byte> place(std::span<const Segment> segments) override;

  // MessageTaker of a control connection, and what it takes (server_calls.cc).
  bool take(std::span<const Segment> segments, MessageMemory& memory) override;
  void takeCall(HeldBatch batch);
  // The same for a bulk connection (server_shared.cc).
  bool takeShared(std::span<const Segment> segments);
  // Takes over the memory whose descriptor has come; a sentence when it does not.
  std::string share();
  void submitDone();
  void takeWaiting();
  void holdBytes(size_t bytes);
  void releaseBytes(size_t bytes);
  void postOutput(bool to_stderr, std::span<const std::byte> text);
  void outputAcknowledged(uint32_t question);

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
  std::optional<uint32_t> callbacks_export;  // what the client calls them
  size_t held_bytes = 0;  // of batches that are not done; beyond a limit it waits
  bool holds_input = false;
  bool submit_runs = false;  // and the batches behind it wait
  std::deque<HeldBatch> waiting_batches;
  bool takes_waiting = false;  // inside takeWaiting
  kj::Promise<void> taking_waiting = nullptr;
  std::unordered_map<uint32_t, size_t> outputs;  // bytes, by question
  uint32_t next_output = 0;
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
  bool shares_memory = false;
  std::span<std::byte> upload_part;
  uint32_t outstanding_shared = 0;
  uint64_t shared_bytes_in = 0, shared_bytes_out = 0;
};

// Service for bulk connections (server_bulk.cc).
rpc::Bulk::Client makeBulkService(std::shared_ptr<ServerConnection::Impl::Gate> gate);

}  // namespace farwarp::wire
