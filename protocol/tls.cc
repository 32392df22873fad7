#include "protocol/tls.h"

#include <arpa/inet.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <ctime>

#include "protocol/openssl_init.h"
#include "protocol/tls_channel.h"

namespace farwarp::wire {
namespace {

using Clock = std::chrono::steady_clock;

constexpr char kPinPrefix[] = "sha256:";
constexpr size_t kPinBytes = 32;
constexpr size_t kNamesShownMax = 16;  // of a certificate, in a sentence

std::string lastReason() {
  const unsigned long code = ERR_peek_last_error();
  const char* reason = code == 0 ? nullptr : ERR_reason_error_string(code);
  const std::string text = reason != nullptr ? reason : "an unknown error";
  ERR_clear_error();
  return text;
}

// What both sides agree on.
SslContext makeContext(const SSL_METHOD* method) {
  OPENSSL_init_ssl(kOpenSslInit, nullptr);
  SslContext context(SSL_CTX_new(method));
  if (context == nullptr) return nullptr;
  SSL_CTX* raw = context.get();
  SSL_CTX_set_min_proto_version(raw, TLS1_3_VERSION);
  // The first is the fastest on processors with AES instructions.
  SSL_CTX_set_ciphersuites(
      raw, "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256");
  SSL_CTX_set_options(raw, SSL_OP_IGNORE_UNEXPECTED_EOF);
  SSL_CTX_set_mode(raw, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  SSL_CTX_set_read_ahead(raw, 1);
  SSL_CTX_set_default_read_buffer_len(raw, 128u << 10);
  return context;
}

bool isAddress(const std::string& host) {
  unsigned char bytes[16];
  return inet_pton(AF_INET, host.c_str(), bytes) == 1 ||
         inet_pton(AF_INET6, host.c_str(), bytes) == 1;
}

std::string digestOf(const X509* certificate) {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int bytes = 0;
  if (X509_digest(certificate, EVP_sha256(), digest, &bytes) != 1) return {};
  return std::string(reinterpret_cast<char*>(digest), bytes);
}

std::string hexOf(const std::string& bytes) {
  std::string text;
  for (const char c : bytes) {
    char digits[3];
    std::snprintf(digits, sizeof(digits), "%02x", static_cast<unsigned char>(c));
    text += digits;
  }
  return text;
}

int hexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

// Reads "sha256:" and 64 hex digits, with or without colons between the bytes.
bool parsePin(const std::string& text, std::string& pin) {
  if (!text.starts_with(kPinPrefix)) return false;
  std::string digits;
  for (const char c : text.substr(sizeof(kPinPrefix) - 1)) {
    if (c != ':') digits += c;
  }
  if (digits.size() != 2 * kPinBytes) return false;
  pin.clear();
  for (size_t i = 0; i < digits.size(); i += 2) {
    const int high = hexDigit(digits[i]), low = hexDigit(digits[i + 1]);
    if (high < 0 || low < 0) return false;
    pin += static_cast<char>(high * 16 + low);
  }
  return true;
}

std::string dateOf(const ASN1_TIME* time) {
  std::tm parts{};
  if (time == nullptr || ASN1_TIME_to_tm(time, &parts) != 1) return "an unreadable date";
  char text[32];
  std::strftime(text, sizeof(text), "%Y-%m-%d %H:%M UTC", &parts);
  return text;
}

// The names and addresses that a certificate is for, cleaned for a sentence.
std::string namesOf(const X509* certificate) {
  auto* names = static_cast<GENERAL_NAMES*>(
      X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr));
  std::string text;
  for (int i = 0; i < sk_GENERAL_NAME_num(names) && i < static_cast<int>(kNamesShownMax); ++i) {
    const GENERAL_NAME* name = sk_GENERAL_NAME_value(names, i);
    std::string one;
    if (name->type == GEN_DNS) {
      one.assign(reinterpret_cast<const char*>(ASN1_STRING_get0_data(name->d.dNSName)),
                 static_cast<size_t>(std::min(ASN1_STRING_length(name->d.dNSName), 253)));
    } else if (name->type == GEN_IPADD) {
      char address[INET6_ADDRSTRLEN] = {};
      const int family = ASN1_STRING_length(name->d.iPAddress) == 4 ? AF_INET : AF_INET6;
      if (family == AF_INET || ASN1_STRING_length(name->d.iPAddress) == 16) {
        inet_ntop(family, ASN1_STRING_get0_data(name->d.iPAddress), address, sizeof(address));
      }
      one = address;
    }
    for (char& c : one) {
      if (c < 33 || c > 126) c = '?';
    }
    if (!one.empty()) text += (text.empty() ? "" : ", ") + one;
  }
  sk_GENERAL_NAME_pop_free(names, GENERAL_NAME_free);
  return text.empty() ? "no names" : text;
}

}  // namespace

void SslContextDeleter::operator()(SSL_CTX* context) const {
  SSL_CTX_free(context);
}
void SslSessionDeleter::operator()(SSL_SESSION* session) const {
  SSL_SESSION_free(session);
}

// The first thing that was wrong with a certificate.
struct TlsClient::VerifyFailure {
  int code = X509_V_OK;
  bool authority = false;  // not the server's own certificate, but one that signed it
  std::string from, until, names;
  std::string digests;  // of the certificates that the server sent

