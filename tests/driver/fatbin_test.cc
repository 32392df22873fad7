// Goal: the reader finds the right program in every image nvcc writes, and no damaged image makes
// it read outside the image or take unbounded memory. Method: fatbins of one source in all five
// -compress-mode settings, made by nvcc at build time, must give the same PTX and cubins; then
// every truncation and many mutations of them, in buffers whose end is the end of a heap block, so
// that AddressSanitizer sees each byte read too far.
#include "driver/fatbin.h"

#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <iterator>
#include <memory>
#include <random>

namespace farwarp {
namespace {

using Bytes = std::vector<std::byte>;

Bytes readFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file.good()) << path;
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  const auto* begin = reinterpret_cast<const std::byte*>(text.data());
  return {begin, begin + text.size()};
}

Bytes sample(const std::string& mode) {
  return readFile(std::string(FARWARP_FATBIN_DIR) + "/" + mode + ".fatbin");
}

ModuleImage read(std::span<const std::byte> bytes) {
  ModuleImage image;
  std::string why;
  EXPECT_EQ(readImage(bytes, image, &why), CUDA_SUCCESS) << why;
  return image;
}

std::string unpack(const ImageEntry& entry) {
  std::string out, why;
  EXPECT_EQ(unpackEntry(entry, out, &why), CUDA_SUCCESS) << why;
  return out;
}

const char* const kModes[] = {"none", "default", "size", "speed", "balance"};

TEST(Fatbin, AllCompressionModesHoldTheSamePrograms) {
  const Bytes plain = sample("none");
  const ModuleImage expected = read(plain);
  ASSERT_GE(expected.entries.size(), 3u);
  for (const char* mode : kModes) {
    SCOPED_TRACE(mode);
    const Bytes bytes = sample(mode);
    const ModuleImage image = read(bytes);
    EXPECT_EQ(image.form, ImageForm::fatbin);
    ASSERT_EQ(image.entries.size(), expected.entries.size());
    for (size_t i = 0; i < image.entries.size(); ++i) {
      EXPECT_EQ(image.entries[i].kind, expected.entries[i].kind);
      EXPECT_EQ(image.entries[i].sm, expected.entries[i].sm);
      EXPECT_EQ(unpack(image.entries[i]), unpack(expected.entries[i]));
    }
  }
}

TEST(Fatbin, TheModesUseTheCompressorsTheyAreKnownFor) {
  const auto uses = [](const char* mode, Compression compression) {
    const Bytes bytes = sample(mode);
    for (const ImageEntry& entry : read(bytes).entries) {
      if (entry.compression == compression) return true;
    }
    return false;
  };
  EXPECT_TRUE(uses("size", Compression::zstd));
  EXPECT_TRUE(uses("default", Compression::zstd));
  EXPECT_TRUE(uses("speed", Compression::lz4));
  EXPECT_FALSE(uses("none", Compression::lz4));
  EXPECT_FALSE(uses("none", Compression::zstd));
}

TEST(Fatbin, PtxAndCubinAreWhatTheySayTheyAre) {
  const Bytes bytes = sample("default");
  for (const ImageEntry& entry : read(bytes).entries) {
    const std::string program = unpack(entry);
    const auto* at = reinterpret_cast<const std::byte*>(program.data());
    const ModuleImage inner = read({at, program.size()});
    ASSERT_EQ(inner.entries.size(), 1u);
    EXPECT_EQ(inner.entries[0].sm, entry.sm);
    EXPECT_EQ(inner.entries[0].kind, entry.kind);
    EXPECT_EQ(inner.bytes.size(), program.size()) << "the headers describe all of it";
    if (entry.kind == ImageKind::ptx) {
      EXPECT_EQ(inner.form, ImageForm::ptx_text);
      EXPECT_NE(program.find(".entry scale"), std::string::npos);
      EXPECT_NE(program.back(), '\0');
    } else {
      EXPECT_EQ(inner.form, ImageForm::cubin);
    }
  }
}

TEST(Fatbin, PtxKeepsItsOptions) {
  const Bytes bytes = sample("options");
  bool found = false;
  for (const ImageEntry& entry : read(bytes).entries) {
    if (entry.kind == ImageKind::ptx)
      found |= entry.options.find("maxrregcount") != entry.options.npos;
  }
  EXPECT_TRUE(found);
}

