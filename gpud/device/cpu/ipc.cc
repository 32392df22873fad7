#include "gpud/device/cpu/ipc.h"

#include <unistd.h>

#include <cstring>

#include "gpud/device/cpu/driver.h"
#include "gpud/device/cpu/memory_file.h"

namespace farwarp::cpu {
namespace {

constexpr char kMemoryMagic[8] = "fw-mem1", kEventMagic[8] = "fw-evt1";

// What is in a handle of CUDA's; the rest is zero.
struct HandleContent {
  char magic[8];
  std::byte key[DescriptorKey::kBytes];
};
static_assert(sizeof(HandleContent) <= CU_IPC_HANDLE_SIZE);

template <typename Handle>
void write(Handle* handle, const char (&magic)[8], const DescriptorKey& key) {
  HandleContent content{};
  std::memcpy(content.magic, magic, sizeof(magic));
  const auto bytes = key.bytes();
  std::memcpy(content.key, bytes.data(), bytes.size());
  std::memset(handle->reserved, 0, sizeof(handle->reserved));
  std::memcpy(handle->reserved, &content, sizeof(content));
}

// CUDA_ERROR_INVALID_HANDLE for what is no handle, CUDA_ERROR_INVALID_CONTEXT for one of this
// process.
template <typename Handle>
CUresult read(const Handle& handle, const char (&magic)[8], DescriptorKey& key) {
  HandleContent content;
  std::memcpy(&content, handle.reserved, sizeof(content));
  const auto found = DescriptorKey::from(content.key);
  if (std::memcmp(content.magic, magic, sizeof(magic)) != 0 || !found) {
    return CUDA_ERROR_INVALID_HANDLE;
  }
  key = *found;
  return DescriptorBroker::get().isOwn(key) ? CUDA_ERROR_INVALID_CONTEXT : CUDA_SUCCESS;
}

}  // namespace

CUresult Ipc::exportMemory(const Allocation& memory, CUipcMemHandle* handle) {
  std::lock_guard lock(mutex_);
  auto found = exports_.find(memory.number);
  if (found == exports_.end()) {
    const Device& device = *driver_.device(memory.device);
    int file = -1;
    driver_.scheduler().whileIdle(
        [&] { file = driver_.memory().moveToFile(memory, static_cast<uint32_t>(device.index())); });
    if (file < 0) return CUDA_ERROR_OUT_OF_MEMORY;
    const auto key = DescriptorBroker::get().offer(file);
    if (!key) {
      close(file);
      return CUDA_ERROR_OUT_OF_MEMORY;
    }
    found = exports_.emplace(memory.number, Export{*key, memory.context}).first;
  }
  write(handle, kMemoryMagic, found->second.key);
  return CUDA_SUCCESS;
}

void Ipc::forget(uint64_t number) {
  std::lock_guard lock(mutex_);
  const auto found = exports_.find(number);
  if (found == exports_.end()) return;
  DescriptorBroker::get().withdraw(found->second.key);
  exports_.erase(found);
}

void Ipc::contextEnds(uint64_t context) {
  std::lock_guard lock(mutex_);
  std::erase_if(exports_, [&](const auto& entry) {
    if (entry.second.context != context) return false;
    DescriptorBroker::get().withdraw(entry.second.key);
    return true;
  });
  std::erase_if(imports_, [&](const auto& entry) { return entry.first.first == context; });
}

// The device that has the memory, and that of the context, may use it.
CUresult Ipc::mapFile(Context& context, int file, uint64_t* address) {
  MemoryFile memory;
  if (!openMemoryFile(file, memory)) return CUDA_ERROR_INVALID_HANDLE;
  const int owner = driver_.deviceByIndex(memory.device_index);
  if (owner < 0) return CUDA_ERROR_INVALID_DEVICE;
  AddressSpace& addresses = driver_.memory();
  const uint64_t begin = addresses.reserve(memory.bytes, uint64_t{2} << 20, 0);
  if (begin == 0) return CUDA_ERROR_OUT_OF_MEMORY;
  const Allocation mapping{.begin = begin,
                           .bytes = memory.bytes,
                           .kind = MemoryKind::imported,
                           .context = context.number(),
                           .device = owner,
                           .access = 1u << owner | 1u << context.device().ordinal()};
  if (!addresses.map(mapping, file, 0)) {
    addresses.unreserve(begin, memory.bytes);
    return CUDA_ERROR_MAP_FAILED;
  }
  addresses.resize(begin, memory.used_bytes);
  *address = begin;
  return CUDA_SUCCESS;
}

CUresult Ipc::openMemory(Context& context, const CUipcMemHandle& handle, uint64_t* address) {
  DescriptorKey key;
  if (CUresult r = read(handle, kMemoryMagic, key); r != CUDA_SUCCESS) return r;
  std::lock_guard lock(mutex_);
  const ImportKey which{context.number(), key.secret};
  if (const auto found = imports_.find(which); found != imports_.end()) {
    ++found->second.opened;
    *address = found->second.address;
    return CUDA_SUCCESS;
  }
  const int file = DescriptorBroker::fetch(key);
  if (file < 0) return CUDA_ERROR_MAP_FAILED;  // whoever had it is gone, or has freed it
  const CUresult result = mapFile(context, file, address);
  close(file);
  if (result == CUDA_SUCCESS) imports_[which] = {*address, 1};
  return result;
}

CUresult Ipc::closeMemory(Context& context, uint64_t address) {
  std::lock_guard lock(mutex_);
  for (auto at = imports_.begin(); at != imports_.end(); ++at) {
    if (at->second.address != address) continue;
    if (--at->second.opened != 0) return CUDA_SUCCESS;
    imports_.erase(at);
    context.synchronize();
    return driver_.memory().release(address, MemoryKind::imported) ? CUDA_SUCCESS
                                                                   : CUDA_ERROR_INVALID_VALUE;
  }
  return CUDA_ERROR_INVALID_VALUE;
}

CUresult Ipc::exportEvent(SharedEvent& event, CUipcEventHandle* handle) {
  std::lock_guard lock(mutex_);
  const DescriptorKey* key = event.key();
  if (key == nullptr) return CUDA_ERROR_OUT_OF_MEMORY;
  write(handle, kEventMagic, *key);
  return CUDA_SUCCESS;
}

CUresult Ipc::openEvent(const CUipcEventHandle& handle, std::shared_ptr<SharedEvent>& event) {
  DescriptorKey key;
  if (CUresult r = read(handle, kEventMagic, key); r != CUDA_SUCCESS) return r;
  const int file = DescriptorBroker::fetch(key);
  if (file < 0) return CUDA_ERROR_MAP_FAILED;
  event = SharedEvent::open(file);
  close(file);
  return event != nullptr ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

}  // namespace farwarp::cpu
