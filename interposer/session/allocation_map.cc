#include "interposer/session/allocation_map.h"

#include <algorithm>
#include <mutex>

namespace farwarp::client {

const Allocation* AllocationMap::lookup(const Ranges& ranges, uint64_t address) {
  auto at = ranges.upper_bound(address);
  if (at == ranges.begin()) return nullptr;
  --at;
  return address - at->second.base < at->second.bytes ? &at->second : nullptr;
}

bool AllocationMap::add(Allocation allocation) {
  if (allocation.bytes == 0 || allocation.base + allocation.bytes < allocation.base) return false;
  std::unique_lock lock(mutex_);
  const bool host =
      allocation.kind == AllocationKind::pinned || allocation.kind == AllocationKind::registered;
  Ranges& ranges = host ? host_ : device_;
  auto next = ranges.lower_bound(allocation.base);
  if (next != ranges.end() && next->second.base < allocation.base + allocation.bytes) return false;
  if (lookup(ranges, allocation.base) != nullptr) return false;
  allocation.buffer = next_buffer_++;
  if (host) {
    host_low_.store(std::min(host_low_.load(), allocation.base));
    host_high_.store(std::max(host_high_.load(), allocation.base + allocation.bytes));
  }
  ranges.emplace(allocation.base, allocation);
  return true;
}

std::optional<Allocation> AllocationMap::take(Ranges& ranges, uint64_t base) {
  auto at = ranges.find(base);
  if (at == ranges.end()) return std::nullopt;
  Allocation gone = at->second;
  ranges.erase(at);
  return gone;
}

std::optional<Allocation> AllocationMap::removeDevice(uint64_t base) {
  std::unique_lock lock(mutex_);
  return take(device_, base);
}

std::optional<Allocation> AllocationMap::removeHost(uint64_t base) {
  std::unique_lock lock(mutex_);
  return take(host_, base);
}

std::optional<Allocation> AllocationMap::find(uint64_t address) const {
  std::shared_lock lock(mutex_);
  if (const Allocation* found = lookup(device_, address)) return *found;
  if (const Allocation* found = lookup(host_, address)) return *found;
  return std::nullopt;
}

std::optional<Allocation> AllocationMap::widened(Allocation mapping) const {
  if (mapping.access == 0) return std::nullopt;
  for (auto next = device_.find(mapping.base + mapping.bytes); next != device_.end();
       next = device_.find(mapping.base + mapping.bytes)) {
    if (next->second.physical == 0 || next->second.access == 0) break;
    mapping.bytes += next->second.bytes;
  }
  return mapping;
}

std::optional<Allocation> AllocationMap::findDevice(uint64_t address) const {
  std::shared_lock lock(mutex_);
  if (const Allocation* found = lookup(device_, address)) {
    return found->physical == 0 ? std::optional(*found) : widened(*found);
  }
  const Allocation* host = lookup(host_, address);
  return host == nullptr || !host->shared ? std::nullopt : std::optional(*host);
}

void AllocationMap::setShared(uint64_t base) {
  std::unique_lock lock(mutex_);
  const auto found = host_.find(base);
  if (found != host_.end()) found->second.shared = true;
}

std::optional<Allocation> AllocationMap::findHost(uint64_t address) const {
  std::shared_lock lock(mutex_);
  const Allocation* found = lookup(host_, address);
  return found == nullptr ? std::nullopt : std::optional(*found);
}

void AllocationMap::setAccess(uint64_t base, uint64_t access) {
  std::unique_lock lock(mutex_);
  const auto found = device_.find(base);
  if (found != device_.end()) found->second.access = access;
}

bool AllocationMap::setSyncMemops(uint64_t address, bool on) {
  std::unique_lock lock(mutex_);
  const Allocation* found = lookup(device_, address);
  if (found == nullptr) return false;
  device_.at(found->base).sync_memops = on;
  return true;
}

std::vector<Allocation> AllocationMap::removeShared(uint64_t context) {
  std::unique_lock lock(mutex_);
  std::vector<Allocation> shared;
  const auto take = [&](const auto& entry) {
    const Allocation& memory = entry.second;
    const bool is_shared = memory.shared || memory.kind == AllocationKind::managed;
    if (memory.context != context || !is_shared) return false;
    shared.push_back(memory);
    return true;
  };
  std::erase_if(device_, take);
  std::erase_if(host_, take);
  return shared;
}

std::vector<Allocation> AllocationMap::removeVariables(uint64_t owner) {
  std::unique_lock lock(mutex_);
  std::vector<Allocation> variables;
  std::erase_if(device_, [&](const auto& entry) {
    if (entry.second.owner != owner || entry.second.kind != AllocationKind::managed) return false;
    variables.push_back(entry.second);
    return true;
  });
  return variables;
}

std::vector<Allocation> AllocationMap::removeContext(uint64_t context) {
  std::unique_lock lock(mutex_);
  std::erase_if(device_, [&](const auto& entry) { return entry.second.context == context; });
  std::vector<Allocation> host;
  std::erase_if(host_, [&](const auto& entry) {
    if (entry.second.context != context) return false;
    host.push_back(entry.second);
    return true;
  });
  return host;
}

void AllocationMap::removeOwner(uint64_t owner) {
  std::unique_lock lock(mutex_);
  std::erase_if(device_, [&](const auto& entry) { return entry.second.owner == owner; });
}

}  // namespace farwarp::client
