// The device memory that the session allocated: what it may free, and what goes with a context.
#pragma once

#include <cuda.h>

#include <cstdint>
#include <map>
#include <optional>

namespace farwarp::worker {

class MemoryMap {
 public:
  void add(CUdeviceptr address, uint64_t bytes, CUcontext context) {
    allocations_[address] = {bytes, context};
  }
  // Forgets the allocation that starts at `address`; nothing when none does.
  std::optional<CUcontext> remove(CUdeviceptr address) {
    const auto it = allocations_.find(address);
    if (it == allocations_.end()) return std::nullopt;
    const CUcontext context = it->second.context;
    allocations_.erase(it);
    return context;
  }
  void contextEnds(CUcontext context) {
    std::erase_if(allocations_, [context](const auto& a) { return a.second.context == context; });
  }
  size_t allocations() const { return allocations_.size(); }

 private:
  struct Allocation {
    uint64_t bytes;
    CUcontext context;
  };
  std::map<CUdeviceptr, Allocation> allocations_;
};

}  // namespace farwarp::worker
