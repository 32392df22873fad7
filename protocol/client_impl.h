// Inside of ClientConnection, shared by client_connection.cc, client_open.cc and client_bulk.cc.
#pragma once

#include <atomic>
#include <deque>
#include <map>
#include <mutex>

#include "protocol/client_connection.h"
#include "protocol/compression.h"
#include "protocol/endpoint.h"
#include "protocol/farwarp.capnp.h"
#include "protocol/open_channel.h"
#include "protocol/rpc_link.h"
#include "protocol/shared_loop.h"

namespace farwarp::wire {

// One call that was started. Made and destroyed inside the control loop.
struct PendingCall {
  ClientConnection::Impl* owner = nullptr;
  bool done = false;
  Trouble trouble = Trouble::none;
  kj::Maybe<capnp::Response<rpc::Session::CallResults>> response;
  std::span<const std::byte> bytes;
  kj::Promise<void> task = nullptr;
  PendingCall* next = nullptr;  // in the list of those to destroy

  void answered(capnp::Response<rpc::Session::CallResults>&& results);
  void failed(const kj::Exception& exception);
};

struct Chunk;  // placement.h

// One get() at work; under the bulk loop's lock.
struct PendingGet {
  std::span<std::byte> destination;
  size_t outstanding = 0;  // chunk requests without an answer
  Trouble trouble = Trouble::none;
  bool over = false;  // get() has returned: the destination is not ours any more
};

// What went wrong with a request, from the exception of its promise.
Trouble troubleOf(const kj::Exception& exception, std::string& reason);

struct ClientConnection::Impl final : PlacementHook {
  Impl(Endpoint where, std::string name, const ClientOptions& options);
  ~Impl();

  // A connection and the loop that runs it.
  struct Channel {
    explicit Channel(int spin_us) : loop(spin_us) {}
    SharedLoop loop;
    std::unique_ptr<RpcLink> link;
    std::atomic<int> fd{-1};
  };

  // Connects a socket, exchanges preambles, and shakes hands where TLS is wanted. Null with `error`
  // filled otherwise.
  std::unique_ptr<ByteChannel> openChannel(ConnectionKind kind, const TimeLimit& limit,
                                           ConnectionError& error) const;
  bool hello(std::unique_ptr<ByteChannel> channel, const ClientHello& hello,
             SharedLoop::Clock::time_point deadline, ConnectionError& error);
  Trouble openBulk();

  // Runs `work` in the loop of `channel`; exceptions become the death of the connection.
  void runIn(Channel& channel, SharedLoop::Lock& lock, const std::function<void()>& work);
  void afterTurn(Channel& channel);
  void submitFailed(const Channel& channel, const kj::Exception& exception);
  template <typename Send, typename Read>
  Trouble ask(Send send, Read read);
  std::string deathSentence() const;
  void die(Trouble trouble, const std::string& sentence);
  // The trouble that a call returns now; none while the connection lives. Looks at `forked` first
  // and takes no lock.
  Trouble deadTrouble() const;

  // Sends a batch by `send`, inside the loop, and waits until its bytes are written and `*window`
  // holds.
  Trouble sendBatch(SharedLoop::Lock& lock, std::span<const std::byte> batch, const bool& window,
                    const std::function<void()>& send);
  // Turns the loop until `done` holds or the connection is dead; then `task` is over, and on a dead
  // connection no memory of the caller is touched any more.
  Trouble await(Channel& channel, SharedLoop::Lock& lock, const bool& done,
                kj::Promise<void>& task);
  Trouble putChunks(uint64_t transfer, std::span<const std::byte> data);
  Trouble getChunks(uint64_t transfer, std::span<std::byte> destination);
  void requestChunk(const std::shared_ptr<PendingGet>& pending, uint64_t transfer, size_t offset,
                    size_t length);
  void release(PendingCall* call);
  void destroyReleased();
  void closeChannel(Channel& channel);

