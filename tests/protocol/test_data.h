// Data as programs copy it, for tests of compression.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "tests/protocol/test_server.h"

namespace farwarp::wire {

// bfloat16 numbers around 0, as the weights of a network are.
inline std::vector<std::byte> weightBytes(size_t bytes, uint32_t seed = 1) {
  std::vector<std::byte> out = patternBytes(bytes, seed);
  for (size_t i = 0; i + 8 <= bytes; i += 2) {
    // The sum of some even numbers is nearly normal.
    float sum = 0;
    for (size_t k = 0; k < 6; ++k)
      sum += static_cast<float>(std::to_integer<int>(out[i + k])) - 127;
    sum *= 1e-4f;
    uint32_t word;
    std::memcpy(&word, &sum, sizeof(word));
    std::memcpy(&out[i], reinterpret_cast<std::byte*>(&word) + 2, 2);
  }
  return out;
}

// Words with repetitions.
inline std::vector<std::byte> textBytes(size_t bytes) {
  static const char* const kWords[] = {"kernel ", "stream ", "copy ", "device ", "of ", "the "};
  std::string text;
  for (uint32_t i = 1; text.size() < bytes; ++i) {
    const uint32_t random = i * 2654435761u;
    text += kWords[(random >> 16) % 6];
    if (random >> 28 == 0) text += std::to_string(random % 977) + "\n";
  }
  text.resize(bytes);
  std::vector<std::byte> out(bytes);
  std::memcpy(out.data(), text.data(), bytes);
  return out;
}

}  // namespace farwarp::wire
