// The streams of a context, or of a green context: its default stream, those of threads, and all
// that the program made there.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "gpud/device/cpu/scheduler.h"

namespace farwarp::cpu {

class ContextStreams {
 public:
  explicit ContextStreams(Scheduler& scheduler) : scheduler_(scheduler) {}

  // Until it is opened, and once it is closed, there are no default streams.
  void open();
  // The caller closes the streams that the program made.
  void close();

  std::shared_ptr<Stream> legacy();
  // The default stream of the thread with this number.
  std::shared_ptr<Stream> ofThread(uint64_t thread);
  // A thread is over and takes its default stream along.
  void forgetThread(uint64_t thread);
  std::shared_ptr<Stream> create(StreamKind kind) { return scheduler_.createStream(group_, kind); }

  // Waits for all that is queued now.
  void wait() { scheduler_.wait(*group_); }
  std::vector<Mark> tail() { return scheduler_.tail(*group_); }
  // What is queued from now on waits for `mark`.
  void hold(const Mark& mark) { scheduler_.hold(*group_, mark); }
  bool idle() { return scheduler_.idle(*group_); }

 private:
  Scheduler& scheduler_;
  const std::shared_ptr<StreamGroup> group_ = std::make_shared<StreamGroup>();
  std::mutex mutex_;  // guards the rest; taken before the scheduler's
  std::shared_ptr<Stream> legacy_;
  std::map<uint64_t, std::shared_ptr<Stream>> thread_streams_;  // by thread number
};

}  // namespace farwarp::cpu
