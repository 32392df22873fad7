// The memory that the program got from CUDA, so that questions about an address need no server.
//
// Device addresses are gpud's, host addresses are this process's. Both kinds are numbers of the
// same size and may in theory overlap; a lookup that does not say which it means prefers the
// device.
#pragma once

#include <cuda.h>

#include <cstdint>
#include <map>
#include <optional>
#include <shared_mutex>
#include <vector>

namespace farwarp::client {

enum class AllocationKind : uint8_t {
  device,      // cuMemAlloc and the like, module globals
  pinned,      // cuMemAllocHost, cuMemHostAlloc: memory of ours
  registered,  // cuMemHostRegister: the program's own memory
};

struct Allocation {
  uint64_t base = 0;
  uint64_t bytes = 0;
  AllocationKind kind = AllocationKind::device;
  uint64_t context = 0;  // handle of the context that owns it
  int device = 0;
  uint32_t flags = 0;   // as given to cuMemHostAlloc or cuMemHostRegister
  uint64_t buffer = 0;  // CU_POINTER_ATTRIBUTE_BUFFER_ID: never used twice in a process
  bool sync_memops = false;
  bool global = false;          // a module's variable: ends with its module, cannot be freed
  uint64_t owner = 0;           // the module or library of a global
  bool stream_ordered = false;  // from a memory pool; belongs to no context
  uint64_t pool = 0;            // handle of that pool, 0 for the device's default one
};

class AllocationMap {
 public:
  // Chooses the buffer number. False when the range is empty, wraps around or overlaps one that is
  // known and of the same side (device or host).
  bool add(Allocation allocation);

  // Ends the allocation that starts at `base`; nothing when there is none.
  std::optional<Allocation> removeDevice(uint64_t base);
  std::optional<Allocation> removeHost(uint64_t base);

  // The allocation that `address` lies in.
  std::optional<Allocation> find(uint64_t address) const;
  std::optional<Allocation> findDevice(uint64_t address) const;
  std::optional<Allocation> findHost(uint64_t address) const;

  // CU_POINTER_ATTRIBUTE_SYNC_MEMOPS of the allocation that `address` lies in. False if none.
  bool setSyncMemops(uint64_t address, bool on);

  // The context, module or library is over. Gives back the host memory to free.
  std::vector<Allocation> removeContext(uint64_t context);
  void removeOwner(uint64_t owner);

 private:
  using Ranges = std::map<uint64_t, Allocation>;
  static const Allocation* lookup(const Ranges& ranges, uint64_t address);
  static std::optional<Allocation> take(Ranges& ranges, uint64_t base);

  mutable std::shared_mutex mutex_;  // guards everything below; a leaf lock
  Ranges device_;
  Ranges host_;
  uint64_t next_buffer_ = 1;
};

}  // namespace farwarp::client
