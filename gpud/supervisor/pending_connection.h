// A connection that has not yet said who it is: reads the 32 bytes of the preamble, with a time
// limit.
#pragma once

#include <uv.h>

#include <cstddef>
#include <functional>
#include <string>

#include "protocol/preamble.h"

namespace farwarp {

class PendingConnection {
 public:
  struct Outcome {
    bool complete = false;  // 32 bytes came and they were looked at
    wire::PreambleStatus status = wire::PreambleStatus::badRequest;
    wire::ClientPreamble preamble;
    std::string reason;  // a sentence, when the connection cannot be served
  };
  // Called once, on the loop. The connection may be destroyed inside.
  using Done = std::function<void(PendingConnection&, const Outcome&)>;

  // Takes the descriptor. `peer` is for the log; `tls`: it must speak TLS after the preamble, or
  // must not.
  PendingConnection(uv_loop_t* loop, int fd, std::string peer, bool tls, uint64_t timeout_ms,
                    Done done);
  ~PendingConnection();
  PendingConnection(const PendingConnection&) = delete;
  PendingConnection& operator=(const PendingConnection&) = delete;

  const std::string& peer() const { return peer_; }
  bool tls() const { return tls_; }

  // Answers with `status`. Never waits: a peer whose 32 bytes of buffer are full gets no answer.
  bool answer(wire::PreambleStatus status);
  // Gives the descriptor to the caller.
  int release();

 private:
  void read();
  void end(const Outcome& outcome);

  int fd_;
  const std::string peer_;
  const bool tls_;
  Done done_;
  wire::PreambleBytes bytes_{};
  size_t have_ = 0;
  // Owned by libuv until closed, so they are not members.
  uv_poll_t* poll_;
  uv_timer_t* timer_;
};

}  // namespace farwarp
