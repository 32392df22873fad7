// Whether bulk data is compressed on its way; see compression.h.
#pragma once

#include <cstdint>
#include <string_view>

namespace farwarp::wire {

enum class CompressionMode : uint8_t {
  off = 0,
  automatic = 1,
  on = 2,  // whatever makes the data smaller, on every network
};

// Reads "off", "auto" or "on". False for anything else.
[[nodiscard]] bool parseCompressionMode(std::string_view text, CompressionMode& out);
// What two sides do together: off when one is off, on when one is on and none is off.
CompressionMode togetherMode(CompressionMode a, CompressionMode b);

}  // namespace farwarp::wire
