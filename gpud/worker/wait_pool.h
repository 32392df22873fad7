// Threads that wait for the device, so that the issuing thread never has to.
//
// A thread is started when a wait comes and none is idle, up to a limit; beyond it waits queue. The
// device makes progress by itself, so a queued wait is late but never a deadlock.
#pragma once

#include <cuda.h>

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace farwarp::worker {

class WaitPool {
 public:
  explicit WaitPool(size_t threads_max) : threads_max_(threads_max) {}
  // Finishes what was queued, then joins.
  ~WaitPool();
  WaitPool(const WaitPool&) = delete;
  WaitPool& operator=(const WaitPool&) = delete;

  // Runs `wait` on one of the threads. Must not throw.
  void run(std::function<void()> wait);

  size_t threads() const;

 private:
  void work();

  const size_t threads_max_;
  mutable std::mutex mutex_;  // guards what follows; no other lock is taken under it
  std::condition_variable changed_;
  std::deque<std::function<void()>> queue_;
  std::vector<std::thread> threads_;
  size_t idle_ = 0;
  bool stopping_ = false;
};

}  // namespace farwarp::worker
