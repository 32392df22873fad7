#include "gpud/certificates.h"

#include <arpa/inet.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <cctype>
#include <memory>

namespace farwarp {
namespace {

constexpr size_t kNameBytesMax = 253;
constexpr size_t kNamesMax = 64;
constexpr size_t kShownNameBytesMax = 64;  // of a common name
constexpr int kSerialBytes = 16;

template <auto free>
struct Free {
  template <typename T>
  void operator()(T* object) const {
    free(object);
  }
};
using Certificate = std::unique_ptr<X509, Free<X509_free>>;
using Key = std::unique_ptr<EVP_PKEY, Free<EVP_PKEY_free>>;
using Bio = std::unique_ptr<BIO, Free<BIO_free_all>>;
using Extension = std::unique_ptr<X509_EXTENSION, Free<X509_EXTENSION_free>>;
using Serial = std::unique_ptr<BIGNUM, Free<BN_free>>;

bool fail(const std::string& what, std::string& error) {
  const unsigned long code = ERR_peek_last_error();
  const char* reason = code == 0 ? nullptr : ERR_reason_error_string(code);
  error = what + ": " + (reason != nullptr ? reason : "an unknown error") + ".";
  ERR_clear_error();
  return false;
}

bool isAddress(const std::string& name) {
  unsigned char bytes[16];
  return inet_pton(AF_INET, name.c_str(), bytes) == 1 ||
         inet_pton(AF_INET6, name.c_str(), bytes) == 1;
}

Certificate readCertificate(const std::string& pem) {
  const Bio bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  return Certificate(PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr));
}

Key readKey(const std::string& pem) {
  const Bio bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  return Key(PEM_read_bio_PrivateKey(bio.get(), nullptr, nullptr, nullptr));
}

std::string textOf(BIO* bio) {
  char* data = nullptr;
  const long bytes = BIO_get_mem_data(bio, &data);
  return std::string(data, static_cast<size_t>(bytes));
}

bool writePem(X509* certificate, EVP_PKEY* key, KeyPair& out) {
  const Bio first(BIO_new(BIO_s_mem())), second(BIO_new(BIO_s_mem()));
  if (PEM_write_bio_X509(first.get(), certificate) != 1 ||
      PEM_write_bio_PKCS8PrivateKey(second.get(), key, nullptr, nullptr, 0, nullptr, nullptr) !=
          1) {
    return false;
  }
  out.certificate = textOf(first.get());
  out.key = textOf(second.get());
  return true;
}

bool setSerial(X509* certificate) {
  unsigned char bytes[kSerialBytes];
  if (RAND_bytes(bytes, sizeof(bytes)) != 1) return false;
  bytes[0] = static_cast<unsigned char>((bytes[0] & 0x7f) | 0x40);  // positive, and of full length
  const Serial number(BN_bin2bn(bytes, sizeof(bytes), nullptr));
  return number != nullptr &&
         BN_to_ASN1_INTEGER(number.get(), X509_get_serialNumber(certificate)) != nullptr;
}

bool addExtension(X509* certificate, X509* issuer, int nid, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  const Extension extension(X509V3_EXT_conf_nid(nullptr, &context, nid, value.c_str()));
  return extension != nullptr && X509_add_ext(certificate, extension.get(), -1) == 1;
}

// All that both kinds of certificates have in common.
bool fill(X509* certificate, EVP_PKEY* key, const std::string& name, const Validity& validity) {
  const std::string shown = name.substr(0, kShownNameBytesMax);
  X509_NAME* subject = X509_get_subject_name(certificate);
  return X509_set_version(certificate, X509_VERSION_3) == 1 && setSerial(certificate) &&
         ASN1_TIME_set(X509_getm_notBefore(certificate), validity.from) != nullptr &&
         ASN1_TIME_set(X509_getm_notAfter(certificate), validity.until) != nullptr &&
         X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8,
                                    reinterpret_cast<const unsigned char*>(shown.data()),
                                    static_cast<int>(shown.size()), -1, 0) == 1 &&
         X509_set_pubkey(certificate, key) == 1;
}

}  // namespace

