// Inside of ClientConnection, shared by client_connection.cc, client_open.cc and client_bulk.cc.
#pragma once

#include <atomic>
#include <deque>
#include <map>
#include <mutex>
#include <optional>

#include "protocol/client_connection.h"
#include "protocol/compression.h"
#include "protocol/direct_call.h"
#include "protocol/endpoint.h"
#include "protocol/farwarp.capnp.h"
#include "protocol/open_channel.h"
#include "protocol/rpc_link.h"
#include "protocol/shared_loop.h"

namespace farwarp::wire {

// One call or submit on its way. Kept for the next one when it is over; under the control loop's
// lock, but for what the thread that waits for it reads once `done` was seen under the lock.
struct PendingCall {
  static constexpr size_t kSmallReplyBytes = 256;

  ClientConnection::Impl* owner = nullptr;
  uint32_t question = 0;
  DirectMethod method = DirectMethod::call;
  bool in_use = false;
  bool done = false;
  bool given_up = false;  // nobody waits any more
  Trouble trouble = Trouble::none;
  size_t window_bytes = 0;  // of a submit
  std::span<const std::byte> bytes;
  std::byte small_reply[kSmallReplyBytes];
  MessageMemory memory;         // of a larger reply
  PendingCall* next = nullptr;  // in the list of those that were released
};

struct Chunk;  // placement.h
class SharedBulk;

// One get() at work; under the bulk loop's lock.
struct PendingGet {
  std::span<std::byte> destination;
  uint64_t first = 0;      // offset of the destination in the transfer
  size_t outstanding = 0;  // chunk requests without an answer
  Trouble trouble = Trouble::none;
  bool over = false;  // get() has returned: the destination is not ours any more
};

// What went wrong with a request, from the exception of its promise.
Trouble troubleOf(const kj::Exception& exception, std::string& reason);

struct ClientConnection::Impl final : PlacementHook, MessageTaker {
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
  void runIn(Channel& channel, SharedLoop::Lock& lock, SharedLoop::Work work);
  void afterTurn(Channel& channel);
  void watchSilence(SharedLoop::Lock& lock, SharedLoop::Clock::time_point now);
  void submitFailed(const Channel& channel, const kj::Exception& exception);
  template <typename Send, typename Read>
  Trouble ask(Send send, Read read);
  std::string deathSentence() const;
  void die(Trouble trouble, const std::string& sentence);
  // The trouble that a call returns now; none while the connection lives. Looks at `forked` first
  // and takes no lock.
  Trouble deadTrouble() const;

  // Sends a batch, inside the loop or not, and waits until its bytes may be reused. Null with
  // `trouble` filled when it could not be sent.
  PendingCall* sendBatch(SharedLoop::Lock& lock, DirectMethod method,
                         std::span<const std::byte> batch, Trouble& trouble);
  PendingCall& newCall(DirectMethod method);
  void answered(PendingCall& call, DirectReturn& answer, MessageMemory& memory);
  void takeReleased();
  void recycle(PendingCall& call);
  // MessageTaker of the control connection
  bool take(std::span<const Segment> segments, MessageMemory& memory) override;

  // Turns the loop until `done` holds or the connection is dead; then `task` is over, and on a dead
  // connection no memory of the caller is touched any more.
  Trouble await(Channel& channel, SharedLoop::Lock& lock, const bool& done,
                kj::Promise<void>& task);
  Trouble putChunks(uint64_t transfer, uint64_t first, std::span<const std::byte> data);
  Trouble getChunks(uint64_t transfer, uint64_t first, std::span<std::byte> destination);
  void requestChunk(const std::shared_ptr<PendingGet>& pending, uint64_t transfer, size_t offset,
                    size_t length);
  // Shares memory with the worker when it is on this machine (client_shared.h).
  void shareBulkMemory(SharedLoop::Lock& lock);
  void release(PendingCall* call);
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
  uint64_t next_seq = 1;                    // under control's lock, with what follows
  std::optional<uint32_t> session_export;   // what gpud calls the session
  std::vector<std::unique_ptr<PendingCall>> calls_in_flight;  // by question
  std::vector<PendingCall*> unused_calls;
  std::vector<uint32_t> to_finish;  // questions whose Finish goes out before the next call
  size_t submitted_bytes = 0;       // of submits that gpud has not answered
  size_t awaited_calls = 0;         // without an answer
  struct Silence {
    uint64_t heard_bytes = 0;
    SharedLoop::Clock::time_point since;
    bool asked = false, told = false;
  };
  Silence silence;
  std::atomic<PendingCall*> released{nullptr};  // from any thread
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
  std::unique_ptr<SharedBulk> shared_bulk;               // set when the bulk connection is opened
  std::string why_not_shared;                            // a sentence when it is null
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
