// The driver's descriptions of parts of devices (CUdevResource), by the numbers that the client has
// in their place: what is in them is the driver's, and nothing that a client makes up may reach it.
#pragma once

#include <cuda.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

namespace farwarp::worker {

class DeviceResources {
 public:
  static constexpr size_t kMost = 4096;

  // The resource as the client gets it. False when there are too many.
  bool keep(const CUdevResource& resource, CUdevResource& given) {
    given = {};
    if (resource.type == CU_DEV_RESOURCE_TYPE_INVALID) return true;
    uint64_t number = 0;
    while (number < kept_.size() && std::memcmp(&kept_[number], &resource, sizeof(resource)) != 0) {
      ++number;
    }
    if (number == kept_.size()) {
      if (number >= kMost) return false;
      kept_.push_back(resource);
    }
    ++number;  // from 1
    given.type = resource.type;
    given.sm = resource.sm;
    std::memcpy(given._internal_padding, &number, sizeof(number));
    return true;
  }

  // Null for a number that none has.
  const CUdevResource* find(uint64_t number) const {
    return number == 0 || number > kept_.size() ? nullptr : &kept_[number - 1];
  }

 private:
  std::vector<CUdevResource> kept_;
};

}  // namespace farwarp::worker
