// The packed records that carry driver calls between the interposer and gpud.
//
// A batch is a sequence of records. A record is a header of 16 bytes, the call's fixed fields, then its
// variable data, padded to 8 bytes. The layouts of the fields are generated (wire_records_gen.h); this
// file holds what is the same for all of them. Everything read here came from a peer: nothing is used
// before its bounds were checked.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

namespace farwarp::wire {

inline constexpr size_t kRecordAlign = 8;
inline constexpr uint32_t kRecordBytesMax = 4u << 20;  // one record, header included
inline constexpr uint32_t kBatchBytesMax = 8u << 20;   // one batch
inline constexpr size_t kInlineDataMax = 64u << 10;    // larger buffers go over a bulk connection

constexpr size_t padded(size_t bytes) { return (bytes + (kRecordAlign - 1)) & ~(kRecordAlign - 1); }

enum RecordFlags : uint16_t {
  // Stream 0 means this thread's default stream (the _ptsz and _ptds forms of a function).
  kPerThreadDefaultStream = 1u << 0,
};

struct RecordHeader {
  uint32_t bytes;    // whole record, a multiple of 8, header included
  uint16_t call;     // CallId (driver_calls_gen.h)
  uint16_t flags;    // RecordFlags
  uint32_t context;  // index part of the calling thread's current context id; 0 when none is current
  uint32_t thread;   // the client's number for the calling thread, from 1; 0 when it does not matter
};
static_assert(sizeof(RecordHeader) == 16);

// Head of every reply to a call that waits. `completed` transfer ids (uint64_t each) follow, then the
// call's own reply fields.
struct ReplyHeader {
  int32_t result;      // CUresult of the call itself
  int32_t deferred;    // first CUresult kept from asynchronous calls since the last reply; 0 if none
  uint32_t completed;  // asynchronous device-to-host transfers that are complete and not fetched yet;
                       // the client fetches and places their bytes before the waiting call returns
  uint32_t reserved;   // 0
};
static_assert(sizeof(ReplyHeader) == 16);

inline constexpr uint32_t kPendingTransfersMax = 4096;  // device-to-host, per session

// Takes the next record off a batch. False at the end and on a malformed record; `malformed` says which.
inline bool nextRecord(std::span<const std::byte>& batch, RecordHeader& header,
                       std::span<const std::byte>& body, bool& malformed) {
  malformed = false;
  if (batch.empty()) return false;
  malformed = true;
  if (batch.size() < sizeof(RecordHeader)) return false;
  std::memcpy(&header, batch.data(), sizeof(header));
  if (header.bytes < sizeof(RecordHeader) || header.bytes % kRecordAlign != 0 ||
      header.bytes > batch.size() || header.bytes > kRecordBytesMax) {
    return false;
  }
  body = batch.subspan(sizeof(RecordHeader), header.bytes - sizeof(RecordHeader));
  batch = batch.subspan(header.bytes);
  malformed = false;
  return true;
}

}  // namespace farwarp::wire
