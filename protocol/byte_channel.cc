#include "protocol/byte_channel.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>

namespace farwarp::wire {

std::string ByteChannel::explain(int error) const {
  return std::strerror(error);
}

SocketChannel::~SocketChannel() {
  close(fd_);
}

ssize_t SocketChannel::read(void* buffer, size_t bytes) {
  for (;;) {
    const ssize_t n = recv(fd_, buffer, bytes, MSG_DONTWAIT);
    if (n >= 0) {
      add(bytes_read_, static_cast<uint64_t>(n));
      return n;
    }
    if (errno != EINTR) return errno == EWOULDBLOCK ? -EAGAIN : -errno;
  }
}

ssize_t SocketChannel::write(const iovec* pieces, int count) {
  msghdr message{};
  message.msg_iov = const_cast<iovec*>(pieces);
  message.msg_iovlen = static_cast<size_t>(count);
  meter_.beforeWrite(fd_);
  for (;;) {
    const ssize_t n = sendmsg(fd_, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n >= 0) {
      add(bytes_written_, static_cast<uint64_t>(n));
      meter_.wrote(static_cast<uint64_t>(n));
      return n;
    }
    if (errno == EINTR) continue;
    if (errno != EAGAIN && errno != EWOULDBLOCK) return -errno;
    meter_.full();
    return -EAGAIN;
  }
}

void SocketChannel::shutdownWrite() {
  shutdown(fd_, SHUT_WR);
}

void SocketChannel::shutdownBoth() {
  shutdown(fd_, SHUT_RDWR);
}

}  // namespace farwarp::wire
