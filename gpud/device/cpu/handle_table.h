// The values that the program holds for streams, events, modules and so on. A value is never used
// twice, so that one of an object that is gone is always recognised.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <unordered_map>
#include <vector>

namespace farwarp::cpu {

template <typename T>
class HandleTable {
 public:
  static constexpr size_t kLiveMax = size_t{1} << 22;

  // `tag` (1..15) makes values of different tables differ. They are far from CUDA's special values.
  explicit HandleTable(uintptr_t tag) : tag_(tag) {}

  // 0 when there are too many.
  uintptr_t insert(std::shared_ptr<T> object) {
    std::unique_lock lock(mutex_);
    if (objects_.size() >= kLiveMax) return 0;
    const uintptr_t value = ++count_ << 8 | tag_ << 4;
    objects_.emplace(value, std::move(object));
    return value;
  }

  std::shared_ptr<T> find(const void* handle) const {
    std::shared_lock lock(mutex_);
    const auto found = objects_.find(reinterpret_cast<uintptr_t>(handle));
    return found == objects_.end() ? nullptr : found->second;
  }

  std::shared_ptr<T> remove(const void* handle) {
    std::unique_lock lock(mutex_);
    const auto found = objects_.find(reinterpret_cast<uintptr_t>(handle));
    if (found == objects_.end()) return nullptr;
    std::shared_ptr<T> object = std::move(found->second);
    objects_.erase(found);
    return object;
  }

  // Takes out all objects for which `which(object)` is true and returns them.
  template <typename Predicate>
  std::vector<std::shared_ptr<T>> removeIf(Predicate which) {
    std::vector<std::shared_ptr<T>> removed;
    std::unique_lock lock(mutex_);
    for (auto at = objects_.begin(); at != objects_.end();) {
      if (which(*at->second)) {
        removed.push_back(std::move(at->second));
        at = objects_.erase(at);
      } else {
        ++at;
      }
    }
    return removed;
  }

  std::vector<std::shared_ptr<T>> all() const {
    std::vector<std::shared_ptr<T>> objects;
    std::shared_lock lock(mutex_);
    for (const auto& [value, object] : objects_) objects.push_back(object);
    return objects;
  }

 private:
  const uintptr_t tag_;
  mutable std::shared_mutex mutex_;  // guards the rest
  uintptr_t count_ = 0;
  std::unordered_map<uintptr_t, std::shared_ptr<T>> objects_;
};

}  // namespace farwarp::cpu
