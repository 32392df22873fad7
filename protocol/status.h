// What gpud tells about itself to whoever asks: its devices and its sessions, as a text.
//
// A connection of a kind of its own: after the preamble gpud sends the text and closes. It opens no
// session. nvidia-smi and its like ask through the NVML library of interposer/nvml.
//
//   farwarp-status 1
//   version 0.1.0                                     of gpud
//   driver 13000                                      as cuDriverGetVersion tells it
//   clock 81234567890                                 nanoseconds, monotonic
//   device 0 UUID-HEX BYTES PCI-ADDRESS MAJOR MINOR NAME...
//   busy 123456                                       of sessions that ended, nanoseconds
//   session NUMBER PID HERE BUSY-NS BYTES,BYTES,... PROGRAM...
//   end
//
// PID is the client's own, as it said. HERE is 1 when its session comes from the host that asks, 0
// when not. BYTES are those that it holds on each device. A reader skips lines that it does not
// know.
#pragma once

#include "protocol/preamble.h"

namespace farwarp::wire {

inline constexpr ConnectionKind kStatusConnection = ConnectionKind{3};
inline constexpr char kStatusFirstLine[] = "farwarp-status 1";
inline constexpr size_t kStatusBytesMax = 1u << 20;

}  // namespace farwarp::wire
