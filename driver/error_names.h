// Names and sentences of CUDA's error codes.
#pragma once

#include <cuda.h>

namespace farwarp {

// The enumerator's name, or null when `error`, which may be any number, is none.
const char* errorName(int error);
// What the error means, or null when `error` is none.
const char* errorString(int error);

// The bodies of cuGetErrorName and cuGetErrorString: CUDA_ERROR_INVALID_VALUE and null when
// unknown.
[[nodiscard]] CUresult getErrorName(CUresult error, const char** name);
[[nodiscard]] CUresult getErrorString(CUresult error, const char** text);

}  // namespace farwarp
