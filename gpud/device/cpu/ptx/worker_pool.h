// Threads that help launches along.
#pragma once

#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>
#include <vector>

#include "gpud/device/cpu/ptx/engine.h"
#include "gpud/device/cpu/ptx/machine.h"

namespace farwarp::ptx {

struct WorkerPool::Impl {
  explicit Impl(unsigned threads);
  ~Impl();

  // A launch that wants helpers; lives on the launching thread's stack.
  struct Request {
    Launch* launch = nullptr;
    unsigned wanted = 0;   // helpers that may still join
    unsigned running = 0;  // helpers inside
  };
  void add(Request& request);
  // No more helpers join; returns when those inside have left.
  void finish(Request& request);

 private:
  void work();

  std::mutex mutex_;  // guards everything below
  std::condition_variable wanted_;
  std::condition_variable left_;
  std::deque<Request*> requests_;
  bool stop_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace farwarp::ptx
