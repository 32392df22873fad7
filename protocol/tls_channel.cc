#include "protocol/tls_channel.h"

#include <errno.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

namespace farwarp::wire {

namespace {

// Ciphertext of one system call. Beyond the limit the peer makes us answer without reading.
constexpr size_t kSendBytes = 256u << 10;
constexpr size_t kUnsentBytesMax = 1u << 20;

}  // namespace

// The BIO between OpenSSL and a TlsChannel.
struct TlsBio {
  static BIO_METHOD* method() {
    static BIO_METHOD* const made = [] {
      BIO_METHOD* fresh =
          BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "farwarp socket");
      BIO_meth_set_read(fresh, &TlsBio::read);
      BIO_meth_set_write(fresh, &TlsBio::write);
      BIO_meth_set_ctrl(fresh, &TlsBio::control);
      return fresh;
    }();
    return made;
  }

  static TlsChannel& channelOf(BIO* bio) { return *static_cast<TlsChannel*>(BIO_get_data(bio)); }

  static int read(BIO* bio, char* buffer, int bytes) {
    BIO_clear_retry_flags(bio);
    const int n = channelOf(bio).receive(buffer, bytes);
    if (n == -EAGAIN) BIO_set_retry_read(bio);
    return n < 0 ? -1 : n;
  }

  static int write(BIO* bio, const char* data, int bytes) {
    BIO_clear_retry_flags(bio);
    return channelOf(bio).take(data, bytes);
  }

  static long control(BIO* bio, int command, long, void*) {
    if (command == BIO_CTRL_FLUSH) return 1;
    if (command == BIO_CTRL_EOF) return channelOf(bio).peer_closed_ ? 1 : 0;
    return 0;
  }
};

