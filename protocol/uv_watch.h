// Tells a message stream, from a libuv loop, when its socket is ready.
#pragma once

#include <uv.h>

#include "protocol/message_stream.h"

namespace farwarp::wire {

class UvWatch {
 public:
  // `fd` and `stream` must outlive the watch.
  UvWatch(uv_loop_t* loop, int fd, MessageStream& stream);
  ~UvWatch();
  UvWatch(const UvWatch&) = delete;
  UvWatch& operator=(const UvWatch&) = delete;

 private:
  static void onReady(uv_poll_t* handle, int status, int events);
  void update();

  uv_poll_t* const handle_;  // freed when libuv has closed it
  MessageStream& stream_;
};

}  // namespace farwarp::wire
