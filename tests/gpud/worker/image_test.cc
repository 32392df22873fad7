// Goal: nothing that a driver takes on trust in an image or in JIT options reaches it unchecked.
// Method: fatbins with false sizes, the wrapper with pointers, options of every kind of value.
#include "gpud/worker/image.h"

#include <gtest/gtest.h>

#include <cstring>

#include "gpud/worker/session.h"

namespace farwarp::worker {
namespace {

class ImageTest : public testing::Test {
 protected:
  ~ImageTest() noexcept override {}

  CUresult checkOf(const std::vector<std::byte>& bytes) {
    Image image;
    EXPECT_EQ(image.gather(uploads_, 0, bytes.size(), bytes), Uploads::Progress::complete);
    return image.check();
  }
  static std::vector<std::byte> fatbin(uint64_t claimed, size_t payload) {
    std::vector<std::byte> bytes(16 + payload);
    const uint32_t magic = 0xBA55ED50;
    std::memcpy(bytes.data(), &magic, 4);
    std::memcpy(bytes.data() + 8, &claimed, 8);
    return bytes;
  }

  DriverTable driver_{};
  wire::UvEventPort port_;
  HandleTable handles_{10};
  Waits waits_{driver_, port_, 1};
  Contexts contexts_{driver_, handles_, waits_};
  StagingPool pool_{driver_, waits_, 1u << 24};
  Uploads uploads_{driver_, pool_, contexts_, {1u << 24}};
};

TEST_F(ImageTest, TextIsFollowedByANul) {
  const std::string_view text = ".version 9.0";
  Image image;
  ASSERT_EQ(image.gather(uploads_, 0, text.size(), std::as_bytes(std::span(text))),
            Uploads::Progress::complete);
  EXPECT_EQ(image.check(), CUDA_SUCCESS);
  EXPECT_EQ(std::string_view(static_cast<const char*>(image.data())), text);
}

TEST_F(ImageTest, FatbinsMustHoldWhatTheyClaim) {
  EXPECT_EQ(checkOf(fatbin(100, 100)), CUDA_SUCCESS);
  EXPECT_EQ(checkOf(fatbin(101, 100)), CUDA_ERROR_INVALID_IMAGE);
  EXPECT_EQ(checkOf(fatbin(~uint64_t{0}, 100)), CUDA_ERROR_INVALID_IMAGE);
  auto cut = fatbin(0, 0);
  cut.resize(12);
  EXPECT_EQ(checkOf(cut), CUDA_ERROR_INVALID_IMAGE);
}

TEST_F(ImageTest, TheWrapperWithPointersIsRefused) {
  std::vector<std::byte> wrapper(24);
  const uint32_t magic = 0x466243B1;
  std::memcpy(wrapper.data(), &magic, 4);
  EXPECT_EQ(checkOf(wrapper), CUDA_ERROR_INVALID_IMAGE);
}

TEST_F(ImageTest, SizesMustAddUp) {
  const std::vector<std::byte> bytes(10);
  Image image;
  EXPECT_EQ(image.gather(uploads_, 0, 11, bytes), Uploads::Progress::malformed);
  EXPECT_EQ(image.gather(uploads_, 0, 0, {}), Uploads::Progress::malformed);
  EXPECT_EQ(image.gather(uploads_, 1, kImageBytesMax + 1, {}), Uploads::Progress::malformed);
  EXPECT_EQ(image.gather(uploads_, 1, kImageBytesMax, {}), Uploads::Progress::waiting);
}

TEST(JitOptions, LogsAreCollectedHere) {
  const uint32_t options[] = {CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES,
                              CU_JIT_MAX_REGISTERS};
  const uint64_t values[] = {0xdeadbeef, 100, 32};
  JitOptions jit;
  ASSERT_EQ(jit.set(options, values), CUDA_SUCCESS);
  ASSERT_EQ(jit.count(), 3u);
  for (unsigned i = 0; i < jit.count(); ++i) {
    if (jit.options()[i] != CU_JIT_ERROR_LOG_BUFFER) continue;
    EXPECT_NE(jit.values()[i], reinterpret_cast<void*>(0xdeadbeef));
    std::strcpy(static_cast<char*>(jit.values()[i]), "line 1: bad");
  }
  EXPECT_EQ(jit.errorLog(), "line 1: bad");
  EXPECT_EQ(jit.infoLog(), "");
}

TEST(JitOptions, LogsAreBounded) {
  const uint32_t options[] = {CU_JIT_INFO_LOG_BUFFER_SIZE_BYTES};
  const uint64_t values[] = {~uint64_t{0}};
  JitOptions jit;
  ASSERT_EQ(jit.set(options, values), CUDA_SUCCESS);
  EXPECT_EQ(reinterpret_cast<uint64_t>(jit.values()[1]), kJitLogBytesMax);
}

TEST(JitOptions, PointersAndUnknownOptionsAreRefused) {
  const uint64_t value[] = {1};
  const uint32_t pointer[] = {CU_JIT_GLOBAL_SYMBOL_ADDRESSES};
  const uint32_t unknown[] = {9999};
  EXPECT_EQ(JitOptions().set(pointer, value), CUDA_ERROR_NOT_SUPPORTED);
  EXPECT_EQ(JitOptions().set(unknown, value), CUDA_ERROR_INVALID_VALUE);
  EXPECT_EQ(JitOptions().set(pointer, {}), CUDA_ERROR_INVALID_VALUE);
  const std::vector<uint32_t> many(100, CU_JIT_MAX_REGISTERS);
  EXPECT_EQ(JitOptions().set(many, std::vector<uint64_t>(100)), CUDA_ERROR_INVALID_VALUE);
}

}  // namespace
}  // namespace farwarp::worker
