#include "gpud/device/cpu/ptx/worker_pool.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>

#include <algorithm>

namespace farwarp::ptx {

WorkerPool::Impl::Impl(unsigned threads) {
  // Signals of the process are for its own threads; faults are delivered where they happen.
  sigset_t all, before;
  sigfillset(&all);
  for (int fault : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT}) sigdelset(&all, fault);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  for (unsigned k = 1; k < threads; ++k) threads_.emplace_back([this] { work(); });
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

WorkerPool::Impl::~Impl() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
  }
  wanted_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void WorkerPool::Impl::add(Request& request) {
  if (threads_.empty() || request.wanted == 0) return;
  unsigned wanted = request.wanted;
  {
    std::lock_guard lock(mutex_);
    requests_.push_back(&request);
  }
  if (wanted == 1)
    wanted_.notify_one();
  else
    wanted_.notify_all();
}

void WorkerPool::Impl::finish(Request& request) {
  if (threads_.empty()) return;
  std::unique_lock lock(mutex_);
  std::erase(requests_, &request);
  left_.wait(lock, [&] { return request.running == 0; });
}

void WorkerPool::Impl::work() {
  std::unique_lock lock(mutex_);
  for (;;) {
    wanted_.wait(lock, [&] { return stop_ || !requests_.empty(); });
    if (stop_) return;
    Request& request = *requests_.front();
    ++request.running;
    if (--request.wanted == 0) requests_.pop_front();
    lock.unlock();
    {
      Worker worker(*request.launch);
      worker.run();
    }
    lock.lock();
    if (--request.running == 0) left_.notify_all();
  }
}

namespace {
unsigned usableCpus() {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof(set), &set) == 0) {
    return static_cast<unsigned>(std::max(CPU_COUNT(&set), 1));
  }
  return std::max(std::thread::hardware_concurrency(), 1u);
}
}  // namespace

WorkerPool::WorkerPool(unsigned threads)
    : threads_(threads != 0 ? std::min(threads, 1024u) : usableCpus()),
      impl_(std::make_unique<Impl>(threads_)) {}

WorkerPool::~WorkerPool() = default;

}  // namespace farwarp::ptx
