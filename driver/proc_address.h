// cuGetProcAddress over the generated table of names and versions.
#pragma once

#include <cuda.h>

#include "driver_calls_gen.h"

namespace farwarp {

// The body of cuGetProcAddress_v2. `table` is the library's own exports; `driver_version` is what
// cuDriverGetVersion reports. As cuda.h documents: an unknown name or a version older than the
// symbol gives CUDA_SUCCESS, a null `*pfn` and a status that says which; null arguments or a
// version newer than the driver's give CUDA_ERROR_INVALID_VALUE. `status` may be null.
[[nodiscard]] CUresult getProcAddress(const DriverTable& table, int driver_version,
                                      const char* symbol, void** pfn, int cuda_version,
                                      cuuint64_t flags, CUdriverProcAddressQueryResult* status);

}  // namespace farwarp
