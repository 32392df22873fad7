// The tables that cudart and the math libraries fetch with cuGetExportTable.
//
// Layout and meaning were found by running cudart 13.0 and the libraries of that toolkit against a
// logging driver; nothing here comes from a header. Other tables are refused, as an older driver
// would.
#pragma once

#include <cuda.h>

#include "driver/context_local_storage.h"
#include "driver/driver_front.h"

namespace farwarp {

// Gives the tables the driver they belong to. Call once, before the first findHiddenTable. The
// functions in the tables take no user pointer, so the library has one front; it is never
// destroyed.
void installHiddenTables(DriverFront& front);

// The body of cuGetExportTable: CUDA_ERROR_INVALID_VALUE and null for a table that is not given.
[[nodiscard]] CUresult findHiddenTable(const void** table, const CUuuid* id);

// The values that cudart keeps per context. The driver calls `contextLocalStorage().endContext(c)`
// from cuDevicePrimaryCtxReset, from the release that ends a primary context, and from
// cuCtxDestroy.
ContextLocalStorage& contextLocalStorage();

}  // namespace farwarp
