#include "protocol/chunk_codec.h"

#define ZSTD_STATIC_LINKING_ONLY  // for the one parameter that asks for codes of literals
#include <zstd.h>

#include <algorithm>
#include <cstring>

#include "protocol/byte_shuffle.h"

namespace farwarp::wire {
namespace {

// Bytes of an element of a shuffled form; 0 of another form.
unsigned widthOf(ChunkForm form) {
  switch (form) {
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
  std::span<const std::byte> bytes = chunk;
  if (const unsigned width = widthOf(method.form); width != 0) {
    const auto shuffled = roomIn(shuffled_, chunk.size());
    shuffleBytes(width, chunk, shuffled.data());
    bytes = shuffled;
  }
  const size_t made = ZSTD_compress2(context, out.data(), out.size(), bytes.data(), bytes.size());
  return ZSTD_isError(made) != 0 ? -1 : static_cast<ptrdiff_t>(made);
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
  if (form != ChunkForm::zstd && width == 0) {
    reason = "A chunk has the form " + std::to_string(static_cast<int>(form)) +
             ", which is none that is compressed.";
    return false;
  }
  // What the frame says of itself is looked at first: nothing is done for one that lies.
  const unsigned long long says = ZSTD_getFrameContentSize(bytes.data(), bytes.size());
  if (says != out.size()) {
    reason = "A compressed chunk does not say that it has the " + std::to_string(out.size()) +
             " bytes that were announced.";
    return false;
  }
  if (ZSTD_findFrameCompressedSize(bytes.data(), bytes.size()) != bytes.size()) {
    reason = "A compressed chunk of " + std::to_string(bytes.size()) +
             " bytes is not one whole zstd frame.";
    return false;
  }
  if (context_ == nullptr) context_.reset(ZSTD_createDCtx());
  if (context_ == nullptr) {
    reason = "There is no memory to decompress a chunk.";
    return false;
  }
  const std::span<std::byte> made = width == 0 ? out : roomIn(shuffled_, out.size());
  const size_t result =
      ZSTD_decompressDCtx(context_.get(), made.data(), made.size(), bytes.data(), bytes.size());
  if (result != out.size()) {
    reason = std::string("A compressed chunk cannot be decompressed: ") +
             (ZSTD_isError(result) != 0 ? ZSTD_getErrorName(result) : "it is too short") + ".";
    return false;
  }
  if (width != 0) unshuffleBytes(width, made, out.data());
  return true;
}

bool isZero(std::span<const std::byte> bytes) {
  if (bytes.empty() || bytes[0] != std::byte{0}) return bytes.empty();
  return std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0;
}

}  // namespace farwarp::wire
