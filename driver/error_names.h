// Names and sentences of CUDA's error codes.
#pragma once

#include <cuda.h>

namespace farwarp {

// The enumerator's name, or null when `error` is none.
const char* errorName(CUresult error);
// What the error means, or null when `error` is none.
const char* errorString(CUresult error);

// The bodies of cuGetErrorName and cuGetErrorString: CUDA_ERROR_INVALID_VALUE and null when
// unknown.
[[nodiscard]] CUresult getErrorName(CUresult error, const char** name);
[[nodiscard]] CUresult getErrorString(CUresult error, const char** text);

}  // namespace farwarp
