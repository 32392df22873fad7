#include "gpud/device/descriptor_broker.h"

#include <pthread.h>
#include <signal.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string_view>
#include <system_error>
#include <thread>

namespace farwarp {
namespace {

constexpr int kAnswerSeconds = 2;

bool fillRandom(std::array<std::byte, 16>& bytes) {
  return getrandom(bytes.data(), bytes.size(), 0) == static_cast<ssize_t>(bytes.size());
}

sockaddr_un addressOf(const std::array<std::byte, 16>& name, socklen_t& length) {
  constexpr std::string_view kPrefix = "farwarp-memory-";
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  char* at = std::copy(kPrefix.begin(), kPrefix.end(), address.sun_path + 1);
  for (const std::byte byte : name) {
    constexpr char kDigits[] = "0123456789abcdef";
    *at++ = kDigits[std::to_integer<int>(byte) >> 4];
    *at++ = kDigits[std::to_integer<int>(byte) & 15];
  }
  length = static_cast<socklen_t>(at - reinterpret_cast<char*>(&address));
  return address;
}

void limitWaits(int connection) {
  const timeval wait{kAnswerSeconds, 0};
  setsockopt(connection, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait));
  setsockopt(connection, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof(wait));
}

bool isSameUser(int connection) {
  ucred peer{};
  socklen_t length = sizeof(peer);
  return getsockopt(connection, SOL_SOCKET, SO_PEERCRED, &peer, &length) == 0 &&
         peer.uid == geteuid();
}

// One byte, with a descriptor or without.
bool sendDescriptor(int connection, int file) {
  char byte = 0;
  iovec data{&byte, 1};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr message{};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof(control);
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof(int));
  std::memcpy(CMSG_DATA(header), &file, sizeof(file));
  return sendmsg(connection, &message, MSG_NOSIGNAL) == 1;
}

int receiveDescriptor(int connection) {
  char byte = 0;
  iovec data{&byte, 1};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr message{};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof(control);
  if (recvmsg(connection, &message, MSG_CMSG_CLOEXEC) != 1) return -1;
  const cmsghdr* header = CMSG_FIRSTHDR(&message);
  if (header == nullptr || header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS ||
      header->cmsg_len != CMSG_LEN(sizeof(int))) {
    return -1;
  }
  int file = -1;
  std::memcpy(&file, CMSG_DATA(header), sizeof(file));
  return file;
}

}  // namespace

std::array<std::byte, DescriptorKey::kBytes> DescriptorKey::bytes() const {
  std::array<std::byte, kBytes> all;
  std::copy(secret.begin(), secret.end(), std::copy(socket.begin(), socket.end(), all.begin()));
  return all;
}

std::optional<DescriptorKey> DescriptorKey::from(std::span<const std::byte> bytes) {
  if (bytes.size() != kBytes) return std::nullopt;
  DescriptorKey key;
  std::copy_n(bytes.begin(), key.socket.size(), key.socket.begin());
  std::copy_n(bytes.begin() + key.socket.size(), key.secret.size(), key.secret.begin());
  return key;
}

DescriptorBroker& DescriptorBroker::get() {
  static auto* broker = new DescriptorBroker;
  return *broker;
}

// `mutex_` is held.
bool DescriptorBroker::start() {
  if (started_) return true;
  if (!fillRandom(socket_)) return false;
  const int listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
  if (listener < 0) return false;
  socklen_t length = 0;
  const sockaddr_un address = addressOf(socket_, length);
  bool made = bind(listener, reinterpret_cast<const sockaddr*>(&address), length) == 0 &&
              listen(listener, 64) == 0;
  if (made) {
    // The program's signals are for the program's threads.
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    try {
      std::thread([this, listener] { serve(listener); }).detach();
    } catch (const std::system_error&) {
      made = false;
    }
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
  }
  if (!made) close(listener);
  started_ = made;
  return made;
}

std::optional<DescriptorKey> DescriptorBroker::offer(int file) {
  std::lock_guard lock(mutex_);
  DescriptorKey key;
  if (offered_.size() >= kOfferedMax || !start() || !fillRandom(key.secret)) return std::nullopt;
  key.socket = socket_;
  offered_[key.secret] = file;
  return key;
}

void DescriptorBroker::withdraw(const DescriptorKey& key) {
  std::lock_guard lock(mutex_);
  const auto found = offered_.find(key.secret);
  if (found == offered_.end()) return;
  close(found->second);
  offered_.erase(found);
}

bool DescriptorBroker::isOwn(const DescriptorKey& key) {
  std::lock_guard lock(mutex_);
  return started_ && key.socket == socket_;
}

void DescriptorBroker::serve(int listener) {
  pthread_setname_np(pthread_self(), "farwarp-broker");
  for (;;) {
    const int connection = accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
    if (connection < 0) {
      // Out of descriptors, for the moment.
      if (errno != EINTR && errno != ECONNABORTED) usleep(10'000);
      continue;
    }
    limitWaits(connection);
    if (isSameUser(connection)) answer(connection);
    close(connection);
  }
}

void DescriptorBroker::answer(int connection) {
  std::array<std::byte, 16> secret;
  if (recv(connection, secret.data(), secret.size(), 0) != static_cast<ssize_t>(secret.size())) {
    return;
  }
  // Sent with the lock held, so that nobody closes it before it is sent.
  std::lock_guard lock(mutex_);
  const auto found = offered_.find(secret);
  if (found != offered_.end()) sendDescriptor(connection, found->second);
}

int DescriptorBroker::fetch(const DescriptorKey& key) {
  const int connection = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
  if (connection < 0) return -1;
  limitWaits(connection);
  socklen_t length = 0;
  const sockaddr_un address = addressOf(key.socket, length);
  int file = -1;
  if (connect(connection, reinterpret_cast<const sockaddr*>(&address), length) == 0 &&
      isSameUser(connection) &&
      send(connection, key.secret.data(), key.secret.size(), MSG_NOSIGNAL) ==
          static_cast<ssize_t>(key.secret.size())) {
    file = receiveDescriptor(connection);
  }
  close(connection);
  return file;
}

}  // namespace farwarp
