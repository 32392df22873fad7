#include "protocol/codec_thread.h"

#include <algorithm>
#include <utility>

namespace farwarp::wire {

struct CodecThread::Job {
  std::function<void()> work;
  kj::Own<kj::PromiseFulfiller<void>> fulfiller;  // the loop's; null when nobody waits any more
};

// Stays as long as a promise does.
struct CodecThread::Shared {
  std::mutex mutex;  // guards what follows; no other lock is taken under it
  std::condition_variable changed;
  std::deque<std::shared_ptr<Job>> queue;
  const Job* running = nullptr;
  bool stopping = false;

  // Nothing of the job runs after this.
  void end(const std::shared_ptr<Job>& job) {
    std::unique_lock lock(mutex);
    std::erase(queue, job);
    changed.wait(lock, [&] { return running != job.get(); });
  }
};

CodecThread::CodecThread(const UvEventPort& port)
    : port_(port), shared_(std::make_shared<Shared>()), thread_([this] { main(); }) {}

CodecThread::~CodecThread() {
  {
    const std::lock_guard guard(shared_->mutex);
    shared_->stopping = true;
  }
  shared_->changed.notify_all();
  thread_.join();
}

kj::Promise<void> CodecThread::run(std::function<void()> work) {
  auto paf = kj::newPromiseAndFulfiller<void>();
  auto job = std::make_shared<Job>(Job{std::move(work), kj::mv(paf.fulfiller)});
  {
    const std::lock_guard guard(shared_->mutex);
    shared_->queue.push_back(job);
  }
  shared_->changed.notify_all();
  return paf.promise.attach(kj::defer([shared = shared_, job] {
    shared->end(job);
    job->work = nullptr;  // and what it keeps, on the loop's thread
    job->fulfiller = nullptr;
  }));
}

void CodecThread::main() {
  std::unique_lock lock(shared_->mutex);
  for (;;) {
    shared_->changed.wait(lock, [&] { return shared_->stopping || !shared_->queue.empty(); });
    if (shared_->stopping) return;
    std::shared_ptr<Job> job = std::move(shared_->queue.front());
    shared_->queue.pop_front();
    shared_->running = job.get();
    lock.unlock();
    job->work();
    port_.post([job] {
      if (job->fulfiller.get() != nullptr) job->fulfiller->fulfill();
    });
    lock.lock();
    shared_->running = nullptr;
    shared_->changed.notify_all();
  }
}

}  // namespace farwarp::wire
