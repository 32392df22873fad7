// The far ends of transport_bench: a gpud without a device, and a bare socket server that does the
// same.
#pragma once

#include <openssl/ssl.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "protocol/endpoint.h"

namespace farwarp::wire {
class TlsServer;
}

namespace farwarp::bench {

inline constexpr size_t kBulkBytes = 16u << 20;
inline constexpr size_t kBulkBytesMax = 256u << 20;
inline constexpr size_t kPingBytes = 64;

// Goes through a batch as gpud does before it calls the driver; returns the number of records.
uint64_t decodeBatch(std::span<const std::byte> batch);

// Serves sessions of our protocol on a thread: calls are answered with 64 bytes, submits decoded,
// uploads received into and downloads sent from one buffer of kBulkBytes.
class RpcPeer {
 public:
  // `tls`: null for a peer in clear.
  explicit RpcPeer(const std::string& endpoint, wire::TlsServer* tls = nullptr);
  ~RpcPeer();
  const std::string& address() const { return address_; }

 private:
  struct Server;
  wire::Endpoint bound_;
  std::string address_;
  int listener_ = -1;
  std::atomic<bool> started_{false};
  std::atomic<Server*> server_{nullptr};
  std::thread thread_;
};

// What the bare server does with a request: a header of 8 bytes (RawRequest), then `bytes` of data.
enum class RawOp : uint32_t {
  ping,     // the data comes back
  batch,    // the data is decoded; no answer
  upload,   // the data goes into the buffer; one byte is the answer
  download  // `bytes` bytes are the answer; no data follows
};
struct RawRequest {
  RawOp op;
  uint32_t bytes;
};

// A blocking socket, bare or with OpenSSL on it and nothing else.
class RawStream {
 public:
  RawStream() = default;
  RawStream(int fd, SSL* ssl) : fd_(fd), ssl_(ssl) {}
  int fd() const { return fd_; }
  void send(const void* data, size_t bytes) const;
  bool receive(void* data, size_t bytes) const;
  ssize_t receiveSome(void* data, size_t bytes) const;
  void close();

 private:
  int fd_ = -1;
  SSL* ssl_ = nullptr;
};

// Serves one connection on a thread with blocking system calls. With `tls_folder`, in which gpud
// init has been, it speaks TLS 1.3.
class RawPeer {
 public:
  explicit RawPeer(const std::string& endpoint, const std::string& tls_folder = {});
  ~RawPeer();
  const RawStream& client() const { return client_; }
  int fd() const { return client_.fd(); }  // without TLS
  pthread_t thread() { return thread_.native_handle(); }

 private:
  void serve(int listener);
  SSL_CTX* server_context_ = nullptr;
  SSL_CTX* client_context_ = nullptr;
  RawStream client_;
  std::thread thread_;
};

int acceptFrom(int listener);  // waits
void sendAll(int fd, const void* data, size_t bytes);
bool receiveAll(int fd, void* data, size_t bytes);

}  // namespace farwarp::bench
