// Goal: a copy of rows is worked out as CUDA documents it, and nothing that a program or a peer can
// write into one wraps around. Method: shapes with known answers, and numbers at the edges of 64
// bits.
#include "driver/copy_shape.h"

#include <gtest/gtest.h>

#include <numeric>
#include <vector>

namespace farwarp {
namespace {

constexpr uint64_t kHuge = ~uint64_t{0};

TEST(CopyShape, OffsetsAreFoldedIntoTheAddress) {
  CUDA_MEMCPY3D p{};
  p.dstMemoryType = CU_MEMORYTYPE_DEVICE, p.dstDevice = 0x10000;
  p.dstXInBytes = 3, p.dstY = 2, p.dstZ = 4, p.dstPitch = 100, p.dstHeight = 10;
  p.srcMemoryType = CU_MEMORYTYPE_HOST, p.srcHost = reinterpret_cast<void*>(0x5000);
  p.srcPitch = 20, p.srcHeight = 6;
  p.WidthInBytes = 20, p.Height = 5, p.Depth = 2;
  CopyRequest request;
  ASSERT_EQ(describeCopy(p, request), CUDA_SUCCESS);
  EXPECT_EQ(request.to.rows.address, 0x10000u + (4 * 10 + 2) * 100 + 3);
  EXPECT_EQ(request.to.span, (10 + 4) * 100u + 20);
  EXPECT_EQ(request.from.rows.address, 0x5000u);
  EXPECT_EQ(request.from.span, (6 + 4) * 20u + 20);
  EXPECT_EQ(request.box.bytes(), 200u);
}

TEST(CopyShape, LinearBoxesAreSeen) {
  EXPECT_TRUE(isLinear({1, 0, 0}, {50, 1, 1}));
  EXPECT_TRUE(isLinear({1, 50, 0}, {50, 4, 1}));
  EXPECT_TRUE(isLinear({1, 50, 4}, {50, 4, 3}));
  EXPECT_TRUE(isLinear({1, 25, 2}, {50, 1, 3}));
  EXPECT_FALSE(isLinear({1, 51, 4}, {50, 4, 1}));
  EXPECT_FALSE(isLinear({1, 50, 5}, {50, 4, 3}));
  EXPECT_FALSE(isLinear({1, 51, 1}, {50, 1, 3}));
}

TEST(CopyShape, SpansAreRefusedRatherThanWrapped) {
  uint64_t bytes = 0;
  EXPECT_TRUE(spanOf({0, 0, 0}, {kHuge, 1, 1}, bytes));
  EXPECT_EQ(bytes, kHuge);
  EXPECT_TRUE(spanOf({0, 10, 7}, {10, 3, 2}, bytes));
  EXPECT_EQ(bytes, (7 + 2) * 10u + 10);
  EXPECT_FALSE(spanOf({0, 10, 7}, {0, 3, 2}, bytes));
  EXPECT_FALSE(spanOf({0, 9, 7}, {10, 3, 1}, bytes));              // rows overlap
  EXPECT_FALSE(spanOf({0, 10, 2}, {10, 3, 2}, bytes));             // slices overlap
  EXPECT_FALSE(spanOf({0, kPitchMax + 1, 7}, {10, 3, 1}, bytes));  // CU_DEVICE_ATTRIBUTE_MAX_PITCH
  EXPECT_FALSE(spanOf({0, kPitchMax, kHuge}, {10, 3, 2}, bytes));  // wraps
  EXPECT_FALSE(spanOf({0, kPitchMax, kHuge / 2}, {10, 1, kHuge}, bytes));
  EXPECT_FALSE(spanOf({0, 10, 1}, {10, kHuge, 1}, bytes));
}

TEST(CopyShape, RowsAreCopiedWithoutTheirGaps) {
  std::vector<unsigned char> from(60), to(60, 0xee);
  std::iota(from.begin(), from.end(), 0);
  const auto at = [](std::vector<unsigned char>& v) {
    return reinterpret_cast<uint64_t>(v.data());
  };
  copyRows({at(to), 6, 3}, {at(from), 5, 4}, {4, 2, 3});
  for (size_t i = 0; i < to.size(); ++i) {
    const size_t slice = i / 18, row = i % 18 / 6, byte = i % 6;
    const bool inside = slice < 3 && row < 2 && byte < 4;
    EXPECT_EQ(to[i], inside ? from[(slice * 4 + row) * 5 + byte] : 0xee) << i;
  }
}

}  // namespace
}  // namespace farwarp
