// The device memory that the session allocated: what it may free, what goes with a context, and how
// much of each device it holds.
#pragma once

#include <cuda.h>

#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>

#include "gpud/metering/session_counters.h"

namespace farwarp::worker {

class MemoryMap {
 public:
  // `counters` are told how many bytes each device holds; they must outlive the map.
  explicit MemoryMap(SessionCounters& counters) : counters_(counters) {}

  void add(CUdeviceptr address, uint64_t bytes, CUcontext context, CUdevice device) {
    allocations_[address] = count(bytes, device, context);
  }
  bool has(CUdeviceptr address) const { return allocations_.contains(address); }
  // Forgets the allocation that starts at `address`; nothing when none does.
  std::optional<CUcontext> remove(CUdeviceptr address) {
    const auto it = allocations_.find(address);
    if (it == allocations_.end()) return std::nullopt;
    const CUcontext context = it->second.context;
    uncount(it->second);
    allocations_.erase(it);
    return context;
  }
  void contextEnds(CUcontext context) {
    std::erase_if(allocations_, [&](const auto& entry) {
      if (entry.second.context != context) return false;
      uncount(entry.second);
      return true;
    });
  }
  // Memory that has an id and belongs to no context, mapped or not (cuMemCreate).
  void addPhysical(uint64_t id, uint64_t bytes, CUdevice device) {
    physical_[id] = count(bytes, device, nullptr);
  }
  void removePhysical(uint64_t id) {
    const auto it = physical_.find(id);
    if (it == physical_.end()) return;  // another session's
    uncount(it->second);
    physical_.erase(it);
  }
  size_t allocations() const { return allocations_.size() + physical_.size(); }

 private:
  struct Allocation {
    uint64_t bytes;
    CUcontext context;
    size_t device;
  };
  Allocation count(uint64_t bytes, CUdevice device, CUcontext context) {
    const size_t last = SessionCounters::kDevices - 1;
    const size_t counted = std::min(static_cast<size_t>(std::max(device, 0)), last);
    counters_.memory_bytes[counted] += bytes;
    return {bytes, context, counted};
  }
  void uncount(const Allocation& gone) { counters_.memory_bytes[gone.device] -= gone.bytes; }

  SessionCounters& counters_;
  std::map<CUdeviceptr, Allocation> allocations_;
  std::map<uint64_t, Allocation> physical_;  // by id
};

}  // namespace farwarp::worker
