#include "protocol/uv_watch.h"

#include <kj/debug.h>

namespace farwarp::wire {

UvWatch::UvWatch(uv_loop_t* loop, int fd, MessageStream& stream)
    : handle_(new uv_poll_t), stream_(stream) {
  if (uv_poll_init(loop, handle_, fd) != 0) {
    delete handle_;
    KJ_FAIL_REQUIRE("libuv cannot watch the descriptor", fd);
  }
  handle_->data = this;
  stream_.onInterest([this] { update(); });
  update();
}

UvWatch::~UvWatch() {
  stream_.onInterest(nullptr);
  handle_->data = nullptr;
  uv_close(reinterpret_cast<uv_handle_t*>(handle_),
           [](uv_handle_t* handle) { delete reinterpret_cast<uv_poll_t*>(handle); });
}

void UvWatch::update() {
  // The wish to read or write outlives many messages: libuv changes the epoll set only when it
  // changes.
  const int events =
      (stream_.interestRead() ? UV_READABLE : 0) | (stream_.interestWrite() ? UV_WRITABLE : 0);
  if (events == 0) {
    uv_poll_stop(handle_);
  } else {
    uv_poll_start(handle_, events, &UvWatch::onReady);
  }
}

void UvWatch::onReady(uv_poll_t* handle, int status, int events) {
  auto* self = static_cast<UvWatch*>(handle->data);
  if (self == nullptr) return;
  MessageStream& stream = self->stream_;
  // What an error means is found out by reading and writing. libuv has stopped watching then.
  if (status < 0 || (events & UV_READABLE) != 0) stream.readReady();
  if (status < 0 || (events & UV_WRITABLE) != 0) stream.flushOutput();
  if (status < 0 && !stream.ended()) self->update();
}

}  // namespace farwarp::wire
