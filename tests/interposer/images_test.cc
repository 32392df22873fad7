// Goal: a kernel table from gpud becomes kernels whose parameter layout, limits and names are
// right, and a malformed one is refused. Method: tables encoded by the protocol's own encoder, and
// cut short.
#include "interposer/session/images.h"

#include <gtest/gtest.h>

namespace farwarp::client {
namespace {

wire::KernelInfo kernel(const char* name) {
  wire::KernelInfo info;
  info.name = name;
  info.params = {{0, 8}, {8, 4}, {16, 24}};
  info.attributes_known = true;
  info.attributes[CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK] = 512;
  info.attributes[CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES] = 1000;
  info.attributes[CU_FUNC_ATTRIBUTE_NUM_REGS] = 40;
  info.attributes[CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES] = 48000;
  return info;
}

TEST(Image, ReadsKernels) {
  const std::vector<wire::KernelInfo> infos = {kernel("first"), kernel("second")};
  Image image;
  ASSERT_TRUE(image.readKernels(wire::encodeKernelTable(infos)));
  ASSERT_EQ(image.kernels.size(), 2u);
  ASSERT_EQ(image.by_name.count("second"), 1u);
  const Kernel& second = *image.by_name.at("second");
  EXPECT_EQ(second.info->name, "second");
  EXPECT_EQ(second.param_bytes, 40u);
  EXPECT_EQ(second.image, &image);
  const FunctionLimits limits = second.limits();
  EXPECT_EQ(limits.threads_per_block_max, 512u);
  EXPECT_EQ(limits.shared_static, 1000u);
  EXPECT_EQ(limits.registers, 40u);
  EXPECT_EQ(limits.shared_dynamic_max, 48000u);
}

TEST(Image, AllowsEverythingForAKernelOfUnknownAttributes) {
  wire::KernelInfo info = kernel("unknown");
  info.attributes_known = false;
  Image image;
  ASSERT_TRUE(image.readKernels(wire::encodeKernelTable(std::span(&info, 1))));
  EXPECT_EQ(image.kernels[0].limits().threads_per_block_max, UINT32_MAX);
}

TEST(Image, RefusesATableCutShort) {
  const std::vector<wire::KernelInfo> infos = {kernel("first")};
  const std::vector<std::byte> table = wire::encodeKernelTable(infos);
  for (size_t bytes = 0; bytes < table.size(); ++bytes) {
    Image image;
    EXPECT_FALSE(image.readKernels(std::span(table).first(bytes))) << bytes;
  }
}

TEST(ImageGraveyard, KeepsWhatWasUnloadedLast) {
  ImageGraveyard graveyard;
  auto* image = new Image;
  image->id = 42;
  graveyard.bury(image);
  for (int i = 0; i < 10; ++i) graveyard.bury(new Image);
  EXPECT_EQ(image->id, 42u);  // a leak or a use after free is for the sanitizers to tell
}

}  // namespace
}  // namespace farwarp::client
