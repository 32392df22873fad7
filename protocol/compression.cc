#include "protocol/compression.h"

#include <time.h>

#include <algorithm>
#include <array>
#include <cmath>

namespace farwarp::wire {
namespace {

constexpr size_t kChunkBytesMin = 16u << 10;  // smaller ones are not worth a thought
constexpr uint64_t kFastLink = 25'000'000'000 / 8;
constexpr size_t kTrialBytes = 64u << 10;
constexpr int kChunksBetweenTrials = 16;
constexpr double kNoiseBits = 7.2;
constexpr double kGainMin = 1.1;      // of the rate
constexpr double kRatioMin = 1.05;    // when the rate does not matter
constexpr double kTrialShare = 0.02;  // of the time on the network
constexpr double kTrialAllowanceNs = 2e6;
constexpr int kPaceChunks = 4;
constexpr int kRestChunksMin = 64, kRestChunksMax = 4096;
// Bytes per second that one core encrypts, or decrypts, with what else a byte costs there
// (docs/adr/0014).
constexpr double kCipherRate = 1.5e9;

constexpr ChunkMethod kMethods[] = {
    {ChunkForm::zstd, 1},         {ChunkForm::zstd, -5},        {ChunkForm::shuffled2, -500},
    {ChunkForm::shuffled4, -500}, {ChunkForm::shuffled8, -500},
};

double clockNs(clockid_t clock) {
  timespec now{};
  clock_gettime(clock, &now);
  return static_cast<double>(now.tv_sec) * 1e9 + static_cast<double>(now.tv_nsec);
}

// Time that this thread had the processor: what else runs for a moment does not make a method slow.
double threadNs() {
  return clockNs(CLOCK_THREAD_CPUTIME_ID);
}

// Bytes per second that get through a core which does `work` to each byte and then encrypts
// 1/ratio bytes of it.
double throughCore(double work, double ratio, bool encrypted) {
  return encrypted ? 1 / (1 / work + 1 / (ratio * kCipherRate)) : work;
}

}  // namespace

double Compression::monotonicNs() {
  return clockNs(CLOCK_MONOTONIC);
}

bool parseCompressionMode(std::string_view text, CompressionMode& out) {
  if (text == "off") return out = CompressionMode::off, true;
  if (text == "auto") return out = CompressionMode::automatic, true;
  if (text == "on") return out = CompressionMode::on, true;
  return false;
}

CompressionMode togetherMode(CompressionMode a, CompressionMode b) {
  if (a == CompressionMode::off || b == CompressionMode::off) return CompressionMode::off;
  return std::max(a, b);
}

bool Compression::mayPack(CompressionMode mode, uint64_t link, size_t chunk_bytes) {
  if (mode == CompressionMode::off || chunk_bytes < kChunkBytesMin) return false;
  return mode == CompressionMode::on || (link != 0 && link < kFastLink);
}

ChunkForm Compression::pack(CompressionMode mode, uint64_t link, std::span<const std::byte> chunk,
                            std::span<std::byte> out, size_t& packed) {
  packed = 0;
  if (!mayPack(mode, link, chunk.size())) return ChunkForm::plain;
  if (link != 0) {
    link_ns_ += static_cast<double>(chunk.size()) * 1e9 / static_cast<double>(link);
  }
  if (isZero(chunk)) return ChunkForm::zeros;
  const bool may_try =
      mode == CompressionMode::on || trials_ns_ <= kTrialShare * link_ns_ + kTrialAllowanceNs;
  if (--until_trial_ < 0 && may_try) {
    const double begin = threadNs();
    tryMethods(mode, link, chunk);
    trials_ns_ += threadNs() - begin;
    until_trial_ = kChunksBetweenTrials;
  }
  if (method_.form == ChunkForm::plain) return ChunkForm::plain;
  const ChunkForm form = method_.form;
  const double begin = wall_();
  const ptrdiff_t bytes = encoder_.encode(
      method_, chunk, out.first(std::min(out.size(), packedBytesMax(chunk.size()))));
  if (bytes < 0) {
    // The data is not what it was.
    method_ = {};
    until_trial_ = 0;
    return ChunkForm::plain;
  }
  packed = static_cast<size_t>(bytes);
  if (mode == CompressionMode::automatic) watchPace(link, chunk.size(), wall_() - begin);
  return form;
}

void Compression::watchPace(uint64_t link, size_t bytes, double ns) {
  paced_bytes_ += static_cast<double>(bytes);
  paced_ns_ += ns;
  if (++paced_chunks_ < kPaceChunks) return;
  const bool too_slow = paced_bytes_ * 1e9 < static_cast<double>(link) * paced_ns_;
  paced_chunks_ = 0;
  paced_bytes_ = paced_ns_ = 0;
  if (!too_slow) {
    rest_chunks_ = 0;
    return;
  }
  rest_chunks_ = std::clamp(2 * rest_chunks_, kRestChunksMin, kRestChunksMax);
  method_ = {};
  until_trial_ = rest_chunks_;
}

void Compression::tryMethods(CompressionMode mode, uint64_t link,
                             std::span<const std::byte> chunk) {
  method_ = {};
  if (sampleEntropyBits(chunk) > kNoiseBits) return;
  const size_t bytes = std::min(kTrialBytes, chunk.size());
  const auto sample = chunk.subspan((chunk.size() - bytes) / 2 / 64 * 64, bytes);
  trial_.resize(packedBytesMax(bytes));
  restored_.resize(bytes);
  const double network = static_cast<double>(link);
  const double plain = encrypted_ ? std::min(network, kCipherRate) : network;
  double best = mode == CompressionMode::on ? kRatioMin : kGainMin * plain;
  for (const ChunkMethod& method : kMethods) {
    const double begin = threadNs();
    const ptrdiff_t made = encoder_.encode(method, sample, trial_);
    const double middle = threadNs();
    if (made <= 0) continue;
    std::string reason;
    if (!decoder_.decode(method.form, std::span(trial_).first(static_cast<size_t>(made)), restored_,
                         reason)) {
      continue;
    }
    const double end = threadNs();
    const double ratio = static_cast<double>(bytes) / static_cast<double>(made);
    const auto rateOf = [&](double ns) {
      const double work = static_cast<double>(bytes) * 1e9 / std::max(ns, 1.0);
      return throughCore(work, ratio, encrypted_);
    };
    const double score =
        mode == CompressionMode::on
            ? ratio
            : std::min({rateOf(middle - begin), rateOf(end - middle), ratio * network});
    if (score <= best) continue;
    best = score;
    method_ = method;
  }
}

double sampleEntropyBits(std::span<const std::byte> chunk) {
  // 64 runs of 64 bytes, spread evenly.
  constexpr size_t kRuns = 64, kRunBytes = 64, kPlanes = 4;
  std::array<std::array<uint16_t, 256>, kPlanes> counts{};
  const size_t step = std::max<size_t>(chunk.size() / kRuns / 4 * 4, kRunBytes);
  size_t sampled = 0;
  for (size_t at = 0; at + kRunBytes <= chunk.size() && sampled < kRuns * kRunBytes; at += step) {
    for (size_t i = 0; i < kRunBytes; ++i) {
      ++counts[i % kPlanes][static_cast<uint8_t>(chunk[at + i])];
    }
    sampled += kRunBytes;
  }
  if (sampled == 0) return 8;
  const double per_plane = static_cast<double>(sampled) / kPlanes;
  double bits = 0;
  for (const auto& plane : counts) {
    for (const uint16_t count : plane) {
      if (count == 0) continue;
      const double share = count / per_plane;
      bits -= share * std::log2(share);
    }
  }
  return bits / kPlanes;
}

}  // namespace farwarp::wire