TEST(Fatbin, AnImageOfUnknownSizeReadsTheSame) {
  const Bytes bytes = sample("size");
  const ModuleImage expected = read(bytes);
  ModuleImage image;
  ASSERT_EQ(readImage(static_cast<const void*>(bytes.data()), image), CUDA_SUCCESS);
  EXPECT_EQ(image.bytes.size(), bytes.size());
  EXPECT_EQ(image.entries.size(), expected.entries.size());

  struct {
    uint32_t magic = 0x466243b1, version = 1;
    const void *data = nullptr, *extra = nullptr;
  } wrapper;
  EXPECT_EQ(readImage(static_cast<const void*>(&wrapper), image), CUDA_ERROR_INVALID_IMAGE);
  wrapper.data = bytes.data();
  ASSERT_EQ(readImage(static_cast<const void*>(&wrapper), image), CUDA_SUCCESS);
  EXPECT_EQ(image.entries.size(), expected.entries.size());
  EXPECT_TRUE(image.relocatable.empty());

  const void* parts[] = {bytes.data(), bytes.data(), nullptr};
  wrapper.version = 2;
  wrapper.extra = parts;
  ASSERT_EQ(readImage(static_cast<const void*>(&wrapper), image), CUDA_SUCCESS);
  ASSERT_EQ(image.relocatable.size(), 2u);
  EXPECT_EQ(image.relocatable[1].size(), expected.entries.size());
  wrapper.version = 3;
  EXPECT_EQ(readImage(static_cast<const void*>(&wrapper), image), CUDA_ERROR_INVALID_IMAGE);
}

TEST(Fatbin, BarePtxAndCubinOfUnknownSize) {
  const Bytes bytes = sample("none");
  for (const ImageEntry& entry : read(bytes).entries) {
    const std::string program = unpack(entry);
    ModuleImage image;
    ASSERT_EQ(readImage(static_cast<const void*>(program.c_str()), image), CUDA_SUCCESS);
    EXPECT_EQ(image.bytes.size(), program.size());
    EXPECT_EQ(image.entries.at(0).sm, entry.sm);
  }
}

TEST(Fatbin, ThingsThatAreNoImage) {
  ModuleImage image;
  std::string why;
  EXPECT_EQ(readImage(static_cast<const void*>(nullptr), image, &why), CUDA_ERROR_INVALID_VALUE);
  for (const char* text : {"", "a", "abc", "hello world", ".version", ".version 8.0 .target",
                           "\x7f"
                           "ELF",
                           "// only a comment", "/* open", ".version 8.0\n.target x"}) {
    EXPECT_EQ(readImage(static_cast<const void*>(text), image, &why), CUDA_ERROR_INVALID_IMAGE)
        << text;
    EXPECT_FALSE(why.empty());
    const auto* at = reinterpret_cast<const std::byte*>(text);
    EXPECT_EQ(readImage(std::span(at, strlen(text)), image), CUDA_ERROR_INVALID_IMAGE) << text;
  }
  EXPECT_EQ(readImage(std::span<const std::byte>(), image), CUDA_ERROR_INVALID_IMAGE);
}

TEST(Fatbin, PtxTargetIsFoundBehindComments) {
  ImageEntry entry;
  EXPECT_TRUE(
      readPtxTarget("// made by hand\n/* x */ .version 8.3 // y\n.target sm_90a, debug\n", entry));
  EXPECT_EQ(entry.sm, 90u);
  EXPECT_TRUE(entry.arch_specific);
  EXPECT_EQ(entry.version_major, 8);
  EXPECT_EQ(entry.version_minor, 3);
  EXPECT_FALSE(readPtxTarget(".target sm_90", entry));
}

ImageEntry entryFor(ImageKind kind, uint32_t sm, bool arch = false, bool family = false) {
  ImageEntry entry;
  entry.kind = kind;
  entry.sm = sm;
  entry.arch_specific = arch;
  entry.family_specific = family;
  return entry;
}

TEST(ChooseEntry, PrefersTheNewestCompatibleCubinThenPtx) {
  const auto cubin = ImageKind::cubin, ptx = ImageKind::ptx;
  const std::vector<ImageEntry> entries = {entryFor(cubin, 75), entryFor(cubin, 80),
                                           entryFor(cubin, 86), entryFor(cubin, 100),
                                           entryFor(ptx, 75),   entryFor(ptx, 120)};
  const auto chosen = [&](uint32_t sm, bool takes_cubin = true, bool takes_ptx = true) -> int {
    const ImageEntry* e = chooseEntry(entries, {sm, takes_cubin, takes_ptx});
    return e == nullptr ? -1 : static_cast<int>(e - entries.data());
  };
  EXPECT_EQ(chosen(75), 0);
  EXPECT_EQ(chosen(80), 1);
  EXPECT_EQ(chosen(89), 2);
  EXPECT_EQ(chosen(90), 4) << "no cubin of this generation";
  EXPECT_EQ(chosen(90, false), 4);
  EXPECT_EQ(chosen(90, true, false), -1);
  EXPECT_EQ(chosen(103), 3);
  EXPECT_EQ(chosen(121), 5);
  EXPECT_EQ(chosen(70), -1);
}

