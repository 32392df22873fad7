#include <dlfcn.h>
#include <fmt/format.h>

#include <cstring>

#include "gpud/device/driver_table.h"

namespace farwarp {
namespace {

// Stands in for a function that the driver does not have. Called through pointers of other types
// with other arguments: all of them are passed in registers or by the caller, and the result is a
// CUresult.
CUresult missingFunction() {
  return CUDA_ERROR_NOT_FOUND;
}

static_assert(sizeof(DriverTable) == kDriverFunctionCount * sizeof(void*));

}  // namespace

bool Driver::load(const std::string& path, std::string& error) {
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    error = fmt::format("The CUDA driver library cannot be loaded: {}.", dlerror());
    return false;
  }
  auto* slots = reinterpret_cast<char*>(&table_);
  for (size_t i = 0; i < kDriverFunctionCount; ++i) {
    void* function = dlsym(library, kDriverSymbolNames[i]);
    if (function == nullptr) {
      function = reinterpret_cast<void*>(&missingFunction);
      ++missing_;
    }
    std::memcpy(slots + i * sizeof(void*), &function, sizeof(void*));
  }
  if (dlsym(library, "cuInit") == nullptr || dlsym(library, "cuGetProcAddress_v2") == nullptr) {
    error = fmt::format(
        "{} is not a CUDA 12 or later driver: it does not export cuInit and "
        "cuGetProcAddress_v2.",
        path);
    return false;
  }
  return true;
}

}  // namespace farwarp
