#include "protocol/uv_event_port.h"

#include <kj/debug.h>

namespace farwarp::wire {

UvEventPort::UvEventPort() {
  KJ_REQUIRE(uv_loop_init(&loop_) == 0, "cannot make a libuv loop");
  const int failed = uv_async_init(&loop_, &async_, &UvEventPort::onAsync);
  if (failed != 0) uv_loop_close(&loop_);
  KJ_REQUIRE(failed == 0, "cannot make a libuv wake-up");
  async_.data = this;
  uv_prepare_init(&loop_, &prepare_);
  prepare_.data = this;
  uv_prepare_start(&prepare_, &UvEventPort::beforePolling);
  event_loop_.emplace(*this);
}

UvEventPort::~UvEventPort() noexcept(false) {
  event_loop_.reset();
  uv_prepare_stop(&prepare_);
  uv_walk(
      &loop_,
      [](uv_handle_t* handle, void*) {
        if (!uv_is_closing(handle)) uv_close(handle, nullptr);
      },
      nullptr);
  while (uv_run(&loop_, UV_RUN_NOWAIT) != 0) {
  }
  uv_loop_close(&loop_);
}

bool UvEventPort::wait() {
  return run(UV_RUN_ONCE);
}

bool UvEventPort::poll() {
  return run(UV_RUN_NOWAIT);
}

bool UvEventPort::run(uv_run_mode mode) {
  uv_run(&loop_, mode);
  return woken_.exchange(false, std::memory_order_acq_rel);
}

// libuv 1.44 runs due timers before it polls, and then polls without a limit when no timer is left,
// even if a timer's callback made work. So look once more at the last moment before the poll.
void UvEventPort::beforePolling(uv_prepare_t* handle) {
  auto* port = static_cast<UvEventPort*>(handle->data);
  if (port->flushers_.flushAll() || port->event_loop_->isRunnable()) uv_stop(&port->loop_);
}

void UvEventPort::wake() const {
  woken_.store(true, std::memory_order_release);
  uv_async_send(&async_);
}

void UvEventPort::post(std::function<void()> task) const {
  {
    const std::lock_guard lock(posted_mutex_);
    posted_.push_back(std::move(task));
  }
  uv_async_send(&async_);
}

void UvEventPort::onAsync(uv_async_t* handle) {
  static_cast<UvEventPort*>(handle->data)->runPosted();
}

void UvEventPort::runPosted() {
  std::vector<std::function<void()>> tasks;
  {
    const std::lock_guard lock(posted_mutex_);
    tasks.swap(posted_);
  }
  for (auto& task : tasks) task();
}

}  // namespace farwarp::wire
