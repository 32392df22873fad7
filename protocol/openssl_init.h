// How OpenSSL is initialised before its first use, here and in every other place.
#pragma once

#include <openssl/crypto.h>

#include <cstdint>

namespace farwarp::wire {

// We go on after the program's exit handlers, and its settings (OPENSSL_CONF) are not about us.
inline constexpr uint64_t kOpenSslInit = OPENSSL_INIT_NO_ATEXIT | OPENSSL_INIT_NO_LOAD_CONFIG;

}  // namespace farwarp::wire
