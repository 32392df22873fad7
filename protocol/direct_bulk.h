// Bulk.putShared, getShared and taken, past the RPC system as the calls of direct_call.h, because a
// shared chunk takes no longer than the RPC system would.
#pragma once

#include <cstdint>
#include <span>

#include "protocol/direct_call.h"

namespace farwarp::wire {

enum class SharedMethod : uint16_t { put = 3, get = 4, taken = 5 };  // as numbered in farwarp.capnp

struct SharedCall {
  uint32_t question = 0;
  SharedMethod method = SharedMethod::put;
  uint64_t transfer = 0;  // of put and get, with offset and length
  uint64_t offset = 0;
  uint32_t place = 0;  // of put and taken
  uint32_t length = 0;
};

struct SharedAnswer {
  uint32_t question = 0;
  bool failed = false;
  std::string reason;
  bool shared = false;  // of get, with place
  uint32_t place = 0;
};

// As readAtServer and readAtClient.
DirectMessage readSharedCall(std::span<const Segment> segments, SharedCall& call);
DirectMessage readSharedAnswer(std::span<const Segment> segments, SharedAnswer& answer);

// The export under which the answer to attachBulk names the bulk service.
inline bool readBulkExport(std::span<const Segment> segments, uint32_t& bulk_export) {
  return readSessionExport(segments, bulk_export);
}

void postSharedCall(MessageStream& stream, const SharedCall& call, uint32_t bulk_export);
void postSharedAnswer(MessageStream& stream, const SharedAnswer& answer);

}  // namespace farwarp::wire
