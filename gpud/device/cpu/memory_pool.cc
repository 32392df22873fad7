#include "gpud/device/cpu/memory_pool.h"

#include <sys/random.h>

#include <algorithm>

#include "driver/pool_properties.h"
#include "gpud/device/cpu/driver.h"

namespace farwarp::cpu {
namespace {

constexpr uint64_t kPageBytes = AddressSpace::kPageBytes;
constexpr size_t kPoolsMax = 4096;

uint64_t& attribute(MemoryPool& pool, CUmemPool_attribute which) {
  return pool.attributes[static_cast<size_t>(which)];
}

void add(MemoryPool& pool, CUmemPool_attribute current, CUmemPool_attribute high, uint64_t bytes) {
  uint64_t& now = attribute(pool, current);
  now += bytes;
  attribute(pool, high) = std::max(attribute(pool, high), now);
}

// What AddressSpace is told: it lets a pool's own device in by itself, unless the memory is of
// another process.
uint32_t accessBits(const MemoryPool& pool) {
  return pool.imported ? pool.access | 1u << pool.device : pool.access;
}

}  // namespace

MemoryPools::MemoryPools(Driver& driver) : driver_(driver) {
  for (int device = 0; device < driver.devices(); ++device) {
    defaults_.push_back(add(device, 0, true));
  }
  current_ = defaults_;
}

std::shared_ptr<MemoryPool> MemoryPools::add(int device, uint64_t bytes_max, bool is_default) {
  auto pool = std::make_shared<MemoryPool>();
  pool->device = device;
  pool->bytes_max = bytes_max;
  pool->is_default = is_default;
  attribute(*pool, CU_MEMPOOL_ATTR_REUSE_FOLLOW_EVENT_DEPENDENCIES) = 1;
  attribute(*pool, CU_MEMPOOL_ATTR_REUSE_ALLOW_OPPORTUNISTIC) = 1;
  attribute(*pool, CU_MEMPOOL_ATTR_REUSE_ALLOW_INTERNAL_DEPENDENCIES) = 1;
  pool->handle = reinterpret_cast<CUmemoryPool>(handles_.insert(pool));
  pools_.push_back(pool);
  return pool;
}

CUmemoryPool MemoryPools::currentOf(int device) {
  Lock lock(mutex_);
  return current_[static_cast<size_t>(device)]->handle;
}

CUresult MemoryPools::setCurrent(int device, CUmemoryPool handle) {
  const auto pool = find(handle);
  if (pool == nullptr || pool->device != device || pool->imported) return CUDA_ERROR_INVALID_VALUE;
  Lock lock(mutex_);
  current_[static_cast<size_t>(device)] = pool;
  return CUDA_SUCCESS;
}

CUresult MemoryPools::create(int device, uint64_t bytes_max, bool exportable, CUmemoryPool* out) {
  PoolFile file{.device_index = static_cast<uint32_t>(driver_.device(device)->index())};
  constexpr auto kBytes = static_cast<ssize_t>(sizeof(file.identity));
  if (exportable && getrandom(file.identity, sizeof(file.identity), 0) != kBytes) {
    return CUDA_ERROR_OPERATING_SYSTEM;
  }
  Lock lock(mutex_);
  if (pools_.size() >= kPoolsMax) return CUDA_ERROR_OUT_OF_MEMORY;
  const auto pool = add(device, bytes_max, false);
  pool->exportable = exportable;
  pool->file = file;
  *out = pool->handle;
  return CUDA_SUCCESS;
}

CUresult MemoryPools::destroy(CUmemoryPool handle) {
  Lock lock(mutex_);
  const auto pool = find(handle);
  if (pool == nullptr || pool->is_default) return CUDA_ERROR_INVALID_VALUE;
  handles_.remove(handle);
  pool->destroyed = true;
  attribute(*pool, CU_MEMPOOL_ATTR_RELEASE_THRESHOLD) = 0;
  auto& current = current_[static_cast<size_t>(pool->device)];
  if (current == pool) current = defaults_[static_cast<size_t>(pool->device)];
  releaseOver(*pool, 0);
  forgetDestroyed();
  return CUDA_SUCCESS;
}

CUresult MemoryPools::get(CUmemoryPool handle, CUmemPool_attribute which, uint64_t* value) {
  const auto pool = find(handle);
  if (pool == nullptr || poolAttributeBytes(which) == 0) return CUDA_ERROR_INVALID_VALUE;
  Lock lock(mutex_);
  *value = attribute(*pool, which);
  return CUDA_SUCCESS;
}

CUresult MemoryPools::set(CUmemoryPool handle, CUmemPool_attribute which, uint64_t value) {
  const auto pool = find(handle);
  if (pool == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (CUresult r = checkPoolAttribute(which, value); r != CUDA_SUCCESS) return r;
  Lock lock(mutex_);
  uint64_t& to = attribute(*pool, which);
  to = value;
  if (poolAttributeBytes(which) == sizeof(int)) to = value != 0;
  // High marks start again from what is in use now.
  if (which == CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH) {
    to = attribute(*pool, CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT);
  } else if (which == CU_MEMPOOL_ATTR_USED_MEM_HIGH) {
    to = attribute(*pool, CU_MEMPOOL_ATTR_USED_MEM_CURRENT);
  }
  return CUDA_SUCCESS;
}

CUresult MemoryPools::setAccess(CUmemoryPool handle, uint32_t changed, uint32_t granted) {
  const auto pool = find(handle);
  if (pool == nullptr) return CUDA_ERROR_INVALID_VALUE;
  Lock lock(mutex_);
  pool->access = (pool->access & ~changed) | granted;
  for (const auto& [address, live] : live_) {
    if (live.pool == pool) driver_.memory().setAccess(address, accessBits(*pool));
  }
  for (const auto& [capacity, block] : pool->free) {
    driver_.memory().setAccess(block.address, accessBits(*pool));
  }
  return CUDA_SUCCESS;
}

uint32_t MemoryPools::accessOf(CUmemoryPool handle) {
  const auto pool = find(handle);
  Lock lock(mutex_);
  return pool == nullptr ? 0 : pool->access;
}

CUresult MemoryPools::trim(CUmemoryPool handle, uint64_t bytes_kept) {
  const auto pool = find(handle);
  if (pool == nullptr) return CUDA_ERROR_INVALID_VALUE;
  Lock lock(mutex_);
  releaseOver(*pool, bytes_kept);
  return CUDA_SUCCESS;
}

bool MemoryPools::takeFree(MemoryPool& pool, uint64_t capacity,
                           const std::shared_ptr<Stream>& stream, MemoryPool::FreeBlock& out,
                           uint64_t& out_capacity) {
  Scheduler& scheduler = driver_.scheduler();
  // Nothing is split, so blocks that are much too large are left for what needs them.
  const auto end = pool.free.upper_bound(capacity + capacity / 2);
  auto behind_another = pool.free.end();
  auto found = pool.free.end();
  for (auto at = pool.free.lower_bound(capacity); at != end; ++at) {
    const bool same_stream = at->second.freed.stream == stream;
    if (same_stream || (attribute(pool, CU_MEMPOOL_ATTR_REUSE_ALLOW_OPPORTUNISTIC) != 0 &&
                        scheduler.done({&at->second.freed, 1}))) {
      found = at;
      break;
    }
    if (behind_another == pool.free.end()) behind_another = at;
  }
  if (found == pool.free.end() && behind_another != pool.free.end() &&
      attribute(pool, CU_MEMPOOL_ATTR_REUSE_ALLOW_INTERNAL_DEPENDENCIES) != 0) {
    found = behind_another;
    scheduler.submit(
        stream, [] {}, {found->second.freed}, true);
  }
  if (found == pool.free.end()) return false;
  out_capacity = found->first;
  out = found->second;
  pool.free.erase(found);
  --free_blocks_;
  return true;
}

CUresult MemoryPools::allocate(CUmemoryPool handle, uint64_t bytes,
                               const std::shared_ptr<Stream>& stream, uint64_t* address) {
  const auto pool = find(handle);
  if (pool == nullptr || bytes == 0 || pool->imported) return CUDA_ERROR_INVALID_VALUE;
  uint64_t capacity = (bytes + kPageBytes - 1) / kPageBytes * kPageBytes;
  if (capacity < bytes) return CUDA_ERROR_OUT_OF_MEMORY;
  Lock lock(mutex_);
  MemoryPool::FreeBlock block;
  if (takeFree(*pool, capacity, stream, block, capacity)) {
    *address = block.address;
    driver_.memory().resize(block.address, bytes);
  } else {
    const uint64_t limit = pool->bytes_max;
    if (limit != 0 && attribute(*pool, CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT) >
                          limit - std::min(capacity, limit)) {
      releaseOver(*pool, 0);
    }
    if (limit != 0 && (capacity > limit ||
                       attribute(*pool, CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT) > limit - capacity)) {
      return CUDA_ERROR_OUT_OF_MEMORY;
    }
    const Allocation wanted{
        .bytes = bytes, .kind = MemoryKind::pooled, .device = pool->device, .access = pool->access};
    const uint64_t device_bytes = driver_.device(pool->device)->memoryBytes();
    *address = driver_.memory().allocate(wanted, device_bytes);
    if (*address == 0) {
      lock.unlock();
      releaseUnused(pool->device, true);
      lock.lock();
      *address = driver_.memory().allocate(wanted, device_bytes);
    }
    if (*address == 0) return CUDA_ERROR_OUT_OF_MEMORY;
    cpu::add(*pool, CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT, CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH,
             capacity);
  }
  live_[*address] = {pool, capacity, std::nullopt};
  cpu::add(*pool, CU_MEMPOOL_ATTR_USED_MEM_CURRENT, CU_MEMPOOL_ATTR_USED_MEM_HIGH, capacity);
  return CUDA_SUCCESS;
}

bool MemoryPools::freeBehind(uint64_t address, const Mark& mark) {
  const auto found = live_.find(address);
  if (found == live_.end()) return false;
  const auto [pool, capacity, key] = found->second;
  if (key) DescriptorBroker::get().withdraw(*key);
  live_.erase(found);
  // Known to nobody until it is used again; what was queued before may still use it.
  driver_.memory().resize(address, 0);
  attribute(*pool, CU_MEMPOOL_ATTR_USED_MEM_CURRENT) -= capacity;
  pool->free.emplace(capacity, MemoryPool::FreeBlock{address, mark});
  ++free_blocks_;
  return true;
}

bool MemoryPools::free(uint64_t address, const std::shared_ptr<Stream>& stream) {
  Lock lock(mutex_);
  if (!live_.contains(address)) return false;
  return freeBehind(address, driver_.scheduler().submit(
                                 stream, [] {}, {}, true));
}

bool MemoryPools::freeIdle(uint64_t address) {
  Lock lock(mutex_);
  return freeBehind(address, {});
}

CUmemoryPool MemoryPools::poolOf(uint64_t address) {
  Lock lock(mutex_);
  const auto found = live_.find(address);
  return found == live_.end() ? nullptr : found->second.pool->handle;
}

void MemoryPools::releaseOver(MemoryPool& pool, uint64_t bytes_kept) {
  uint64_t& reserved = attribute(pool, CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT);
  for (auto at = pool.free.begin(); at != pool.free.end();) {
    const auto [capacity, block] = *at;
    const bool over = reserved >= capacity && reserved - capacity >= bytes_kept;
    if (!over || !driver_.scheduler().done({&block.freed, 1})) {
      ++at;
      continue;
    }
    driver_.memory().release(block.address,
                             pool.imported ? MemoryKind::imported : MemoryKind::pooled);
    reserved -= capacity;
    at = pool.free.erase(at);
    --free_blocks_;
  }
}

void MemoryPools::forgetDestroyed() {
  std::erase_if(pools_, [](const auto& pool) {
    return pool->destroyed && pool->attributes[CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT] == 0;
  });
}

void MemoryPools::afterSynchronize() {
  if (free_blocks_.load(std::memory_order_relaxed) == 0) return;
  Lock lock(mutex_);
  for (const auto& pool : pools_) {
    releaseOver(*pool, attribute(*pool, CU_MEMPOOL_ATTR_RELEASE_THRESHOLD));
  }
  forgetDestroyed();
}

void MemoryPools::releaseUnused(int device, bool wait) {
  if (free_blocks_.load(std::memory_order_relaxed) == 0) return;
  std::vector<Mark> pending;
  {
    Lock lock(mutex_);
    for (const auto& pool : pools_) {
      if (pool->device != device) continue;
      releaseOver(*pool, 0);
      for (const auto& [capacity, block] : pool->free) pending.push_back(block.freed);
    }
  }
  if (!wait || pending.empty()) return;
  driver_.scheduler().wait(pending);
  releaseUnused(device, false);
}

}  // namespace farwarp::cpu
