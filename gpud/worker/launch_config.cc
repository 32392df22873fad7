#include "gpud/worker/launch_config.h"

#include <algorithm>

namespace farwarp::worker {
namespace {

bool holdsNoPointer(CUlaunchAttributeID id) {
  switch (id) {
    case CU_LAUNCH_ATTRIBUTE_IGNORE:
    case CU_LAUNCH_ATTRIBUTE_COOPERATIVE:
    case CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION:
    case CU_LAUNCH_ATTRIBUTE_CLUSTER_SCHEDULING_POLICY_PREFERENCE:
    case CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION:
    case CU_LAUNCH_ATTRIBUTE_PRIORITY:
      return true;
    default:
      return false;
  }
}

}  // namespace

bool holdNoPointers(std::span<const CUlaunchAttribute> attributes) {
  return std::all_of(attributes.begin(), attributes.end(),
                     [](const auto& a) { return holdsNoPointer(a.id); });
}

CUresult LaunchConfig::setAttributes(std::span<const CUlaunchAttribute> attributes) {
  if (attributes.size() > attributes_.size()) return CUDA_ERROR_INVALID_VALUE;
  if (!holdNoPointers(attributes)) return CUDA_ERROR_NOT_SUPPORTED;
  std::copy(attributes.begin(), attributes.end(), attributes_.begin());
  config_.attrs = attributes.empty() ? nullptr : attributes_.data();
  config_.numAttrs = static_cast<unsigned>(attributes.size());
  return CUDA_SUCCESS;
}

}  // namespace farwarp::worker
