// How a device that knows the exact times of its kernels tells them: a table that the CPU device
// returns from cuGetExportTable under an id of Farwarp's own. A real driver answers
// CUDA_ERROR_INVALID_VALUE for that id, and the worker brackets launches with events instead.
#pragma once

#include <cuda.h>

#include <cstdint>

namespace farwarp {

inline constexpr CUuuid kKernelRecordsTableId = {
    {'f', 'a', 'r', 'w', 'a', 'r', 'p', '\0', 'k', 'e', 'r', 'n', 'e', 'l', 's', '2'}};

struct KernelRecord {
  uint64_t start_ns;  // CLOCK_MONOTONIC when the first block started
  uint64_t end_ns;    // CLOCK_MONOTONIC when the last block ended
  uint32_t device;    // ordinal
  uint32_t reserved;
  const char* name;  // of the kernel; valid during the call that tells the record
};

struct KernelRecordsTable {
  size_t bytes;  // sizeof(KernelRecordsTable)
  // From now on calls `record(user, r)` once per finished kernel, from any thread, before the
  // stream that ran it is seen idle. One subscriber; a null `record` ends the subscription and
  // returns after the last running callback.
  CUresult (*subscribe)(void (*record)(void* user, const KernelRecord* r), void* user);
};

}  // namespace farwarp
