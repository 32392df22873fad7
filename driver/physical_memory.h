// What cuMemCreate and its like accept here: memory of a device, which may be handed to other
// processes as a file descriptor.
#pragma once

#include <cuda.h>

namespace farwarp {

// CUDA_ERROR_INVALID_VALUE for what CUDA refuses; CUDA_ERROR_INVALID_DEVICE for a device that is
// not one of 0 .. `devices` - 1; CUDA_ERROR_NOT_SUPPORTED for host and managed memory, fabric
// handles, memory for RDMA, and tile pools, none of which the device attributes promise.
[[nodiscard]] CUresult checkPhysicalProperties(const CUmemAllocationProp& properties, int devices);

// The same for the places that cuMemSetAccess and cuMemGetAccess name.
[[nodiscard]] CUresult checkAccessPlace(const CUmemLocation& location, int devices);

}  // namespace farwarp
