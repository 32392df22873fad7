#include "gpud/device/cpu/scheduler.h"

#include <pthread.h>
#include <signal.h>

#include <algorithm>
#include <thread>
#include <utility>

namespace farwarp::cpu {

namespace {

// True on the threads of a scheduler.
thread_local constinit bool t_runs_work = false;

}  // namespace

uint64_t Scheduler::doneOf(const Mark& mark) {
  return mark.stream == nullptr ? mark.position : mark.stream->done_;
}

std::shared_ptr<Stream> Scheduler::createStream(const std::shared_ptr<StreamGroup>& group,
                                                StreamKind kind) {
  auto stream = std::make_shared<Stream>(kind);
  Lock lock(mutex_);
  stream->group_ = group;
  if (kind == StreamKind::legacy) {
    group->legacy = stream;
  } else {
    group->others.push_back(stream);
  }
  return stream;
}

std::shared_ptr<Stream> Scheduler::createGate() {
  auto gate = std::make_shared<Stream>(StreamKind::non_blocking);
  gate->submitted_ = 1;
  return gate;
}

void Scheduler::openGate(const std::shared_ptr<Stream>& gate) {
  Lock lock(mutex_);
  gate->done_ = 1;
  if (gate->host_waiters_ != 0) gate->progress_.notify_all();
  const auto waiting = std::exchange(gate->waiting_, {});
  for (const auto& stream : waiting) dispatch(stream);
}

void Scheduler::closeStream(const std::shared_ptr<Stream>& stream) {
  Lock lock(mutex_);
  stream->closed_ = true;
  leaveGroupIfOver(stream);
}

// What is queued in a closed stream must still hold back the legacy stream, so it leaves its group
// only when that has run.
void Scheduler::leaveGroupIfOver(const std::shared_ptr<Stream>& stream) {
  const std::shared_ptr<StreamGroup> group = stream->group_;
  if (!stream->closed_ || group == nullptr || stream->done_ != stream->submitted_) return;
  stream->group_ = nullptr;
  std::erase(group->others, stream);
  if (group->legacy == stream) group->legacy = nullptr;
}

void Scheduler::addDefaultStreamRules(const Stream& stream, std::vector<Mark>& after) {
  const StreamGroup* group = stream.group_.get();
  if (group == nullptr) return;
  // What work itself queues belongs to it, and does not wait for what came after it.
  if (!t_runs_work) {
    for (const Mark& mark : group->after) {
      if (mark.position > doneOf(mark)) after.push_back(mark);
    }
  }
  if (stream.kind_ == StreamKind::non_blocking) return;
  if (stream.kind_ == StreamKind::blocking) {
    const auto& legacy = group->legacy;
    if (legacy != nullptr && legacy->done_ != legacy->submitted_) {
      after.push_back({legacy, legacy->submitted_});
    }
    return;
  }
  for (const auto& other : group->others) {
    if (other->kind_ == StreamKind::blocking && other->done_ != other->submitted_) {
      after.push_back({other, other->submitted_});
    }
  }
}

Mark Scheduler::append(const std::shared_ptr<Stream>& stream, Work& work, std::vector<Mark>& after,
                       bool here, Lock& lock) {
  addDefaultStreamRules(*stream, after);
  stream->queue_.push_back({std::move(work), std::move(after)});
  const Mark mark{stream, ++stream->submitted_};
  if (here && !stream->running_ && stream->queue_.size() == 1 && firstItemReady(stream)) {
    stream->running_ = true;
    runFirst(stream, lock);
    stream->running_ = false;
  }
  dispatch(stream);
  return mark;
}

Mark Scheduler::submit(const std::shared_ptr<Stream>& stream, Work work, std::vector<Mark> after,
                       bool brief) {
  Lock lock(mutex_);
  // A program that queues faster than work gets done waits here, as it would for a GPU.
  if (stream->queue_.size() >= kQueuedMax) {
    waitLocked({stream, stream->submitted_ - kQueuedMax / 2}, lock);
  }
  return append(stream, work, after, brief, lock);
}

void Scheduler::run(const std::shared_ptr<Stream>& stream, Work work) {
  Lock lock(mutex_);
  std::vector<Mark> after;
  const Mark mark = append(stream, work, after, true, lock);
  waitLocked(mark, lock);
}

void Scheduler::whileIdle(const std::function<void()>& action) {
  Lock lock(mutex_);
  ++idle_waiters_;
  all_idle_.wait(lock, [this] { return running_ == 0; });
  --idle_waiters_;
  action();
}

std::vector<Mark> Scheduler::tail(const std::shared_ptr<Stream>& stream) {
  Lock lock(mutex_);
  std::vector<Mark> marks;
  addDefaultStreamRules(*stream, marks);
  marks.push_back({stream, stream->submitted_});
  return marks;
}

bool Scheduler::done(std::span<const Mark> marks) {
  Lock lock(mutex_);
  return std::all_of(marks.begin(), marks.end(),
                     [this](const Mark& mark) { return doneLocked(mark); });
}

void Scheduler::wait(std::span<const Mark> marks) {
  Lock lock(mutex_);
  for (const Mark& mark : marks) waitLocked(mark, lock);
}

void Scheduler::waitLocked(const Mark& mark, Lock& lock) {
  if (doneLocked(mark)) return;
  ++mark.stream->host_waiters_;
  mark.stream->progress_.wait(lock, [&] { return doneLocked(mark); });
  --mark.stream->host_waiters_;
}

std::vector<Mark> Scheduler::tail(StreamGroup& group) {
  Lock lock(mutex_);
  std::vector<Mark> marks;
  if (group.legacy != nullptr) marks.push_back({group.legacy, group.legacy->submitted_});
  for (const auto& stream : group.others) marks.push_back({stream, stream->submitted_});
  return marks;
}

void Scheduler::hold(StreamGroup& group, const Mark& mark) {
  Lock lock(mutex_);
  std::erase_if(group.after, [this](const Mark& old) { return doneLocked(old); });
  if (!doneLocked(mark)) group.after.push_back(mark);
}

void Scheduler::wait(StreamGroup& group) {
  wait(tail(group));
}

bool Scheduler::idle(StreamGroup& group) {
  Lock lock(mutex_);
  const auto drained = [](const std::shared_ptr<Stream>& stream) {
    return stream == nullptr || stream->done_ == stream->submitted_;
  };
  return drained(group.legacy) && std::all_of(group.others.begin(), group.others.end(), drained);
}

// Drops what the first item no longer waits for; leaves the stream with the first it still waits
// for.
bool Scheduler::firstItemReady(const std::shared_ptr<Stream>& stream) {
  std::vector<Mark>& after = stream->queue_.front().after;
  while (!after.empty()) {
    const Mark& mark = after.back();
    if (!doneLocked(mark)) {
      mark.stream->waiting_.push_back(stream);
      return false;
    }
    after.pop_back();
  }
  return true;
}

void Scheduler::dispatch(const std::shared_ptr<Stream>& stream) {
  if (stream->running_ || stream->queue_.empty() || !firstItemReady(stream)) return;
  stream->running_ = true;
  ready_.push_back(stream);
  if (ready_.size() > idle_threads_ && threads_ < kThreadsMax) {
    startThread();
  } else {
    ready_changed_.notify_one();
  }
}

void Scheduler::runFirst(const std::shared_ptr<Stream>& stream, Lock& lock) {
  {
    Work work = std::move(stream->queue_.front().work);
    ++running_;
    lock.unlock();
    work();
  }
  lock.lock();
  if (--running_ == 0 && idle_waiters_ != 0) all_idle_.notify_all();
  stream->queue_.pop_front();
  ++stream->done_;
  if (stream->host_waiters_ != 0) stream->progress_.notify_all();
  const auto waiting = std::exchange(stream->waiting_, {});
  for (const auto& other : waiting) dispatch(other);
  leaveGroupIfOver(stream);
}

void Scheduler::runItems(const std::shared_ptr<Stream>& stream, Lock& lock) {
  do {
    runFirst(stream, lock);
  } while (!stream->queue_.empty() && firstItemReady(stream));
  stream->running_ = false;
}

void Scheduler::startThread() {
  // The program's signals are for the program's threads; only what a thread brings on itself comes
  // here.
  sigset_t all, before;
  sigfillset(&all);
  for (int own : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT}) sigdelset(&all, own);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  ++threads_;
  try {
    std::thread([this] { threadMain(); }).detach();
  } catch (const std::system_error&) {
    // No more threads to be had: those that are there take the work when they get to it. Without
    // any, the work would wait for ever, and there is nothing sensible to be done in such a
    // process.
    if (--threads_ == 0) std::terminate();
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

void Scheduler::threadMain() {
  pthread_setname_np(pthread_self(), "farwarp-stream");
  t_runs_work = true;
  Lock lock(mutex_);
  for (;;) {
    ++idle_threads_;
    ready_changed_.wait(lock, [&] { return !ready_.empty(); });
    --idle_threads_;
    const auto stream = std::move(ready_.front());
    ready_.pop_front();
    runItems(stream, lock);
  }
}

}  // namespace farwarp::cpu
