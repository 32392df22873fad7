// A KJ event loop's event port on a libuv loop.
//
// gpud runs the KJ loop on one thread: `UvEventPort port; kj::WaitScope scope(port.eventLoop());
// promise.wait(scope);`. libuv handles on uvLoop() (listeners, timers, child processes, signals)
// fire inside that wait.
#pragma once

#include <kj/async.h>
#include <uv.h>

#include <atomic>
#include <functional>
#include <mutex>
#include <optional>
#include <vector>

#include "protocol/output_flusher.h"

namespace farwarp::wire {

class UvEventPort final : public kj::EventPort {
 public:
  UvEventPort();
  // Ends the KJ loop, runs uv_close on whatever was forgotten, and ends the libuv loop.
  ~UvEventPort() noexcept(false);
  KJ_DISALLOW_COPY(UvEventPort);

  uv_loop_t* uvLoop() { return &loop_; }
  kj::EventLoop& eventLoop() { return *event_loop_; }

  // kj::EventPort
  bool wait() override;
  bool poll() override;
  void wake() const override;

  // From any thread: runs `task` on the loop's thread, inside the port's wait or poll. Tasks run in
  // the order of the posts. A task may fulfil promises; it must not wait and must not throw.
  void post(std::function<void()> task) const;

  // What to flush before the loop looks for I/O.
  OutputFlushers& flushers() { return flushers_; }

 private:
  static void onAsync(uv_async_t* handle);
  static void beforePolling(uv_prepare_t* handle);
  bool run(uv_run_mode mode);
  void runPosted();

  uv_loop_t loop_;
  mutable uv_async_t async_;
  uv_prepare_t prepare_;
  mutable std::atomic<bool> woken_{false};
  mutable std::mutex posted_mutex_;  // guards posted_
  mutable std::vector<std::function<void()>> posted_;
  OutputFlushers flushers_;
  std::optional<kj::EventLoop> event_loop_;
};

}  // namespace farwarp::wire
