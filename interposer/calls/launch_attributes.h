// The attributes of a launch: which may cross the wire, and what they mean for the launch checks.
#pragma once

#include <cuda.h>

#include <array>
#include <span>

#include "driver/launch_check.h"

namespace farwarp::client {

class LaunchAttributes {
 public:
  static constexpr unsigned int kMax = 32;  // CUDA knows fewer kinds

  // Written out: `LaunchAttributes()` must not clear what is not used.
  LaunchAttributes() {}

  // Copies what may be sent, without the bytes that an attribute does not use. Sets the cluster and
  // cooperative fields of `shape`. CUDA_ERROR_NOT_SUPPORTED for attributes that hold pointers or
  // handles, CUDA_ERROR_INVALID_VALUE for a null array or too many.
  [[nodiscard]] CUresult read(const CUlaunchAttribute* attributes, unsigned int count,
                              LaunchShape& shape);

  void addCooperative(LaunchShape& shape);

  std::span<const CUlaunchAttribute> wire() const { return {attributes_.data(), count_}; }

 private:
  CUlaunchAttribute& add(CUlaunchAttributeID id);

  std::array<CUlaunchAttribute, kMax> attributes_;
  size_t count_ = 0;
};

}  // namespace farwarp::client
