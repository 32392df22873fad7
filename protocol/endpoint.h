// Where a gpud listens, as users write it: HOST:PORT, tcp:HOST:PORT, [IPV6]:PORT or unix:PATH.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace farwarp::wire {

inline constexpr size_t kEndpointBytesMax = 512;  // as text
inline constexpr size_t kUnixPathBytesMax = 107;  // sockaddr_un, less the closing zero
inline constexpr size_t kHostBytesMax = 253;      // a DNS name

struct Endpoint {
  enum class Kind { tcp, unixSocket };
  Kind kind = Kind::tcp;
  std::string host;   // tcp: name or address, without brackets
  uint16_t port = 0;  // tcp: 0 only for listening, where the system then chooses one
  std::string path;   // unixSocket

  // As the user would write it, with the `tcp:` or `unix:` in front.
  std::string text() const;
};

// False with a full sentence in `error` (the value and the limit) when `text` is not an endpoint.
// `allow_port_zero`: for listening.
[[nodiscard]] bool parseEndpoint(std::string_view text, Endpoint& out, std::string& error,
                                 bool allow_port_zero = false);

// Connects and returns a blocking, close-on-exec descriptor that the caller owns; TCP_NODELAY and
// keep-alive are set for TCP. Tries each address of a name; `timeout_ms` is for all of them
// together. -1 with a full sentence in `error` otherwise; `timed_out` tells a timeout from a
// refusal.
[[nodiscard]] int connectTo(const Endpoint& endpoint, int timeout_ms, std::string& error,
                            bool* timed_out = nullptr);

// Listens and returns a non-blocking, close-on-exec descriptor that the caller owns. A stale socket
// file that nobody listens on is replaced; one that is in use is an error. The socket file gets
// mode 0666 less the umask. -1 with a full sentence in `error` otherwise.
[[nodiscard]] int listenOn(const Endpoint& endpoint, int backlog, std::string& error);

// The endpoint that a listening descriptor has now (the port that the system chose).
[[nodiscard]] bool boundEndpoint(int fd, Endpoint& out);

// Options of an accepted or connected descriptor: TCP_NODELAY, keep-alive, close-on-exec. Harmless
// on Unix sockets.
void tuneSocket(int fd);

}  // namespace farwarp::wire
