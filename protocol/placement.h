// Finds out, while a bulk message arrives, which transfer its data belongs to.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "protocol/chunk_codec.h"
#include "protocol/farwarp.capnp.h"
#include "protocol/message_stream.h"

namespace farwarp::wire {

// What a put, or the answer to a get, says about its bytes.
struct Chunk {
  uint64_t transfer = 0;
  uint64_t offset = 0;
  std::span<const std::byte> head, data, tail;
  ChunkForm form = ChunkForm::plain;
  uint32_t unpacked_bytes = 0;  // of a form that is not plain
  // Of the transfer.
  size_t bytes() const {
    return form == ChunkForm::plain ? head.size() + data.size() + tail.size() : unpacked_bytes;
  }
};

// Reads and checks a chunk against limits.h: at most kChunkBytesMax in all, packed and unpacked,
// head and tail below 8 bytes and absent when packed, the range below kTransferBytesMax. Nothing
// when it breaks them.
std::optional<Chunk> readChunk(rpc::Bulk::PutParams::Reader params);
std::optional<Chunk> readChunk(rpc::Bulk::GetResults::Reader results);

// The chunk of an incoming RPC message that is a call of Bulk.put, or an answer that may be one of
// Bulk.get, when its data is plain and exactly the last segment. Never throws.
std::optional<Chunk> chunkOfPut(std::span<const Segment> segments);
std::optional<Chunk> chunkOfGet(std::span<const Segment> segments);

// Puts the bytes of a plain chunk at `destination`, less the data when it was placed there already.
void placeChunk(const Chunk& chunk, std::span<std::byte> destination);

}  // namespace farwarp::wire
