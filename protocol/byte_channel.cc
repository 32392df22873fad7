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
  if (kept_ >= 0) close(kept_);
  close(fd_);
}

ssize_t SocketChannel::readWithDescriptor(void* buffer, size_t bytes) {
  iovec piece{buffer, bytes};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * 8)];
  msghdr message{};
  message.msg_iov = &piece;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof(control);
  const ssize_t n = recvmsg(fd_, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  if (n < 0) return n;
  for (cmsghdr* part = CMSG_FIRSTHDR(&message); part != nullptr;
       part = CMSG_NXTHDR(&message, part)) {
    if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) continue;
    const size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; ++i) {
      int came;
      std::memcpy(&came, CMSG_DATA(part) + i * sizeof(int), sizeof(came));
      if (kept_ < 0) {
        kept_ = came;
      } else {
        close(came);
      }
    }
  }
  return n;
}

ssize_t SocketChannel::read(void* buffer, size_t bytes) {
  for (;;) {
    const ssize_t n =
        keep_ ? readWithDescriptor(buffer, bytes) : recv(fd_, buffer, bytes, MSG_DONTWAIT);
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
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  if (to_send_ >= 0) {
    message.msg_control = control;
    message.msg_controllen = sizeof(control);
    cmsghdr* part = CMSG_FIRSTHDR(&message);
    part->cmsg_level = SOL_SOCKET;
    part->cmsg_type = SCM_RIGHTS;
    part->cmsg_len = CMSG_LEN(sizeof(int));
    std::memcpy(CMSG_DATA(part), &to_send_, sizeof(int));
  }
  for (;;) {
    const ssize_t n = sendmsg(fd_, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n >= 0) {
      add(bytes_written_, static_cast<uint64_t>(n));
      to_send_ = -1;
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
