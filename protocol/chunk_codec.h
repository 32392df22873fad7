// The forms that one chunk of bulk data takes on the wire, and how it gets into them and out.
//
// Which form pays is compression.h's affair. A chunk stands for itself: no form refers to bytes of
// another chunk, and nothing of a form is kept between chunks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

typedef struct ZSTD_CCtx_s ZSTD_CCtx;
typedef struct ZSTD_DCtx_s ZSTD_DCtx;

namespace farwarp::wire {

// On the wire (farwarp.capnp), so numbers stay.
enum class ChunkForm : uint8_t {
  plain = 0,
  zeros = 1,  // every byte is 0, and none is sent
  zstd = 2,   // one zstd frame
  // As shuffleBytes leaves them in width 2, 4 or 8, one zstd frame for each plane, so that each has
  // codes of its own. The last frame has the bytes behind the planes too.
  shuffled2 = 3,
  shuffled4 = 4,
  shuffled8 = 5,
};

// How to make a form. What differs besides the form is how hard zstd tries.
struct ChunkMethod {
  ChunkForm form = ChunkForm::plain;
  // As zstd has it. Far below zero it looks for no repetitions and only gives frequent bytes short
  // codes, which is all there is to find in the planes of numbers.
  int level = 0;
};

class ChunkEncoder {
 public:
  ChunkEncoder();
  ~ChunkEncoder();

  // Writes `chunk` into `out` by a method that is not plain. The number of bytes written, or
  // nothing (-1) when they would be more than out.size().
  ptrdiff_t encode(const ChunkMethod& method, std::span<const std::byte> chunk,
                   std::span<std::byte> out);

 private:
  struct Free {
    void operator()(ZSTD_CCtx* context) const;
  };
  std::unique_ptr<ZSTD_CCtx, Free> context_;
  std::vector<std::byte> shuffled_;
};

class ChunkDecoder {
 public:
  ChunkDecoder();
  ~ChunkDecoder();

  // Fills `out` from what encode() made. The bytes come from a peer: false with a full sentence in
  // `reason` when they do not make exactly out.size() bytes; `out` then holds anything. Takes no
  // more memory and time than out.size() asks for.
  [[nodiscard]] bool decode(ChunkForm form, std::span<const std::byte> bytes,
                            std::span<std::byte> out, std::string& reason);

 private:
  struct Free {
    void operator()(ZSTD_DCtx* context) const;
  };
  bool decodeFrame(std::span<const std::byte>& bytes, std::span<std::byte> out,
                   std::string& reason);

  std::unique_ptr<ZSTD_DCtx, Free> context_;
  std::vector<std::byte> shuffled_;
};

// Whether every byte is 0.
bool isZero(std::span<const std::byte> bytes);

}  // namespace farwarp::wire
