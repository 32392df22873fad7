// The far ends of transport_bench: a gpud without a device, and a bare socket server that does the
// same.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <thread>
#include <vector>

namespace farwarp::wire {
class TlsServer;
}

namespace farwarp::bench {

inline constexpr size_t kBulkBytes = 16u << 20;
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
  download  // kBulkBytes are the answer
};
struct RawRequest {
  RawOp op;
  uint32_t bytes;
};

// Serves one connection on a thread with blocking system calls.
class RawPeer {
 public:
  explicit RawPeer(const std::string& endpoint);
  ~RawPeer();
  int fd() const { return fd_; }  // the client's end, blocking

 private:
  void serve(int listener);
  int fd_ = -1;
  std::thread thread_;
};

int acceptFrom(int listener);  // waits
void sendAll(int fd, const void* data, size_t bytes);
bool receiveAll(int fd, void* data, size_t bytes);

}  // namespace farwarp::bench
