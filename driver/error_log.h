// The driver's error log (cuLogs*): a line for each call that failed, in a ring of limited size.
// It is the process's own; the client and the CPU device both keep theirs.
#pragma once

#include <cuda.h>

#include "driver_calls_gen.h"

namespace farwarp {

// Adds the line and tells the callbacks that the program registered. CUDA_ERROR_NOT_READY is an
// answer, not an error, and is left out.
void logFailure(CallId call, CUresult result) noexcept;

// Around the body of an entry point.
inline CUresult logged(CallId call, CUresult result) {
  if (result != CUDA_SUCCESS) [[unlikely]]
    logFailure(call, result);
  return result;
}

}  // namespace farwarp
