#include "interposer/session/session_log.h"

#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include <x86intrin.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <new>
#include <utility>

#include "interposer/trace/tracer.h"

namespace farwarp::client {

using wire::Trouble;

namespace {

// About 20 us: the counter runs at 2 to 4 GHz on the machines at hand. Too short only costs a
// batch.
constexpr uint64_t kFlushAgeTicks = 50'000;
constexpr long kTailTickNs = 50'000;
constexpr long kIdleTickNs = 100'000'000;  // a dead peer is noticed within this time
constexpr int kTicksBeforeSleep = 100;     // after a burst: 5 ms of ticks before it must be woken
constexpr long kJoinSeconds = 1;

void futexWait(std::atomic<uint32_t>& word, uint32_t value, long timeout_ns) {
  const timespec timeout{0, timeout_ns};
  syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, value, &timeout, nullptr, 0);
}

void futexWake(std::atomic<uint32_t>& word) {
  syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, 1, nullptr, nullptr, 0);
}

}  // namespace

bool SessionLog::makeRoom(size_t bytes) {
  if (used_ + bytes <= capacity_) return true;
  const size_t wanted = std::max(kFirstCapacity, wire::padded(used_ + bytes));
  std::unique_ptr<std::byte[]> larger(new (std::nothrow) std::byte[wanted]);
  if (larger == nullptr) return false;
  if (used_ != 0) std::memcpy(larger.get(), batch_.get(), used_);
  batch_ = std::move(larger);
  capacity_ = wanted;
  return true;
}

Trouble SessionLog::begin(const wire::RecordHeader& header, std::byte*& body) {
  mutex_.lock();
  record_bytes_ = header.bytes;
  if (used_ + header.bytes > wire::kBatchBytesMax) {
    if (Trouble trouble = flushLocked(); trouble != Trouble::none) {
      mutex_.unlock();
      return trouble;
    }
  }
  if (!makeRoom(header.bytes)) {
    mutex_.unlock();
    return Trouble::outOfMemory;
  }
  std::memcpy(batch_.get() + used_, &header, sizeof(header));
  body = batch_.get() + used_ + sizeof(header);
  return Trouble::none;
}

Trouble SessionLog::append(bool now) {
  used_ += record_bytes_;
  async_records_.store(async_records_.load(std::memory_order_relaxed) + 1,
                       std::memory_order_relaxed);
  Trouble trouble = Trouble::none;
  if (now || used_ >= kFlushBytes || __rdtsc() - last_flush_ >= kFlushAgeTicks) {
    trouble = flushLocked();
  } else {
    // The background thread must see the record if it looks after this, but need be told once only.
    if (!tail_.load(std::memory_order_relaxed)) tail_.store(true);
    startBackgroundLocked();
  }
  const bool wake = tail_.load(std::memory_order_relaxed);
  mutex_.unlock();
  if (wake) wakeBackground();
  return trouble;
}

wire::Ticket SessionLog::start(size_t& batch_bytes) {
  used_ += record_bytes_;
  batch_bytes = used_;
  sync_records_.store(sync_records_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  wire::Ticket ticket = connection_->start({batch_.get(), used_});
  used_ = 0;
  last_flush_ = __rdtsc();
  tail_.store(false, std::memory_order_relaxed);
  startBackgroundLocked();
  mutex_.unlock();
  return ticket;
}

Trouble SessionLog::flushLocked() {
  if (used_ == 0) return Trouble::none;
  MessageSpan span(trace::MessageKind::submit);
  span.sent(used_);
  const Trouble trouble = connection_->submit({batch_.get(), used_});
  used_ = 0;
  last_flush_ = __rdtsc();
  flushes_.store(flushes_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  tail_.store(false, std::memory_order_relaxed);
  return trouble;
}

Trouble SessionLog::flush() {
  std::lock_guard lock(mutex_);
  return flushLocked();
}

void SessionLog::startBackgroundLocked() {
  if (background_started_) return;
  background_started_ = true;  // once, even if it fails: batches then leave at the next call
  // The program's signal handlers must not run on a thread that it does not know.
  sigset_t all, old;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &old);
  if (pthread_create(&background_, nullptr, backgroundMain, this) != 0) stop_.store(true);
  pthread_sigmask(SIG_SETMASK, &old, nullptr);
}

void SessionLog::wakeBackground() {
  if (asleep_.load() == 1 && asleep_.exchange(0) == 1) futexWake(asleep_);
}

void* SessionLog::backgroundMain(void* log) {
  pthread_setname_np(pthread_self(), "farwarp");
  static_cast<SessionLog*>(log)->runBackground();
  return nullptr;
}

void SessionLog::runBackground() {
  int ticks_left = kTicksBeforeSleep;
  uint64_t flushes_seen = 0;
  while (!stop_.load(std::memory_order_relaxed)) {
    if (tail_.load()) {
      // A program that goes on making calls sends its batches itself; this is for what it leaves.
      const uint64_t flushes = flushes_.load(std::memory_order_relaxed);
      if (std::exchange(flushes_seen, flushes) == flushes) static_cast<void>(flush());
      ticks_left = kTicksBeforeSleep;
    }
    if (ticks_left > 0) {
      --ticks_left;
      const timespec tick{0, kTailTickNs};
      nanosleep(&tick, nullptr);
      continue;
    }
    connection_->backgroundTick();
    if (on_tick_) on_tick_();
    asleep_.store(1);
    if (!tail_.load() && !stop_.load()) futexWait(asleep_, 1, kIdleTickNs);
    asleep_.store(0);
  }
}

void SessionLog::stopBackground() {
  {
    std::lock_guard lock(mutex_);
    if (!background_started_) return;
    if (stop_.exchange(true)) return;
  }
  wakeBackground();
  timespec until{};
  clock_gettime(CLOCK_REALTIME, &until);
  until.tv_sec += kJoinSeconds;
  pthread_timedjoin_np(background_, nullptr, &until);
}

}  // namespace farwarp::client
