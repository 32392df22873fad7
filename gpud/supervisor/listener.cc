#include "gpud/supervisor/listener.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <spdlog/spdlog.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <utility>

#include "gpud/supervisor/uv_handles.h"

namespace farwarp {
namespace {

constexpr int kBacklog = 128;
constexpr int kAcceptsPerTurn = 32;
constexpr uint64_t kPauseMs = 100;  // when the process or the system has no descriptors left

std::string peerText(const sockaddr_storage& address) {
  char text[INET6_ADDRSTRLEN] = {};
  if (address.ss_family == AF_INET) {
    const auto& ip4 = reinterpret_cast<const sockaddr_in&>(address);
    inet_ntop(AF_INET, &ip4.sin_addr, text, sizeof(text));
    return fmt::format("{}:{}", text, ntohs(ip4.sin_port));
  }
  if (address.ss_family == AF_INET6) {
    const auto& ip6 = reinterpret_cast<const sockaddr_in6&>(address);
    inet_ntop(AF_INET6, &ip6.sin6_addr, text, sizeof(text));
    return fmt::format("[{}]:{}", text, ntohs(ip6.sin6_port));
  }
  return "unix socket";
}

}  // namespace

Listener::Listener(uv_loop_t* loop, Accepted accepted)
    : loop_(loop), accepted_(std::move(accepted)) {}

Listener::~Listener() {
  closeAndDelete(poll_);
  closeAndDelete(pause_);
  if (fd_ < 0) return;
  close(fd_);
  if (endpoint_.kind == wire::Endpoint::Kind::unixSocket) unlink(endpoint_.path.c_str());
}

bool Listener::open(const std::string& endpoint, std::string& error) {
  if (!wire::parseEndpoint(endpoint, endpoint_, error, true)) return false;
  fd_ = wire::listenOn(endpoint_, kBacklog, error);
  if (fd_ < 0) return false;
  if (endpoint_.kind == wire::Endpoint::Kind::tcp && !wire::boundEndpoint(fd_, endpoint_)) {
    error = fmt::format("The address of {} cannot be read back: {}.", endpoint, strerror(errno));
    return false;
  }
  pause_ = new uv_timer_t;
  uv_timer_init(loop_, pause_);
  pause_->data = this;
  poll_ = new uv_poll_t;
  uv_poll_init(loop_, poll_, fd_);
  poll_->data = this;
  watch();
  return true;
}

void Listener::watch() {
  uv_poll_start(poll_, UV_READABLE, [](uv_poll_t* poll, int, int) {
    static_cast<Listener*>(poll->data)->acceptSome();
  });
}

void Listener::acceptSome() {
  for (int i = 0; i < kAcceptsPerTurn; ++i) {
    sockaddr_storage address{};
    socklen_t bytes = sizeof(address);
    const int fd =
        accept4(fd_, reinterpret_cast<sockaddr*>(&address), &bytes, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) {
      wire::tuneSocket(fd);
      accepted_(fd, peerText(address));
      continue;
    }
    if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
      spdlog::warn("No connection can be accepted on {} for now: {}.", endpoint_.text(),
                   strerror(errno));
      uv_poll_stop(poll_);
      uv_timer_start(
          pause_, [](uv_timer_t* timer) { static_cast<Listener*>(timer->data)->watch(); }, kPauseMs,
          0);
      return;
    }
    if (errno == EAGAIN || errno == EWOULDBLOCK) return;
    // Anything else concerns the one connection that went away.
  }
}

}  // namespace farwarp
