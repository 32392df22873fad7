// Asks the driver for everything that a client must know about the kernels of an image
// (protocol/kernel_table.h).
#pragma once

#include <cuda.h>

#include <cstddef>
#include <vector>

#include "gpud/device/driver_table.h"

namespace farwarp::worker {

// Packed tables. Empty when the driver does not answer or the image has more than the limits allow;
// `result` then says why.
std::vector<std::byte> moduleKernels(const DriverTable& driver, CUmodule module, CUresult& result);
std::vector<std::byte> libraryKernels(const DriverTable& driver, CUlibrary library,
                                      CUresult& result);

}  // namespace farwarp::worker
