// Limits on everything that a peer can send, in one place. Each has a test.
#pragma once

#include <cstddef>
#include <cstdint>

#include "protocol/record.h"

namespace farwarp::wire {

inline constexpr size_t kChunkBytesMax = 1u << 20;  // data of one bulk put or get
inline constexpr size_t kMessageSegmentsMax = 16;   // ours have 1 to 3
// One message: a batch of 8 MiB and its frame.
inline constexpr size_t kMessageBytesMax = 12u << 20;
// Unacknowledged submits, or puts, that the sender may have on their way.
inline constexpr size_t kStreamWindowBytes = 32u << 20;
// Calls that gpud has read and not answered yet; it reads no further beyond this.
inline constexpr size_t kIncomingCallBytesMax = 16u << 20;
// Replies and output that wait because the client does not read; then gpud reads no further.
inline constexpr size_t kUntakenOutputBytesMax = 16u << 20;
inline constexpr uint32_t kOutstandingCallsMax = 4096;  // waiting calls per session
inline constexpr uint32_t kOutstandingGetsMax = 256;    // chunk requests per bulk connection
inline constexpr size_t kOutputBytesMax = 8u << 20;     // not yet acknowledged device output
inline constexpr size_t kHostFunctionsMax = 1u << 16;   // host functions waiting in streams
inline constexpr size_t kReplyBytesMax = kBatchBytesMax;
inline constexpr uint64_t kTransferBytesMax = uint64_t{1} << 40;
inline constexpr size_t kHelloStringBytesMax = 1024;  // version, program name, device name
inline constexpr uint32_t kDevicesMax = 64;
inline constexpr uint32_t kDeviceAttributesMax = 1024;

}  // namespace farwarp::wire
