// The addresses of device memory: one reserved range in which allocations lie with inaccessible
// pages between them, and the page-locked host memory that the program made or registered.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "gpud/device/cpu/address_zone.h"
#include "gpud/device/cpu/ptx/engine.h"

namespace farwarp::cpu {

class AddressSpace;

enum class MemoryKind : uint8_t {
  device,      // cuMemAlloc
  pooled,      // cuMemAllocAsync
  module,      // variables of a module or library
  heap,        // device-side malloc
  mapped,      // cuMemMap
  imported,    // cuIpcOpenMemHandle
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
  // Of kinds pooled, mapped and imported: the devices whose kernels may touch it, a bit each. A
  // pool's own device may always; mapped memory that none may touch is closed to copies as well.
  uint32_t access = 0;
  uint64_t physical = 0;  // of kind mapped: the handle of what is mapped

  uint64_t end() const { return begin + bytes; }
};

// What the kernels of one context may touch.
class MemoryView {
 public:
  ~MemoryView();
  MemoryView(const MemoryView&) = delete;
  MemoryView& operator=(const MemoryView&) = delete;

  // Between allocations the pages are closed, so the map may name more than these; after
  // AddressSpace::checkExactly() it has the bytes of allocations and nothing else.
  ptx::MemoryMap& map() { return map_; }

 private:
  friend class AddressSpace;
  MemoryView(AddressSpace& space, int device, uint64_t reserved_begin, uint64_t reserved_end)
      : space_(space), device_(device), map_(reserved_begin, reserved_end) {}

  AddressSpace& space_;
  const int device_;
  uint32_t peers_ = 0;  // devices whose memory it sees, a bit each
  ptx::MemoryMap map_;
};

class AddressSpace {
 public:
  static constexpr uint64_t kPageBytes = 4096;
  static constexpr size_t kAllocationsMax = 30000;  // Linux gives a process 65530 mappings

  // Reserves up to 1 TiB of addresses; less where the process may not have as much.
  AddressSpace();
  AddressSpace(const AddressSpace&) = delete;
  AddressSpace& operator=(const AddressSpace&) = delete;

  // Makes kernels stop at the first byte outside of all allocations, though every access that they
  // make takes long then. To be called before the first allocation.
  void checkExactly() { exact_ = true; }
  // Gives each device addresses of its own, so that kernels can be kept from other devices' memory.
  // To be called before the first allocation; without it there is one device.
  void divide(unsigned devices);

  bool usable() const { return end_ != 0; }
  bool reserved(uint64_t address) const { return address >= begin_ && address < end_; }

  // What kernels of a context on `device` may touch, for as long as the view lives.
  std::unique_ptr<MemoryView> view(int device);
  // Lets the view see the memory of another device that cuMemAlloc gave, or no longer.
  void setPeer(MemoryView& view, int device, bool seen);

  // Zeroed memory at an address that is a multiple of 4096 (2 MiB from 4 MiB on). 0 when there is
  // none. `bytes_max` limits the memory that the device has in all.
  uint64_t allocate(const Allocation& wanted, uint64_t bytes_max);
  // Host memory of the program that kernels may touch from now on. False when it overlaps other
  // memory.
  bool add(const Allocation& host);

  // Addresses for memory that is mapped later: whole pages at a multiple of `align`, a power of
  // two, at `wanted` if that is possible. 0 when there is no room.
  uint64_t reserve(uint64_t bytes, uint64_t align, uint64_t wanted);
  // Nothing is mapped there any more.
  void unreserve(uint64_t begin, uint64_t bytes);
  // Maps pages of a file at `mapping.begin`, which is reserved. False when the system refuses.
  bool map(const Allocation& mapping, int file, uint64_t offset);
  bool unmap(uint64_t begin);
  // Puts the memory of kind device into a file, which the caller closes, without a change of
  // address or content. Nothing may touch it meanwhile. -1 when it is not there any more, or the
  // system refuses.
  int moveToFile(const Allocation& memory, uint32_t device_index);
  // Memory that counts as the device's though it may not be mapped. False when it has no more.
  bool charge(int device, uint64_t bytes, uint64_t bytes_max);
  void discharge(int device, uint64_t bytes);

  // Which devices may touch the memory of kind pooled or mapped that begins at `begin`.
  void setAccess(uint64_t begin, uint32_t access);

  // The allocation that holds `address` and may be touched; false when there is none. Of mappings
  // that lie side by side the first one, with the bytes of all.
  bool find(uint64_t address, Allocation& found) const;
  // The same, one mapping alone, and closed ones too.
  bool findOne(uint64_t address, Allocation& found) const;
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
  friend class MemoryView;
  struct Placed {
    Allocation allocation;
    uint64_t mapped_bytes;
  };
  using Placement = std::map<uint64_t, Placed>;

  // With several devices: memory that all of them see; addresses for mappings; and for each device
  // its memory, and that of its pools.
  size_t zoneFor(MemoryKind kind, int device) const;
  AddressZone& zoneAt(uint64_t address);
  const AddressZone& ownZone(int device) const {
    return zones_[zoneFor(MemoryKind::device, device)];
  }
  bool single() const { return zones_.size() == 1; }

  bool mayTouch(const MemoryView& view, const Allocation& allocation) const;
  bool isListed(const MemoryView& view, const Allocation& allocation) const;
  void show(const Allocation& allocation);
  void hide(const Allocation& allocation);
  void unmap(Placement::iterator at);
  void forget(MemoryView& view);
  bool chargeLocked(int device, uint64_t bytes, uint64_t bytes_max);

  uint64_t begin_ = 0;
  uint64_t end_ = 0;
  bool exact_ = false;
  mutable std::mutex mutex_;  // guards the rest
  std::vector<AddressZone> zones_;
  std::vector<MemoryView*> views_;
  Placement placed_;  // by begin
  uint64_t number_ = 0;
  std::vector<uint64_t> used_bytes_;  // by device
};

}  // namespace farwarp::cpu
