// Goal: only launch attributes that mean something on another machine cross the wire, and none of
// the program's stack with them. Method: attributes filled with a pattern, read and compared byte
// by byte.
#include "interposer/calls/launch_attributes.h"

#include <gtest/gtest.h>

#include <cstring>

namespace farwarp::client {
namespace {

CUlaunchAttribute dirty(CUlaunchAttributeID id) {
  CUlaunchAttribute attribute;
  std::memset(&attribute, 0xee, sizeof(attribute));
  attribute.id = id;
  return attribute;
}

TEST(LaunchAttributes, SendsUsedBytesOnly) {
  CUlaunchAttribute given = dirty(CU_LAUNCH_ATTRIBUTE_PRIORITY);
  given.value.priority = -3;
  LaunchAttributes attributes;
  LaunchShape shape{};
  ASSERT_EQ(attributes.read(&given, 1, shape), CUDA_SUCCESS);
  ASSERT_EQ(attributes.wire().size(), 1u);
  CUlaunchAttribute want;
  std::memset(&want, 0, sizeof(want));
  want.id = CU_LAUNCH_ATTRIBUTE_PRIORITY;
  want.value.priority = -3;
  EXPECT_EQ(std::memcmp(attributes.wire().data(), &want, sizeof(want)), 0);
}

TEST(LaunchAttributes, TellsTheLaunchChecksOfClusterAndCooperation) {
  CUlaunchAttribute given[3] = {dirty(CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION),
                                dirty(CU_LAUNCH_ATTRIBUTE_COOPERATIVE),
                                dirty(CU_LAUNCH_ATTRIBUTE_IGNORE)};
  given[0].value.clusterDim = {2, 3, 4};
  given[1].value.cooperative = 1;
  LaunchAttributes attributes;
  LaunchShape shape{};
  ASSERT_EQ(attributes.read(given, 3, shape), CUDA_SUCCESS);
  EXPECT_EQ(attributes.wire().size(), 2u);
  EXPECT_TRUE(shape.cooperative);
  EXPECT_EQ(shape.cluster[0], 2u);
  EXPECT_EQ(shape.cluster[1], 3u);
  EXPECT_EQ(shape.cluster[2], 4u);
}

TEST(LaunchAttributes, RefusesPointersAndHandles) {
  for (CUlaunchAttributeID id :
       {CU_LAUNCH_ATTRIBUTE_ACCESS_POLICY_WINDOW, CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_EVENT,
        CU_LAUNCH_ATTRIBUTE_LAUNCH_COMPLETION_EVENT,
        CU_LAUNCH_ATTRIBUTE_DEVICE_UPDATABLE_KERNEL_NODE, CU_LAUNCH_ATTRIBUTE_MEM_SYNC_DOMAIN}) {
    const CUlaunchAttribute given = dirty(id);
    LaunchAttributes attributes;
    LaunchShape shape{};
    EXPECT_EQ(attributes.read(&given, 1, shape), CUDA_ERROR_NOT_SUPPORTED) << id;
  }
}

TEST(LaunchAttributes, RefusesANullArrayAndTooMany) {
  LaunchShape shape{};
  EXPECT_EQ(LaunchAttributes().read(nullptr, 1, shape), CUDA_ERROR_INVALID_VALUE);
  EXPECT_EQ(LaunchAttributes().read(nullptr, 0, shape), CUDA_SUCCESS);
  std::vector<CUlaunchAttribute> many(LaunchAttributes::kMax + 1,
                                      dirty(CU_LAUNCH_ATTRIBUTE_PRIORITY));
  EXPECT_EQ(LaunchAttributes().read(many.data(), LaunchAttributes::kMax + 1, shape),
            CUDA_ERROR_INVALID_VALUE);
  EXPECT_EQ(LaunchAttributes().read(many.data(), LaunchAttributes::kMax, shape), CUDA_SUCCESS);
}

}  // namespace
}  // namespace farwarp::client
