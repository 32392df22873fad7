// How fast a network takes bytes.
//
// Measured only while the socket's buffer is never empty: from one moment in which it took no more
// to the next one, the network carried what was written in between. What the sender does in the
// meantime does not count, and a sender that never fills the buffer learns nothing.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>

namespace farwarp::wire {

class LinkMeter {
 public:
  using Clock = std::chrono::steady_clock;

  // Before bytes are written to `fd`: an empty buffer means that the network had nothing to do.
  void beforeWrite(int fd);
  void wrote(uint64_t bytes) { bytes_ += bytes; }
  // The socket takes no more now.
  void full() { full(Clock::now()); }
  void full(Clock::time_point now);

  // 0: not known. From any thread.
  uint64_t bytesPerSecond() const { return rate_.load(std::memory_order_relaxed); }

 private:
  bool busy_ = false;  // since since_
  Clock::time_point since_;
  uint64_t bytes_ = 0;
  std::atomic<uint64_t> rate_{0};
};

}  // namespace farwarp::wire
