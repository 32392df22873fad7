// The client's end of a session: one control connection, and a bulk connection when first needed.
//
// Any thread may call any method at any time. There is no I/O thread: a thread that waits runs the
// event loop itself ("leader"); other threads that wait meanwhile sleep until the leader has read
// their reply or hands over ("followers"). No method raises SIGPIPE or throws. Once the connection
// is dead, every call returns its trouble at once.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "protocol/errors.h"
#include "protocol/hello.h"
#include "protocol/kernel_timeline.h"
#include "protocol/limits.h"
#include "protocol/tls_trust.h"

namespace farwarp::wire {

class ClientConnection;
struct PendingCall;  // client_connection.cc

// The bytes of a reply. They stay where they were received until the Reply goes; any thread may
// destroy it, also after the connection died. It must not outlive the ClientConnection.
class Reply {
 public:
  Reply() = default;
  Reply(Reply&& other) noexcept;
  Reply& operator=(Reply&& other) noexcept;
  ~Reply();
  std::span<const std::byte> bytes() const { return bytes_; }

 private:
  friend class ClientConnection;
  std::span<const std::byte> bytes_;
  PendingCall* owner_ = nullptr;
};

// A call that was started and not waited for yet. Destroying it gives the reply up.
class Ticket {
 public:
  Ticket() = default;
  Ticket(Ticket&& other) noexcept;
  Ticket& operator=(Ticket&& other) noexcept;
  ~Ticket();
  // False when the call could not be started; wait() then returns the trouble at once.
  explicit operator bool() const { return call_ != nullptr; }

 private:
  friend class ClientConnection;
  PendingCall* call_ = nullptr;
  Trouble trouble_ = Trouble::internal;
};

struct ClientOptions {
  int connect_timeout_ms = 10000;  // name, TCP, preamble, TLS and hello together
  bool insecure = false;           // TCP without TLS; Unix sockets never have it
  TlsTrust trust;
  CompressionMode compression = CompressionMode::automatic;  // never so on Unix sockets
  int spin_us = -1;  // busy-wait before sleeping; -1: 20 with spare cores, else 0
  // Output of device printf and assert. Runs on whichever thread reads; must not call the
  // connection.
  std::function<void(bool to_stderr, std::span<const std::byte>)> on_output;
  // While a call waits and gpud says nothing for half this time, it is asked for a sign of life;
  // when none comes, on_silence gets a sentence, once until it is heard of again. Runs on the
  // thread of backgroundTick(); must not call the connection.
  std::chrono::milliseconds silence_max{20000};
  std::function<void(const std::string& sentence)> on_silence;
};

// A host function that a stream has reached.
struct HostFunctionCall {
  uint64_t number = 0;              // the client's own
  int32_t status = 0;               // CUresult for a stream callback
  std::vector<uint64_t> completed;  // copies to the host that are there, as in a reply
  uint64_t ticket = 0;              // for hostFunctionRan
};

struct ClientCounters {
  uint64_t calls = 0;  // submits and calls that were sent
  uint64_t waiting_calls = 0;
  uint64_t bytes_sent = 0;  // control and bulk, as on the wire, or through shared memory
  uint64_t bytes_received = 0;
  uint64_t bytes_shared = 0;   // of both, those through memory shared with gpud
  std::string why_not_shared;  // a sentence when it was tried, for a bulk connection, in vain
  uint64_t waited_ns = 0;      // sum over threads of time in wait(), put() and get()
  // Of bulk data that was compressed: what it is, and what it was on the wire.
  uint64_t unpacked_bytes = 0;
  uint64_t packed_bytes = 0;
};

class ClientConnection {
 public:
  // Connects, checks versions and opens a session. Null with `error` filled otherwise. `server` is
  // what parseEndpoint takes. A program that must survive late calls keeps the connection for ever
  // and never destroys it; destroying it ends the session.
  static std::unique_ptr<ClientConnection> open(const std::string& server, const ClientHello& hello,
                                                const ClientOptions& options,
                                                ConnectionError& error);
  ~ClientConnection();
  ClientConnection(const ClientConnection&) = delete;
  ClientConnection& operator=(const ClientConnection&) = delete;

  const ServerHello& server() const;
  const std::string& serverName() const;  // as the user wrote it

  // Sends a batch (record.h; at most kBatchBytesMax) and returns when the bytes are on their way.
  // Blocks while the flow window is full. gpud gets batches of submit and start in the order of the
  // calls. `batch` may be reused on return.
  Trouble submit(std::span<const std::byte> batch);

  // The same for a batch whose last record has a reply. Does not wait for it.
  [[nodiscard]] Ticket start(std::span<const std::byte> batch);
  // Waits for the reply of `ticket` and uses the ticket up.
  Trouble wait(Ticket&& ticket, Reply& reply);

  // Sends `data` as the bytes of `transfer` (a number that the client chose and told in a batch).
  // Returns when `data` may be reused, which is before gpud has all of it.
  Trouble put(uint64_t transfer, std::span<const std::byte> data);
  // Fetches the bytes of `transfer` straight into `destination` and returns when all are there. On
  // trouble the destination's content is undefined. A transfer number must not be in two get()s at
  // once.
  Trouble get(uint64_t transfer, std::span<std::byte> destination);

  // Waits until a stream reaches a host function; for one thread that runs them. The stream waits
  // until hostFunctionRan. Returns why when none will come any more.
  Trouble nextHostFunction(HostFunctionCall& next);
  void hostFunctionRan(uint64_t ticket);
  // Waits until those that gpud has named with an error ran: no stream waits for them.
  void waitForFailedHostFunctions();

  // Asks gpud for the session's figures.
  Trouble stats(SessionStats& out);
  // The next kernels that gpud kept; with `start` it begins to keep them, and the answer only has
  // its clock. See SessionHandler::kernelTimeline.
  Trouble kernelTimeline(bool start, KernelTimeline& out);
  // Ends the session in good order and fetches its final figures. Every later call finds it dead.
  Trouble close(SessionStats& out);

  bool dead() const;
  // Why the connection is dead; kind `none` while it lives.
  ConnectionError deathReason() const;

  // For a low-duty thread: reads what came while nobody waited, so that a dead peer is noticed and
  // output of the device is delivered, and looks for silence. Never blocks for long; does nothing
  // while a leader is at work.
  void backgroundTick(std::chrono::steady_clock::time_point now = std::chrono::steady_clock::now());

  // In a forked child: closes the child's copies of the descriptors and marks the connection dead
  // (`forked`). Touches neither the event loop nor the peer, and takes no lock.
  void abandonAfterFork();

  ClientCounters counters() const;

  struct Impl;  // client_impl.h

 private:
  explicit ClientConnection(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace farwarp::wire
