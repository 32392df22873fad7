// The texture and surface objects of the program.
//
// The program has the driver's own value of an object, because kernels get it in their parameters.
// Two contexts may have objects of the same value, so it is looked up together with the context.
#pragma once

#include <cuda.h>

#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <utility>

namespace farwarp::client {

// Beside the wire id of an object: what it was made from.
struct TextureObject {
  uint64_t context = 0;
  uint64_t value = 0;
  CUDA_RESOURCE_DESC resource{};
  CUDA_TEXTURE_DESC texture{};                  // not of a surface
  std::optional<CUDA_RESOURCE_VIEW_DESC> view;  // not of a surface
};

// The wire ids of the objects of one type, by context and value. Safe for use by any thread.
class TextureObjects {
 public:
  void add(uint64_t context, uint64_t value, uint64_t id) {
    std::lock_guard lock(mutex_);
    ids_[{context, value}] = id;
  }
  // 0 when there is none.
  uint64_t find(uint64_t context, uint64_t value) const {
    std::lock_guard lock(mutex_);
    const auto found = ids_.find({context, value});
    return found == ids_.end() ? 0 : found->second;
  }
  // Forgets the object, unless its value has been given to another one since.
  void remove(uint64_t context, uint64_t value, uint64_t id) {
    std::lock_guard lock(mutex_);
    const auto found = ids_.find({context, value});
    if (found != ids_.end() && found->second == id) ids_.erase(found);
  }

 private:
  mutable std::mutex mutex_;  // guards ids_; a leaf lock
  std::map<std::pair<uint64_t, uint64_t>, uint64_t> ids_;
};

}  // namespace farwarp::client
