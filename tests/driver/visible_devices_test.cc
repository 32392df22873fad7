// Goal: CUDA_VISIBLE_DEVICES is read as CUDA's documentation says. Method: lists in every form
// against four made-up devices, two of which begin with the same UUID digits.
#include "driver/visible_devices.h"

#include <gtest/gtest.h>

#include <array>
#include <cstring>

namespace farwarp {
namespace {

using Ordinals = std::vector<int>;

constexpr const char* kUuids[] = {
    "8932f937-d72c-4106-c12f-20bd9faed9f6", "8932f937-aaaa-4106-c12f-20bd9faed9f6",
    "00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff"};

std::array<DeviceIdentity, 4> devices() {
  std::array<DeviceIdentity, 4> made{};
  for (size_t i = 0; i < made.size(); ++i) {
    size_t byte = 0;
    for (const char* at = kUuids[i]; *at != '\0'; at += 2) {
      if (*at == '-') ++at;
      made[i].uuid.bytes[byte++] = static_cast<char>(std::stoi(std::string(at, 2), nullptr, 16));
    }
    made[i].pci_bus = 40 - static_cast<int>(i) * 10;
  }
  return made;
}

Ordinals visible(const char* list, const char* order = nullptr) {
  return visibleDevices(devices(), list, order);
}

TEST(VisibleDevices, AreAllWhenNothingIsSaid) {
  EXPECT_EQ(visible(nullptr), (Ordinals{0, 1, 2, 3}));
}

TEST(VisibleDevices, AreThoseOfTheListInItsOrder) {
  EXPECT_EQ(visible("2"), (Ordinals{2}));
  EXPECT_EQ(visible("2,1"), (Ordinals{2, 1}));
  EXPECT_EQ(visible(" 3 , 0\t"), (Ordinals{3, 0}));
  EXPECT_EQ(visible("+1,1gpu"), Ordinals{});
  EXPECT_EQ(visible("1gpu,2ampere"), (Ordinals{1, 2}));
}

TEST(VisibleDevices, EndAtTheFirstEntryThatNamesNone) {
  EXPECT_EQ(visible("0,2,-1,1"), (Ordinals{0, 2}));
  EXPECT_EQ(visible("0,4,1"), (Ordinals{0}));
  EXPECT_EQ(visible("1,,2"), (Ordinals{1}));
  EXPECT_EQ(visible("1,two,3"), (Ordinals{1}));
  EXPECT_EQ(visible("1,99999999999999999999"), (Ordinals{1}));
  for (const char* none : {"", " ", "-1", "NoDevFiles", "4", ","}) {
    EXPECT_EQ(visible(none), Ordinals{}) << none;
  }
}

TEST(VisibleDevices, AreNoneWhenOneIsNamedTwice) {
  EXPECT_EQ(visible("0,0"), Ordinals{});
  EXPECT_EQ(visible("3,1,3"), Ordinals{});
  EXPECT_EQ(visible("GPU-0000,GPU-000000"), Ordinals{});
}

TEST(VisibleDevices, HaveUuidsThatMayBeCutShort) {
  EXPECT_EQ(visible("GPU-8932f937-d72c-4106-c12f-20bd9faed9f6"), (Ordinals{0}));
  EXPECT_EQ(visible("GPU-f,GPU-8932f937-a"), (Ordinals{3, 1}));
  EXPECT_EQ(visible("GPU-8932f937"), Ordinals{}) << "names two";
  EXPECT_EQ(visible("GPU-f,GPU-8932f937,GPU-0"), (Ordinals{3}));
  EXPECT_EQ(visible("GPU-f,0"), (Ordinals{3})) << "a list has one kind of names";
  EXPECT_EQ(visible("0,GPU-f"), (Ordinals{0}));
  EXPECT_EQ(visible("GPU-8932f937-d72c-4106-c12f-20bd9faed9f6-0"), Ordinals{});
}

TEST(VisibleDevices, AreOneInstanceOfAPartitionedDevice) {
  EXPECT_EQ(visible("MIG-ffffffff-ffff-ffff-ffff-ffffffffffff"), (Ordinals{3}));
  EXPECT_EQ(visible("MIG-f,MIG-0"), (Ordinals{3}));
  EXPECT_EQ(visible("MIG-GPU-8932f937-d72c-4106-c12f-20bd9faed9f6/1/0"), Ordinals{});
}

TEST(VisibleDevices, AreCountedInPciOrderWhenAsked) {
  EXPECT_EQ(visible(nullptr, "PCI_BUS_ID"), (Ordinals{3, 2, 1, 0}));
  EXPECT_EQ(visible("0,3", "PCI_BUS_ID"), (Ordinals{3, 0}));
  EXPECT_EQ(visible("0,3", "FASTEST_FIRST"), (Ordinals{0, 3}));
}

}  // namespace
}  // namespace farwarp
