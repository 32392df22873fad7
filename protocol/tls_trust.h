// Whom a client believes when it connects with TLS.
#pragma once

#include <string>

namespace farwarp::wire {

// At most one is set; with neither, the authorities that this machine trusts.
struct TlsTrust {
  std::string ca_file;      // PEM file with the certificates of authorities
  std::string fingerprint;  // "sha256:" and 64 hex digits: of the server's certificate, or of the
                            // authority's that signed it and that the server sends along
};

}  // namespace farwarp::wire
