#include "protocol/shared_loop.h"

#include <errno.h>
#include <kj/debug.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>

namespace farwarp::wire {
namespace {

constexpr int kTurnsBetweenFlushes = 256;

timespec timeLeft(SharedLoop::Clock::time_point deadline) {
  const auto left = std::max<int64_t>(
      0, std::chrono::duration_cast<std::chrono::nanoseconds>(deadline - SharedLoop::Clock::now())
             .count());
  return {static_cast<time_t>(left / 1000000000), static_cast<long>(left % 1000000000)};
}

}  // namespace

bool SharedLoop::Port::wait() {
  KJ_FAIL_REQUIRE("nobody sleeps inside the loop");
}

bool SharedLoop::Port::poll() {
  flushers.flushAll();
  return false;
}

SharedLoop::SharedLoop(int spin_us)
    : loop_(port_), wake_fd_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)), spin_us_(spin_us) {}

SharedLoop::~SharedLoop() {
  {
    const std::lock_guard guard(helper_mutex_);
    helper_stop_ = true;
    helper_wake_.notify_all();
  }
  if (helper_.joinable()) helper_.join();
  close(wake_fd_);
}

void SharedLoop::abandonAfterFork() {
  close(wake_fd_);
}

void SharedLoop::setStream(MessageStream* stream, int fd) {
  stream_ = stream;
  fd_ = fd;
}

void SharedLoop::run(Lock& lock, Work work) {
  (void)lock;
  std::optional<kj::WaitScope> scope;
  try {
    scope.emplace(loop_);
  } catch (const kj::Exception&) {
    // This thread is inside an event loop of the program's own.
    runOnHelper(work);
  }
  if (scope) {
    scope->setBusyPollInterval(kTurnsBetweenFlushes);
    work();
    scope->poll();
    if (on_turn_) on_turn_();
    scope.reset();
  }
  wakeFinished();
  if (leaderMustLookAgain()) kickLeader();
}

// The leader sleeps and does not watch for something that is needed now.
bool SharedLoop::leaderMustLookAgain() const {
  if (!leader_polls_ || stream_ == nullptr) return false;
  return (!leader_polls_write_ && stream_->wantsWrite()) ||
         (!leader_polls_read_ && anyoneNeedsInput());
}

bool SharedLoop::anyoneNeedsInput() const {
  return std::any_of(waiters_.begin(), waiters_.end(),
                     [](const Waiter* waiter) { return waiter->needs_input; });
}

void SharedLoop::readTurn(Lock& lock) {
  run(lock, [this] {
    if (stream_ == nullptr) return;
    stream_->readReady();
    stream_->flushOutput();
  });
}

void SharedLoop::tick(Lock& lock) {
  if (leader_ != nullptr || stream_ == nullptr) return;
  pollfd entry{fd_, POLLIN, 0};
  if (stream_->wantsWrite()) entry.events |= POLLOUT;
  if (poll(&entry, 1, 0) > 0) readTurn(lock);
}

bool SharedLoop::waitUntil(Lock& lock, Condition done, For what, Deadline deadline) {
  if (done()) return true;
  Waiter self{done, what == For::input};
  waiters_.push_back(&self);
  if (leaderMustLookAgain()) kickLeader();
  while (!done()) {
    if (deadline && Clock::now() >= *deadline) break;
    if (leader_ == nullptr) {
      lead(lock, self, deadline);
      continue;
    }
    self.woken = false;
    if (deadline) {
      self.wake.wait_until(lock, *deadline, [&] { return self.woken; });
    } else {
      self.wake.wait(lock, [&] { return self.woken; });
    }
  }
  std::erase(waiters_, &self);
  // Somebody must read for those who still wait.
  if (leader_ == nullptr && !waiters_.empty()) {
    waiters_.front()->woken = true;
    waiters_.front()->wake.notify_one();
  }
  return done();
}

void SharedLoop::lead(Lock& lock, Waiter& self, Deadline deadline) {
  leader_ = &self;
  self.leads = true;
  while (!self.done() && !(deadline && Clock::now() >= *deadline)) {
    if (stream_ == nullptr) break;
    pollUnlocked(lock, deadline);
    readTurn(lock);
  }
  self.leads = false;
  leader_ = nullptr;
}

// Sleeps until the socket is ready, without the lock. Nobody closes the descriptor meanwhile: the
// connection is destroyed only when no thread uses it.
void SharedLoop::pollUnlocked(Lock& lock, Deadline deadline) {
  leader_polls_ = true;
  leader_polls_write_ = stream_->wantsWrite();
  // Without output there is nothing to wait for but input.
  leader_polls_read_ = anyoneNeedsInput() || !leader_polls_write_;
  leader_kicked_ = false;
  // A peer that has said its last word may never take our output.
  const int events =
      (leader_polls_read_ ? POLLIN : 0) | (leader_polls_write_ ? POLLOUT : 0) | POLLRDHUP;
  pollfd entries[2] = {{fd_, static_cast<short>(events), 0}, {wake_fd_, POLLIN, 0}};
  lock.unlock();
  int ready = 0;
  if (spin_us_ > 0) {
    const auto until = Clock::now() + std::chrono::microseconds(spin_us_);
    do {
      ready = poll(entries, 2, 0);
    } while (ready == 0 && Clock::now() < until);
  }
  if (ready == 0) {
    timespec left{};
    if (deadline) left = timeLeft(*deadline);
    ppoll(entries, 2, deadline ? &left : nullptr, nullptr);
  }
  lock.lock();
  leader_polls_ = false;
  if (leader_kicked_) {
    uint64_t count;
    while (read(wake_fd_, &count, sizeof(count)) < 0 && errno == EINTR) {
    }
  }
}

void SharedLoop::wakeFinished() {
  for (Waiter* waiter : waiters_) {
    if (waiter->woken || !waiter->done()) continue;
    if (waiter->leads) {
      if (leader_polls_) kickLeader();
    } else {
      waiter->woken = true;
      waiter->wake.notify_one();
    }
  }
}

void SharedLoop::kickLeader() {
  if (leader_kicked_) return;
  leader_kicked_ = true;
  const uint64_t one = 1;
  while (write(wake_fd_, &one, sizeof(one)) < 0 && errno == EINTR) {
  }
}

void SharedLoop::runOnHelper(Work work) {
  Lock guard(helper_mutex_);
  if (!helper_.joinable()) {
    // The program's signals are not for our thread.
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    helper_ = std::thread([this] { helperMain(); });
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
  }
  helper_work_ = &work;
  helper_wake_.notify_all();
  helper_wake_.wait(guard, [this] { return helper_work_ == nullptr; });
}

void SharedLoop::helperMain() {
  Lock guard(helper_mutex_);
  for (;;) {
    helper_wake_.wait(guard, [this] { return helper_stop_ || helper_work_ != nullptr; });
    if (helper_work_ == nullptr) return;
    {
      kj::WaitScope scope(loop_);
      (*helper_work_)();
      scope.poll();
      if (on_turn_) on_turn_();
    }
    helper_work_ = nullptr;
    helper_wake_.notify_all();
  }
}

}  // namespace farwarp::wire
