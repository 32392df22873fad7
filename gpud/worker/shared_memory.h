// Host memory that lies at the same address in the client and here, so that kernels see what the
// client's program sees: page-locked and registered memory that kernels use, and managed memory.
//
// The client says what changed in its copy before the device may look, and asks for what lies here
// after the device may have written (interposer/session/shared_memory.h). The device reaches the
// pages through the driver's registration of host memory, which is the same for every driver.
#pragma once

#include <cuda.h>

#include <cstdint>
#include <map>
#include <span>

#include "driver_calls_gen.h"

namespace farwarp::worker {

class SharedMemory {
 public:
  static constexpr uint64_t kPageBytes = 4096;
  static constexpr size_t kRangesMax = 16384;  // Linux gives a process 65530 mappings

  // `bytes_max`: of all ranges together.
  SharedMemory(const DriverTable& driver, uint64_t bytes_max)
      : driver_(driver), bytes_max_(bytes_max) {}

  // Maps zeroed pages from `address` on, and nowhere else, and registers them with the driver in
  // the current context, for all contexts. CUDA_ERROR_INVALID_VALUE for what is no range of whole
  // pages, CUDA_ERROR_OUT_OF_MEMORY beyond a limit, CUDA_ERROR_NOT_SUPPORTED when something else
  // lies there in this process, or the device would see the memory at another address.
  [[nodiscard]] CUresult map(uint64_t address, uint64_t bytes, CUcontext context);
  // The same for pages that are managed memory of the driver's own, which are used as they are,
  // until the client says that it unloads what they belong to.
  [[nodiscard]] CUresult adopt(uint64_t address, uint64_t bytes);
  // CUDA_ERROR_INVALID_VALUE when no range begins there. Waits for the device as the driver does.
  [[nodiscard]] CUresult unmap(uint64_t address);

  // True when all `bytes` (at least 1) from `address` on are shared.
  bool covers(uint64_t address, uint64_t bytes) const;

  // The context is idle and about to go.
  void contextEnds(CUcontext context);

  // The pages of the driver's allocation that `address` lies in, when that is managed memory; zeros
  // otherwise.
  static void pagesOf(const DriverTable& driver, uint64_t address, uint64_t& begin,
                      uint64_t& bytes);

  size_t ranges() const { return ranges_.size(); }

 private:
  struct Range {
    uint64_t bytes;
    CUcontext context;
    bool foreign;
  };
  using Ranges = std::map<uint64_t, Range>;
  [[nodiscard]] CUresult checkNew(uint64_t address, uint64_t bytes) const;
  [[nodiscard]] CUresult registerPages(uint64_t address, uint64_t bytes) const;
  CUresult release(Ranges::iterator range);

  const DriverTable& driver_;
  const uint64_t bytes_max_;
  uint64_t bytes_ = 0;
  Ranges ranges_;  // by address
};

}  // namespace farwarp::worker
