// Stream-ordered allocation: pools that keep freed memory for later allocations, by CUDA's rules of
// when one may get what another stream freed.
#pragma once

#include <cuda.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <unordered_map>
#include <vector>

#include "gpud/device/cpu/handle_table.h"
#include "gpud/device/cpu/memory_file.h"
#include "gpud/device/cpu/scheduler.h"
#include "gpud/device/descriptor_broker.h"

namespace farwarp::cpu {

class Driver;

// All but the constants is guarded by MemoryPools' mutex.
struct MemoryPool {
  // Memory that was freed and may be used again behind `freed`.
  struct FreeBlock {
    uint64_t address;
    Mark freed;
  };

  int device = 0;
  uint64_t bytes_max = 0;  // 0: as much as the device has
  bool is_default = false;
  bool exportable = false;  // made for several processes
  bool imported = false;    // of another process, or of this one: nothing is allocated from it
  PoolFile file;            // of both
  CUmemoryPool handle = nullptr;

  bool destroyed = false;
  uint32_t access = 0;  // other devices that may use its memory, a bit each
  std::array<uint64_t, CU_MEMPOOL_ATTR_USED_MEM_HIGH + 1> attributes{};
  std::multimap<uint64_t, FreeBlock> free;  // by bytes
};

class MemoryPools {
 public:
  explicit MemoryPools(Driver& driver);

  // Pools by handle. Null when there is none.
  std::shared_ptr<MemoryPool> find(CUmemoryPool handle) const { return handles_.find(handle); }
  CUmemoryPool defaultOf(int device) const {
    return defaults_[static_cast<size_t>(device)]->handle;
  }
  CUmemoryPool currentOf(int device);
  // CUDA_ERROR_INVALID_VALUE for a pool of another device.
  CUresult setCurrent(int device, CUmemoryPool pool);

  CUresult create(int device, uint64_t bytes_max, bool exportable, CUmemoryPool* pool);
  // What is allocated stays until it is freed.
  CUresult destroy(CUmemoryPool pool);

  CUresult get(CUmemoryPool pool, CUmemPool_attribute attribute, uint64_t* value);
  CUresult set(CUmemoryPool pool, CUmemPool_attribute attribute, uint64_t value);
  // Of the devices in `changed`, a bit each, those in `granted` may use the pool's memory
  // afterwards.
  CUresult setAccess(CUmemoryPool pool, uint32_t changed, uint32_t granted);
  // The devices that may, besides its own.
  uint32_t accessOf(CUmemoryPool pool);
  // Gives back what is free and over `bytes_kept` of reserved memory.
  CUresult trim(CUmemoryPool pool, uint64_t bytes_kept);

  // Memory that may be used behind all that `stream` was given.
  CUresult allocate(CUmemoryPool pool, uint64_t bytes, const std::shared_ptr<Stream>& stream,
                    uint64_t* address);
  // Ends an allocation behind all that the stream was given. False when none starts at `address`.
  bool free(uint64_t address, const std::shared_ptr<Stream>& stream);
  // The same when nothing uses the memory any more.
  bool freeIdle(uint64_t address);

  // The pool of an allocation; null when `address` is not the start of one.
  CUmemoryPool poolOf(uint64_t address);

  // Pools of several processes (memory_pool_sharing.cc). A descriptor that the caller closes.
  CUresult exportPool(CUmemoryPool pool, int* file);
  // Takes nothing: the caller keeps its descriptor.
  CUresult importPool(int file, CUmemoryPool* pool);
  // Waits until nothing runs, once for each allocation.
  CUresult exportPointer(uint64_t address, CUmemPoolPtrExportData* data);
  CUresult importPointer(CUmemoryPool pool, const CUmemPoolPtrExportData& data, uint64_t* address);

  // The host has seen work end: what is over the release thresholds goes back.
  void afterSynchronize();
  // The device has no more memory: gives back all that is free. With `wait`, also what streams will
  // have freed once they get there.
  void releaseUnused(int device, bool wait);

 private:
  struct Live {
    std::shared_ptr<MemoryPool> pool;
    uint64_t capacity;
    std::optional<DescriptorKey> key = std::nullopt;  // once it was exported
  };
  using Lock = std::unique_lock<std::mutex>;

  std::shared_ptr<MemoryPool> add(int device, uint64_t bytes_max, bool is_default);
  bool takeFree(MemoryPool& pool, uint64_t capacity, const std::shared_ptr<Stream>& stream,
                MemoryPool::FreeBlock& out, uint64_t& out_capacity);
  bool freeBehind(uint64_t address, const Mark& mark);
  CUresult offerMemory(uint64_t address);
  void releaseOver(MemoryPool& pool, uint64_t bytes_kept);
  void forgetDestroyed();

  Driver& driver_;
  HandleTable<MemoryPool> handles_{7};
  std::vector<std::shared_ptr<MemoryPool>> defaults_;  // by device; written once

  std::mutex export_mutex_;  // held while an allocation is moved into a file; taken before mutex_
  std::mutex
      mutex_;  // guards the rest and the pools; taken before the scheduler's and the memory's
  std::vector<std::shared_ptr<MemoryPool>> pools_;    // destroyed ones that still have memory, too
  std::vector<std::shared_ptr<MemoryPool>> current_;  // by device
  std::unordered_map<uint64_t, Live> live_;           // by address
  std::atomic<size_t> free_blocks_{0};
};

}  // namespace farwarp::cpu
