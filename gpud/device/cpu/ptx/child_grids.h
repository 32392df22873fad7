// The grids that a kernel launches (dynamic parallelism). They run when the grid that launched them
// has ended, in the order of their launches: a kernel cannot wait for grids of its own, so that it
// cannot tell.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "gpud/device/cpu/ptx/engine.h"

namespace farwarp::ptx {

struct ChildGrid {
  const Kernel* kernel = nullptr;
  Extent grid, block;
  uint32_t shared_bytes = 0;     // dynamic
  const void* params = nullptr;  // in the memory of ChildGrids
};

// Safe for use by the threads of a launch.
class ChildGrids {
 public:
  static constexpr uint64_t kParamBytesMax = uint64_t{64} << 20;  // of all grids of one launch
  static constexpr uint32_t kDepthMax = 24;                       // of grids launched by grids

  ChildGrids() = default;
  ~ChildGrids();
  ChildGrids(const ChildGrids&) = delete;
  ChildGrids& operator=(const ChildGrids&) = delete;

  // Memory that the kernel fills with the parameters of `grid`; 0 when there is no more.
  uint64_t prepare(const ChildGrid& grid, uint64_t bytes);
  // The grid whose parameters are at `params` is to run; last of all if `at_the_tail`. False when
  // nothing was prepared there, or it was launched before.
  bool launch(uint64_t params, bool at_the_tail);
  // As above, for parameters that were prepared without saying for which grid.
  bool launch(uint64_t params, const ChildGrid& grid, bool at_the_tail);
  // The launched grids, in order. Their parameters live as long as this object.
  std::vector<ChildGrid> take();

  // The memory of the parameters; 0 bytes before the first.
  uint64_t begin() const { return begin_.load(std::memory_order_acquire); }
  uint64_t size() const { return begin() != 0 ? kParamBytesMax : 0; }

 private:
  bool launchLocked(uint64_t params, const ChildGrid* grid, bool at_the_tail);

  std::atomic<uint64_t> begin_{0};
  std::mutex mutex_;  // guards what follows
  uint64_t used_ = 0;
  std::unordered_map<uint64_t, ChildGrid> prepared_;  // by the address of their parameters
  std::vector<ChildGrid> launched_, tail_;
};

}  // namespace farwarp::ptx
