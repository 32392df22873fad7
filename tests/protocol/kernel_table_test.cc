// Goal: a kernel table survives the wire, and no mutation of its bytes does harm. Method: round
// trips; every prefix is refused; every single byte set to hostile values either is refused or
// gives a table within the limits (the sanitizers watch for reads outside).
#include "protocol/kernel_table.h"

#include <gtest/gtest.h>

#include <cstring>

namespace farwarp::wire {
namespace {

std::vector<KernelInfo> sample() {
  KernelInfo plain{"vectorAdd", {{0, 8}, {8, 8}, {16, 8}, {24, 4}}, {}, true};
  for (size_t i = 0; i < plain.attributes.size(); ++i)
    plain.attributes[i] = static_cast<int>(i) - 3;
  KernelInfo empty{"k", {}, {}, false};
  KernelInfo large{std::string(1000, 'n'), {{0, 32764}}, {}, true};
  return {plain, empty, large};
}

TEST(KernelTable, RoundTrip) {
  for (size_t count = 0; count <= sample().size(); ++count) {
    std::vector<KernelInfo> kernels = sample();
    kernels.resize(count);
    const std::vector<std::byte> table = encodeKernelTable(kernels);
    EXPECT_EQ(table.size(), kernelTableBytes(kernels));
    EXPECT_EQ(table.size() % 8, 0u);
    std::vector<KernelInfo> decoded;
    ASSERT_TRUE(decodeKernelTable(table, decoded));
    EXPECT_EQ(decoded, kernels);
  }
}

TEST(KernelTable, RefusesEveryPrefixAndWhatFollows) {
  const std::vector<std::byte> table = encodeKernelTable(sample());
  std::vector<KernelInfo> decoded;
  for (size_t bytes = 0; bytes < table.size(); ++bytes) {
    const std::vector<std::byte> prefix(table.begin(), table.begin() + bytes);
    EXPECT_FALSE(decodeKernelTable(prefix, decoded)) << bytes;
    EXPECT_TRUE(decoded.empty());
  }
  std::vector<std::byte> longer = table;
  longer.resize(table.size() + 8);
  EXPECT_FALSE(decodeKernelTable(longer, decoded));
}

TEST(KernelTable, SurvivesMutations) {
  const std::vector<std::byte> table = encodeKernelTable(sample());
  for (size_t at = 0; at < table.size(); ++at) {
    for (int value : {0x00, 0x01, 0x7f, 0x80, 0xff}) {
      std::vector<std::byte> mutated = table;
      mutated[at] = static_cast<std::byte>(value);
      std::vector<KernelInfo> decoded;
      if (!decodeKernelTable(mutated, decoded)) continue;
      for (const KernelInfo& kernel : decoded) {
        ASSERT_LE(kernel.name.size(), kKernelNameBytesMax);
        for (const KernelParam& param : kernel.params) {
          ASSERT_LE(uint64_t{param.offset} + param.bytes, kKernelParamBytesMax);
        }
      }
    }
  }
}

TEST(KernelTable, RefusesHostileCounts) {
  std::vector<std::byte> head(8);
  const uint32_t count = 0xffffffff;
  std::memcpy(head.data(), &count, sizeof(count));
  std::vector<KernelInfo> decoded;
  EXPECT_FALSE(decodeKernelTable(head, decoded));
}

}  // namespace
}  // namespace farwarp::wire