  // Puts a chunk that came in its place; on nonsense the connection dies.
  void takeChunk(const Chunk& chunk, std::span<std::byte> destination);
  // Packs `bytes` for the wire into `into` where that pays; takes pack_mutex.
  ChunkForm packChunk(std::span<const std::byte> bytes, std::vector<std::byte>& into,
                      size_t& packed);

  // PlacementHook of the bulk connection
  std::span<std::byte> place(std::span<const Segment> segments) override;

  const Endpoint endpoint;
  const std::string name;  // as the user wrote it
  const ClientOptions options;
  std::unique_ptr<TlsClient> tls;  // null: in clear
  ServerHello server;

  Channel control;
  kj::Maybe<rpc::Session::Client> session;  // under control's lock
  uint64_t next_seq = 1;                    // under control's lock
  std::atomic<PendingCall*> released{nullptr};
  std::deque<HostFunctionCall> host_functions;  // under control's lock, with what follows
  struct RunningHostFunction {
    kj::Own<kj::PromiseFulfiller<void>> ran;
    bool failed;
  };
  std::map<uint64_t, RunningHostFunction> host_functions_running;
  size_t failed_host_functions = 0;  // of those
  uint64_t next_host_function = 1;

  std::mutex bulk_open_mutex;  // guards the opening of `bulk`; taken before any loop's lock
  Channel bulk;
  std::atomic<bool> bulk_open{false};
  kj::Maybe<rpc::Bulk::Client> bulk_service;             // under bulk's lock
  std::map<uint64_t, std::shared_ptr<PendingGet>> gets;  // under bulk's lock
  ChunkDecoder decoder;                                  // under bulk's lock
  std::mutex pack_mutex;  // guards compression; no other lock is taken under it
  Compression compression;

  std::atomic<bool> forked{false};
  std::atomic<Trouble> dead{Trouble::none};
  mutable std::mutex reason_mutex;  // guards reason; the innermost lock
  std::string reason;

  std::atomic<uint64_t> calls{0}, waiting_calls{0}, waited_ns{0};
  std::atomic<uint64_t> unpacked_bytes{0}, packed_bytes{0};
};

// Adds the time of a scope to the connection's time waited.
class WaitClock {
 public:
  explicit WaitClock(std::atomic<uint64_t>& total)
      : total_(total), since_(SharedLoop::Clock::now()) {}
  ~WaitClock() {
    total_.fetch_add(static_cast<uint64_t>((SharedLoop::Clock::now() - since_).count()),
                     std::memory_order_relaxed);
  }
  WaitClock(const WaitClock&) = delete;
  WaitClock& operator=(const WaitClock&) = delete;

 private:
  std::atomic<uint64_t>& total_;
  const SharedLoop::Clock::time_point since_;
};

// Sets a flag when the bytes that it is attached to are written, or never will be.
struct WrittenFlag {
  explicit WrittenFlag(std::shared_ptr<bool> flag) : flag(std::move(flag)) {}
  ~WrittenFlag() { *flag = true; }
  WrittenFlag(const WrittenFlag&) = delete;
  WrittenFlag& operator=(const WrittenFlag&) = delete;
  std::shared_ptr<bool> flag;
};

// Makes `to` the blob `bytes`, sent from where it is when it is aligned and large, else copied.
// True when `bytes` must stay until written; then `attached` was set to be told.
inline constexpr size_t kReferenceBytesMin = 8u << 10;
inline bool canReference(std::span<const std::byte> bytes) {
  return bytes.size() >= kReferenceBytesMin && bytes.size() % 8 == 0 &&
         reinterpret_cast<uintptr_t>(bytes.data()) % 8 == 0;
}
inline capnp::Data::Reader asData(std::span<const std::byte> bytes) {
  return capnp::Data::Reader(reinterpret_cast<const kj::byte*>(bytes.data()), bytes.size());
}

}  // namespace farwarp::wire
