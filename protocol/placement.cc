#include "protocol/placement.h"

#include <capnp/message.h>
#include <capnp/rpc.capnp.h>
#include <kj/exception.h>

#include <cstring>

namespace farwarp::wire {
namespace {

std::span<const std::byte> bytesOf(capnp::Data::Reader data) {
  return {reinterpret_cast<const std::byte*>(data.begin()), data.size()};
}

template <typename Reader>
std::optional<Chunk> checkedChunk(Reader from) {
  Chunk chunk;
  chunk.transfer = from.getTransfer();
  chunk.offset = from.getOffset();
  chunk.head = bytesOf(from.getHead());
  chunk.data = bytesOf(from.getData());
  chunk.tail = bytesOf(from.getTail());
  if (chunk.head.size() >= 8 || chunk.tail.size() >= 8 || chunk.data.size() > kChunkBytesMax ||
      chunk.bytes() > kChunkBytesMax || chunk.offset > kTransferBytesMax - kChunkBytesMax) {
    return std::nullopt;
  }
  chunk.form = static_cast<ChunkForm>(from.getForm());
  if (chunk.form == ChunkForm::plain) return chunk;
  chunk.unpacked_bytes = from.getLength();
  const bool sound = chunk.form <= ChunkForm::shuffled8 && chunk.head.empty() &&
                     chunk.tail.empty() && chunk.unpacked_bytes > 0 &&
                     chunk.unpacked_bytes <= kChunkBytesMax;
  return sound ? std::optional(chunk) : std::nullopt;
}

template <typename Read>
std::optional<Chunk> chunkOf(std::span<const Segment> segments, Read read) {
  std::optional<Chunk> chunk;
  const auto failure = kj::runCatchingExceptions([&] {
    capnp::ReaderOptions options;
    options.traversalLimitInWords = 4 * kMessageBytesMax / sizeof(capnp::word);
    options.nestingLimit = 16;
    capnp::SegmentArrayMessageReader message(kj::arrayPtr(segments.data(), segments.size()),
                                             options);
    chunk = read(message.getRoot<capnp::rpc::Message>());
  });
  if (failure != nullptr || !chunk || chunk->form != ChunkForm::plain) return std::nullopt;
  const Segment last = segments.back();
  const bool whole = static_cast<const void*>(chunk->data.data()) == last.begin() &&
                     chunk->data.size() == last.size() * sizeof(capnp::word);
  return whole ? chunk : std::nullopt;
}

}  // namespace

std::optional<Chunk> readChunk(rpc::Bulk::PutParams::Reader params) {
  return checkedChunk(params);
}

std::optional<Chunk> readChunk(rpc::Bulk::GetResults::Reader results) {
  return checkedChunk(results);
}

std::optional<Chunk> chunkOfPut(std::span<const Segment> segments) {
  return chunkOf(segments, [](capnp::rpc::Message::Reader message) -> std::optional<Chunk> {
    if (!message.isCall()) return std::nullopt;
    const auto call = message.getCall();
    if (call.getInterfaceId() != capnp::typeId<rpc::Bulk>() || call.getMethodId() != 0) {
      return std::nullopt;
    }
    return checkedChunk(call.getParams().getContent().getAs<rpc::Bulk::PutParams>());
  });
}

std::optional<Chunk> chunkOfGet(std::span<const Segment> segments) {
  return chunkOf(segments, [](capnp::rpc::Message::Reader message) -> std::optional<Chunk> {
    if (!message.isReturn() || !message.getReturn().isResults()) return std::nullopt;
    return checkedChunk(
        message.getReturn().getResults().getContent().getAs<rpc::Bulk::GetResults>());
  });
}

void placeChunk(const Chunk& chunk, std::span<std::byte> destination) {
  std::byte* at = destination.data();
  if (!chunk.head.empty()) std::memcpy(at, chunk.head.data(), chunk.head.size());
  at += chunk.head.size();
  if (!chunk.data.empty() && !isStandIn(chunk.data.data())) {
    std::memcpy(at, chunk.data.data(), chunk.data.size());
  }
  at += chunk.data.size();
  if (!chunk.tail.empty()) std::memcpy(at, chunk.tail.data(), chunk.tail.size());
}

}  // namespace farwarp::wire
