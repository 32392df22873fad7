// Streams: work in order within a stream, streams at the same time, and the rules of the default
// stream.
//
// Work never waits inside a thread for other work. A stream whose first item must wait for another
// stream is set aside and taken up again when that one gets there, so threads are busy as long as
// anything can run.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

namespace farwarp::cpu {

class Stream;

// A point in a stream: done when everything up to it has run. A default mark is done.
struct Mark {
  std::shared_ptr<Stream> stream;
  uint64_t position = 0;
};

using Work = std::function<void()>;  // must not throw

enum class StreamKind : uint8_t {
  legacy,        // the default stream: in order with all blocking streams of its group
  blocking,      // in order with the legacy stream
  non_blocking,  // in order with itself only
};

// The streams of a context.
struct StreamGroup {
  std::shared_ptr<Stream> legacy;
  std::vector<std::shared_ptr<Stream>> others;
  std::vector<Mark> after;  // what all work that is queued from now on waits for
};

// Created by Scheduler::createStream. Its members belong to the scheduler.
class Stream {
 public:
  explicit Stream(StreamKind kind) : kind_(kind) {}
  StreamKind kind() const { return kind_; }

 private:
  friend class Scheduler;
  struct Item {
    Work work;
    std::vector<Mark> after;
  };

  const StreamKind kind_;
  std::shared_ptr<StreamGroup> group_;  // null once closed and over
  bool closed_ = false;
  std::deque<Item> queue_;
  uint64_t submitted_ = 0;                        // items ever put into the queue
  uint64_t done_ = 0;                             // items that have run
  bool running_ = false;                          // a thread is running items of this stream
  std::vector<std::shared_ptr<Stream>> waiting_;  // their first item waits for this stream
  std::condition_variable progress_;
  unsigned host_waiters_ = 0;
};

class Scheduler {
 public:
  static constexpr unsigned kThreadsMax = 128;
  static constexpr size_t kQueuedMax = 4096;  // per stream; more makes the program wait

  // Adds a stream to `group`, where it stays until it is closed and its work has run.
  std::shared_ptr<Stream> createStream(const std::shared_ptr<StreamGroup>& group, StreamKind kind);
  // The stream takes no more work; what is queued still runs.
  void closeStream(const std::shared_ptr<Stream>& stream);

  // A stream in no group with one item that is not run but opened: what must wait until some work
  // has queued further work waits for Mark{gate, 1}.
  static std::shared_ptr<Stream> createGate();
  void openGate(const std::shared_ptr<Stream>& gate);

  // Queues `work` behind all that is in `stream`, behind `after`, and behind what the rules of the
  // default stream ask for. `brief` work runs at once on the calling thread when nothing is in its
  // way.
  Mark submit(const std::shared_ptr<Stream>& stream, Work work, std::vector<Mark> after = {},
              bool brief = false);
  // The same, and returns when it has run, on this thread if nothing is in its way.
  void run(const std::shared_ptr<Stream>& stream, Work work);

  // Calls `action` at a moment when nothing runs; nothing begins until it returns. It must not use
  // the scheduler.
  void whileIdle(const std::function<void()>& action);

  // What work that is queued in `stream` now would wait for.
  std::vector<Mark> tail(const std::shared_ptr<Stream>& stream);
  bool done(std::span<const Mark> marks);
  void wait(std::span<const Mark> marks);
  // All that is queued now in all streams of the group.
  std::vector<Mark> tail(StreamGroup& group);
  // What is queued in the group from now on, also in streams to come, waits for `mark`.
  void hold(StreamGroup& group, const Mark& mark);
  // Waits for all that is queued now in all streams of the group.
  void wait(StreamGroup& group);
  // True when nothing is queued or running in the group.
  bool idle(StreamGroup& group);

 private:
  using Lock = std::unique_lock<std::mutex>;
  bool doneLocked(const Mark& mark) const { return mark.position <= doneOf(mark); }
  static uint64_t doneOf(const Mark& mark);
  static void addDefaultStreamRules(const Stream& stream, std::vector<Mark>& after);
  Mark append(const std::shared_ptr<Stream>& stream, Work& work, std::vector<Mark>& after,
              bool here, Lock& lock);
  bool firstItemReady(const std::shared_ptr<Stream>& stream);
  void dispatch(const std::shared_ptr<Stream>& stream);
  void runItems(const std::shared_ptr<Stream>& stream, Lock& lock);
  void runFirst(const std::shared_ptr<Stream>& stream, Lock& lock);
  static void leaveGroupIfOver(const std::shared_ptr<Stream>& stream);
  void waitLocked(const Mark& mark, Lock& lock);
  void startThread();
  void threadMain();

  std::mutex mutex_;  // guards everything here and in all streams and groups; work runs without it
  std::condition_variable ready_changed_;
  std::deque<std::shared_ptr<Stream>> ready_;
  unsigned threads_ = 0;
  unsigned idle_threads_ = 0;
  unsigned running_ = 0;  // pieces of work
  unsigned idle_waiters_ = 0;
  std::condition_variable all_idle_;
};

}  // namespace farwarp::cpu
