// Goal: compression happens where it pays and nowhere else. Method: data that is known to compress
// or not, on networks whose rate the test says; how much time trials take is counted in trials.
#include "protocol/compression.h"

#include <gtest/gtest.h>
#include <time.h>

#include "protocol/limits.h"
#include "tests/protocol/test_data.h"

namespace farwarp::wire {
namespace {

constexpr uint64_t kSlow = 1'000'000;  // bytes per second: any processor compresses faster
constexpr uint64_t kFast = 4'000'000'000;
constexpr size_t kBytes = kChunkBytesMax;

struct Sender {
  explicit Sender(bool encrypted = false, Compression::Clock wall = Compression::monotonicNs)
      : compression(encrypted, wall) {}
  // What becomes of one chunk; checks that it comes back.
  ChunkForm send(std::span<const std::byte> chunk, uint64_t link,
                 CompressionMode mode = CompressionMode::automatic) {
    std::vector<std::byte> out(Compression::packedBytesMax(chunk.size()));
    const ChunkForm form = compression.pack(mode, link, chunk, out, packed);
    if (form != ChunkForm::plain) {
      std::vector<std::byte> back(chunk.size(), std::byte{0x77});
      std::string reason;
      EXPECT_TRUE(ChunkDecoder().decode(form, std::span(out).first(packed), back, reason))
          << reason;
      EXPECT_TRUE(std::equal(back.begin(), back.end(), chunk.begin()));
    }
    return form;
  }
  Compression compression;
  size_t packed = 0;
};

TEST(Compression, SmallerNumbersAndTextOnASlowNetwork) {
  for (const bool encrypted : {false, true}) {
    Sender sender(encrypted);
    const ChunkForm form = sender.send(weightBytes(kBytes), kSlow);
    EXPECT_TRUE(form == ChunkForm::shuffled2 || form == ChunkForm::shuffled4 ||
                form == ChunkForm::shuffled8)
        << static_cast<int>(form);
    EXPECT_LT(sender.packed, kBytes * 8 / 10);
    Sender other(encrypted);
    EXPECT_EQ(other.send(textBytes(kBytes), kSlow), ChunkForm::zstd);
    EXPECT_LT(other.packed, kBytes / 3);
  }
}

TEST(Compression, NothingWhereItDoesNotPay) {
  Sender sender;
  const std::vector<std::byte> zeros(kBytes);
  EXPECT_EQ(sender.send(patternBytes(kBytes, 1), kSlow), ChunkForm::plain);
  for (const auto& data : {weightBytes(kBytes), textBytes(kBytes), zeros}) {
    EXPECT_EQ(sender.send(data, 0), ChunkForm::plain);  // a network that nobody measured
    EXPECT_EQ(sender.send(data, kFast), ChunkForm::plain);
    EXPECT_EQ(sender.send(data, kSlow, CompressionMode::off), ChunkForm::plain);
    EXPECT_EQ(sender.send(std::span(data).first(1000), kSlow), ChunkForm::plain);
  }
}

TEST(Compression, ZerosAreNotSent) {
  Sender sender;
  EXPECT_EQ(sender.send(std::vector<std::byte>(kBytes), kSlow), ChunkForm::zeros);
  EXPECT_EQ(sender.packed, 0u);
}

TEST(Compression, OnMeansOnEveryNetwork) {
  Sender sender;
  for (const uint64_t link : {uint64_t{0}, kFast}) {
    EXPECT_NE(sender.send(weightBytes(kBytes), link, CompressionMode::on), ChunkForm::plain);
  }
  Sender other;
  EXPECT_EQ(other.send(patternBytes(kBytes, 1), 0, CompressionMode::on), ChunkForm::plain);
}

TEST(Compression, FollowsDataThatChanges) {
  Sender sender;
  const auto text = textBytes(kBytes), noise = patternBytes(kBytes, 1);
  EXPECT_EQ(sender.send(text, kSlow), ChunkForm::zstd);
  EXPECT_EQ(sender.send(noise, kSlow), ChunkForm::plain);
  // It does not become smaller, which is seen at once, but not believed for ever.
  int chunks = 0;
  while (sender.send(text, kSlow) == ChunkForm::plain) ASSERT_LT(++chunks, 20);
}

// Where others have the processor, a codec that is fast makes the transfer slow nevertheless.
TEST(Compression, RestsWhereChunksComeOutMoreSlowlyThanTheNetworkTakesThem) {
  static double now, step;
  now = 0;
  step = 2e9 * kBytes / kSlow;  // twice as long as the chunk takes on the network
  Sender sender(false, [] { return now += step; });
  const auto text = textBytes(kBytes);
  const auto sendWhile = [&](bool packed) {
    int chunks = 0;
    while ((sender.send(text, kSlow) != ChunkForm::plain) == packed && chunks < 300) ++chunks;
    return chunks;
  };
  EXPECT_EQ(sendWhile(true), 4);
  const int first_rest = sendWhile(false);
  EXPECT_GE(first_rest, 60);
  EXPECT_LE(sendWhile(true), 4);
  EXPECT_GT(sendWhile(false), first_rest * 3 / 2);
  // Alone on the processor again.
  step = 0;
  EXPECT_EQ(sendWhile(true), 300);
}

TEST(Compression, TriesLittleWhereTheNetworkIsFast) {
  // Text is compressed more slowly than this network carries it, so trials fail; they may take 2
  // per cent of the time that the data has on the network, and 2 ms. Counted in processor time.
  Sender sender;
  const auto text = textBytes(kBytes);
  const uint64_t link = 3'000'000'000;
  std::vector<std::byte> out(Compression::packedBytesMax(kBytes));
  const auto now = [] {
    timespec time{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
  };
  constexpr int kChunks = 3000;
  const double begin = now();
  for (int i = 0; i < kChunks; ++i) {
    EXPECT_EQ(sender.compression.pack(CompressionMode::automatic, link, text, out, sender.packed),
              ChunkForm::plain);
  }
  const double network = kChunks * static_cast<double>(kBytes) / static_cast<double>(link);
  // One trial may be under way when the time is used up, and sanitizers make one long.
  EXPECT_LT(now() - begin, 0.02 * network + 0.2);
}

TEST(Compression, ASampleTellsNoise) {
  EXPECT_GT(sampleEntropyBits(patternBytes(kBytes, 1)), 7.2);
  EXPECT_LT(sampleEntropyBits(weightBytes(kBytes)), 7.0);
  EXPECT_LT(sampleEntropyBits(textBytes(kBytes)), 5.0);
  EXPECT_EQ(sampleEntropyBits(std::vector<std::byte>(kBytes)), 0.0);
  EXPECT_EQ(sampleEntropyBits({}), 8.0);
}

TEST(Compression, BothSidesHaveASay) {
  using enum CompressionMode;
  EXPECT_EQ(togetherMode(automatic, off), off);
  EXPECT_EQ(togetherMode(off, on), off);
  EXPECT_EQ(togetherMode(automatic, on), on);
  EXPECT_EQ(togetherMode(automatic, automatic), automatic);
  CompressionMode mode = off;
  EXPECT_TRUE(parseCompressionMode("auto", mode));
  EXPECT_EQ(mode, automatic);
  EXPECT_FALSE(parseCompressionMode("yes", mode));
}

}  // namespace
}  // namespace farwarp::wire
