#include "protocol/open_channel.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <vector>

namespace farwarp::wire {
namespace {

using Clock = std::chrono::steady_clock;

int msUntil(Clock::time_point deadline) {
  const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now());
  return static_cast<int>(std::max<int64_t>(0, left.count()));
}

bool sendAll(int fd, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    bytes = bytes.subspan(static_cast<size_t>(n));
  }
  return true;
}

// Reads a server's preamble. Stops early when it cannot be one. False at the deadline.
bool readPreamble(int fd, Clock::time_point deadline, std::vector<std::byte>& bytes) {
  bytes.clear();
  while (bytes.size() < kPreambleBytes && looksLikePreamble(bytes)) {
    pollfd entry{fd, POLLIN, 0};
    const int ready = poll(&entry, 1, msUntil(deadline));
    if (ready < 0 && errno == EINTR) continue;
    if (ready <= 0) return false;
    std::byte buffer[kPreambleBytes];
    const ssize_t n = recv(fd, buffer, kPreambleBytes - bytes.size(), 0);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return true;
    bytes.insert(bytes.end(), buffer, buffer + n);
  }
  return true;
}

Trouble troubleOfStatus(PreambleStatus status) {
  switch (status) {
    case PreambleStatus::ok:
      return Trouble::none;
    case PreambleStatus::versionRefused:
      return Trouble::versionRefused;
    case PreambleStatus::busy:
      return Trouble::busy;
    case PreambleStatus::draining:
      return Trouble::draining;
    case PreambleStatus::unknownSession:
      return Trouble::connectionLost;
    default:
      return Trouble::refused;
  }
}

}  // namespace

std::unique_ptr<ByteChannel> openChannel(const Endpoint& endpoint, const std::string& name,
                                         const ClientPreamble& preamble, TlsClient* tls,
                                         const TimeLimit& limit, ConnectionError& error) {
  bool timed_out = false;
  const int fd = connectTo(endpoint, msUntil(limit.deadline), error.sentence, &timed_out);
  if (fd < 0) {
    error.kind = timed_out ? Trouble::timedOut : Trouble::unreachable;
    return nullptr;
  }
  ClientPreamble said = preamble;
  said.tls = tls != nullptr;
  std::vector<std::byte> answer;
  // A failed send is not the story: the peer may have said why before it closed.
  (void)sendAll(fd, encodePreamble(said));
  ServerPreamble status;
  std::string reason;
  if (!readPreamble(fd, limit.deadline, answer)) {
    error = {Trouble::timedOut, "The server at " + name +
                                    " took the connection but said nothing within " +
                                    std::to_string(limit.allowed.count()) +
                                    " ms. Check that a gpud listens there, not another program."};
  } else if (!parseServerPreamble(answer, status, reason)) {
    error = {Trouble::notGpud, "The server at " + name + " is not a gpud. " + reason +
                                   " Check the address and the port."};
  } else if (status.status != PreambleStatus::ok) {
    error = {troubleOfStatus(status.status), explainStatus(status, name)};
  } else if (tls != nullptr) {
    return tls->connect(fd, endpoint.host, name, limit.deadline, error);
  } else {
    return std::make_unique<SocketChannel>(fd);
  }
  ::close(fd);
  return nullptr;
}

}  // namespace farwarp::wire
