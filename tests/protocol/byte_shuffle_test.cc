// Goal: planes hold the bytes of one significance, and come together to what they were. Method:
// every width, with lengths around the loops' blocks and remainders, against a plain index.
#include "protocol/byte_shuffle.h"

#include <gtest/gtest.h>

#include <vector>

namespace farwarp::wire {
namespace {

TEST(ByteShuffle, PutsEveryByteIntoItsPlaceAndBack) {
  for (const unsigned width : {2u, 4u, 8u}) {
    for (const size_t bytes : {0, 1, 7, 8, 63, 64, 65, 4096, 16384, 16389, 50001}) {
      std::vector<std::byte> from(bytes), to(bytes), back(bytes);
      for (size_t i = 0; i < bytes; ++i) from[i] = static_cast<std::byte>(i * 31 + i / 256);
      shuffleBytes(width, from, to.data());
      const size_t count = bytes / width;
      for (size_t i = 0; i < bytes; ++i) {
        const size_t place = i < count * width ? i % width * count + i / width : i;
        ASSERT_EQ(to[place], from[i]) << width << " " << bytes << " " << i;
      }
      unshuffleBytes(width, to, back.data());
      ASSERT_EQ(back, from) << width << " " << bytes;
    }
  }
}

}  // namespace
}  // namespace farwarp::wire
