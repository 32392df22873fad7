// Goal: buffers come back for reuse, within the pool's limit, also after the pool's owner let go.
// Method: take and drop.
#include "protocol/receive_pool.h"

#include <gtest/gtest.h>

#include <cstring>
#include <new>

namespace farwarp::wire {
namespace {

TEST(ReceivePool, ReusesABuffer) {
  const auto pool = std::make_shared<ReceivePool>(1 << 20);
  std::byte* first;
  { first = pool->take(1000).data(); }
  EXPECT_EQ(pool->unusedBytes(), 1024u);
  const auto again = pool->take(600);
  EXPECT_EQ(again.data(), first);
  EXPECT_EQ(pool->unusedBytes(), 0u);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(first) % 64, 0u);
}

TEST(ReceivePool, KeepsNoMoreThanItsLimit) {
  const auto pool = std::make_shared<ReceivePool>(4096);
  { const auto a = pool->take(4096), b = pool->take(4096), c = pool->take(1 << 20); }
  EXPECT_EQ(pool->unusedBytes(), 4096u);
}

TEST(ReceivePool, RefusesTheImpossible) {
  const auto pool = std::make_shared<ReceivePool>(4096);
  EXPECT_THROW((void)pool->take(size_t{1} << 40), std::bad_alloc);
}

TEST(ReceivePool, BuffersOutliveTheOwner) {
  auto pool = std::make_shared<ReceivePool>(4096);
  ReceiveBuffer kept = pool->take(100);
  pool.reset();
  std::memset(kept.data(), 1, 100);
  ReceiveBuffer moved = std::move(kept);
  EXPECT_EQ(kept.data(), nullptr);
}

}  // namespace
}  // namespace farwarp::wire
