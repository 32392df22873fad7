#include "protocol/endpoint.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstring>
#include <memory>

namespace farwarp::wire {
namespace {

using Clock = std::chrono::steady_clock;

std::string quoted(std::string_view text) {
  return "\"" + std::string(text.substr(0, 128)) + (text.size() > 128 ? "..." : "") + "\"";
}

std::string systemError(int number) {
  return std::strerror(number);
}

bool parsePort(std::string_view whole, std::string_view digits, bool allow_zero, uint16_t& out,
               std::string& error) {
  unsigned value = 0;
  const auto [end, code] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  const unsigned least = allow_zero ? 0 : 1;
  if (digits.empty() || code != std::errc() || end != digits.data() + digits.size() ||
      value > 65535 || value < least) {
    error = "The port " + quoted(digits) + " of server address " + quoted(whole) +
            " is not a number from " + std::to_string(least) + " to 65535.";
    return false;
  }
  out = static_cast<uint16_t>(value);
  return true;
}

bool parseTcp(std::string_view whole, std::string_view rest, bool allow_port_zero, Endpoint& out,
              std::string& error) {
  std::string_view host, port;
  if (rest.starts_with('[')) {
    const size_t close = rest.find(']');
    if (close == std::string_view::npos || close + 1 >= rest.size() || rest[close + 1] != ':') {
      error = "The server address " + quoted(whole) +
              " opens a bracket but does not go on as [IPV6]:PORT.";
      return false;
    }
    host = rest.substr(1, close - 1);
    port = rest.substr(close + 2);
  } else {
    const size_t colon = rest.find(':');
    if (colon == std::string_view::npos) {
      error = "The server address " + quoted(whole) +
              " has no port; write HOST:PORT, [IPV6]:PORT or unix:PATH.";
      return false;
    }
    host = rest.substr(0, colon);
    port = rest.substr(colon + 1);
    if (port.find(':') != std::string_view::npos) {
      error = "The server address " + quoted(whole) +
              " has several colons; write an IPv6 address in brackets, as [IPV6]:PORT.";
      return false;
    }
  }
  if (host.empty() || host.size() > kHostBytesMax) {
    error = "The host of server address " + quoted(whole) + " has " + std::to_string(host.size()) +
            " characters; it must have from 1 to " + std::to_string(kHostBytesMax) + ".";
    return false;
  }
  out.kind = Endpoint::Kind::tcp;
  out.host = host;
  return parsePort(whole, port, allow_port_zero, out.port, error);
}

sockaddr_un unixAddress(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.data(), std::min(path.size(), kUnixPathBytesMax));
  return address;
}

int msLeft(Clock::time_point deadline) {
  const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now());
  return static_cast<int>(std::max<int64_t>(0, left.count()));
}

// Connects `fd`, which is non-blocking. 0, or the errno of the failure (ETIMEDOUT at the deadline).
int connectBefore(int fd, const sockaddr* address, socklen_t length, Clock::time_point deadline) {
  if (connect(fd, address, length) == 0) return 0;
  if (errno != EINPROGRESS && errno != EAGAIN && errno != EINTR) return errno;
  if (errno == EAGAIN) {
    // A Unix socket whose queue of connections is full says so at once; wait for room.
    while (msLeft(deadline) > 0) {
      poll(nullptr, 0, std::min(10, msLeft(deadline)));
      if (connect(fd, address, length) == 0 || errno == EISCONN) return 0;
      if (errno != EAGAIN) return errno;
    }
    return ETIMEDOUT;
  }
  for (;;) {
    pollfd entry{fd, POLLOUT, 0};
    const int ready = poll(&entry, 1, msLeft(deadline));
    if (ready < 0 && errno == EINTR) continue;
    if (ready < 0) return errno;
    if (ready == 0) return ETIMEDOUT;
    int code = 0;
    socklen_t size = sizeof(code);
    getsockopt(fd, SOL_SOCKET, SO_ERROR, &code, &size);
    return code;
  }
}

void setBlocking(int fd, bool blocking) {
  const int flags = fcntl(fd, F_GETFL);
  fcntl(fd, F_SETFL, blocking ? flags & ~O_NONBLOCK : flags | O_NONBLOCK);
}

