// What the bodies of the mock driver share; not for its users.
#pragma once

#include <cstddef>
#include <cstdint>

#include "driver_calls_gen.h"
#include "handle_types_gen.h"

namespace farwarp::mock {

const DriverTable& table();  // mock_driver_gen.cc

// Counts the call. Anything but CUDA_SUCCESS is what the call was told to return.
CUresult begin(CallId call);

void* makeHandle(wire::HandleType type);
// True for null, for the special values of the type, and for a handle that was made and not
// destroyed.
bool isLive(wire::HandleType type, uint64_t handle);
inline bool isLive(wire::HandleType type, const void* handle) {
  return isLive(type, reinterpret_cast<uint64_t>(handle));
}
// False when there is no such handle.
bool destroyHandle(wire::HandleType type, uint64_t handle);
inline bool destroyHandle(wire::HandleType type, const void* handle) {
  return destroyHandle(type, reinterpret_cast<uint64_t>(handle));
}

inline constexpr uint64_t kDeviceBytes = 8ull << 30;
// Device memory, zeroed. 0 when more than kDeviceBytes would be in use or the host has no more.
CUdeviceptr allocate(uint64_t bytes);
bool release(CUdeviceptr address);
uint64_t allocatedBytes();
// The allocation that holds `bytes` from `address` on; false when none does.
bool findAllocation(CUdeviceptr address, uint64_t bytes, CUdeviceptr& start, uint64_t& size);

}  // namespace farwarp::mock
