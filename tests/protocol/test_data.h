// Data as programs copy it, for tests of compression.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "tests/protocol/test_server.h"

namespace farwarp::wire {

// bfloat16 numbers around 0, as the weights of a network are.
inline std::vector<std::byte> weightBytes(size_t bytes, uint32_t seed = 1) {
  static const std::vector<float> kNormal = [] {
    std::mt19937 random(1);
    std::normal_distribution<float> normal(0, 0.02f);
    std::vector<float> values(1 << 14);
    for (float& value : values) value = normal(random);
    return values;
  }();
  std::minstd_rand random(seed);
  std::vector<std::byte> out(bytes);
  for (size_t i = 0; i + 2 <= bytes; i += 2) {
    uint32_t word;
    std::memcpy(&word, &kNormal[random() % kNormal.size()], sizeof(word));
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