std::string cannotConnect(const Endpoint& endpoint, int code, int timeout_ms) {
  if (code == ETIMEDOUT) {
    return "Nothing answered at " + endpoint.text() + " within " + std::to_string(timeout_ms) +
           " ms. Check the address, the network and any firewall.";
  }
  if (code == ECONNREFUSED || code == ENOENT) {
    return "Nothing listens at " + endpoint.text() + " (" + systemError(code) +
           "). Start gpud there, or check the address.";
  }
  return "Cannot connect to " + endpoint.text() + ": " + systemError(code) + ".";
}

struct AddressListDeleter {
  void operator()(addrinfo* list) const { freeaddrinfo(list); }
};
using AddressList = std::unique_ptr<addrinfo, AddressListDeleter>;

AddressList lookUp(const Endpoint& endpoint, bool listening, std::string& error) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICSERV | (listening ? AI_PASSIVE : 0);
  addrinfo* list = nullptr;
  const int code =
      getaddrinfo(endpoint.host.c_str(), std::to_string(endpoint.port).c_str(), &hints, &list);
  if (code != 0) {
    error = "The host of " + endpoint.text() + " has no address: " +
            (code == EAI_SYSTEM ? systemError(errno) : std::string(gai_strerror(code))) +
            ". Check the name.";
    return nullptr;
  }
  return AddressList(list);
}

int openSocket(int family) {
  return socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
}

// True when nobody listens on the socket file any more.
bool isStaleSocketFile(const sockaddr_un& address) {
  struct stat info;
  if (lstat(address.sun_path, &info) != 0 || !S_ISSOCK(info.st_mode)) return false;
  const int probe = openSocket(AF_UNIX);
  if (probe < 0) return false;
  const int code =
      connect(probe, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0 ? 0 : errno;
  close(probe);
  return code == ECONNREFUSED;
}

int listenUnix(const Endpoint& endpoint, int backlog, std::string& error) {
  const sockaddr_un address = unixAddress(endpoint.path);
  if (isStaleSocketFile(address)) unlink(address.sun_path);
  const int fd = openSocket(AF_UNIX);
  if (fd >= 0 && bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0 &&
      listen(fd, backlog) == 0) {
    return fd;
  }
  error = "Cannot listen at " + endpoint.text() + ": " + systemError(errno) + ".";
  if (errno == EADDRINUSE) {
    error += " Another gpud listens there, or the path is a file that is no socket.";
  }
  if (fd >= 0) close(fd);
  return -1;
}

}  // namespace

std::string Endpoint::text() const {
  if (kind == Kind::unixSocket) return "unix:" + path;
  const bool v6 = host.find(':') != std::string::npos;
  return "tcp:" + (v6 ? "[" + host + "]" : host) + ":" + std::to_string(port);
}

bool parseEndpoint(std::string_view text, Endpoint& out, std::string& error, bool allow_port_zero) {
  out = Endpoint{};
  if (text.empty()) {
    error = "The server address is empty; write HOST:PORT, [IPV6]:PORT or unix:PATH.";
    return false;
  }
  if (text.size() > kEndpointBytesMax) {
    error = "The server address has " + std::to_string(text.size()) + " characters; the limit is " +
            std::to_string(kEndpointBytesMax) + ".";
    return false;
  }
  if (text.find('\0') != std::string_view::npos) {
    error = "The server address contains a zero character.";
    return false;
  }
  if (text.starts_with("unix:")) {
    const std::string_view path = text.substr(5);
    if (path.empty() || path.size() > kUnixPathBytesMax) {
      error = "The socket path " + quoted(path) + " has " + std::to_string(path.size()) +
              " characters; it must have from 1 to " + std::to_string(kUnixPathBytesMax) + ".";
      return false;
    }
    out.kind = Endpoint::Kind::unixSocket;
    out.path = path;
    return true;
  }
  const std::string_view rest = text.starts_with("tcp:") ? text.substr(4) : text;
  return parseTcp(text, rest, allow_port_zero, out, error);
}

