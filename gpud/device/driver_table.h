// The seam between gpud and a device: one pointer per CUDA driver function.
//
// The table itself is generated (struct DriverTable in driver_calls_gen.h). The real libcuda.so.1
// fills it, and so does the CPU device, which is a library with the same exports.
#pragma once

#include <string>

#include "driver_calls_gen.h"

namespace farwarp {

// A driver library that stays loaded until the process ends: a driver's threads and handlers
// outlive every attempt to unload it.
class Driver {
 public:
  // Loads the library at `path` (or by name, as dlopen does), without letting its symbols into the
  // global scope, and fills the table. Functions that an older driver does not have return
  // CUDA_ERROR_NOT_FOUND when called. False with a full sentence in `error` when the library cannot
  // be loaded or is not a CUDA driver.
  [[nodiscard]] bool load(const std::string& path, std::string& error);

  const DriverTable& table() const { return table_; }
  size_t missingFunctions() const { return missing_; }

 private:
  DriverTable table_{};
  size_t missing_ = 0;
};

}  // namespace farwarp
