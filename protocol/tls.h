// TLS 1.3 for connections over TCP, with OpenSSL directly on the descriptor.
//
// A connection begins with the plain preambles (preamble.h); then both sides shake hands, and
// everything else is encrypted. The server proves who it is by a certificate; who the client is, a
// login inside the encrypted connection can ask. Connections of one client resume each other's TLS
// session.
#pragma once

#include <openssl/types.h>

#include <chrono>
#include <memory>
#include <mutex>
#include <string>

#include "protocol/byte_channel.h"
#include "protocol/errors.h"
#include "protocol/tls_trust.h"

typedef struct ssl_session_st SSL_SESSION;

namespace farwarp::wire {

struct SslContextDeleter {
  void operator()(SSL_CTX* context) const;
};
struct SslSessionDeleter {
  void operator()(SSL_SESSION* session) const;
};
using SslContext = std::unique_ptr<SSL_CTX, SslContextDeleter>;
using SslSession = std::unique_ptr<SSL_SESSION, SslSessionDeleter>;

class TlsClient {
 public:
  using Deadline = std::chrono::steady_clock::time_point;

  // Null with a full sentence in `error` when `trust` cannot be used.
  static std::unique_ptr<TlsClient> make(const TlsTrust& trust, std::string& error);
  ~TlsClient();

  // Shakes hands on `fd`, a connected socket. `host` is the name or address that the certificate
  // must be for; `server` is how the user named it, for sentences. Owns `fd`, which is closed when
  // the result is null; `error` then says why.
  std::unique_ptr<ByteChannel> connect(int fd, const std::string& host, const std::string& server,
                                       Deadline deadline, ConnectionError& error);

  struct VerifyFailure;  // tls.cc

 private:
  TlsClient() = default;
  static int verifyPinned(X509_STORE_CTX* store, void* self);
  static int keepSession(SSL* ssl, SSL_SESSION* session);
  std::string whyNotTrusted(const VerifyFailure& failure, const std::string& host,
                            const std::string& server) const;

  TlsTrust trust_;
  std::string pin_;  // 32 bytes; empty without a fingerprint
  SslContext context_;
  std::mutex mutex_;    // guards session_; a leaf
  SslSession session_;  // to resume
};

class TlsServer {
 public:
  // Reads PEM files: the certificate with the chain behind it, and its private key. Null with a
  // full sentence in `error`.
  static std::unique_ptr<TlsServer> load(const std::string& certificate_file,
                                         const std::string& key_file, std::string& error);

  // A channel on an accepted socket; owns `fd`. The handshake happens while it is read. Null when
  // there is no memory; `fd` is closed then.
  std::unique_ptr<ByteChannel> accept(int fd);

  // Seconds until the certificate expires; negative when it has.
  int64_t secondsLeft() const;

 private:
  TlsServer() = default;
  SslContext context_;
};

}  // namespace farwarp::wire