int connectTo(const Endpoint& endpoint, int timeout_ms, std::string& error, bool* timed_out) {
  const auto deadline = Clock::now() + std::chrono::milliseconds(timeout_ms);
  int code = EADDRNOTAVAIL;
  auto attempt = [&](int family, const sockaddr* address, socklen_t length) {
    const int fd = openSocket(family);
    code = fd < 0 ? errno : connectBefore(fd, address, length, deadline);
    if (code == 0) {
      setBlocking(fd, true);
      tuneSocket(fd);
      return fd;
    }
    if (fd >= 0) close(fd);
    return -1;
  };
  if (timed_out != nullptr) *timed_out = false;
  if (endpoint.kind == Endpoint::Kind::unixSocket) {
    const sockaddr_un address = unixAddress(endpoint.path);
    const int fd = attempt(AF_UNIX, reinterpret_cast<const sockaddr*>(&address), sizeof(address));
    if (fd >= 0) return fd;
  } else {
    const AddressList list = lookUp(endpoint, false, error);
    if (list == nullptr) return -1;
    for (const addrinfo* entry = list.get(); entry != nullptr; entry = entry->ai_next) {
      const int fd = attempt(entry->ai_family, entry->ai_addr, entry->ai_addrlen);
      if (fd >= 0) return fd;
    }
  }
  if (timed_out != nullptr) *timed_out = code == ETIMEDOUT;
  error = cannotConnect(endpoint, code, timeout_ms);
  return -1;
}

int listenOn(const Endpoint& endpoint, int backlog, std::string& error) {
  if (endpoint.kind == Endpoint::Kind::unixSocket) return listenUnix(endpoint, backlog, error);
  const AddressList list = lookUp(endpoint, true, error);
  if (list == nullptr) return -1;
  int code = EADDRNOTAVAIL;
  for (const addrinfo* entry = list.get(); entry != nullptr; entry = entry->ai_next) {
    const int fd = openSocket(entry->ai_family);
    if (fd < 0) {
      code = errno;
      continue;
    }
    const int on = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (bind(fd, entry->ai_addr, entry->ai_addrlen) == 0 && listen(fd, backlog) == 0) return fd;
    code = errno;
    close(fd);
  }
  error = "Cannot listen at " + endpoint.text() + ": " + systemError(code) + ".";
  return -1;
}

bool boundEndpoint(int fd, Endpoint& out) {
  sockaddr_storage storage{};
  socklen_t length = sizeof(storage);
  if (getsockname(fd, reinterpret_cast<sockaddr*>(&storage), &length) != 0) return false;
  out = Endpoint{};
  char text[INET6_ADDRSTRLEN] = {};
  if (storage.ss_family == AF_INET) {
    const auto& v4 = reinterpret_cast<const sockaddr_in&>(storage);
    inet_ntop(AF_INET, &v4.sin_addr, text, sizeof(text));
    out.port = ntohs(v4.sin_port);
  } else if (storage.ss_family == AF_INET6) {
    const auto& v6 = reinterpret_cast<const sockaddr_in6&>(storage);
    inet_ntop(AF_INET6, &v6.sin6_addr, text, sizeof(text));
    out.port = ntohs(v6.sin6_port);
  } else if (storage.ss_family == AF_UNIX) {
    const auto& local = reinterpret_cast<const sockaddr_un&>(storage);
    out.kind = Endpoint::Kind::unixSocket;
    const size_t bytes = length - std::min<size_t>(length, offsetof(sockaddr_un, sun_path));
    out.path = std::string(local.sun_path, strnlen(local.sun_path, bytes));
    return true;
  } else {
    return false;
  }
  out.host = text;
  return true;
}

void tuneSocket(int fd) {
  fcntl(fd, F_SETFD, fcntl(fd, F_GETFD) | FD_CLOEXEC);
  const int on = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  // A peer that vanished without a word is noticed after about 30 + 3 * 10 seconds.
  const int idle_s = 30, interval_s = 10, probes = 3;
  setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
  setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof(idle_s));
  setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval_s, sizeof(interval_s));
  setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof(probes));
}

}  // namespace farwarp::wire
