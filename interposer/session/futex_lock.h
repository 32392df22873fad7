// A lock that a signal handler may take, as long as the thread it interrupts does not hold it.
#pragma once

#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <climits>
#include <cstdint>

namespace farwarp::client {

inline void futexWait(const std::atomic<uint32_t>& word, uint32_t value) {
  const int error = errno;
  syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, value, nullptr, nullptr, 0);
  errno = error;
}

inline void futexWakeAll(const std::atomic<uint32_t>& word) {
  const int error = errno;
  syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, INT_MAX, nullptr, nullptr, 0);
  errno = error;
}

class FutexLock {
 public:
  void lock() {
    uint32_t seen = 0;
    if (state_.compare_exchange_strong(seen, 1, std::memory_order_acquire)) return;
    while (state_.exchange(2, std::memory_order_acquire) != 0) futexWait(state_, 2);
  }
  void unlock() {
    if (state_.exchange(0, std::memory_order_release) == 2) futexWakeAll(state_);
  }

 private:
  std::atomic<uint32_t> state_{0};  // 0 free, 1 held, 2 held and somebody waits
};

// Holds a FutexLock outside of a signal handler: no handler of the program's runs meanwhile, which
// could fault on shared memory and wait for the lock of the thread that it interrupted.
class SignalSafeGuard {
 public:
  explicit SignalSafeGuard(FutexLock& lock) : lock_(lock) {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before_);
    lock_.lock();
  }
  ~SignalSafeGuard() {
    lock_.unlock();
    pthread_sigmask(SIG_SETMASK, &before_, nullptr);
  }
  SignalSafeGuard(const SignalSafeGuard&) = delete;
  SignalSafeGuard& operator=(const SignalSafeGuard&) = delete;

 private:
  FutexLock& lock_;
  sigset_t before_;
};

}  // namespace farwarp::client
