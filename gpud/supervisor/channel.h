// Messages between the supervisor and a worker, over a SOCK_SEQPACKET socket pair.
//
// Supervisor to worker only: the session with its control connection first, which may come long
// after the worker was started; then a descriptor per bulk connection. The channel closes when the
// supervisor dies, which ends the worker.
#pragma once

#include <cstddef>
#include <cstdint>

#include "protocol/preamble.h"

namespace farwarp {

// Descriptors that a worker finds open when it starts.
inline constexpr int kWorkerChannelFd = 3;
inline constexpr int kWorkerCountersFd = 4;  // metering/session_counters.h

enum class ChannelMessageKind : uint32_t {
  session = 1,         // token, number, and the control connection, preamble done
  bulkConnection = 2,  // a connection, preamble done
};

struct ChannelMessage {
  ChannelMessageKind kind = ChannelMessageKind::session;
  uint32_t tls = 0;  // 1: a TLS handshake comes next on the connection
  wire::SessionToken token{};
  uint64_t number = 0;  // of the session, for the log
};

// Sends one message, with a descriptor when `fd` is not -1; the caller keeps the descriptor. Does
// not wait: false when the worker is gone or does not read.
[[nodiscard]] bool sendChannelMessage(int channel, const ChannelMessage& message, int fd = -1);

enum class ChannelRead { message, nothing, closed };

// Takes one message without waiting. `fd` becomes the descriptor that came with it, or -1; the
// caller owns it.
[[nodiscard]] ChannelRead readChannelMessage(int channel, ChannelMessage& message, int& fd);

}  // namespace farwarp
