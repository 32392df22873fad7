#include "protocol/byte_shuffle.h"

#include <algorithm>
#include <cstdint>
#include <cstring>

// Plain loops that the compiler makes vectors of (CMakeLists.txt asks for -O3): once for every
// processor, and once for those with AVX2. Not by target_clones: its resolvers run before a
// sanitizer is ready.
#define FARWARP_LOOP __attribute__((always_inline)) inline

namespace farwarp::wire {
namespace {

// Elements that are done together: they stay in the first cache while plane after plane is made.
constexpr size_t kBlock = 2048;

template <typename T>
FARWARP_LOOP void takeApart(const std::byte* from, size_t count, uint8_t* to) {
  T block[kBlock];
  for (size_t at = 0; at < count; at += kBlock) {
    const size_t n = std::min(kBlock, count - at);
    std::memcpy(block, from + at * sizeof(T), n * sizeof(T));
    for (size_t plane = 0; plane < sizeof(T); ++plane) {
      uint8_t* out = to + plane * count + at;
      const unsigned shift = 8 * static_cast<unsigned>(plane);
      for (size_t i = 0; i < n; ++i) out[i] = static_cast<uint8_t>(block[i] >> shift);
    }
  }
}

template <typename T>
FARWARP_LOOP void putTogether(const uint8_t* from, size_t count, std::byte* to) {
  T block[kBlock];
  for (size_t at = 0; at < count; at += kBlock) {
    const size_t n = std::min(kBlock, count - at);
    const uint8_t* first = from + at;
    for (size_t i = 0; i < n; ++i) block[i] = first[i];
    for (size_t plane = 1; plane < sizeof(T); ++plane) {
      const uint8_t* in = from + plane * count + at;
      const unsigned shift = 8 * static_cast<unsigned>(plane);
      for (size_t i = 0; i < n; ++i) {
        block[i] = static_cast<T>(block[i] | static_cast<T>(T{in[i]} << shift));
      }
    }
    std::memcpy(to + at * sizeof(T), block, n * sizeof(T));
  }
}

FARWARP_LOOP void takeApartAny(unsigned width, const std::byte* from, size_t count, uint8_t* to) {
  if (width == 2) takeApart<uint16_t>(from, count, to);
  if (width == 4) takeApart<uint32_t>(from, count, to);
  if (width == 8) takeApart<uint64_t>(from, count, to);
}

FARWARP_LOOP void putTogetherAny(unsigned width, const uint8_t* from, size_t count, std::byte* to) {
  if (width == 2) putTogether<uint16_t>(from, count, to);
  if (width == 4) putTogether<uint32_t>(from, count, to);
  if (width == 8) putTogether<uint64_t>(from, count, to);
}

using TakeApart = void (*)(unsigned, const std::byte*, size_t, uint8_t*);
using PutTogether = void (*)(unsigned, const uint8_t*, size_t, std::byte*);

void takeApartPlain(unsigned width, const std::byte* from, size_t count, uint8_t* to) {
  takeApartAny(width, from, count, to);
}
void putTogetherPlain(unsigned width, const uint8_t* from, size_t count, std::byte* to) {
  putTogetherAny(width, from, count, to);
}

#if defined(__x86_64__)
__attribute__((target("avx2"))) void takeApartAvx2(unsigned width, const std::byte* from,
                                                   size_t count, uint8_t* to) {
  takeApartAny(width, from, count, to);
}
__attribute__((target("avx2"))) void putTogetherAvx2(unsigned width, const uint8_t* from,
                                                     size_t count, std::byte* to) {
  putTogetherAny(width, from, count, to);
}
#endif

struct Loops {
  TakeApart take_apart = takeApartPlain;
  PutTogether put_together = putTogetherPlain;
};

Loops fastestLoops() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2") != 0) return {takeApartAvx2, putTogetherAvx2};
#endif
  return {};
}

const Loops& loops() {
  static const Loops fastest = fastestLoops();
  return fastest;
}

}  // namespace

void shuffleBytes(unsigned width, std::span<const std::byte> from, std::byte* to) {
  const size_t count = from.size() / width;
  const auto rest = from.subspan(count * width);
  loops().take_apart(width, from.data(), count, reinterpret_cast<uint8_t*>(to));
  std::copy(rest.begin(), rest.end(), to + count * width);
}

void unshuffleBytes(unsigned width, std::span<const std::byte> from, std::byte* to) {
  const size_t count = from.size() / width;
  const auto rest = from.subspan(count * width);
  loops().put_together(width, reinterpret_cast<const uint8_t*>(from.data()), count, to);
  std::copy(rest.begin(), rest.end(), to + count * width);
}

}  // namespace farwarp::wire
