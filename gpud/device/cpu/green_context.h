// Green contexts: some multiprocessors of a device, and streams whose kernels run on these. All
// else, from memory to errors, is that of the device's primary context.
#pragma once

#include <cuda.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <shared_mutex>
#include <unordered_map>
#include <vector>

#include "gpud/device/cpu/context_streams.h"
#include "gpud/device/cpu/handle_table.h"
#include "gpud/device/cpu/multiprocessors.h"

namespace farwarp::cpu {

class Context;
class Driver;

class GreenContext {
 public:
  GreenContext(std::shared_ptr<Context> primary, MultiprocessorSet set, uint64_t number,
               Scheduler& scheduler);

  const std::shared_ptr<Context>& primary() const { return primary_; }
  uint64_t number() const { return number_; }
  const MultiprocessorSet& set() const { return set_; }
  ContextStreams& streams() { return streams_; }
  bool active() const { return active_.load(std::memory_order_acquire); }

  CUgreenCtx handle() const { return handle_; }
  // What cuCtxFromGreenCtx gives: in the table of contexts it stands for the primary one.
  CUcontext contextHandle() const { return context_handle_; }

 private:
  friend class GreenContexts;

  const std::shared_ptr<Context> primary_;
  const MultiprocessorSet set_;
  const uint64_t number_;
  ContextStreams streams_;
  std::atomic<bool> active_{true};
  CUgreenCtx handle_ = nullptr;
  CUcontext context_handle_ = nullptr;
};

class GreenContexts {
 public:
  static constexpr size_t kMost = 4096;  // green contexts, and descriptions of resources

  explicit GreenContexts(Driver& driver) : driver_(driver) {}

  // Null when there are too many.
  CUdevResourceDesc describe(MultiprocessorSet set);
  std::shared_ptr<MultiprocessorSet> findDescription(CUdevResourceDesc description) const {
    return descriptions_.find(description);
  }

  // `primary` is active. CUDA_ERROR_OUT_OF_MEMORY.
  CUresult create(const std::shared_ptr<Context>& primary, const MultiprocessorSet& set,
                  std::shared_ptr<GreenContext>& green);
  // Waits for its work. False when it is none, or no more.
  bool destroy(CUgreenCtx green);
  // The primary context ends, and its green contexts with it. Nothing runs in them any more.
  void contextEnds(const Context& primary);

  std::shared_ptr<GreenContext> find(CUgreenCtx green) const { return handles_.find(green); }
  // The green context that a CUcontext came from; null for every other context.
  std::shared_ptr<GreenContext> ofContext(CUcontext context) const;
  std::vector<std::shared_ptr<GreenContext>> ofPrimary(const Context& primary) const;

 private:
  void end(GreenContext& green);

  Driver& driver_;
  HandleTable<GreenContext> handles_{9};
  HandleTable<MultiprocessorSet> descriptions_{11};
  std::atomic<size_t> live_{0};
  mutable std::shared_mutex mutex_;  // guards by_context_; a leaf
  std::unordered_map<CUcontext, std::shared_ptr<GreenContext>> by_context_;
};

}  // namespace farwarp::cpu
