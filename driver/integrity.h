// The answer to the self-test by which cudart makes sure that its driver is a consistent whole.
//
// The answer is HMAC-MD2 (RFC 2104 over RFC 1319) over values that both sides know: process,
// thread, addresses of two hidden tables, and the devices. See docs of driver_types.h, error 103.
#pragma once

#include <cuda.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace farwarp {

class DriverFront;

using Digest = std::array<uint8_t, 16>;

// RFC 1319.
Digest md2(std::span<const uint8_t> message);
// RFC 2104 with MD2, whose block is 16 bytes. A longer key is hashed first.
Digest hmacMd2(std::span<const uint8_t> key, std::span<const uint8_t> message);

// What the check covers besides the process, the thread and the devices.
struct IntegrityInput {
  uint32_t version;             // CUDART_VERSION plus the round
  uint64_t unix_seconds;        // as the caller gave it
  const void* interface_table;  // the CUDART_INTERFACE table that we gave out
  const void* integrity_table;  // the INTEGRITY_CHECK table that we gave out
  const void* check_function;   // the function in that table's slot 1
};
// For the calling process and thread.
Digest integrityAnswer(DriverFront& front, const IntegrityInput& input);

}  // namespace farwarp
