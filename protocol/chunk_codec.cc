#include "protocol/chunk_codec.h"

#define ZSTD_STATIC_LINKING_ONLY  // for the one parameter that asks for codes of literals
#include <zstd.h>

#include <algorithm>
#include <cstring>

#include "protocol/byte_shuffle.h"

namespace farwarp::wire {
namespace {

// Planes of a form that is compressed; 0 of another form.
unsigned widthOf(ChunkForm form) {
  switch (form) {
    case ChunkForm::zstd:
      return 1;
    case ChunkForm::shuffled2:
      return 2;
    case ChunkForm::shuffled4:
      return 4;
    case ChunkForm::shuffled8:
      return 8;
    default:
      return 0;
  }
}

// Plane number `i` of `width`; the last one has what is behind the planes too.
template <typename Byte>
std::span<Byte> planeOf(std::span<Byte> bytes, unsigned width, unsigned i) {
  const size_t count = bytes.size() / width;
  return i + 1 == width ? bytes.subspan(i * count) : bytes.subspan(i * count, count);
}

std::span<std::byte> roomIn(std::vector<std::byte>& scratch, size_t bytes) {
  if (scratch.size() < bytes) scratch.resize(bytes);
  return std::span(scratch).first(bytes);
}

}  // namespace

void ChunkEncoder::Free::operator()(ZSTD_CCtx* context) const {
  ZSTD_freeCCtx(context);
}
void ChunkDecoder::Free::operator()(ZSTD_DCtx* context) const {
  ZSTD_freeDCtx(context);
}

ChunkEncoder::ChunkEncoder() = default;
ChunkEncoder::~ChunkEncoder() = default;
ChunkDecoder::ChunkDecoder() = default;
ChunkDecoder::~ChunkDecoder() = default;

ptrdiff_t ChunkEncoder::encode(const ChunkMethod& method, std::span<const std::byte> chunk,
                               std::span<std::byte> out) {
  if (method.form == ChunkForm::zeros) return 0;
  if (context_ == nullptr) context_.reset(ZSTD_createCCtx());
  if (context_ == nullptr) return -1;
  ZSTD_CCtx* context = context_.get();
  ZSTD_CCtx_reset(context, ZSTD_reset_session_and_parameters);
  ZSTD_CCtx_setParameter(context, ZSTD_c_compressionLevel, method.level);
  if (method.level < 0) {
    // Not done below level 1 unless asked for. An older zstd that does not know it compresses less.
    ZSTD_CCtx_setParameter(context, ZSTD_c_literalCompressionMode, ZSTD_lcm_huffman);
  }
  const unsigned width = widthOf(method.form);
  std::span<const std::byte> bytes = chunk;
  if (width > 1) {
    const auto shuffled = roomIn(shuffled_, chunk.size());
    shuffleBytes(width, chunk, shuffled.data());
    bytes = shuffled;
  }
  size_t total = 0;
  for (unsigned i = 0; i < width; ++i) {
    const auto plane = planeOf(bytes, width, i);
    const size_t made =
        ZSTD_compress2(context, out.data() + total, out.size() - total, plane.data(), plane.size());
    if (ZSTD_isError(made) != 0) return -1;
    total += made;
  }
  return static_cast<ptrdiff_t>(total);
}

bool ChunkDecoder::decode(ChunkForm form, std::span<const std::byte> bytes,
                          std::span<std::byte> out, std::string& reason) {
  if (form == ChunkForm::zeros) {
    if (!bytes.empty()) {
      reason = "A chunk of zeros comes with " + std::to_string(bytes.size()) + " bytes.";
      return false;
    }
    std::fill(out.begin(), out.end(), std::byte{0});
    return true;
  }
  const unsigned width = widthOf(form);
  if (width == 0) {
    reason = "A chunk has the form " + std::to_string(static_cast<int>(form)) +
             ", which is none that is compressed.";
    return false;
  }
  const std::span<std::byte> made = width == 1 ? out : roomIn(shuffled_, out.size());
  for (unsigned i = 0; i < width; ++i) {
    if (!decodeFrame(bytes, planeOf(made, width, i), reason)) return false;
  }
  if (!bytes.empty()) {
    reason = "A compressed chunk has " + std::to_string(bytes.size()) + " bytes too many.";
    return false;
  }
  if (width > 1) unshuffleBytes(width, made, out.data());
  return true;
}

// Takes one frame off `bytes`, which must give exactly `out`.
bool ChunkDecoder::decodeFrame(std::span<const std::byte>& bytes, std::span<std::byte> out,
                               std::string& reason) {
  // What the frame says of itself is looked at first: nothing is done for one that lies.
  if (ZSTD_getFrameContentSize(bytes.data(), bytes.size()) != out.size()) {
    reason = "A compressed chunk does not say that it has the " + std::to_string(out.size()) +
             " bytes that were announced.";
    return false;
  }
  const size_t frame = ZSTD_findFrameCompressedSize(bytes.data(), bytes.size());
  if (ZSTD_isError(frame) != 0) {
    reason = "A compressed chunk of " + std::to_string(bytes.size()) +
             " bytes does not hold whole zstd frames.";
    return false;
  }
  if (context_ == nullptr) context_.reset(ZSTD_createDCtx());
  if (context_ == nullptr) {
    reason = "There is no memory to decompress a chunk.";
    return false;
  }
  const size_t result =
      ZSTD_decompressDCtx(context_.get(), out.data(), out.size(), bytes.data(), frame);
  if (result != out.size()) {
    reason = std::string("A compressed chunk cannot be decompressed: ") +
             (ZSTD_isError(result) != 0 ? ZSTD_getErrorName(result) : "it is too short") + ".";
    return false;
  }
  bytes = bytes.subspan(frame);
  return true;
}

bool isZero(std::span<const std::byte> bytes) {
  if (bytes.empty() || bytes[0] != std::byte{0}) return bytes.empty();
  return std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0;
}

}  // namespace farwarp::wire