void SslDeleter::operator()(SSL* ssl) const {
  // OpenSSL takes a session that was not closed in order for a broken one, and never resumes it.
  SSL_set_shutdown(ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
  SSL_free(ssl);
}

TlsChannel::TlsChannel(int fd, SslPointer ssl) : fd_(fd), ssl_(std::move(ssl)) {
  BIO* bio = BIO_new(TlsBio::method());
  if (bio == nullptr) {
    ssl_.reset();
    failure_ = "there is no memory for it";
    return;
  }
  BIO_set_data(bio, this);
  BIO_set_init(bio, 1);
  SSL_set_bio(ssl_.get(), bio, bio);
}

TlsChannel::~TlsChannel() {
  ssl_.reset();
  close(fd_);
}

int TlsChannel::receive(char* buffer, int bytes) {
  for (;;) {
    const ssize_t n = recv(fd_, buffer, static_cast<size_t>(bytes), MSG_DONTWAIT);
    if (n >= 0) {
      if (n == 0) peer_closed_ = true;
      add(bytes_read_, static_cast<uint64_t>(n));
      return static_cast<int>(n);
    }
    if (errno == EINTR) continue;
    if (errno == EAGAIN || errno == EWOULDBLOCK) return -EAGAIN;
    socket_error_ = errno;
    return -socket_error_;
  }
}

int TlsChannel::take(const char* data, int bytes) {
  if (out_.size() - out_begin_ > kUnsentBytesMax) {
    failure_ = "the peer asks for answers that it does not read";
    return -1;
  }
  out_.insert(out_.end(), data, data + bytes);
  return bytes;
}

int TlsChannel::flush() {
  meter_.beforeWrite(fd_);
  while (out_begin_ < out_.size()) {
    const ssize_t n =
        send(fd_, out_.data() + out_begin_, out_.size() - out_begin_, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n >= 0) {
      out_begin_ += static_cast<size_t>(n);
      add(bytes_written_, static_cast<uint64_t>(n));
      meter_.wrote(static_cast<uint64_t>(n));
      continue;
    }
    if (errno == EINTR) continue;
    if (errno == EAGAIN || errno == EWOULDBLOCK) {
      meter_.full();
      return -EAGAIN;
    }
    out_.clear();
    out_begin_ = 0;
    return -errno;
  }
  out_.clear();
  out_begin_ = 0;
  return 0;
}

// What a call of OpenSSL that did not succeed means for us; 0 is the end of the stream.
int TlsChannel::resultOf(int returned) {
  const int error = SSL_get_error(ssl_.get(), returned);
  if (error == SSL_ERROR_WANT_READ) return -EAGAIN;
  if (error == SSL_ERROR_ZERO_RETURN) return 0;
  if (socket_error_ != 0) return -socket_error_;
  const unsigned long code = ERR_peek_last_error();
  if (failure_.empty() && code != 0) {
    const char* reason = ERR_reason_error_string(code);
    failure_ = reason != nullptr ? reason : "an unknown error";
  }
  if (failure_.empty()) failure_ = "the peer closed the connection";
  ERR_clear_error();
  return -EPROTO;
}

int TlsChannel::handshake() {
  if (ssl_ == nullptr) return -ENOMEM;
  ERR_clear_error();
  const int returned = SSL_do_handshake(ssl_.get());
  const int result = returned == 1 ? 0 : resultOf(returned);
  // What OpenSSL had to say goes out in any case: an alert tells the peer what is wrong.
  const int flushed = flush();
  if (returned == 1) established_ = true;
  if (returned == 1) return flushed == -EAGAIN ? 0 : flushed;
  return result == 0 ? -ECONNRESET : result;
}

ssize_t TlsChannel::read(void* buffer, size_t bytes) {
  if (ssl_ == nullptr) return -ENOMEM;
  if (SSL_is_init_finished(ssl_.get())) established_ = true;
  ERR_clear_error();
  size_t got = 0;
  const int returned = SSL_read_ex(ssl_.get(), buffer, bytes, &got);
  const int result = returned == 1 ? 0 : resultOf(returned);
  // The handshake's answers, and answers to a change of keys. A failure shows when reading goes on.
  if (hasUnsentOutput()) (void)flush();
  return returned == 1 ? static_cast<ssize_t>(got) : result;
}

ssize_t TlsChannel::write(const iovec* pieces, int count) {
  if (ssl_ == nullptr || !SSL_is_init_finished(ssl_.get())) return -ENOTCONN;
  ssize_t taken = 0;
  int at = 0;
  size_t done = 0;  // of pieces[at]
  for (;;) {
    if (hasUnsentOutput()) {
      const int flushed = flush();
      if (flushed < 0) return flushed == -EAGAIN && taken > 0 ? taken : flushed;
    }
    if (at == count) return taken;
    while (at < count && out_.size() < kSendBytes) {
      const size_t bytes = std::min(pieces[at].iov_len - done, kSendBytes - out_.size());
      size_t written = 0;
      ERR_clear_error();
      if (bytes > 0) {
        const int returned = SSL_write_ex(
            ssl_.get(), static_cast<const char*>(pieces[at].iov_base) + done, bytes, &written);
        if (returned != 1) {
          const int result = resultOf(returned);
          return result == 0 ? -EPIPE : result;
        }
      }
      taken += static_cast<ssize_t>(written);
      done += written;
      if (done == pieces[at].iov_len) ++at, done = 0;
    }
  }
}

bool TlsChannel::hasBufferedInput() const {
  return ssl_ != nullptr && SSL_has_pending(ssl_.get()) == 1;
}

std::string TlsChannel::explain(int error) const {
  if (failure_.empty() || error != EPROTO) return ByteChannel::explain(error);
  return (established_ ? "TLS failed: " : "the TLS handshake failed: ") + failure_;
}

void TlsChannel::shutdownWrite() {
  if (ssl_ != nullptr && SSL_is_init_finished(ssl_.get())) {
    SSL_shutdown(ssl_.get());
    (void)flush();
  }
  shutdown(fd_, SHUT_WR);
}

void TlsChannel::shutdownBoth() {
  out_.clear();
  out_begin_ = 0;
  shutdown(fd_, SHUT_RDWR);
}

}  // namespace farwarp::wire
