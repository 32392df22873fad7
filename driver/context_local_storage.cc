#include "driver/context_local_storage.h"

#include <atomic>
#include <vector>

namespace farwarp {
namespace {

// Counts every change of any storage. A thread's remembered reads are good as long as it stands
// still. One count for all storages, so that a new storage at an old one's address is never taken
// for it.
std::atomic<uint64_t> g_changes{1};

struct RememberedRead {
  const ContextLocalStorage* storage;
  uint64_t changes;
  CUcontext context;
  void* key;
  void* value;
};

// One entry per runtime in the process serves best; a program with cuBLAS has three, a large mix
// six.
constexpr size_t kRemembered = 8;
thread_local constinit RememberedRead t_remembered[kRemembered] = {};

RememberedRead& rememberedSlot(CUcontext context, const void* key) {
  const uintptr_t mix =
      reinterpret_cast<uintptr_t>(key) >> 4 ^ reinterpret_cast<uintptr_t>(context) >> 3;
  return t_remembered[(mix ^ mix >> 7) % kRemembered];
}

}  // namespace

ContextLocalStorage::ContextLocalStorage() { g_changes.fetch_add(1, std::memory_order_release); }

CUresult ContextLocalStorage::put(CUcontext context, void* key, void* value,
                                  Destructor destructor) {
  if (context == nullptr) return CUDA_ERROR_INVALID_CONTEXT;
  std::lock_guard lock(mutex_);
  entries_[{context, key}] = {value, destructor};
  g_changes.fetch_add(1, std::memory_order_release);
  return CUDA_SUCCESS;
}

CUresult ContextLocalStorage::remove(CUcontext context, void* key) {
  std::lock_guard lock(mutex_);
  if (entries_.erase({context, key}) == 0) return CUDA_ERROR_INVALID_HANDLE;
  g_changes.fetch_add(1, std::memory_order_release);
  return CUDA_SUCCESS;
}

CUresult ContextLocalStorage::get(void** value, CUcontext context, void* key) {
  if (context == nullptr) return CUDA_ERROR_INVALID_CONTEXT;
  RememberedRead& slot = rememberedSlot(context, key);
  const uint64_t changes = g_changes.load(std::memory_order_acquire);
  if (slot.storage == this && slot.changes == changes && slot.context == context &&
      slot.key == key) {
    *value = slot.value;
    return CUDA_SUCCESS;
  }
  std::lock_guard lock(mutex_);
  const auto found = entries_.find({context, key});
  if (found == entries_.end()) return CUDA_ERROR_INVALID_HANDLE;
  // The count from before the lookup: a change in between makes the remembered read old at once.
  slot = {this, changes, context, key, found->second.value};
  *value = found->second.value;
  return CUDA_SUCCESS;
}

void ContextLocalStorage::endContext(CUcontext context) {
  std::vector<std::pair<void*, Entry>> ended;
  {
    std::lock_guard lock(mutex_);
    auto at = entries_.lower_bound({context, nullptr});
    while (at != entries_.end() && at->first.first == context) {
      ended.emplace_back(at->first.second, at->second);
      at = entries_.erase(at);
    }
    g_changes.fetch_add(1, std::memory_order_release);
  }
  for (const auto& [key, entry] : ended) {
    if (entry.destructor != nullptr) entry.destructor(context, key, entry.value);
  }
}

}  // namespace farwarp
