// Copies between host and device, as all the copy functions use them.
#pragma once

#include <cuda.h>

#include "interposer/calls/body.h"

namespace farwarp::client {

// Which copy it is and where it runs. The record flags say which default stream 0 is.
struct CopyWhere {
  CUstream stream = nullptr;
  uint16_t flags = 0;
  bool async = false;
  // False for the client's own copies: they wait for nothing that the program did.
  bool in_order = true;
};

[[nodiscard]] CUresult copyToDevice(CUdeviceptr to, const void* from, size_t bytes,
                                    const CopyWhere& where);
[[nodiscard]] CUresult copyToHost(void* to, CUdeviceptr from, size_t bytes, const CopyWhere& where);

// Between two places in gpud: device memory, or host memory that it shares. `host_waits`: unless it
// is asynchronous the program relies on the copy when the call returns.
[[nodiscard]] CUresult copyOnDevice(CUdeviceptr to, CUdeviceptr from, size_t bytes,
                                    const CopyWhere& where, bool host_waits);
// Between two places here, in order behind the stream's earlier work.
[[nodiscard]] CUresult copyOnHost(void* to, const void* from, size_t bytes, const CopyWhere& where);

// How much the client knows about a device address. One that is in no known allocation may still be
// good (memory that a kernel told the program of); gpud's driver decides then, and the call waits
// for its word.
enum class Place { inside, outside, unknown };
[[nodiscard]] Place placeOf(Client& client, CUdeviceptr address, size_t bytes);

// True when the range is page-locked memory, to which a copy may come later.
[[nodiscard]] bool isPinned(Client& client, const void* start, size_t bytes);

// Announces a copy into pinned memory that nobody waits for. `pending` has all but its context.
// When there are too many, waits for one.
[[nodiscard]] CUresult announce(CallScope& scope, uint64_t transfer, Transfers::Pending pending);

// Waits until no copy from the device into [start, start + bytes) is on its way any more. `scope`
// was entered.
[[nodiscard]] CUresult settlePending(CallScope& scope, const void* start, size_t bytes);

}  // namespace farwarp::client
