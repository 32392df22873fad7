// The errors that CUDA reports at a launch itself, decided from attributes alone.
#pragma once

#include <cuda.h>

#include <cstdint>
#include <string>

namespace farwarp {

// Device attributes, under their own names in cuda.h.
struct DeviceLimits {
  uint32_t grid_max[3];             // MAX_GRID_DIM_X..Z
  uint32_t block_max[3];            // MAX_BLOCK_DIM_X..Z
  uint32_t threads_per_block_max;   // MAX_THREADS_PER_BLOCK
  uint32_t threads_per_sm_max;      // MAX_THREADS_PER_MULTIPROCESSOR
  uint32_t blocks_per_sm_max;       // MAX_BLOCKS_PER_MULTIPROCESSOR
  uint32_t registers_per_block;     // MAX_REGISTERS_PER_BLOCK
  uint32_t registers_per_sm;        // MAX_REGISTERS_PER_MULTIPROCESSOR
  uint32_t shared_per_block;        // MAX_SHARED_MEMORY_PER_BLOCK, without opt-in
  uint32_t shared_per_block_optin;  // MAX_SHARED_MEMORY_PER_BLOCK_OPTIN
  uint32_t shared_per_sm;           // MAX_SHARED_MEMORY_PER_MULTIPROCESSOR
  uint32_t shared_reserved;         // RESERVED_SHARED_MEMORY_PER_BLOCK
  uint32_t multiprocessors;         // MULTIPROCESSOR_COUNT
  uint32_t warp_size;
  bool cooperative_launch;
  bool cluster_launch;
};

// Function attributes, under their own names in cuda.h.
struct FunctionLimits {
  uint32_t threads_per_block_max;  // MAX_THREADS_PER_BLOCK
  uint32_t shared_static;          // SHARED_SIZE_BYTES
  uint32_t shared_dynamic_max;     // MAX_DYNAMIC_SHARED_SIZE_BYTES
  uint32_t registers;              // NUM_REGS
  bool cluster_size_must_be_set = false;
  uint32_t required_cluster[3] = {0, 0, 0};
  bool nonportable_cluster_allowed = false;
  uint32_t required_block[3] = {0, 0, 0};  // .reqntid of the kernel; zero: none
};

struct LaunchShape {
  uint32_t grid[3];
  uint32_t block[3];
  uint32_t shared_dynamic;          // bytes
  uint32_t cluster[3] = {0, 0, 0};  // zero: no cluster attribute
  bool cooperative = false;
};

// CUDA_SUCCESS or the error CUDA gives; `why` (may be null) gets a sentence with the value and the
// limit.
[[nodiscard]] CUresult checkLaunch(const DeviceLimits& device, const FunctionLimits& function,
                                   const LaunchShape& shape, std::string* why = nullptr);

// Blocks of `block_threads` threads that fit one multiprocessor at once: the limit of threads,
// blocks, registers and shared memory that binds. 0 when not even one fits.
[[nodiscard]] uint32_t activeBlocksPerMultiprocessor(const DeviceLimits& device,
                                                     const FunctionLimits& function,
                                                     uint32_t block_threads,
                                                     uint64_t shared_dynamic);

}  // namespace farwarp