  void note(X509_STORE_CTX* store) {
    if (code != X509_V_OK) return;
    code = X509_STORE_CTX_get_error(store);
    authority = X509_STORE_CTX_get_error_depth(store) > 0;
    if (const X509* at = X509_STORE_CTX_get_current_cert(store)) {
      from = dateOf(X509_get0_notBefore(at));
      until = dateOf(X509_get0_notAfter(at));
    }
    if (const X509* leaf = X509_STORE_CTX_get0_cert(store)) names = namesOf(leaf);
  }

  static VerifyFailure* of(X509_STORE_CTX* store) {
    auto* ssl =
        static_cast<SSL*>(X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx()));
    return static_cast<VerifyFailure*>(SSL_get_app_data(ssl));
  }
};

TlsClient::~TlsClient() = default;

std::unique_ptr<TlsClient> TlsClient::make(const TlsTrust& trust, std::string& error) {
  std::unique_ptr<TlsClient> client(new TlsClient);
  client->trust_ = trust;
  if (!trust.ca_file.empty() && !trust.fingerprint.empty()) {
    error = "FARWARP_CA and FARWARP_FINGERPRINT are both set; set the one that gpud init printed.";
    return nullptr;
  }
  if (!trust.fingerprint.empty() && !parsePin(trust.fingerprint, client->pin_)) {
    error = "FARWARP_FINGERPRINT is \"" + trust.fingerprint.substr(0, 200) +
            "\"; it must be sha256: and 64 hexadecimal digits, as gpud init prints it.";
    return nullptr;
  }
  client->context_ = makeContext(TLS_client_method());
  SSL_CTX* context = client->context_.get();
  if (context == nullptr) {
    error = "TLS cannot be used: " + lastReason() + ".";
    return nullptr;
  }
  if (!trust.ca_file.empty()) {
    if (SSL_CTX_load_verify_file(context, trust.ca_file.c_str()) != 1) {
      const int code = access(trust.ca_file.c_str(), R_OK) == 0 ? 0 : errno;
      error = "FARWARP_CA names \"" + trust.ca_file + "\", which " +
              (code != 0 ? "cannot be read: " + std::string(std::strerror(code))
                         : std::string("holds no certificate in PEM form")) +
              ".";
      ERR_clear_error();
      return nullptr;
    }
  } else if (client->pin_.empty()) {
    SSL_CTX_set_default_verify_paths(context);
  } else {
    SSL_CTX_set_cert_verify_callback(context, &TlsClient::verifyPinned, client.get());
  }
  SSL_CTX_set_verify(context, SSL_VERIFY_PEER, [](int ok, X509_STORE_CTX* store) {
    if (ok != 1) VerifyFailure::of(store)->note(store);
    return ok;
  });
  SSL_CTX_set_app_data(context, client.get());
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
  SSL_CTX_sess_set_new_cb(context, &TlsClient::keepSession);
  return client;
}

