// A KJ event loop's event port on a libuv loop.
//
// gpud runs the KJ loop on one thread: `UvEventPort port; kj::EventLoop loop(port); kj::WaitScope
// scope(loop); promise.wait(scope);`. libuv handles on uvLoop() (listeners, timers, child
// processes, signals) fire inside that wait. The client enters the loop from any thread under a
// lock of its own.
#pragma once

#include <kj/async.h>
#include <uv.h>

#include <atomic>
#include <functional>
#include <mutex>
#include <vector>

#include "protocol/output_flusher.h"

namespace farwarp::wire {

class UvEventPort final : public kj::EventPort {
 public:
  UvEventPort();
  // Runs uv_close on whatever was forgotten and ends the libuv loop.
  ~UvEventPort() noexcept(false);
  KJ_DISALLOW_COPY(UvEventPort);

  uv_loop_t* uvLoop() { return &loop_; }

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
  bool run(uv_run_mode mode);
  void runPosted();

  uv_loop_t loop_;
  mutable uv_async_t async_;
  mutable std::atomic<bool> woken_{false};
  mutable std::mutex posted_mutex_;  // guards posted_
  mutable std::vector<std::function<void()>> posted_;
  OutputFlushers flushers_;
};

}  // namespace farwarp::wire
