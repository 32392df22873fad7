#include "interposer/calls/launch_attributes.h"

#include <cstring>

namespace farwarp::client {

CUlaunchAttribute& LaunchAttributes::add(CUlaunchAttributeID id) {
  CUlaunchAttribute& attribute = attributes_[count_++];
  std::memset(&attribute, 0, sizeof(attribute));
  attribute.id = id;
  return attribute;
}

void LaunchAttributes::addCooperative(LaunchShape& shape) {
  add(CU_LAUNCH_ATTRIBUTE_COOPERATIVE).value.cooperative = 1;
  shape.cooperative = true;
}

CUresult LaunchAttributes::read(const CUlaunchAttribute* attributes, unsigned int count,
                                LaunchShape& shape) {
  if (count == 0) return CUDA_SUCCESS;
  if (attributes == nullptr || count > kMax) return CUDA_ERROR_INVALID_VALUE;
  for (unsigned int i = 0; i < count; ++i) {
    const CUlaunchAttributeValue& value = attributes[i].value;
    switch (attributes[i].id) {
      case CU_LAUNCH_ATTRIBUTE_IGNORE:
        break;
      case CU_LAUNCH_ATTRIBUTE_COOPERATIVE:
        add(CU_LAUNCH_ATTRIBUTE_COOPERATIVE).value.cooperative = value.cooperative;
        shape.cooperative = value.cooperative != 0;
        break;
      case CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION:
        add(CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION).value.clusterDim = value.clusterDim;
        shape.cluster[0] = value.clusterDim.x;
        shape.cluster[1] = value.clusterDim.y;
        shape.cluster[2] = value.clusterDim.z;
        break;
      case CU_LAUNCH_ATTRIBUTE_CLUSTER_SCHEDULING_POLICY_PREFERENCE:
        add(attributes[i].id).value.clusterSchedulingPolicyPreference =
            value.clusterSchedulingPolicyPreference;
        break;
      case CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION:
        add(attributes[i].id).value.programmaticStreamSerializationAllowed =
            value.programmaticStreamSerializationAllowed;
        break;
      case CU_LAUNCH_ATTRIBUTE_PRIORITY:
        add(attributes[i].id).value.priority = value.priority;
        break;
      default:
        return CUDA_ERROR_NOT_SUPPORTED;
    }
  }
  return CUDA_SUCCESS;
}

}  // namespace farwarp::client
