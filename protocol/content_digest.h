// What names a run of bytes: their SHA-256.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace farwarp::wire {

using ContentDigest = std::array<uint8_t, 32>;

// All zero when OpenSSL cannot do it, which no content has.
ContentDigest digestOf(std::span<const std::byte> bytes);

// 64 hexadecimal digits.
std::string hexOf(const ContentDigest& digest);

}  // namespace farwarp::wire
