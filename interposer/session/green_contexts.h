// The green contexts of the program. Streams point to the one that they are of even when it is
// over, so none is ever freed.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <mutex>

namespace farwarp::client {

struct GreenContext {
  std::atomic<bool> active{false};
  // Set once, before the program gets the handle.
  uint64_t id = 0;          // wire id and CUgreenCtx value
  uint64_t context_id = 0;  // of the CUcontext that cuCtxFromGreenCtx gives
  uint64_t number = 0;      // cuGreenCtxGetId
  int device = 0;
  uint32_t multiprocessors = 0;
};

class GreenContexts {
 public:
  static constexpr size_t kMost = 65536;  // ever made

  // Null when too many were made.
  GreenContext* make() {
    std::lock_guard lock(mutex_);
    return all_.size() < kMost ? &all_.emplace_back() : nullptr;
  }

 private:
  std::mutex mutex_;  // guards all_; a leaf
  std::deque<GreenContext> all_;
};

}  // namespace farwarp::client
