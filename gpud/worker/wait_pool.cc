#include "gpud/worker/wait_pool.h"

#include <utility>

namespace farwarp::worker {

WaitPool::~WaitPool() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void WaitPool::run(std::function<void()> wait) {
  {
    std::lock_guard lock(mutex_);
    queue_.push_back(std::move(wait));
    if (idle_ < queue_.size() && threads_.size() < threads_max_) {
      threads_.emplace_back([this] { work(); });
    }
  }
  changed_.notify_one();
}

size_t WaitPool::threads() const {
  std::lock_guard lock(mutex_);
  return threads_.size();
}

void WaitPool::work() {
  std::unique_lock lock(mutex_);
  for (;;) {
    ++idle_;
    changed_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
    --idle_;
    if (queue_.empty()) return;
    const auto wait = std::move(queue_.front());
    queue_.pop_front();
    lock.unlock();
    wait();
    lock.lock();
  }
}

}  // namespace farwarp::worker