std::string whyNotName(const std::string& name) {
  if (isAddress(name)) return {};
  const bool clean = std::all_of(name.begin(), name.end(), [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '-' || c == '.' || c == '_';
  });
  if (!name.empty() && name.size() <= kNameBytesMax && clean) return {};
  return "\"" + name + "\" is no name for a certificate; it must be an IP address, or a DNS name " +
         "of 1 to " + std::to_string(kNameBytesMax) + " letters, digits, dots and hyphens.";
}

bool makeAuthority(const std::string& name, const Validity& validity, KeyPair& out,
                   std::string& error) {
  const Certificate certificate(X509_new());
  const Key key(EVP_EC_gen("P-256"));
  X509* raw = certificate.get();
  if (raw != nullptr && key != nullptr && fill(raw, key.get(), name, validity) &&
      X509_set_issuer_name(raw, X509_get_subject_name(raw)) == 1 &&
      addExtension(raw, raw, NID_basic_constraints, "critical,CA:TRUE,pathlen:0") &&
      addExtension(raw, raw, NID_key_usage, "critical,keyCertSign,cRLSign") &&
      addExtension(raw, raw, NID_subject_key_identifier, "hash") &&
      X509_sign(raw, key.get(), EVP_sha256()) != 0 && writePem(raw, key.get(), out)) {
    return true;
  }
  return fail("The authority's certificate cannot be made", error);
}

bool makeServerCertificate(const KeyPair& authority, const std::vector<std::string>& names,
                           const Validity& validity, KeyPair& out, std::string& error) {
  if (names.empty() || names.size() > kNamesMax) {
    error = "A certificate is for " + std::to_string(names.size()) +
            " names; it must be from 1 to " + std::to_string(kNamesMax) + ".";
    return false;
  }
  std::string alternatives;
  for (const std::string& name : names) {
    if (error = whyNotName(name); !error.empty()) return false;
    alternatives += (alternatives.empty() ? "" : ",") + ((isAddress(name) ? "IP:" : "DNS:") + name);
  }
  const Certificate issuer = readCertificate(authority.certificate);
  const Key issuer_key = readKey(authority.key);
  if (issuer == nullptr || issuer_key == nullptr) {
    return fail("The authority's certificate or key cannot be read", error);
  }
  const Certificate certificate(X509_new());
  const Key key(EVP_EC_gen("P-256"));
  X509* raw = certificate.get();
  if (raw != nullptr && key != nullptr && fill(raw, key.get(), names.front(), validity) &&
      X509_set_issuer_name(raw, X509_get_subject_name(issuer.get())) == 1 &&
      addExtension(raw, issuer.get(), NID_basic_constraints, "critical,CA:FALSE") &&
      addExtension(raw, issuer.get(), NID_key_usage, "critical,digitalSignature") &&
      addExtension(raw, issuer.get(), NID_ext_key_usage, "serverAuth") &&
      addExtension(raw, issuer.get(), NID_subject_key_identifier, "hash") &&
      addExtension(raw, issuer.get(), NID_authority_key_identifier, "keyid") &&
      addExtension(raw, issuer.get(), NID_subject_alt_name, alternatives) &&
      X509_sign(raw, issuer_key.get(), EVP_sha256()) != 0 && writePem(raw, key.get(), out)) {
    out.certificate += authority.certificate;
    return true;
  }
  return fail("The server's certificate cannot be made", error);
}

std::string fingerprintOf(const std::string& pem) {
  const Certificate certificate = readCertificate(pem);
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int bytes = 0;
  if (certificate == nullptr || X509_digest(certificate.get(), EVP_sha256(), digest, &bytes) != 1) {
    ERR_clear_error();
    return {};
  }
  std::string text = "sha256:";
  for (unsigned i = 0; i < bytes; ++i) {
    constexpr char kDigits[] = "0123456789abcdef";
    text += kDigits[digest[i] >> 4];
    text += kDigits[digest[i] & 15];
  }
  return text;
}

}  // namespace farwarp
