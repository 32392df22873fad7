// A byte channel that encrypts. Ciphertext is collected and sent in large writes; OpenSSL never
// touches the descriptor, so nothing blocks and nothing raises SIGPIPE.
#pragma once

#include <openssl/types.h>

#include <memory>
#include <string>
#include <vector>

#include "protocol/byte_channel.h"

namespace farwarp::wire {

struct SslDeleter {
  void operator()(SSL* ssl) const;
};
using SslPointer = std::unique_ptr<SSL, SslDeleter>;

class TlsChannel final : public ByteChannel {
 public:
  // Owns `fd`. `ssl` is told already which side it is.
  TlsChannel(int fd, SslPointer ssl);
  ~TlsChannel() override;
  TlsChannel(const TlsChannel&) = delete;
  TlsChannel& operator=(const TlsChannel&) = delete;

  // Goes on with the handshake: 0 when it is done, -EAGAIN when the peer must say something first,
  // another -errno when it failed.
  int handshake();
  SSL* ssl() { return ssl_.get(); }

  ssize_t read(void* buffer, size_t bytes) override;
  ssize_t write(const iovec* pieces, int count) override;
  bool hasBufferedInput() const override;
  bool hasUnsentOutput() const override { return out_begin_ < out_.size(); }
  int flush() override;
  std::string explain(int error) const override;
  void shutdownWrite() override;
  void shutdownBoth() override;
  int fd() const override { return fd_; }

 private:
  friend struct TlsBio;  // tls_channel.cc
  int receive(char* buffer, int bytes);
  int take(const char* data, int bytes);
  int resultOf(int returned);

  const int fd_;
  SslPointer ssl_;
  std::vector<char> out_;  // ciphertext from out_begin_ on is not sent yet
  size_t out_begin_ = 0;
  int socket_error_ = 0;
  bool peer_closed_ = false;  // the socket; the peer should have said so inside TLS first
  bool established_ = false;  // the handshake is done
  std::string failure_;       // what OpenSSL said when it gave up
};

}  // namespace farwarp::wire
