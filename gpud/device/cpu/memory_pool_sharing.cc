// Memory pools of several processes. The descriptor of a pool says which one it is; an allocation
// is moved into a file when it is exported first, and what is told of it holds the key of the file.
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "gpud/device/cpu/driver.h"
#include "gpud/device/cpu/memory_pool.h"

namespace farwarp::cpu {
namespace {

constexpr char kMagic[8] = "fw-ptr1";

// What is in CUDA's structure; the rest is zero.
struct PointerContent {
  char magic[sizeof(kMagic)];
  uint64_t pool[2];
  std::byte key[DescriptorKey::kBytes];
};
static_assert(sizeof(PointerContent) <= sizeof(CUmemPoolPtrExportData));

bool samePool(const uint64_t (&identity)[2], const MemoryPool& pool) {
  return std::equal(std::begin(identity), std::end(identity), std::begin(pool.file.identity));
}

}  // namespace

CUresult MemoryPools::exportPool(CUmemoryPool handle, int* file) {
  const auto pool = find(handle);
  if (pool == nullptr || !pool->exportable) return CUDA_ERROR_INVALID_VALUE;
  *file = createPoolFile(pool->file);
  return *file >= 0 ? CUDA_SUCCESS : CUDA_ERROR_OPERATING_SYSTEM;
}

CUresult MemoryPools::importPool(int file, CUmemoryPool* out) {
  PoolFile content;
  if (!openPoolFile(file, content)) return CUDA_ERROR_INVALID_VALUE;
  const int device = driver_.deviceByIndex(content.device_index);
  if (device < 0) return CUDA_ERROR_INVALID_DEVICE;
  if (CUresult r = create(device, 0, false, out); r != CUDA_SUCCESS) return r;
  const auto pool = find(*out);
  Lock lock(mutex_);
  pool->imported = true;
  pool->file = content;
  return CUDA_SUCCESS;
}

// Nothing is locked while work ends, because that may free memory.
CUresult MemoryPools::offerMemory(uint64_t address) {
  Allocation memory;
  uint32_t device_index = 0;
  {
    Lock lock(mutex_);
    const auto found = live_.find(address);
    if (found == live_.end() || !found->second.pool->exportable) return CUDA_ERROR_INVALID_VALUE;
    if (found->second.key) return CUDA_SUCCESS;
    device_index = found->second.pool->file.device_index;
    if (!driver_.memory().findOne(address, memory)) return CUDA_ERROR_INVALID_VALUE;
  }
  int file = -1;
  driver_.scheduler().whileIdle([&] { file = driver_.memory().moveToFile(memory, device_index); });
  if (file < 0) return CUDA_ERROR_OUT_OF_MEMORY;
  const auto key = DescriptorBroker::get().offer(file);
  if (!key) {
    close(file);
    return CUDA_ERROR_OUT_OF_MEMORY;
  }
  Lock lock(mutex_);
  const auto found = live_.find(address);
  Allocation now;
  if (found == live_.end() || !driver_.memory().findOne(address, now) ||
      now.number != memory.number) {
    DescriptorBroker::get().withdraw(*key);  // freed meanwhile
    return CUDA_ERROR_INVALID_VALUE;
  }
  found->second.key = key;
  return CUDA_SUCCESS;
}

CUresult MemoryPools::exportPointer(uint64_t address, CUmemPoolPtrExportData* data) {
  std::lock_guard exporting(export_mutex_);
  if (CUresult r = offerMemory(address); r != CUDA_SUCCESS) return r;
  Lock lock(mutex_);
  const auto found = live_.find(address);
  if (found == live_.end() || !found->second.key) return CUDA_ERROR_INVALID_VALUE;
  PointerContent content{};
  std::memcpy(content.magic, kMagic, sizeof(kMagic));
  std::copy_n(found->second.pool->file.identity, 2, content.pool);
  const auto key = found->second.key->bytes();
  std::memcpy(content.key, key.data(), key.size());
  *data = {};
  std::memcpy(data->reserved, &content, sizeof(content));
  return CUDA_SUCCESS;
}

CUresult MemoryPools::importPointer(CUmemoryPool handle, const CUmemPoolPtrExportData& data,
                                    uint64_t* address) {
  const auto pool = find(handle);
  PointerContent content;
  std::memcpy(&content, data.reserved, sizeof(content));
  const auto key = DescriptorKey::from(content.key);
  if (pool == nullptr || !pool->imported || !key ||
      std::memcmp(content.magic, kMagic, sizeof(kMagic)) != 0 || !samePool(content.pool, *pool)) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  const int file = DescriptorBroker::fetch(*key);
  if (file < 0) return CUDA_ERROR_INVALID_VALUE;  // whoever had it is gone, or has freed it
  MemoryFile memory;
  Allocation mapping{.kind = MemoryKind::imported, .context = 0, .device = pool->device};
  AddressSpace& addresses = driver_.memory();
  CUresult result = openMemoryFile(file, memory) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
  if (result == CUDA_SUCCESS) {
    mapping.begin = addresses.reserve(memory.bytes, uint64_t{2} << 20, 0);
    if (mapping.begin == 0) result = CUDA_ERROR_OUT_OF_MEMORY;
  }
  if (result == CUDA_SUCCESS) {
    Lock lock(mutex_);
    mapping.bytes = memory.bytes;
    mapping.access = pool->access | 1u << pool->device;
    if (addresses.map(mapping, file, 0)) {
      addresses.resize(mapping.begin, memory.used_bytes);
      live_[mapping.begin] = {pool, memory.bytes, std::nullopt};
      // So that freeing, which is the same for all pools, takes away what was counted.
      pool->attributes[CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT] += memory.bytes;
      pool->attributes[CU_MEMPOOL_ATTR_USED_MEM_CURRENT] += memory.bytes;
      *address = mapping.begin;
    } else {
      addresses.unreserve(mapping.begin, memory.bytes);
      result = CUDA_ERROR_OUT_OF_MEMORY;
    }
  }
  close(file);
  return result;
}

}  // namespace farwarp::cpu
