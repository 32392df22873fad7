// Stands in for gpud/worker/session.h: handles in a map, and the mock driver.
#pragma once

#include <map>
#include <utility>

#include "codegen/mock/mock_driver.h"
#include "gpud/worker/call_context.h"

namespace farwarp::worker {

class Session {
 public:
  const DriverTable& driver() { return mockDriverTable(); }

  template <typename T>
  CUresult resolve(wire::HandleType type, uint64_t id, T* out) {
    const auto found = handles_.find({type, id});
    if (found == handles_.end()) return wire::invalidHandleError(type);
    *out = reinterpret_cast<T>(found->second);
    return CUDA_SUCCESS;
  }

  CUresult resolveStream(uint64_t id, const wire::RecordHeader& header, CUstream* out) {
    if (id == 0 && (header.flags & wire::kPerThreadDefaultStream)) id = 2;
    if (wire::isSpecialHandle(wire::HandleType::stream, id)) {
      *out = reinterpret_cast<CUstream>(id);
      return CUDA_SUCCESS;
    }
    return resolve(wire::HandleType::stream, id, out);
  }

  CUresult bind(wire::HandleType type, uint64_t id, void* handle) {
    return handles_.emplace(std::pair{type, id}, handle).second ? CUDA_SUCCESS
                                                                : CUDA_ERROR_INVALID_HANDLE;
  }
  void unbind(wire::HandleType type, uint64_t id) { handles_.erase({type, id}); }

  size_t handleCount() const { return handles_.size(); }

 private:
  std::map<std::pair<wire::HandleType, uint64_t>, void*> handles_;
};

}  // namespace farwarp::worker
