#include "driver/proc_address.h"

#include <cstring>

#include "proc_address_gen.h"

namespace farwarp {

CUresult getProcAddress(const DriverTable& table, int driver_version, const char* symbol,
                        void** pfn, int cuda_version, cuuint64_t flags,
                        CUdriverProcAddressQueryResult* status) {
  constexpr cuuint64_t kKnownFlags =
      CU_GET_PROC_ADDRESS_LEGACY_STREAM | CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM;
  if (symbol == nullptr || pfn == nullptr || (flags & ~kKnownFlags) != 0) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  *pfn = nullptr;
  if (cuda_version > driver_version) return CUDA_ERROR_INVALID_VALUE;
  CUdriverProcAddressQueryResult found = CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND;
  const int index = findProcAddress(symbol, cuda_version, flags, &found);
  if (status != nullptr) *status = found;
  if (index < 0 || static_cast<size_t>(index) >= kDriverFunctionCount) return CUDA_SUCCESS;
  // The table is nothing but function pointers in the order of the index.
  static_assert(sizeof(DriverTable) == kDriverFunctionCount * sizeof(void*));
  std::memcpy(pfn, reinterpret_cast<const std::byte*>(&table) + index * sizeof(void*),
              sizeof(void*));
  return CUDA_SUCCESS;
}

}  // namespace farwarp
