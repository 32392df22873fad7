// The physical memory that the program has handles of or has mapped (cuMemCreate).
#pragma once

#include <cuda.h>

#include <cstdint>
#include <mutex>
#include <unordered_map>

namespace farwarp::client {

struct PhysicalMemory {
  CUmemAllocationProp properties{};
  uint64_t references = 1;  // that the program holds
  uint64_t mappings = 0;
};

struct VirtualMemory {
  // Held while gpud changes what is mapped, so that it is told of changes in the order in which
  // they happened here. Guards `physical`. Taken before the session log's lock.
  std::mutex transitions;
  std::unordered_map<uint64_t, PhysicalMemory> physical;  // by handle

  // Null for memory that the program has no handle of. `transitions` is held.
  PhysicalMemory* findHeld(uint64_t handle) {
    const auto found = physical.find(handle);
    return found == physical.end() || found->second.references == 0 ? nullptr : &found->second;
  }
};

}  // namespace farwarp::client
