// The 32 plaintext bytes that both sides of a connection send before anything else.
//
// They let gpud refuse strangers and other versions with a clear word before TLS and Cap'n Proto
// see a byte, and let the supervisor route a bulk connection to the worker of its session. They
// hold no secret: a bulk connection names its session by a route, and proves inside the encrypted
// connection that it knows the session's token. A false flag or status can only end a connection:
// each side knows by itself whether it wants TLS.
//
//   client: magic[8] version:u16 kind:u16 flags:u32 route[16]
//   server: magic[8] version:u16 flags:u16 status:u32 reserved[16]       (little endian)
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace farwarp::wire {

inline constexpr size_t kPreambleBytes = 32;
inline constexpr uint16_t kProtocolVersion = 2;

using PreambleBytes = std::array<std::byte, kPreambleBytes>;
using SessionToken = std::array<uint8_t, 16>;  // secret; names a session and opens it
using SessionRoute = std::array<uint8_t, 16>;  // public; finds a session

// The route of the session with this token. The token cannot be found from it.
SessionRoute routeOf(const SessionToken& token);

enum class ConnectionKind : uint16_t {
  control = 1,  // opens a session
  bulk = 2,     // carries data of the session that `route` names
};

enum class PreambleStatus : uint32_t {
  ok = 0,
  versionRefused = 1,  // the server speaks another protocol version (its own is in the preamble)
  busy = 2,            // as many sessions as the server allows
  draining = 3,        // the server ends; it takes no new sessions
  unknownSession = 4,  // a bulk connection names a session that is not there
  badRequest = 5,      // the client's preamble makes no sense
  internalError = 6,   // the server could not start a worker; its log says why
  tlsRequired = 7,     // the client does not speak TLS, and here it must
  tlsUnavailable = 8,  // the client wants TLS, which is not spoken here
};

struct ClientPreamble {
  uint16_t version = kProtocolVersion;
  ConnectionKind kind = ConnectionKind::control;
  bool tls = false;      // a TLS handshake follows the preambles
  SessionRoute route{};  // all zero for control
};

struct ServerPreamble {
  uint16_t version = kProtocolVersion;
  PreambleStatus status = PreambleStatus::ok;
};

PreambleBytes encodePreamble(const ClientPreamble& preamble);
PreambleBytes encodePreamble(const ServerPreamble& preamble);

// Reads what a client sent. Returns the status that the server should answer with: `ok`,
// `versionRefused` or `badRequest`. `reason` then is a sentence for the log; empty when ok.
[[nodiscard]] PreambleStatus parseClientPreamble(std::span<const std::byte> bytes,
                                                 ClientPreamble& out, std::string& reason);

// Reads what a server sent. False when it is not the preamble of a gpud at all; `reason` then says
// what came instead (text of another protocol is quoted, at most 32 bytes and only printable ones).
[[nodiscard]] bool parseServerPreamble(std::span<const std::byte> bytes, ServerPreamble& out,
                                       std::string& reason);

// A sentence for each status other than ok, with what the user can do. `server` names the server as
// the user wrote it.
std::string explainStatus(const ServerPreamble& preamble, const std::string& server);

// True when the first `bytes.size()` bytes can be the start of a preamble of ours; lets a server
// drop a stranger before all 32 bytes are there.
bool looksLikePreamble(std::span<const std::byte> bytes);

}  // namespace farwarp::wire