// Believes the one certificate that the user named, and what it signed. Dates and names count as
// ever, but who names the server's own certificate need not name the server.
int TlsClient::verifyPinned(X509_STORE_CTX* store, void* self) {
  const auto& pin = static_cast<TlsClient*>(self)->pin_;
  VerifyFailure& failure = *VerifyFailure::of(store);
  STACK_OF(X509)* sent = X509_STORE_CTX_get0_untrusted(store);
  X509* pinned = nullptr;
  for (int i = 0; i < sk_X509_num(sent) && pinned == nullptr; ++i) {
    const std::string digest = digestOf(sk_X509_value(sent, i));
    failure.digests += (i == 0 ? "" : ", ") + (kPinPrefix + hexOf(digest));
    if (digest == pin) pinned = sk_X509_value(sent, i);
  }
  if (pinned == nullptr) {
    X509_STORE_CTX_set_error(store, X509_V_ERR_CERT_UNTRUSTED);
    failure.note(store);
    return 0;
  }
  STACK_OF(X509)* trusted = sk_X509_new_null();
  if (trusted == nullptr || sk_X509_push(trusted, pinned) == 0) {
    sk_X509_free(trusted);
    X509_STORE_CTX_set_error(store, X509_V_ERR_OUT_OF_MEM);
    return 0;
  }
  X509_STORE_CTX_set0_trusted_stack(store, trusted);
  X509_VERIFY_PARAM* parameters = X509_STORE_CTX_get0_param(store);
  X509_VERIFY_PARAM_set_flags(parameters, X509_V_FLAG_PARTIAL_CHAIN);
  if (pinned == X509_STORE_CTX_get0_cert(store)) {
    X509_VERIFY_PARAM_set1_host(parameters, nullptr, 0);
    X509_VERIFY_PARAM_set1_ip(parameters, nullptr, 0);
  }
  const int result = X509_verify_cert(store);
  sk_X509_free(trusted);
  return result;
}

int TlsClient::keepSession(SSL* ssl, SSL_SESSION* session) {
  auto* self = static_cast<TlsClient*>(SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl)));
  const std::lock_guard guard(self->mutex_);
  self->session_.reset(session);
  return 1;  // it is ours now
}

std::string TlsClient::whyNotTrusted(const VerifyFailure& failure, const std::string& host,
                                     const std::string& server) const {
  const std::string which =
      std::string(failure.authority ? "The authority's certificate" : "The certificate") +
      " of the gpud at " + server;
  switch (failure.code) {
    case X509_V_ERR_CERT_HAS_EXPIRED:
      return which + " expired on " + failure.until +
             ". Renew it there with gpud init, or check the clock of this machine.";
    case X509_V_ERR_CERT_NOT_YET_VALID:
      return which + " is not valid before " + failure.from +
             ". Check the clocks of both machines.";
    case X509_V_ERR_HOSTNAME_MISMATCH:
    case X509_V_ERR_IP_ADDRESS_MISMATCH:
      return which + " is for " + failure.names + ", not for \"" + host +
             "\". Use one of these names, or make a certificate there with gpud init --name " +
             host + ".";
    default:
      break;
  }
  if (!pin_.empty()) {
    return which +
           " is not the one that FARWARP_FINGERPRINT names. Fingerprints of what it sent: " +
           failure.digests + "; FARWARP_FINGERPRINT is " + trust_.fingerprint + ".";
  }
  const std::string why = X509_verify_cert_error_string(failure.code);
  if (!trust_.ca_file.empty()) {
    return which + " is not signed by an authority in FARWARP_CA=" + trust_.ca_file + " (" + why +
           ").";
  }
  return which + " is not signed by an authority that this machine trusts (" + why +
         "). Set FARWARP_CA or FARWARP_FINGERPRINT to what gpud init printed there.";
}

