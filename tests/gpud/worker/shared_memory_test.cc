// Goal: a session shares exactly the pages that its client asked for, at their addresses, within
// its limits, and never what is this process's own. Method: SharedMemory alone, with a driver table
// whose registration of host memory only counts.
#include "gpud/worker/shared_memory.h"

#include <gtest/gtest.h>
#include <spdlog/spdlog.h>
#include <sys/mman.h>

namespace farwarp::worker {
namespace {

constexpr uint64_t kPage = SharedMemory::kPageBytes;

int registered = 0;
uint64_t seen_offset = 0;  // what the device adds to an address

CUresult registerHost(void*, size_t, unsigned) {
  ++registered;
  return CUDA_SUCCESS;
}
CUresult unregisterHost(void*) {
  --registered;
  return CUDA_SUCCESS;
}
CUresult pushContext(CUcontext) {
  return CUDA_SUCCESS;
}
CUresult popContext(CUcontext*) {
  return CUDA_SUCCESS;
}
CUresult devicePointer(CUdeviceptr* seen, void* address, unsigned) {
  *seen = reinterpret_cast<CUdeviceptr>(address) + seen_offset;
  return CUDA_SUCCESS;
}

class WorkerSharedMemory : public testing::Test {
 protected:
  WorkerSharedMemory() {
    spdlog::set_level(spdlog::level::off);
    registered = 0;
    seen_offset = 0;
    driver_.cuMemHostRegister_v2 = registerHost;
    driver_.cuMemHostUnregister = unregisterHost;
    driver_.cuMemHostGetDevicePointer_v2 = devicePointer;
    driver_.cuCtxPushCurrent_v2 = pushContext;
    driver_.cuCtxPopCurrent_v2 = popContext;
    // A place that is free: it was given to us and taken back.
    void* at = mmap(nullptr, 64 * kPage, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    free_ = reinterpret_cast<uint64_t>(at);
    munmap(at, 64 * kPage);
  }

  DriverTable driver_{};
  SharedMemory memory_{driver_, 32 * kPage};
  CUcontext context_ = reinterpret_cast<CUcontext>(uintptr_t{1});
  CUcontext other_ = reinterpret_cast<CUcontext>(uintptr_t{2});
  uint64_t free_ = 0;
};

TEST_F(WorkerSharedMemory, MapsZeroedPagesAndUnmapsThem) {
  ASSERT_EQ(memory_.map(free_, 2 * kPage, context_), CUDA_SUCCESS);
  EXPECT_EQ(registered, 1);
  auto* bytes = reinterpret_cast<volatile char*>(free_);
  EXPECT_EQ(bytes[0], 0);
  bytes[2 * kPage - 1] = 5;
  EXPECT_TRUE(memory_.covers(free_, 2 * kPage));
  EXPECT_TRUE(memory_.covers(free_ + kPage, kPage));
  EXPECT_FALSE(memory_.covers(free_, 2 * kPage + 1));
  EXPECT_FALSE(memory_.covers(free_ - 1, 2));
  EXPECT_EQ(memory_.unmap(free_ + kPage), CUDA_ERROR_INVALID_VALUE);
  EXPECT_EQ(memory_.unmap(free_), CUDA_SUCCESS);
  EXPECT_EQ(registered, 0);
  EXPECT_FALSE(memory_.covers(free_, 1));
}

TEST_F(WorkerSharedMemory, RangesThatTouchAreOneRunOfBytes) {
  ASSERT_EQ(memory_.map(free_, kPage, context_), CUDA_SUCCESS);
  ASSERT_EQ(memory_.map(free_ + kPage, kPage, context_), CUDA_SUCCESS);
  ASSERT_EQ(memory_.map(free_ + 3 * kPage, kPage, context_), CUDA_SUCCESS);
  EXPECT_TRUE(memory_.covers(free_ + 100, 2 * kPage - 100));
  EXPECT_FALSE(memory_.covers(free_ + kPage, 2 * kPage));
  EXPECT_FALSE(memory_.covers(free_ + 3 * kPage, ~uint64_t{0}));
}

TEST_F(WorkerSharedMemory, RefusesWhatIsNoRangeOfPages) {
  for (const auto& [address, bytes] :
       std::initializer_list<std::pair<uint64_t, uint64_t>>{{free_ + 1, kPage},
                                                            {free_, kPage + 1},
                                                            {free_, 0},
                                                            {0, kPage},
                                                            {4096, kPage},
                                                            {uint64_t{1} << 47, kPage},
                                                            {~uint64_t{0} - kPage + 1, kPage},
                                                            {free_, ~uint64_t{0} - kPage + 1}}) {
    EXPECT_EQ(memory_.map(address, bytes, context_), CUDA_ERROR_INVALID_VALUE) << address;
  }
  ASSERT_EQ(memory_.map(free_ + kPage, 2 * kPage, context_), CUDA_SUCCESS);
  EXPECT_EQ(memory_.map(free_ + 2 * kPage, kPage, context_), CUDA_ERROR_INVALID_VALUE);
  EXPECT_EQ(memory_.map(free_, 2 * kPage, context_), CUDA_ERROR_INVALID_VALUE);
  EXPECT_EQ(registered, 1);
}

TEST_F(WorkerSharedMemory, NeverTakesThePlaceOfOtherMemory) {
  static int own = 7;
  const uint64_t page = reinterpret_cast<uint64_t>(&own) / kPage * kPage;
  EXPECT_EQ(memory_.map(page, kPage, context_), CUDA_ERROR_NOT_SUPPORTED);
  EXPECT_EQ(own, 7);
  EXPECT_EQ(registered, 0);
}

TEST_F(WorkerSharedMemory, RefusesWhatTheDeviceSeesElsewhere) {
  seen_offset = 1 << 20;
  EXPECT_EQ(memory_.map(free_, kPage, context_), CUDA_ERROR_NOT_SUPPORTED);
  EXPECT_EQ(registered, 0);
  EXPECT_EQ(memory_.ranges(), 0u);
}

TEST_F(WorkerSharedMemory, KeepsToItsLimit) {
  ASSERT_EQ(memory_.map(free_, 32 * kPage, context_), CUDA_SUCCESS);
  EXPECT_EQ(memory_.map(free_ + 40 * kPage, kPage, context_), CUDA_ERROR_OUT_OF_MEMORY);
  EXPECT_EQ(memory_.unmap(free_), CUDA_SUCCESS);
  EXPECT_EQ(memory_.map(free_ + 40 * kPage, kPage, context_), CUDA_SUCCESS);
}

TEST_F(WorkerSharedMemory, AContextTakesItsPagesWithIt) {
  ASSERT_EQ(memory_.map(free_, kPage, context_), CUDA_SUCCESS);
  ASSERT_EQ(memory_.map(free_ + kPage, kPage, other_), CUDA_SUCCESS);
  memory_.contextEnds(context_);
  EXPECT_FALSE(memory_.covers(free_, 1));
  EXPECT_TRUE(memory_.covers(free_ + kPage, 1));
  EXPECT_EQ(registered, 1);
}

}  // namespace
}  // namespace farwarp::worker