TEST(ChooseEntry, HonoursArchitectureAndFamilyOnlyCode) {
  const auto cubin = ImageKind::cubin, ptx = ImageKind::ptx;
  const auto fits = [](const ImageEntry& entry, uint32_t sm) {
    return chooseEntry({&entry, 1}, {sm}) != nullptr;
  };
  EXPECT_TRUE(fits(entryFor(cubin, 90, true), 90));
  EXPECT_TRUE(fits(entryFor(ptx, 90, true), 90));
  EXPECT_FALSE(fits(entryFor(ptx, 90, true), 100));
  EXPECT_TRUE(fits(entryFor(ptx, 100, false, true), 103));
  EXPECT_FALSE(fits(entryFor(ptx, 100, false, true), 120));
  EXPECT_FALSE(fits(entryFor(ImageKind::lto_ir, 90), 90));
}

TEST(PackEntry, MakesAFatbinOfOneEntry) {
  for (const char* mode : kModes) {
    const Bytes bytes = sample(mode);
    for (const ImageEntry& entry : read(bytes).entries) {
      const Bytes packed = packEntry(entry);
      const ModuleImage image = read(packed);
      ASSERT_EQ(image.entries.size(), 1u);
      EXPECT_EQ(unpack(image.entries[0]), unpack(entry));
      EXPECT_EQ(image.entries[0].options, entry.options);
    }
  }
  const std::string text = ".version 8.0\n.target sm_75\n";
  const Bytes packed =
      packEntry(read({reinterpret_cast<const std::byte*>(text.data()), text.size()}).entries.at(0));
  EXPECT_EQ(packed.size(), text.size() + 1);
}

// A copy whose end is the end of its heap block.
std::unique_ptr<std::byte[]> exactCopy(std::span<const std::byte> bytes) {
  std::unique_ptr<std::byte[]> copy(new std::byte[bytes.size()]);
  std::copy(bytes.begin(), bytes.end(), copy.get());
  return copy;
}

// Reads and unpacks whatever is there; a soft limit keeps hostile sizes cheap.
void readAll(std::span<const std::byte> bytes) {
  const auto copy = exactCopy(bytes);
  ModuleImage image;
  if (readImage(std::span<const std::byte>(copy.get(), bytes.size()), image) != CUDA_SUCCESS)
    return;
  for (const ImageEntry& entry : image.entries) {
    std::string out;
    const CUresult result = unpackEntry(entry, out, nullptr, 1 << 20);
    if (result == CUDA_SUCCESS) {
      ASSERT_LE(out.size(), 1u << 20);
    }
    ASSERT_FALSE(packEntry(entry).empty() && !entry.payload.empty());
  }
}

TEST(HostileFatbin, EveryTruncationIsRefused) {
  for (const char* mode : {"none", "size", "speed"}) {
    const Bytes bytes = sample(mode);
    for (size_t size = 0; size < bytes.size(); ++size) {
      const auto copy = exactCopy(std::span(bytes).first(size));
      ModuleImage image;
      ASSERT_NE(readImage(std::span<const std::byte>(copy.get(), size), image), CUDA_SUCCESS)
          << size;
    }
  }
}

TEST(HostileFatbin, TruncatedCubinsAreRefused) {
  const Bytes bytes = sample("none");
  for (const ImageEntry& entry : read(bytes).entries) {
    if (entry.kind != ImageKind::cubin) continue;
    for (size_t size = 0; size < entry.payload.size(); ++size) {
      const auto copy = exactCopy(entry.payload.first(size));
      ModuleImage image;
      ASSERT_NE(readImage(std::span<const std::byte>(copy.get(), size), image), CUDA_SUCCESS)
          << size;
    }
  }
}

TEST(HostileFatbin, MutatedHeaderFieldsStayInBounds) {
  constexpr uint64_t kValues[] = {0,
                                  1,
                                  2,
                                  7,
                                  15,
                                  16,
                                  63,
                                  64,
                                  65,
                                  0xff,
                                  0xffff,
                                  0x7fffffff,
                                  0xffffffff,
                                  0x100000000,
                                  0x7fffffffffffffff,
                                  0xffffffffffffffff};
  for (const char* mode : {"none", "size", "speed", "options"}) {
    const Bytes bytes = sample(mode);
    for (size_t at = 4; at < 16 + 160; ++at) {
      for (uint64_t value : kValues) {
        for (size_t width : {1u, 2u, 4u, 8u}) {
          Bytes mutated = bytes;
          std::memcpy(mutated.data() + at, &value, width);
          readAll(mutated);
        }
      }
    }
  }
}

TEST(HostileFatbin, RandomMutationsStayInBounds) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  std::mt19937 random(seed);
  for (const char* mode : {"none", "size", "speed"}) {
    const Bytes bytes = sample(mode);
    for (int round = 0; round < 1500; ++round) {
      Bytes mutated = bytes;
      for (unsigned i = 0, n = 1 + random() % 4; i < n; ++i) {
        mutated[random() % mutated.size()] = static_cast<std::byte>(random());
      }
      readAll(mutated);
    }
  }
}

}  // namespace
}  // namespace farwarp
