// Device memory: one reserved range of addresses in which allocations lie with inaccessible pages
// between them, and the page-locked host memory that the program made or registered.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <vector>

#include "gpud/device/cpu/ptx/engine.h"

namespace farwarp::cpu {

enum class MemoryKind : uint8_t {
  device,      // cuMemAlloc
  module,      // variables of a module or library
  heap,        // device-side malloc
  host,        // cuMemHostAlloc
  managed,     // cuMemAllocManaged
  registered,  // cuMemHostRegister
};

struct Allocation {
  uint64_t begin = 0;
  uint64_t bytes = 0;  // as asked for
  MemoryKind kind = MemoryKind::device;
  uint64_t context = 0;  // number of the context that owns it
  int device = 0;
  unsigned flags = 0;   // of cuMemHostAlloc or cuMemHostRegister
  uint64_t number = 0;  // CU_POINTER_ATTRIBUTE_BUFFER_ID: never used twice

  uint64_t end() const { return begin + bytes; }
};

class AddressSpace {
 public:
  static constexpr uint64_t kPageBytes = 4096;
  static constexpr size_t kAllocationsMax = 30000;  // Linux gives a process 65530 mappings

  // Reserves up to 1 TiB of addresses; less where the process may not have as much.
  AddressSpace();
  AddressSpace(const AddressSpace&) = delete;
  AddressSpace& operator=(const AddressSpace&) = delete;

  // What kernels may touch: the whole reservation, where the pages between allocations are closed,
  // and host memory; after checkExactly() the bytes of allocations and nothing else.
  ptx::MemoryMap& map() { return exact_ ? exact_map_ : map_; }
  // Makes kernels stop at the first byte outside of all allocations, though every access that they
  // make takes long then. To be called before the first allocation.
  void checkExactly() { exact_ = true; }
  bool reserved(uint64_t address) const {
    return address >= map_.reservedBegin() && address < map_.reservedEnd();
  }

  // Zeroed memory at an address that is a multiple of 4096 (2 MiB from 4 MiB on). 0 when there is
  // none. `bytes_max` limits the memory of kinds device, module and heap that the device has in
  // all.
  uint64_t allocate(const Allocation& wanted, uint64_t bytes_max);
  // Host memory of the program that kernels may touch from now on. False when it overlaps other
  // memory.
  bool add(const Allocation& host);

  // The allocation that holds `address`; false when there is none.
  bool find(uint64_t address, Allocation& found) const;
  // True when all `bytes` (at least 1) from `address` on lie in one allocation.
  bool covers(uint64_t address, uint64_t bytes) const;

  // Ends the allocation that begins at `begin` and is of `kind` (and has `number`, unless that is
  // 0). False when there is none.
  bool release(uint64_t begin, MemoryKind kind, uint64_t number = 0);
  // Says that only `bytes` of the memory at `begin`, not more than was allocated there, belong to
  // the program from now on, as a new allocation. With 0 it is kept, but found no more.
  void resize(uint64_t begin, uint64_t bytes);
  // Ends all allocations of a context.
  void releaseContext(uint64_t context);
  // Memory that a device has given out, in bytes, rounded to pages.
  uint64_t usedBytes(int device) const;

 private:
  struct Placed {
    Allocation allocation;
    uint64_t mapped_bytes;
  };
  struct Reservation {
    uint64_t begin, end;
  };
  static Reservation reserve();
  uint64_t findGap(uint64_t bytes, uint64_t align);
  void unmap(std::map<uint64_t, Placed>::iterator at);

  ptx::MemoryMap map_;
  bool exact_ = false;
  // Its reserved range is one where no memory can be: everything is looked up.
  ptx::MemoryMap exact_map_{64, 128};
  mutable std::mutex mutex_;           // guards the rest
  std::map<uint64_t, Placed> placed_;  // by begin
  std::map<uint64_t, uint64_t> gaps_;  // free parts of the reservation: begin to end
  uint64_t cursor_ = 0;                // where the search for a gap goes on
  uint64_t number_ = 0;
  std::vector<uint64_t> used_bytes_;  // by device
};

}  // namespace farwarp::cpu
