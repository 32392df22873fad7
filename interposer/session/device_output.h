// Text that kernels printed, on its way to the program's standard streams.
//
// It comes on whichever thread reads the connection, and is written through the C library, as a
// driver does, so that it keeps its order with what the program prints: by the thread whose waiting
// call returns, before it returns, or by the background thread.
#pragma once

#include <atomic>
#include <cstddef>
#include <deque>
#include <mutex>
#include <span>
#include <string>

namespace farwarp::client {

class DeviceOutput {
 public:
  // Keeps the text for write(). Beyond kKeptBytesMax it is written at once.
  void add(bool to_stderr, std::span<const std::byte> text);
  // Writes what came. Does nothing quickly when nothing did.
  void write();

 private:
  static constexpr size_t kKeptBytesMax = 1u << 20;
  struct Chunk {
    bool to_stderr;
    std::string text;
  };
  std::atomic<size_t> kept_bytes_{0};
  std::mutex writing_;  // held while text is written, taken before mutex_
  std::mutex mutex_;    // guards chunks_
  std::deque<Chunk> chunks_;
};

}  // namespace farwarp::client
