// Certificates for tests, with every wish about names and dates.
#pragma once

#include <gtest/gtest.h>

#include <ctime>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "gpud/certificates.h"
#include "protocol/client_connection.h"
#include "protocol/tls.h"

namespace farwarp::wire {

inline constexpr std::time_t kDay = 86400;

// An authority, and a server certificate that it signed, in files of their own.
struct Certificates {
  explicit Certificates(const std::vector<std::string>& names = {"127.0.0.1", "localhost"},
                        std::time_t from = -kDay, std::time_t until = kDay,
                        std::time_t authority_until = kDay) {
    std::string name = testing::TempDir() + "tls_test.XXXXXX";
    folder = mkdtemp(name.data());
    const std::time_t now = std::time(nullptr);
    std::string error;
    EXPECT_TRUE(
        makeAuthority("test authority", {now - 2 * kDay, now + authority_until}, authority, error))
        << error;
    EXPECT_TRUE(makeServerCertificate(authority, names, {now + from, now + until}, server, error))
        << error;
    ca_file = folder + "/ca.crt";
    std::ofstream(ca_file) << authority.certificate;
    std::ofstream(folder + "/server.crt") << server.certificate;
    std::ofstream(folder + "/server.key") << server.key;
    tls = TlsServer::load(folder + "/server.crt", folder + "/server.key", error);
    EXPECT_NE(tls, nullptr) << error;
  }
  ~Certificates() {
    std::error_code ignored;
    std::filesystem::remove_all(folder, ignored);
  }
  ClientOptions byFile() const {
    ClientOptions options;
    options.trust.ca_file = ca_file;
    return options;
  }
  ClientOptions byFingerprint(const std::string& pem) const {
    ClientOptions options;
    options.trust.fingerprint = fingerprintOf(pem);
    return options;
  }
  std::string folder, ca_file;
  KeyPair authority, server;
  std::unique_ptr<TlsServer> tls;
};

}  // namespace farwarp::wire
