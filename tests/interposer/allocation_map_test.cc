// Goal: every address inside an allocation finds it, none outside does, and the two sides (device
// and host) do not disturb each other. Method: the map alone, with addresses at and around the
// edges.
#include "interposer/session/allocation_map.h"

#include <gtest/gtest.h>

namespace farwarp::client {
namespace {

Allocation memory(uint64_t base, uint64_t bytes, AllocationKind kind = AllocationKind::device,
                  uint64_t context = 1) {
  Allocation out;
  out.base = base;
  out.bytes = bytes;
  out.kind = kind;
  out.context = context;
  return out;
}

TEST(AllocationMap, FindsExactlyTheAddressesInside) {
  AllocationMap map;
  EXPECT_TRUE(map.add(memory(0x1000, 0x100)));
  EXPECT_TRUE(map.add(memory(0x1100, 0x10)));
  EXPECT_FALSE(map.find(0xfff));
  EXPECT_EQ(map.find(0x1000)->base, 0x1000u);
  EXPECT_EQ(map.find(0x10ff)->base, 0x1000u);
  EXPECT_EQ(map.find(0x1100)->base, 0x1100u);
  EXPECT_EQ(map.find(0x110f)->base, 0x1100u);
  EXPECT_FALSE(map.find(0x1110));
}

TEST(AllocationMap, RefusesWhatOverlapsWrapsOrIsEmpty) {
  AllocationMap map;
  EXPECT_TRUE(map.add(memory(0x1000, 0x100)));
  EXPECT_FALSE(map.add(memory(0x1000, 0x100)));
  EXPECT_FALSE(map.add(memory(0x10ff, 1)));
  EXPECT_FALSE(map.add(memory(0xf00, 0x101)));
  EXPECT_FALSE(map.add(memory(0xf00, 0x1000)));
  EXPECT_FALSE(map.add(memory(0x2000, 0)));
  EXPECT_FALSE(map.add(memory(~uint64_t{0} - 10, 100)));
  EXPECT_TRUE(map.add(memory(0xf00, 0x100)));
}

TEST(AllocationMap, KeepsDeviceAndHostApart) {
  AllocationMap map;
  EXPECT_TRUE(map.add(memory(0x1000, 0x100)));
  EXPECT_TRUE(map.add(memory(0x1000, 0x100, AllocationKind::pinned)));
  EXPECT_EQ(map.find(0x1010)->kind, AllocationKind::device);
  EXPECT_EQ(map.findHost(0x1010)->kind, AllocationKind::pinned);
  EXPECT_TRUE(map.removeDevice(0x1000));
  EXPECT_FALSE(map.findDevice(0x1010));
  EXPECT_EQ(map.find(0x1010)->kind, AllocationKind::pinned);
  EXPECT_FALSE(map.removeDevice(0x1000));
  EXPECT_TRUE(map.removeHost(0x1000));
}

TEST(AllocationMap, JoinsMappingsThatLieSideBySide) {
  AllocationMap map;
  for (uint64_t base : {0x1000, 0x2000, 0x3000, 0x5000}) {
    Allocation mapping = memory(base, 0x1000);
    mapping.physical = 7;
    EXPECT_TRUE(map.add(mapping));
  }
  EXPECT_FALSE(map.findDevice(0x1000)) << "no device may use it";
  EXPECT_EQ(map.find(0x1000)->bytes, 0x1000u);
  for (uint64_t base : {0x1000, 0x2000, 0x5000}) map.setAccess(base, 1);
  EXPECT_EQ(map.findDevice(0x1800)->base, 0x1000u);
  EXPECT_EQ(map.findDevice(0x1800)->bytes, 0x2000u);
  EXPECT_EQ(map.find(0x1800)->bytes, 0x1000u);
  map.setAccess(0x3000, 1);
  EXPECT_EQ(map.findDevice(0x1800)->bytes, 0x3000u);
  EXPECT_EQ(map.findDevice(0x5800)->bytes, 0x1000u);
}

TEST(AllocationMap, RemovesByBaseOnly) {
  AllocationMap map;
  EXPECT_TRUE(map.add(memory(0x1000, 0x100)));
  EXPECT_FALSE(map.removeDevice(0x1001));
  EXPECT_TRUE(map.find(0x1000));
}

TEST(AllocationMap, NeverUsesABufferNumberTwice) {
  AllocationMap map;
  EXPECT_TRUE(map.add(memory(0x1000, 0x100)));
  const uint64_t first = map.find(0x1000)->buffer;
  EXPECT_NE(first, 0u);
  EXPECT_TRUE(map.removeDevice(0x1000));
  EXPECT_TRUE(map.add(memory(0x1000, 0x100)));
  EXPECT_NE(map.find(0x1000)->buffer, first);
}

TEST(AllocationMap, EndsWhatBelongsToAContextOrAModule) {
  AllocationMap map;
  EXPECT_TRUE(map.add(memory(0x1000, 0x100, AllocationKind::device, 1)));
  EXPECT_TRUE(map.add(memory(0x2000, 0x100, AllocationKind::device, 2)));
  EXPECT_TRUE(map.add(memory(0x3000, 0x100, AllocationKind::pinned, 1)));
  Allocation global = memory(0x4000, 0x100, AllocationKind::device, 2);
  global.owner = 77;
  EXPECT_TRUE(map.add(global));
  const std::vector<Allocation> host = map.removeContext(1);
  ASSERT_EQ(host.size(), 1u);
  EXPECT_EQ(host[0].base, 0x3000u);
  EXPECT_FALSE(map.find(0x1000));
  EXPECT_FALSE(map.find(0x3000));
  map.removeOwner(77);
  EXPECT_FALSE(map.find(0x4000));
  EXPECT_TRUE(map.find(0x2000));
}

TEST(AllocationMap, SetsSyncMemopsOfDeviceMemory) {
  AllocationMap map;
  EXPECT_TRUE(map.add(memory(0x1000, 0x100)));
  EXPECT_FALSE(map.find(0x1000)->sync_memops);
  EXPECT_TRUE(map.setSyncMemops(0x1080, true));
  EXPECT_TRUE(map.find(0x1000)->sync_memops);
  EXPECT_FALSE(map.setSyncMemops(0x5000, true));
}

}  // namespace
}  // namespace farwarp::client
