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
};

[[nodiscard]] CUresult copyToDevice(CUdeviceptr to, const void* from, size_t bytes,
                                    const CopyWhere& where);
[[nodiscard]] CUresult copyToHost(void* to, CUdeviceptr from, size_t bytes, const CopyWhere& where);

// Waits until no copy from the device into [start, start + bytes) is on its way any more. `scope`
// was entered.
[[nodiscard]] CUresult settlePending(CallScope& scope, const void* start, size_t bytes);

}  // namespace farwarp::client
