// A thread beside the loop for work on bytes that takes long, such as compressing a chunk: calls on
// other connections go on meanwhile.
#pragma once

#include <kj/async.h>

#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>

#include "protocol/uv_event_port.h"

namespace farwarp::wire {

class CodecThread {
 public:
  // To be used on the loop's thread of `port`, which must outlive it.
  explicit CodecThread(const UvEventPort& port);
  // No promise of run() may be left.
  ~CodecThread();
  CodecThread(const CodecThread&) = delete;
  CodecThread& operator=(const CodecThread&) = delete;

  // Runs `work`, which must not throw, on the thread, after the work that came before. The promise
  // resolves on the loop. Dropping it drops the work, or waits for its end when it has begun: what
  // the work uses must stay only as long as the promise.
  kj::Promise<void> run(std::function<void()> work);

 private:
  struct Job;
  struct Shared;
  void main();

  const UvEventPort& port_;
  const std::shared_ptr<Shared> shared_;
  std::thread thread_;
};

}  // namespace farwarp::wire
