// gpud's end of one connection of a session, on the caller's KJ loop (uv_event_port.h).
//
// A worker makes a ServerConnection for its control connection and one for each bulk connection,
// all with the same SessionHandler and after the preambles were exchanged. Everything runs on the
// thread of the loop. The peer is untrusted: what breaks the protocol ends the connection with a
// reason.
#pragma once

#include <kj/async.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>

#include "protocol/errors.h"
#include "protocol/hello.h"
#include "protocol/kernel_timeline.h"
#include "protocol/limits.h"
#include "protocol/shared_region.h"
#include "protocol/uv_event_port.h"

namespace farwarp::wire {

class TlsServer;  // tls.h

// The answer to one call(). Keeps the call's batch alive as long as it exists. Use on the loop's
// thread only. Destroying it unanswered fails that call in the client.
class CallReply {
 public:
  virtual ~CallReply() noexcept(false) = default;
  // Answers with a copy of `bytes` (at most kReplyBytesMax). The batch is gone after this.
  virtual void send(std::span<const std::byte> bytes) = 0;
  // Room for the answer, to be filled in place and then sent with sendBuffer(). Zero-filled;
  // 8-aligned.
  virtual std::span<std::byte> buffer(size_t bytes) = 0;
  virtual void sendBuffer() = 0;
  // Fails the call; `reason` reaches the client's log.
  virtual void fail(const std::string& reason) = 0;
};

// Keeps the batch of a submit valid. The next batch comes when it is destroyed.
class BatchLease {
 public:
  virtual ~BatchLease() noexcept(false) = default;
};

// The answer to one getShared. Destroying it unanswered leaves the bytes to the socket.
class SharedReply {
 public:
  virtual ~SharedReply() noexcept(false) = default;
  // They lie at `place` in the part for downloads, until takenShared(place).
  virtual void at(uint32_t place) = 0;
  virtual void fail(const std::string& reason) = 0;
};

// Bytes for one bulk get. `owner` is kept until they are on the wire.
struct GetResult {
  std::span<const std::byte> bytes;
  kj::Own<void> owner;
};

class SessionHandler {
 public:
  virtual ~SessionHandler() = default;

  // Once per session. False refuses it with a sentence in `refusal`, which the user sees.
  virtual bool hello(const ClientHello& client, ServerHello& server, std::string& refusal) = 0;

  // Batches in the order of their sequence numbers, without gaps, submits and calls together.
  // `batch` is 8-aligned and stays valid until `lease` is destroyed, or `reply` is answered or
  // destroyed. The next batch may come before that of a call is answered, but waits for the lease
  // of a submit. Must not throw, and must not destroy the connection.
  virtual void submit(uint64_t seq, std::span<const std::byte> batch,
                      kj::Own<BatchLease> lease) = 0;
  virtual void call(uint64_t seq, std::span<const std::byte> batch, kj::Own<CallReply> reply) = 0;

  virtual SessionStats stats() = 0;
  // `start`: keep when kernels run from now on. Otherwise the next of them that were not told yet.
  virtual KernelTimeline kernelTimeline(bool start) {
    (void)start;
    return {};
  }

  // Where bytes [offset, offset + length) of an upload belong; they are received straight into it.
  // The memory must stay valid until putArrived for the same range, or putAborted. Empty refuses
  // the chunk and ends the connection (for example: the transfer is unknown and none may be
  // announced by data).
  virtual std::span<std::byte> destinationFor(uint64_t transfer, uint64_t offset,
                                              uint32_t length) = 0;
  // The bytes are there. The next chunk waits for the promise.
  virtual kj::Promise<void> putArrived(uint64_t transfer, uint64_t offset, uint32_t length) = 0;
  // The connection ended between destinationFor and putArrived.
  virtual void putAborted(uint64_t transfer, uint64_t offset, uint32_t length) {
    (void)transfer, (void)offset, (void)length;
  }

  // Bytes [offset, offset + length) of a download, as soon as they are there. A rejected promise
  // fails the client's get.
  virtual kj::Promise<GetResult> get(uint64_t transfer, uint64_t offset, uint32_t length) = 0;

  // Memory that client and worker share (shared_region.h). The handler keeps it as long as anything
  // may use it. False refuses it.
  virtual bool shareMemory(SharedRegion region) {
    (void)region;
    return false;
  }
  // Bytes of an upload, in shared memory: they stay until `lease` is destroyed, but the client may
  // change them. False refuses the chunk and ends the connection, as destinationFor does.
  virtual bool putShared(uint64_t transfer, uint64_t offset, std::span<std::byte> bytes,
                         kj::Own<BatchLease> lease) {
    (void)transfer, (void)offset, (void)bytes, (void)lease;
    return false;
  }
  // As get, into shared memory.
  virtual void getShared(uint64_t transfer, uint64_t offset, uint32_t length,
                         kj::Own<SharedReply> reply) {
    (void)transfer, (void)offset, (void)length, (void)reply;
  }
  // The client has taken what a SharedReply put there. False: nothing was.
  virtual bool takenShared(uint32_t place) {
    (void)place;
    return false;
  }

  // The client ended the session in good order; nothing more comes from it.
  virtual void closeRequested() {}
  // A connection ended, for whatever reason: a sentence for the log. Called once per connection,
  // from the loop; destroy the ServerConnection later, not inside. `kind` tells control from bulk.
  virtual void disconnected(ConnectionKind kind, Trouble trouble, const std::string& reason) = 0;
  // Told in place of disconnected() for a bulk connection that never proved that it belongs to the
  // session: anyone can open one, so it says nothing about the session.
  virtual void strangerLeft(const std::string& reason) { (void)reason; }
};

struct ServerConnectionOptions {
  TlsServer* tls = nullptr;  // null: in clear
  // Time for TLS and for hello or attachBulk; 0: no limit.
  uint64_t greeting_timeout_ms = 0;
  // Of what a bulk connection sends; what it takes is the client's choice.
  CompressionMode compression = CompressionMode::off;
};

class ServerConnection {
 public:
  // Takes ownership of `fd`. The loop of `port` must be current (WaitScope). For bulk connections
  // `token` is the session's; a client that names another is refused.
  ServerConnection(UvEventPort& port, int fd, ConnectionKind kind, const SessionToken& token,
                   SessionHandler& handler, const ServerConnectionOptions& options = {});
  ~ServerConnection() noexcept(false);
  ServerConnection(const ServerConnection&) = delete;
  ServerConnection& operator=(const ServerConnection&) = delete;

  // Sends output of device printf or assert to the client. False when it is not sent: the client
  // did not ask for it, is gone, or has not acknowledged kOutputBytesMax.
  bool sendOutput(bool to_stderr, std::span<const std::byte> text);
  // Bytes of it that the client has not acknowledged.
  size_t unacknowledgedOutputBytes() const;
  // Called on the loop whenever it acknowledged some.
  void onOutputAcknowledged(std::function<void()> callback);

  // Has the client run a host function, and resolves when it has. Rejected when the connection ends
  // before. `completed`: as in a reply.
  kj::Promise<void> runHostFunction(uint64_t number, int32_t status,
                                    std::span<const uint64_t> completed);

  // Ends the connection because the peer broke the rules or the session is over. The handler gets
  // disconnected() with this reason.
  void abort(Trouble trouble, const std::string& reason);

  // True for a connection that ended before it said hello or named the session's token.
  bool isStranger() const;

  uint64_t bytesReceived() const;
  uint64_t bytesSent() const;

  struct Impl;  // server_impl.h

 private:
  std::unique_ptr<Impl> impl_;
};

}  // namespace farwarp::wire
