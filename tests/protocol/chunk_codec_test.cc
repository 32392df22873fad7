// Goal: every form gives the chunk back, and bytes from a hostile peer never give more than was
// announced, nor anything that looks right and is not whole. Method: data of several kinds and
// lengths there and back; every prefix, changed bytes (seeded), false lengths and bombs.
#include "protocol/chunk_codec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <zstd.h>

#include <random>

#include "protocol/limits.h"
#include "tests/protocol/test_data.h"

namespace farwarp::wire {
namespace {

using ::testing::HasSubstr;

constexpr ChunkMethod kMethods[] = {
    {ChunkForm::zstd, 1},         {ChunkForm::zstd, -5},        {ChunkForm::shuffled2, -500},
    {ChunkForm::shuffled4, -500}, {ChunkForm::shuffled8, -500}, {ChunkForm::shuffled8, 1},
};

std::vector<std::byte> packed(const ChunkMethod& method, std::span<const std::byte> chunk) {
  ChunkEncoder encoder;
  std::vector<std::byte> out(chunk.size() + 1024);
  const ptrdiff_t bytes = encoder.encode(method, chunk, out);
  EXPECT_GE(bytes, 0);
  out.resize(static_cast<size_t>(bytes));
  return out;
}

TEST(ChunkCodec, EveryFormGivesTheChunkBack) {
  ChunkDecoder decoder;
  for (const size_t bytes : {1, 9, 4099, 65536, 1 << 20}) {
    for (const auto& data : {weightBytes(bytes), textBytes(bytes), patternBytes(bytes, 7)}) {
      for (const ChunkMethod& method : kMethods) {
        const auto sent = packed(method, data);
        std::vector<std::byte> back(bytes);
        std::string reason;
        ASSERT_TRUE(decoder.decode(method.form, sent, back, reason)) << reason;
        ASSERT_EQ(back, data);
      }
    }
  }
}

TEST(ChunkCodec, NumbersAndTextBecomeSmaller) {
  const size_t bytes = 1 << 20;
  EXPECT_LT(packed({ChunkForm::shuffled2, -500}, weightBytes(bytes)).size(), bytes * 8 / 10);
  EXPECT_LT(packed({ChunkForm::zstd, 1}, textBytes(bytes)).size(), bytes / 3);
}

TEST(ChunkCodec, ZerosTakeNothing) {
  EXPECT_TRUE(isZero(std::vector<std::byte>(1000)));
  for (const size_t at : {0, 1, 500, 999}) {
    std::vector<std::byte> one(1000);
    one[at] = std::byte{1};
    EXPECT_FALSE(isZero(one)) << at;
  }
  std::vector<std::byte> back(1000, std::byte{5});
  std::string reason;
  EXPECT_TRUE(ChunkDecoder().decode(ChunkForm::zeros, {}, back, reason));
  EXPECT_TRUE(isZero(back));
  EXPECT_FALSE(ChunkDecoder().decode(ChunkForm::zeros, back, back, reason));
  EXPECT_EQ(reason, "A chunk of zeros comes with 1000 bytes.");
}

TEST(ChunkCodec, WhatDoesNotFitIsNotWritten) {
  const auto noise = patternBytes(65536, 3);
  std::vector<std::byte> out(65536 - 4096);
  for (const ChunkMethod& method : kMethods) {
    EXPECT_EQ(ChunkEncoder().encode(method, noise, out), -1);
  }
}

TEST(ChunkCodec, EveryPrefixIsRefused) {
  ChunkDecoder decoder;
  const auto data = textBytes(5000);
  for (const ChunkMethod& method : kMethods) {
    const auto sent = packed(method, data);
    std::vector<std::byte> back(data.size());
    for (size_t bytes = 0; bytes < sent.size(); ++bytes) {
      std::string reason;
      ASSERT_FALSE(decoder.decode(method.form, std::span(sent).first(bytes), back, reason));
      ASSERT_FALSE(reason.empty());
    }
  }
}

TEST(ChunkCodec, ChangedBytesGiveAReasonOrTheLengthThatWasAnnounced) {
  // zstd frames have no checksum here: TLS and TCP have. What counts is that nothing is written
  // outside, which the sanitizers watch, and that the decoder goes on working.
  const uint32_t seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  ChunkDecoder decoder;
  const auto data = weightBytes(20000);
  for (const ChunkMethod& method : kMethods) {
    const auto sent = packed(method, data);
    for (int round = 0; round < 200; ++round) {
      auto bad = sent;
      for (size_t n = 1 + random() % 4; n > 0; --n) {
        bad[random() % std::min<size_t>(bad.size(), round % 2 == 0 ? 32 : bad.size())] =
            static_cast<std::byte>(random());
      }
      std::vector<std::byte> back(data.size());
      std::string reason;
      const bool decoded = decoder.decode(method.form, bad, back, reason);
      EXPECT_EQ(decoded, reason.empty());
    }
    std::vector<std::byte> back(data.size());
    std::string reason;
    ASSERT_TRUE(decoder.decode(method.form, sent, back, reason)) << reason;
    ASSERT_EQ(back, data);
  }
}

TEST(ChunkCodec, LengthsThatWereNotAnnouncedAreRefused) {
  const auto sent = packed({ChunkForm::zstd, 1}, std::vector<std::byte>(kChunkBytesMax));
  ASSERT_LT(sent.size(), 200u);  // a bomb for whoever expects little
  for (const size_t bytes : {size_t{1}, size_t{100}, kChunkBytesMax - 1}) {
    std::vector<std::byte> back(bytes);
    std::string reason;
    EXPECT_FALSE(ChunkDecoder().decode(ChunkForm::zstd, sent, back, reason));
    EXPECT_EQ(reason, "A compressed chunk does not say that it has the " + std::to_string(bytes) +
                          " bytes that were announced.");
  }
  // Two frames, and a frame with something behind it.
  auto more = sent;
  more.push_back(std::byte{0});
  auto twice = sent;
  twice.insert(twice.end(), sent.begin(), sent.end());
  for (const auto& bytes : {more, twice}) {
    std::vector<std::byte> back(kChunkBytesMax);
    std::string reason;
    EXPECT_FALSE(ChunkDecoder().decode(ChunkForm::zstd, bytes, back, reason));
    EXPECT_THAT(reason, HasSubstr("bytes too many"));
  }
}

TEST(ChunkCodec, AFrameThatDoesNotSayItsLengthIsRefused) {
  std::vector<std::byte> data(1000), sent(2000), back(1000);
  ZSTD_CCtx* context = ZSTD_createCCtx();
  ZSTD_CCtx_setParameter(context, ZSTD_c_contentSizeFlag, 0);
  const size_t bytes = ZSTD_compress2(context, sent.data(), sent.size(), data.data(), data.size());
  ZSTD_freeCCtx(context);
  ASSERT_FALSE(ZSTD_isError(bytes));
  std::string reason;
  EXPECT_FALSE(ChunkDecoder().decode(ChunkForm::zstd, std::span(sent).first(bytes), back, reason));
  EXPECT_FALSE(ChunkDecoder().decode(ChunkForm::plain, back, back, reason));
  EXPECT_THAT(reason, HasSubstr("form 0, which is none that is compressed"));
}

}  // namespace
}  // namespace farwarp::wire
