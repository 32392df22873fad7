// Goal: primary contexts have handles before they are active, and an ended context's object may be
// used again without its old handle coming back to life. Method: Contexts over a HandleTable.
#include "interposer/session/contexts.h"

#include <gtest/gtest.h>

namespace farwarp::client {
namespace {

CUcontext handle(uint64_t id) {
  return reinterpret_cast<CUcontext>(id);
}

TEST(Contexts, PrimariesHaveHandlesAndAreInactive) {
  HandleTable handles;
  Contexts contexts(handles);
  ASSERT_EQ(contexts.makePrimaries(2), CUDA_SUCCESS);
  for (int device : {0, 1}) {
    Context* primary = contexts.primary(device);
    ASSERT_NE(primary, nullptr);
    EXPECT_FALSE(primary->active);
    EXPECT_TRUE(primary->primary);
    EXPECT_EQ(primary->device, device);
    EXPECT_EQ(contexts.find(handle(primary->id)), primary);
  }
  EXPECT_NE(contexts.primary(0)->number, contexts.primary(1)->number);
  EXPECT_EQ(contexts.primary(2), nullptr);
  EXPECT_EQ(contexts.primary(-1), nullptr);
}

TEST(Contexts, FindsNothingForOtherHandles) {
  HandleTable handles;
  Contexts contexts(handles);
  uint64_t stream = 0;
  int object = 0;
  ASSERT_EQ(handles.create(wire::HandleType::stream, 0, &object, stream), CUDA_SUCCESS);
  EXPECT_EQ(contexts.find(handle(stream)), nullptr);
  EXPECT_EQ(contexts.find(nullptr), nullptr);
  EXPECT_EQ(contexts.find(reinterpret_cast<CUcontext>(&object)), nullptr);
}

TEST(Contexts, AnEndedContextStaysEnded) {
  HandleTable handles;
  Contexts contexts(handles);
  Context* first = nullptr;
  ASSERT_EQ(contexts.create(0, CU_CTX_SCHED_SPIN, first), CUDA_SUCCESS);
  const uint64_t old_id = first->id, old_number = first->number;
  EXPECT_TRUE(first->active);
  EXPECT_EQ(first->flags, static_cast<uint32_t>(CU_CTX_SCHED_SPIN));
  EXPECT_TRUE(handles.destroy(old_id));
  contexts.retire(first);
  EXPECT_FALSE(first->active);
  Context* second = nullptr;
  ASSERT_EQ(contexts.create(1, 0, second), CUDA_SUCCESS);
  EXPECT_EQ(contexts.find(handle(old_id)), nullptr);
  EXPECT_NE(second->number, old_number);
  EXPECT_EQ(second->flags, 0u);
  EXPECT_EQ(second->device, 1);
}

}  // namespace
}  // namespace farwarp::client
