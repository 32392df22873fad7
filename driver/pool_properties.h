// What cuMemPoolCreate and the functions that name a location accept here: pools of device memory,
// for this process or with file descriptors for others.
#pragma once

#include <cuda.h>

#include <cstddef>
#include <cstdint>

namespace farwarp {

// CUDA_ERROR_INVALID_VALUE for what CUDA refuses; CUDA_ERROR_NOT_SUPPORTED for pools of host or
// managed memory, with other handles than file descriptors, or for hardware decompression. The
// device is for the caller to check.
[[nodiscard]] CUresult checkPoolProperties(const CUmemPoolProps& properties);

// The same for where cuMemGetDefaultMemPool and its like look for a pool.
[[nodiscard]] CUresult checkPoolPlace(const CUmemLocation* location, CUmemAllocationType type);

// Bytes of an attribute's value: 4 (int) or 8 (cuuint64_t); 0 for no attribute.
[[nodiscard]] size_t poolAttributeBytes(CUmemPool_attribute attribute);

// CUDA_ERROR_INVALID_VALUE for an attribute that cannot be set, or not to this value.
[[nodiscard]] CUresult checkPoolAttribute(CUmemPool_attribute attribute, uint64_t value);

}  // namespace farwarp
