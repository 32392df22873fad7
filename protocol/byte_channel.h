// The bytes under a message stream: a socket, or a socket with TLS (tls_channel.h).
#pragma once

#include <sys/uio.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

#include "protocol/link_meter.h"

namespace farwarp::wire {

// Never blocks and never raises SIGPIPE.
class ByteChannel {
 public:
  virtual ~ByteChannel() = default;

  // > 0: bytes read; 0: the peer closed its side; -EAGAIN: nothing now; another -errno: failed.
  virtual ssize_t read(void* buffer, size_t bytes) = 0;
  // > 0: bytes taken; -EAGAIN: no room now; another -errno: failed.
  virtual ssize_t write(const iovec* pieces, int count) = 0;
  // True when read() has bytes that the descriptor's readiness does not show (decrypted already).
  virtual bool hasBufferedInput() const { return false; }
  // True when bytes that write() took, or answers of the channel's own, are not on their way yet;
  // flush() sends them: 0, -EAGAIN when some are left, or another -errno.
  virtual bool hasUnsentOutput() const { return false; }
  virtual int flush() { return 0; }
  // Sends a descriptor with the next bytes that are written; it must stay open until then. Does
  // nothing where descriptors cannot be sent.
  virtual void sendDescriptor(int fd) { (void)fd; }
  // Whether one that comes is kept; of several the first.
  virtual void keepDescriptor(bool keep) { (void)keep; }
  // The one that came and was kept, or -1; the caller owns it.
  virtual int takeDescriptor() { return -1; }
  // What an errno of read() means, for the inside of a sentence.
  virtual std::string explain(int error) const;

  // The peer sees the end after what was written. Reading goes on.
  virtual void shutdownWrite() = 0;
  // Nothing more goes out; reading ends after what has arrived. Wakes whoever polls the descriptor.
  virtual void shutdownBoth() = 0;

  virtual int fd() const = 0;
  // From any thread.
  uint64_t bytesRead() const { return bytes_read_.load(std::memory_order_relaxed); }
  uint64_t bytesWritten() const { return bytes_written_.load(std::memory_order_relaxed); }
  // How fast the network takes what is written, in bytes per second; 0 when that is not known.
  uint64_t linkRate() const { return meter_.bytesPerSecond(); }

 protected:
  // One thread at a time reads, and one writes: no locked instruction is needed.
  static void add(std::atomic<uint64_t>& counter, uint64_t bytes) {
    counter.store(counter.load(std::memory_order_relaxed) + bytes, std::memory_order_relaxed);
  }
  std::atomic<uint64_t> bytes_read_{0};
  std::atomic<uint64_t> bytes_written_{0};
  LinkMeter meter_;
};

class SocketChannel final : public ByteChannel {
 public:
  // Owns `fd`.
  explicit SocketChannel(int fd) : fd_(fd) {}
  ~SocketChannel() override;
  SocketChannel(const SocketChannel&) = delete;
  SocketChannel& operator=(const SocketChannel&) = delete;

  ssize_t read(void* buffer, size_t bytes) override;
  ssize_t write(const iovec* pieces, int count) override;
  void sendDescriptor(int fd) override { to_send_ = fd; }
  void keepDescriptor(bool keep) override { keep_ = keep; }
  int takeDescriptor() override { return std::exchange(kept_, -1); }
  void shutdownWrite() override;
  void shutdownBoth() override;
  int fd() const override { return fd_; }

 private:
  ssize_t readWithDescriptor(void* buffer, size_t bytes);

  const int fd_;
  int to_send_ = -1;
  int kept_ = -1;
  bool keep_ = false;
};

}  // namespace farwarp::wire
