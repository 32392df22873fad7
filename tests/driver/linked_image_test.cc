// Goal: what a link gives back is read again as it was, by address and by size, and damaged images
// of its kind are refused without a byte read outside of them. Method: images of known parts are
// packed and read; then every truncation and many mutations, in buffers whose end is the end of a
// heap block.
#include "driver/linked_image.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>
#include <string>

#include "driver/fatbin.h"

namespace farwarp {
namespace {

using Bytes = std::vector<std::byte>;

Bytes textPart(const std::string& body) {
  const std::string text = ".version 8.0\n.target sm_75\n.address_size 64\n// " + body + "\n";
  const auto bytes = std::as_bytes(std::span(text.c_str(), text.size() + 1));
  return {bytes.begin(), bytes.end()};
}

std::string textOf(const std::vector<ImageEntry>& entries) {
  std::string out, why;
  EXPECT_EQ(entries.size(), 1u);
  EXPECT_EQ(unpackEntry(entries[0], out, &why), CUDA_SUCCESS) << why;
  return out;
}

TEST(LinkedImage, IsReadAsItWasPacked) {
  const std::vector<Bytes> parts = {textPart("one"), textPart("two, which is longer"),
                                    textPart("")};
  const Bytes packed = packLinked(parts, 90, 38);
  for (const bool sized : {true, false}) {
    ModuleImage image;
    std::string why;
    const CUresult read = sized ? readImage(std::span(packed), image, &why)
                                : readImage(static_cast<const void*>(packed.data()), image, &why);
    ASSERT_EQ(read, CUDA_SUCCESS) << why;
    EXPECT_EQ(image.form, ImageForm::linked);
    EXPECT_EQ(image.bytes.size(), packed.size());
    EXPECT_EQ(image.registers_max, 38u);
    EXPECT_TRUE(image.entries.empty());
    ASSERT_EQ(image.relocatable.size(), parts.size());
    for (size_t i = 0; i < parts.size(); ++i) {
      EXPECT_EQ(textOf(image.relocatable[i]), reinterpret_cast<const char*>(parts[i].data()));
    }
  }
}

TEST(LinkedImage, NoDeviceWithMachineCodeTakesIt) {
  const std::vector<Bytes> parts = {textPart("one")};
  const Bytes packed = packLinked(parts, 90);
  ModuleImage image;
  ASSERT_EQ(readImage(std::span(packed), image), CUDA_SUCCESS);
  EXPECT_EQ(chooseEntry(image.entries, {.sm = 90}), nullptr);
}

TEST(LinkedImage, PartsThatAreNoPtxAreRefused) {
  const std::vector<Bytes> nested = {packLinked(std::vector<Bytes>{textPart("inner")}, 90)};
  const std::vector<Bytes> junk = {Bytes(100, std::byte{'x'})};
  for (const auto& parts : {nested, junk}) {
    const Bytes packed = packLinked(parts, 90);
    ModuleImage image;
    EXPECT_EQ(readImage(std::span(packed), image), CUDA_ERROR_INVALID_IMAGE);
  }
}

TEST(LinkedImage, DamageIsSurvived) {
  const Bytes packed = packLinked(std::vector<Bytes>{textPart("one"), textPart("two")}, 90);
  const auto read = [](std::span<const std::byte> bytes) {
    const auto exact = std::make_unique<std::byte[]>(bytes.size());
    std::memcpy(exact.get(), bytes.data(), bytes.size());
    ModuleImage image;
    return readImage(std::span<const std::byte>(exact.get(), bytes.size()), image);
  };
  ASSERT_EQ(read(packed), CUDA_SUCCESS);
  for (size_t size = 1; size < packed.size(); ++size) {
    EXPECT_NE(read(std::span(packed).first(size)), CUDA_SUCCESS) << size;
  }
  std::mt19937 random(7);
  for (int round = 0; round < 3000; ++round) {
    Bytes damaged = packed;
    for (int i = 0; i < 3; ++i) {
      // Half of the damage goes to the tables.
      const size_t at =
          random() % 2 != 0 ? random() % damaged.size() : damaged.size() - 1 - random() % (4 * 64);
      damaged[at] = static_cast<std::byte>(random());
    }
    static_cast<void>(read(damaged));
  }
}

}  // namespace
}  // namespace farwarp
