// Makes the certificates of gpud: a local authority, and server certificates that it signs. PEM
// texts in memory; writing them to files is the caller's (init.cc).
#pragma once

#include <ctime>
#include <string>
#include <vector>

namespace farwarp {

struct KeyPair {
  std::string certificate;  // PEM
  std::string key;          // PEM, not encrypted
};

struct Validity {
  std::time_t from = 0;
  std::time_t until = 0;
};

// An authority of its own, with a fresh key. `name` is shown to people. False with a full sentence
// in `error`.
[[nodiscard]] bool makeAuthority(const std::string& name, const Validity& validity, KeyPair& out,
                                 std::string& error);

// A server's certificate for `names` (DNS names and IP addresses, at least one), with a fresh key,
// signed by `authority`, whose certificate stands behind it in `out.certificate`.
[[nodiscard]] bool makeServerCertificate(const KeyPair& authority,
                                         const std::vector<std::string>& names,
                                         const Validity& validity, KeyPair& out,
                                         std::string& error);

// "sha256:" and hex digits of the first certificate in a PEM text; empty when there is none.
std::string fingerprintOf(const std::string& pem);

// Why `name` cannot stand in a certificate, as a sentence; empty when it can.
std::string whyNotName(const std::string& name);

}  // namespace farwarp
