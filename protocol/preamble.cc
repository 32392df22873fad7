#include "protocol/preamble.h"

#include <openssl/evp.h>

#include <algorithm>
#include <cstring>

#include "protocol/openssl_init.h"
#include "protocol/status.h"

namespace farwarp::wire {
namespace {

// The closing byte 0xfa is no text in any encoding, so that no text protocol says this by accident.
constexpr uint8_t kMagic[8] = {'F', 'A', 'R', 'W', 'A', 'R', 'P', 0xfa};

constexpr uint32_t kTlsFlag = 1;

template <typename T>
void store(PreambleBytes& bytes, size_t at, T value) {
  for (size_t i = 0; i < sizeof(T); ++i) {
    bytes[at + i] = static_cast<std::byte>(static_cast<uint64_t>(value) >> (8 * i));
  }
}

template <typename T>
T load(std::span<const std::byte> bytes, size_t at) {
  uint64_t value = 0;
  for (size_t i = 0; i < sizeof(T); ++i) {
    value |= static_cast<uint64_t>(bytes[at + i]) << (8 * i);
  }
  return static_cast<T>(value);
}

bool hasMagic(std::span<const std::byte> bytes) {
  return bytes.size() >= sizeof(kMagic) && std::memcmp(bytes.data(), kMagic, sizeof(kMagic)) == 0;
}

// What a stranger sent, fit for a log line.
std::string quoted(std::span<const std::byte> bytes) {
  std::string text = "\"";
  for (std::byte b : bytes.first(std::min<size_t>(bytes.size(), kPreambleBytes))) {
    const char c = static_cast<char>(b);
    text += (c >= 32 && c < 127 && c != '"') ? c : '.';
  }
  return text + "\"";
}

}  // namespace

SessionRoute routeOf(const SessionToken& token) {
  constexpr char kPurpose[] = "farwarp session route";
  unsigned char input[sizeof(kPurpose) + sizeof(token)];
  std::memcpy(input, kPurpose, sizeof(kPurpose));
  std::memcpy(input + sizeof(kPurpose), token.data(), token.size());
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int bytes = 0;
  SessionRoute route{};
  OPENSSL_init_crypto(kOpenSslInit, nullptr);
  if (EVP_Digest(input, sizeof(input), digest, &bytes, EVP_sha256(), nullptr) == 1) {
    std::memcpy(route.data(), digest, route.size());
  }
  return route;
}

PreambleBytes encodePreamble(const ClientPreamble& preamble) {
  PreambleBytes bytes{};
  std::memcpy(bytes.data(), kMagic, sizeof(kMagic));
  store<uint16_t>(bytes, 8, preamble.version);
  store<uint16_t>(bytes, 10, static_cast<uint16_t>(preamble.kind));
  store<uint32_t>(bytes, 12, preamble.tls ? kTlsFlag : 0);
  std::memcpy(bytes.data() + 16, preamble.route.data(), preamble.route.size());
  return bytes;
}

PreambleBytes encodePreamble(const ServerPreamble& preamble) {
  PreambleBytes bytes{};
  std::memcpy(bytes.data(), kMagic, sizeof(kMagic));
  store<uint16_t>(bytes, 8, preamble.version);
  store<uint32_t>(bytes, 12, static_cast<uint32_t>(preamble.status));
  return bytes;
}

PreambleStatus parseClientPreamble(std::span<const std::byte> bytes, ClientPreamble& out,
                                   std::string& reason) {
  if (bytes.size() != kPreambleBytes) {
    reason = "The client sent " + std::to_string(bytes.size()) + " bytes of preamble; it has " +
             std::to_string(kPreambleBytes) + ".";
    return PreambleStatus::badRequest;
  }
  if (!hasMagic(bytes)) {
    reason = "The peer is not a Farwarp client; it sent " + quoted(bytes) + ".";
    return PreambleStatus::badRequest;
  }
  out.version = load<uint16_t>(bytes, 8);
  if (out.version != kProtocolVersion) {
    reason = "The client speaks protocol version " + std::to_string(out.version) +
             "; this gpud speaks " + std::to_string(kProtocolVersion) + ".";
    return PreambleStatus::versionRefused;
  }
  const uint16_t kind = load<uint16_t>(bytes, 10);
  if (kind != static_cast<uint16_t>(ConnectionKind::control) &&
      kind != static_cast<uint16_t>(ConnectionKind::bulk) &&
      kind != static_cast<uint16_t>(kStatusConnection)) {
    reason = "The client asks for connection kind " + std::to_string(kind) +
             "; it must be 1 (control), 2 (bulk) or 3 (status).";
    return PreambleStatus::badRequest;
  }
  const uint32_t flags = load<uint32_t>(bytes, 12);
  if ((flags & ~kTlsFlag) != 0) {
    reason = "The client sets preamble flags " + std::to_string(flags) + "; the only one is " +
             std::to_string(kTlsFlag) + " (TLS).";
    return PreambleStatus::badRequest;
  }
  out.tls = flags != 0;
  out.kind = static_cast<ConnectionKind>(kind);
  std::memcpy(out.route.data(), bytes.data() + 16, out.route.size());
  return PreambleStatus::ok;
}

bool parseServerPreamble(std::span<const std::byte> bytes, ServerPreamble& out,
                         std::string& reason) {
  if (!hasMagic(bytes)) {
    reason = bytes.empty() ? "It closed the connection without a word."
                           : "It answered " + quoted(bytes) + ".";
    return false;
  }
  if (bytes.size() != kPreambleBytes) {
    reason = "It closed the connection after " + std::to_string(bytes.size()) + " of the " +
             std::to_string(kPreambleBytes) + " bytes of its preamble.";
    return false;
  }
  out.version = load<uint16_t>(bytes, 8);
  out.status = static_cast<PreambleStatus>(load<uint32_t>(bytes, 12));
  return true;
}

std::string explainStatus(const ServerPreamble& preamble, const std::string& server) {
  switch (preamble.status) {
    case PreambleStatus::ok:
      return "";
    case PreambleStatus::versionRefused:
      return "The gpud at " + server + " speaks protocol version " +
             std::to_string(preamble.version) + "; this client speaks " +
             std::to_string(kProtocolVersion) + ". Install the same Farwarp release on both sides.";
    case PreambleStatus::busy:
      return "The gpud at " + server +
             " has as many sessions as it allows. Try again when another program has ended, or "
             "raise its session limit.";
    case PreambleStatus::draining:
      return "The gpud at " + server + " is shutting down and takes no new sessions. Use another.";
    case PreambleStatus::unknownSession:
      return "The gpud at " + server +
             " does not know this session any more; its worker has probably ended. Start the "
             "program again.";
    case PreambleStatus::badRequest:
      return "The gpud at " + server +
             " does not understand this client's preamble. Install the same Farwarp release on "
             "both sides.";
    case PreambleStatus::internalError:
      return "The gpud at " + server + " could not start a worker; its log says why.";
    case PreambleStatus::tlsRequired:
      return "The gpud at " + server +
             " takes only encrypted connections, and this client was told to be insecure. Leave "
             "out "
             "--insecure and FARWARP_INSECURE, and set FARWARP_FINGERPRINT or FARWARP_CA to what "
             "gpud init printed there.";
    case PreambleStatus::tlsUnavailable:
      return "The gpud at " + server +
             " does not encrypt: it was started with --insecure. Start it without, or, on a "
             "network "
             "that you trust, say farwarp run --insecure or set FARWARP_INSECURE=1.";
  }
  return "The gpud at " + server + " refused the connection with status " +
         std::to_string(static_cast<uint32_t>(preamble.status)) +
         ", which this client does not know. Install the same Farwarp release on both sides.";
}

bool looksLikePreamble(std::span<const std::byte> bytes) {
  const size_t n = std::min(bytes.size(), sizeof(kMagic));
  return n == 0 || std::memcmp(bytes.data(), kMagic, n) == 0;
}

}  // namespace farwarp::wire