std::unique_ptr<ByteChannel> TlsClient::connect(int fd, const std::string& host,
                                                const std::string& server, Deadline deadline,
                                                ConnectionError& error) {
  SslPointer made(SSL_new(context_.get()));
  if (made == nullptr) {
    close(fd);
    error = {Trouble::outOfMemory, "There is no memory for TLS."};
    return nullptr;
  }
  SSL* ssl = made.get();
  VerifyFailure failure;
  SSL_set_app_data(ssl, &failure);
  SSL_set_connect_state(ssl);
  if (isAddress(host)) {
    X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), host.c_str());
  } else {
    SSL_set1_host(ssl, host.c_str());
    SSL_set_tlsext_host_name(ssl, host.c_str());
  }
  {
    const std::lock_guard guard(mutex_);
    if (session_ != nullptr) SSL_set_session(ssl, session_.get());
  }
  auto channel = std::make_unique<TlsChannel>(fd, std::move(made));
  int result;
  while ((result = channel->handshake()) == -EAGAIN) {
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now());
    pollfd entry{fd, POLLIN, 0};
    if (channel->hasUnsentOutput()) entry.events |= POLLOUT;
    const int ready =
        left.count() <= 0
            ? 0
            : poll(&entry, 1, static_cast<int>(std::min<int64_t>(left.count(), 60000)));
    if (ready == 0 && Clock::now() >= deadline) {
      error = {Trouble::timedOut, "The gpud at " + server +
                                      " did not finish the TLS handshake in time. It may be "
                                      "overloaded; its log may say why."};
      return nullptr;
    }
  }
  SSL_set_app_data(channel->ssl(), nullptr);
  if (result == 0) return channel;
  if (failure.code != X509_V_OK) {
    error = {Trouble::untrusted, whyNotTrusted(failure, host, server)};
  } else {
    error = {Trouble::connectionLost, "The connection to the gpud at " + server +
                                          " cannot be encrypted: " + channel->explain(-result) +
                                          "."};
  }
  return nullptr;
}

std::unique_ptr<TlsServer> TlsServer::load(const std::string& certificate_file,
                                           const std::string& key_file, std::string& error) {
  std::unique_ptr<TlsServer> server(new TlsServer);
  server->context_ = makeContext(TLS_server_method());
  SSL_CTX* context = server->context_.get();
  const auto fail = [&](const std::string& what) {
    error = what + ": " + lastReason() + ".";
    return nullptr;
  };
  if (context == nullptr) return fail("TLS cannot be used");
  if (SSL_CTX_use_certificate_chain_file(context, certificate_file.c_str()) != 1) {
    return fail("The certificate " + certificate_file + " cannot be used");
  }
  if (SSL_CTX_use_PrivateKey_file(context, key_file.c_str(), SSL_FILETYPE_PEM) != 1) {
    return fail("The private key " + key_file + " cannot be used");
  }
  SSL_CTX_set_session_id_context(context, reinterpret_cast<const unsigned char*>("farwarp"), 7);
  SSL_CTX_set_num_tickets(context, 1);
  SSL_CTX_set_options(context, SSL_OP_CIPHER_SERVER_PREFERENCE);
  return server;
}

std::unique_ptr<ByteChannel> TlsServer::accept(int fd) {
  SslPointer ssl(SSL_new(context_.get()));
  if (ssl == nullptr) {
    close(fd);
    return nullptr;
  }
  SSL_set_accept_state(ssl.get());
  return std::make_unique<TlsChannel>(fd, std::move(ssl));
}

int64_t TlsServer::secondsLeft() const {
  int days = 0, seconds = 0;
  const X509* certificate = SSL_CTX_get0_certificate(context_.get());
  if (certificate == nullptr ||
      ASN1_TIME_diff(&days, &seconds, nullptr, X509_get0_notAfter(certificate)) != 1) {
    return 0;
  }
  return int64_t{days} * 86400 + seconds;
}

}  // namespace farwarp::wire
