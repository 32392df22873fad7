// libFuzzer target: the engine takes any bytes as PTX, and runs what it compiles. Inputs are
// damaged as PTX (tests/ptx/damage.h) as well as bytes. tests/ptx/fuzz/run makes a corpus and
// starts it.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "tests/ptx/damage.h"
#include "tests/ptx/exercise.h"

extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t size_max);

using namespace farwarp::ptx;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static Exerciser* exerciser = new Exerciser;
  Exercised result = exerciser->run({reinterpret_cast<const char*>(data), size});
  if (!result.contradiction.empty()) {
    std::fprintf(stderr, "%s\n", result.contradiction.c_str());
    std::abort();
  }
  return 0;
}

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t size_max,
                                          unsigned seed) {
  Random random(seed);
  if (size == 0 || below(random, 8) == 0) return LLVMFuzzerMutate(data, size, size_max);
  std::string text = damage({reinterpret_cast<const char*>(data), size}, random);
  size_t bytes = std::min(text.size(), size_max);
  std::memcpy(data, text.data(), bytes);
  return bytes;
}

// Lines of one text come into another.
extern "C" size_t LLVMFuzzerCustomCrossOver(const uint8_t* data, size_t size, const uint8_t* other,
                                            size_t other_size, uint8_t* out, size_t out_max,
                                            unsigned seed) {
  Random random(seed);
  std::string text(reinterpret_cast<const char*>(data), size);
  std::string_view from(reinterpret_cast<const char*>(other), other_size);
  size_t begin = from.find('\n', below(random, from.size()));
  size_t at = text.find('\n', below(random, text.size()));
  if (begin == from.npos || at == text.npos) return 0;
  size_t end = begin;
  for (size_t lines = 1 + below(random, 6); lines > 0 && end != from.npos; --lines) {
    end = from.find('\n', end + 1);
  }
  text.insert(at, from.substr(begin, end - begin));
  size_t bytes = std::min(text.size(), out_max);
  std::memcpy(out, text.data(), bytes);
  return bytes;
}
