#include "gpud/supervisor/pending_connection.h"

#include <errno.h>
#include <fmt/format.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <span>
#include <utility>

#include "gpud/supervisor/uv_handles.h"

namespace farwarp {

PendingConnection::PendingConnection(uv_loop_t* loop, int fd, std::string peer, bool tls,
                                     uint64_t timeout_ms, Done done)
    : fd_(fd),
      peer_(std::move(peer)),
      tls_(tls),
      done_(std::move(done)),
      poll_(new uv_poll_t),
      timer_(new uv_timer_t) {
  uv_poll_init(loop, poll_, fd_);
  poll_->data = this;
  uv_poll_start(poll_, UV_READABLE, [](uv_poll_t* poll, int, int) {
    static_cast<PendingConnection*>(poll->data)->read();
  });
  uv_timer_init(loop, timer_);
  timer_->data = this;
  uv_timer_start(
      timer_,
      [](uv_timer_t* timer) {
        auto* self = static_cast<PendingConnection*>(timer->data);
        self->end({false,
                   wire::PreambleStatus::badRequest,
                   {},
                   fmt::format("It sent {} of {} bytes in the time allowed.", self->have_,
                               wire::kPreambleBytes)});
      },
      timeout_ms, 0);
}

PendingConnection::~PendingConnection() {
  closeAndDelete(poll_);
  closeAndDelete(timer_);
  if (fd_ >= 0) close(fd_);
}

void PendingConnection::read() {
  // Not one byte more than the preamble: what follows belongs to the worker.
  const ssize_t got = recv(fd_, bytes_.data() + have_, bytes_.size() - have_, MSG_DONTWAIT);
  if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)) return;
  if (got <= 0) {
    return end({false,
                wire::PreambleStatus::badRequest,
                {},
                got == 0
                    ? fmt::format("It closed after {} of {} bytes.", have_, wire::kPreambleBytes)
                    : fmt::format("Reading failed: {}.", strerror(errno))});
  }
  have_ += static_cast<size_t>(got);
  const std::span<const std::byte> so_far(bytes_.data(), have_);
  if (have_ < bytes_.size() && wire::looksLikePreamble(so_far)) return;
  Outcome outcome;
  outcome.complete = have_ == bytes_.size();
  // Zeros stand for what a stranger did not send: its first bytes are reason enough.
  outcome.status = wire::parseClientPreamble(bytes_, outcome.preamble, outcome.reason);
  end(outcome);
}

void PendingConnection::end(const Outcome& outcome) {
  closeAndDelete(poll_);
  closeAndDelete(timer_);
  const Done done = std::move(done_);
  done(*this, outcome);
}

bool PendingConnection::answer(wire::PreambleStatus status) {
  const wire::PreambleBytes bytes =
      wire::encodePreamble(wire::ServerPreamble{wire::kProtocolVersion, status});
  return send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT) ==
         static_cast<ssize_t>(bytes.size());
}

int PendingConnection::release() {
  return std::exchange(fd_, -1);
}

}  // namespace farwarp
