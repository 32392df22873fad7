// What a program said about its managed memory: cuMemAdvise, cuMemPrefetchAsync, and what
// cuMemRangeGetAttribute tells of them. All of it are hints; nothing here moves memory.
#pragma once

#include <cuda.h>

#include <cstdint>
#include <map>
#include <mutex>

namespace farwarp {

class ManagedAdvice {
 public:
  static constexpr size_t kRangesMax = 1u << 16;
  static constexpr int kDevicesMax = 62;

  // A location as the older functions name it: a device's number, or CU_DEVICE_CPU.
  static CUmemLocation locationOf(CUdevice device);

  // All ranges are in managed memory, which the caller checks, and are widened to whole pages.
  // CUDA_ERROR_INVALID_VALUE for an unknown advice or kind of location, CUDA_ERROR_INVALID_DEVICE
  // for a device that is not there, CUDA_ERROR_OUT_OF_MEMORY beyond kRangesMax.
  [[nodiscard]] CUresult advise(uint64_t begin, uint64_t bytes, CUmem_advise advice,
                                CUmemLocation location, int devices);
  [[nodiscard]] CUresult prefetched(uint64_t begin, uint64_t bytes, CUmemLocation location,
                                    int devices);
  // As cuMemRangeGetAttribute.
  [[nodiscard]] CUresult attribute(void* data, size_t data_bytes, CUmem_range_attribute attribute,
                                   uint64_t begin, uint64_t bytes) const;
  // The memory is freed.
  void forget(uint64_t begin, uint64_t bytes);

 private:
  struct Facts {
    bool read_mostly = false;
    CUmemLocation preferred{CU_MEM_LOCATION_TYPE_INVALID, 0};
    CUmemLocation prefetched{CU_MEM_LOCATION_TYPE_INVALID, 0};
    uint64_t accessed_by = 0;  // a bit per device, and kHostBit
  };
  struct Range {
    uint64_t end;
    Facts facts;
  };
  template <typename Change>
  CUresult change(uint64_t begin, uint64_t bytes, const Change& change);
  void splitAt(uint64_t address);
  // What holds for all pages of the range.
  Facts common(uint64_t begin, uint64_t bytes) const;

  mutable std::mutex mutex_;  // guards ranges_; a leaf lock
  std::map<uint64_t, Range> ranges_;
};

}  // namespace farwarp
