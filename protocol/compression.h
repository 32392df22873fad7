// Decides for each chunk of bulk data whether compressing it makes the transfer faster, and how.
//
// The rule: nothing is tried on a network that is not known, or known to be fast. Zeros are not
// sent. Otherwise a look at some bytes tells noise; a part of the chunk is compressed and
// decompressed by every method, and the best one is used for the chunks that follow, if
// min(compressing, decompressing, ratio x network) is well above the network alone. What trials
// cost is limited by the time that the data takes on the network. A trial counts the processor's
// time; where others have the processor, and chunks come out more slowly than the network would
// take them, nothing is compressed for a while, and for longer each time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "protocol/chunk_codec.h"
#include "protocol/compression_mode.h"

namespace farwarp::wire {

// One direction of one connection. Used by one thread at a time.
class Compression {
 public:
  using Clock = double (*)();  // nanoseconds
  explicit Compression(bool encrypted, Clock wall = monotonicNs)
      : encrypted_(encrypted), wall_(wall) {}
  static double monotonicNs();

  // Whether pack() may do more than say `plain`. Costs nothing. `link`: bytes per second of the
  // network, 0 when it is not known.
  static bool mayPack(CompressionMode mode, uint64_t link, size_t chunk_bytes);

  // Packs `chunk` into `out`, which has packedBytesMax(chunk.size()) bytes. Returns the form; its
  // `packed` bytes are to be sent in place of the chunk, unless it is plain.
  ChunkForm pack(CompressionMode mode, uint64_t link, std::span<const std::byte> chunk,
                 std::span<std::byte> out, size_t& packed);
  // Packed chunks are smaller than this, or not packed.
  static size_t packedBytesMax(size_t chunk_bytes) { return chunk_bytes - chunk_bytes / 16; }

 private:
  void tryMethods(CompressionMode mode, uint64_t link, std::span<const std::byte> chunk);
  void watchPace(uint64_t link, size_t bytes, double ns);

  const bool encrypted_;
  const Clock wall_;
  ChunkEncoder encoder_;
  ChunkDecoder decoder_;  // for trials
  std::vector<std::byte> trial_, restored_;
  ChunkMethod method_;    // in use; plain: none pays
  int until_trial_ = 0;   // chunks
  double link_ns_ = 0;    // that the chunks so far take on the network
  double trials_ns_ = 0;  // spent on trials
  int paced_chunks_ = 0;  // compressed since the pace was last looked at
  double paced_bytes_ = 0, paced_ns_ = 0;
  int rest_chunks_ = 0;  // before the next trial, when the pace was too slow
};

// Mean entropy of a sample of the chunk's bytes, in bits per byte, bytes of one place in a word of
// four counted together. Random bytes give about 7.8.
double sampleEntropyBits(std::span<const std::byte> chunk);

}  // namespace farwarp::wire
