#include "protocol/content_digest.h"

#include <openssl/evp.h>

#include "protocol/openssl_init.h"

namespace farwarp::wire {

ContentDigest digestOf(std::span<const std::byte> bytes) {
  ContentDigest digest{};
  OPENSSL_init_crypto(kOpenSslInit, nullptr);
  if (EVP_Digest(bytes.data(), bytes.size(), digest.data(), nullptr, EVP_sha256(), nullptr) != 1) {
    digest.fill(0);
  }
  return digest;
}

std::string hexOf(const ContentDigest& digest) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  for (const uint8_t byte : digest) {
    text += kDigits[byte >> 4];
    text += kDigits[byte & 15];
  }
  return text;
}

}  // namespace farwarp::wire
