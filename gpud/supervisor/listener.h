// One place to listen on: accepts connections, and steps back for a moment when the process has no
// descriptors left.
#pragma once

#include <uv.h>

#include <functional>
#include <string>

#include "protocol/endpoint.h"

namespace farwarp {

class Listener {
 public:
  // `accepted` gets the descriptor (it owns it) and the peer's address for the log.
  using Accepted = std::function<void(int fd, const std::string& peer)>;

  Listener(uv_loop_t* loop, Accepted accepted);
  // Closes, and removes a Unix socket's file.
  ~Listener();
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;

  [[nodiscard]] bool open(const std::string& endpoint, std::string& error);
  const wire::Endpoint& endpoint() const { return endpoint_; }

 private:
  void watch();
  void acceptSome();

  uv_loop_t* loop_;
  Accepted accepted_;
  int fd_ = -1;
  wire::Endpoint endpoint_;
  uv_poll_t* poll_ = nullptr;
  uv_timer_t* pause_ = nullptr;
};

}  // namespace farwarp
