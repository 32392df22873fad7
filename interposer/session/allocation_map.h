// The memory that the program got from CUDA, so that questions about an address need no server.
//
// Device addresses are gpud's, host addresses are this process's. Both kinds are numbers of the
// same size and may in theory overlap; a lookup that does not say which it means prefers the
// device.
#pragma once

#include <cuda.h>

#include <atomic>
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
  managed,     // cuMemAllocManaged and managed variables: both sides use it, at one address
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
  bool shared = false;          // host memory that gpud has too, and kernels see
  bool global = false;          // a module's variable: ends with its module, cannot be freed
  uint64_t owner = 0;           // the module or library of a global
  uint64_t region = 0;          // of a managed variable: where the shared pages begin
  bool stream_ordered = false;  // from a memory pool; belongs to no context
  uint64_t pool = 0;            // handle of that pool, 0 for the device's default one
  bool imported = false;        // of another process: closed, not freed
  uint64_t physical = 0;        // handle of what is mapped here (cuMemMap), 0 for other memory
  uint64_t access = 0;          // of a mapping: the devices that may use it, a bit each
  uint32_t handle_types = 0;    // CUmemAllocationHandleType, of what other processes may import
};

class AllocationMap {
 public:
  // Chooses the buffer number. False when the range is empty, wraps around or overlaps one that is
  // known and of the same side (device or host).
  bool add(Allocation allocation);

  // Ends the allocation that starts at `base`; nothing when there is none.
  std::optional<Allocation> removeDevice(uint64_t base);
  std::optional<Allocation> removeHost(uint64_t base);

  // The allocation that `address` lies in. Memory of the device is also host memory that it sees.
  // Of mappings side by side, findDevice gives the first one with the bytes of all; it knows none
  // that no device may use.
  std::optional<Allocation> find(uint64_t address) const;
  std::optional<Allocation> findDevice(uint64_t address) const;
  std::optional<Allocation> findHost(uint64_t address) const;

  // Host memory that begins at `base` is seen by the device from now on.
  void setShared(uint64_t base);
  bool anyPlainHost() const { return host_high_.load(std::memory_order_relaxed) != 0; }
  // True when host memory may lie at `address`. Cheap.
  bool maybePlainHost(uint64_t address) const {
    return address >= host_low_.load(std::memory_order_relaxed) &&
           address < host_high_.load(std::memory_order_relaxed);
  }

  // The devices that may use the mapping that begins at `base`.
  void setAccess(uint64_t base, uint64_t access);
  // CU_POINTER_ATTRIBUTE_SYNC_MEMOPS of the allocation that `address` lies in. False if none.
  bool setSyncMemops(uint64_t address, bool on);

  // Ends the memory of a context, or of a module or library, that gpud shares, and gives it back.
  std::vector<Allocation> removeShared(uint64_t context);
  std::vector<Allocation> removeVariables(uint64_t owner);
  // The context, module or library is over. Gives back what is memory of this process.
  std::vector<Allocation> removeContext(uint64_t context);
  void removeOwner(uint64_t owner);

 private:
  using Ranges = std::map<uint64_t, Allocation>;
  static const Allocation* lookup(const Ranges& ranges, uint64_t address);
  std::optional<Allocation> widened(Allocation mapping) const;
  static std::optional<Allocation> take(Ranges& ranges, uint64_t base);

  mutable std::shared_mutex mutex_;  // guards everything below; a leaf lock
  Ranges device_;
  Ranges host_;
  uint64_t next_buffer_ = 1;
  std::atomic<uint64_t> host_low_{~uint64_t{0}};  // host memory lies in [host_low_, host_high_)
  std::atomic<uint64_t> host_high_{0};
};

}  // namespace farwarp::client
