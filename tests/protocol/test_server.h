// A gpud without a device for the tests and benchmarks of the transport: it keeps uploads in
// memory, answers calls as their first byte says, and counts what it sees.
#pragma once

#include <atomic>
#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "protocol/client_connection.h"
#include "protocol/endpoint.h"
#include "protocol/server_connection.h"

namespace farwarp::wire {

// First byte of a batch: what the handler does with it. The rest is payload.
enum class TestOp : uint8_t {
  echo = 0,      // a call is answered with its batch
  countSoFar,    // a call is answered with the number of batches before it (uint64_t)
  park,          // a call is answered when releaseParked() is called
  fail,          // a call fails with a reason
  giveUp,        // the reply is destroyed unanswered
  endSession,    // gpud ends the session
  hangUp,        // gpud closes the socket without a word
  stallSubmits,  // a submit is not finished before releaseParked()
  big,           // a call is answered with uint32_t at byte 4 many bytes, i * 7
};

struct SeenBatch {
  uint64_t seq;
  bool call;
  uint8_t op;
  uint8_t thread;   // byte 1
  uint32_t number;  // bytes 4..7
};

class TestServer final : public SessionHandler {
 public:
  // Listens at `endpoint` (port 0, or unix:PATH) and serves one session after the other on a
  // thread.
  // With `tls` it speaks TLS, as the client's preamble must say; without, it must not.
  explicit TestServer(const std::string& endpoint, TlsServer* tls = nullptr,
                      uint64_t greeting_timeout_ms = 0);
  ~TestServer() noexcept;

  const std::string& address() const { return address_; }

  struct End {
    ConnectionKind kind;
    Trouble trouble;
    std::string reason;
  };

  // Before a client connects: what gpud's option would be.
  std::atomic<CompressionMode> compression{CompressionMode::off};
  // Before a client connects: what the supervisor would answer.
  std::atomic<PreambleStatus> preamble_status{PreambleStatus::ok};
  std::atomic<bool> refuse_hello{false};
  std::atomic<bool> ignore_hello{false};  // sessions open, hello never answered
  std::atomic<bool> hang_up_bulk{false};  // bulk connections are half closed and never read
  std::atomic<bool> keep_batches{true};   // in seen()
  std::atomic<bool> share_memory{false};  // with clients that ask for it

  // From any thread: runs on the server's loop and waits for it.
  void onLoop(std::function<void()> task);
  void releaseParked();
  void dropConnections();  // closes every socket without a word
  void abortSession(const std::string& reason);
  void sendOutput(const std::string& text);

  std::vector<SeenBatch> seen();
  End firstEnd();  // of a connection; waits for it
  size_t parkedNow();
  std::vector<std::byte> upload(uint64_t transfer);
  void setDownload(uint64_t transfer, std::vector<std::byte> bytes);
  // Waits until a condition holds that is asked on the server's loop.
  void waitFor(const std::function<bool()>& holds);

  // On the loop's thread, or in a condition of waitFor().
  std::vector<SeenBatch> batches;
  uint64_t batch_count = 0;
  std::map<uint64_t, std::vector<std::byte>> uploads;
  std::map<uint64_t, uint64_t> upload_bytes;
  std::map<uint64_t, std::vector<std::byte>> downloads;
  std::vector<End> ended;
  bool park_gets = false;
  bool keep_leases = false;                   // of uploads in shared memory, until releaseParked()
  size_t shared_places_max = SIZE_MAX;        // lent for downloads at one time
  uint64_t placements = 0, aborted_puts = 0;  // calls of destinationFor, putAborted
  std::vector<std::string> strangers;         // why they left
  size_t parked_count() const { return parked_.size(); }
  size_t upload_bytes_max = size_t{8} << 20;
  uint64_t bytesIn() const;

 private:
  bool hello(const ClientHello& client, ServerHello& server, std::string& refusal) override;
  void submit(uint64_t seq, std::span<const std::byte> batch, kj::Own<BatchLease> lease) override;
  void call(uint64_t seq, std::span<const std::byte> batch, kj::Own<CallReply> reply) override;
  SessionStats stats() override;
  std::span<std::byte> destinationFor(uint64_t transfer, uint64_t offset, uint32_t length) override;
  kj::Promise<void> putArrived(uint64_t transfer, uint64_t offset, uint32_t length) override;
  void putAborted(uint64_t transfer, uint64_t offset, uint32_t length) override;
  kj::Promise<GetResult> get(uint64_t transfer, uint64_t offset, uint32_t length) override;
  bool shareMemory(SharedRegion region) override;
  bool putShared(uint64_t transfer, uint64_t offset, std::span<std::byte> bytes,
                 kj::Own<BatchLease> lease) override;
  void getShared(uint64_t transfer, uint64_t offset, uint32_t length,
                 kj::Own<SharedReply> reply) override;
  bool takenShared(uint32_t place) override;
  void disconnected(ConnectionKind kind, Trouble trouble, const std::string& reason) override;
  void strangerLeft(const std::string& reason) override { strangers.push_back(reason); }

  void serve();
  void accept(int fd);
  void note(uint64_t seq, bool call, std::span<const std::byte> batch);

  TlsServer* const tls_;
  const uint64_t greeting_timeout_ms_;
  std::string address_, unix_path_;
  int listener_ = -1;
  std::unique_ptr<UvEventPort> port_;
  std::map<ConnectionKind, std::vector<std::unique_ptr<ServerConnection>>> connections_;
  SessionToken token_{1, 2, 3, 4, 5, 6, 7, 8};
  std::vector<kj::Own<CallReply>> parked_;
  std::vector<kj::Own<BatchLease>> parked_submits_;
  std::vector<kj::Own<BatchLease>> kept_leases_;
  std::optional<SharedRegion> region_;
  std::set<uint32_t> lent_places_;
  std::mutex ready_mutex_;
  std::condition_variable ready_;
  bool running_ = false;
  CompressionMode agreed_compression_ = CompressionMode::off;
  kj::Own<kj::PromiseFulfiller<void>> stop_;
  std::thread thread_;
};

// Options of a client that speaks in clear over TCP, as the server without TLS does.
ClientOptions clearOptions();

// A batch as the handler reads it.
std::vector<std::byte> testBatch(TestOp op, size_t bytes, uint8_t thread = 0, uint32_t number = 0);

// Bytes that differ from their neighbours, for transfers.
std::vector<std::byte> patternBytes(size_t bytes, uint32_t seed);

// A Unix address in a fresh folder of its own; removed when the process ends in order.
std::string freshUnixAddress();

}  // namespace farwarp::wire
