// Goal: a pool gives freed memory away only where CUDA's rules of stream order allow it. Method:
// streams whose work is held back by a gate, so that "freed, but not yet reached" lasts as long as
// the test wants.
#include "gpud/device/cpu/memory_pool.h"

#include <gtest/gtest.h>

#include <future>

#include "gpud/device/cpu/driver.h"

namespace farwarp::cpu {
namespace {

constexpr uint64_t kBytes = 100000;

class MemoryPoolTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_EQ(pools_.create(0, 0, /*exportable=*/false, &pool_), CUDA_SUCCESS);
    set(CU_MEMPOOL_ATTR_RELEASE_THRESHOLD, ~uint64_t{0});
  }
  void TearDown() override {
    open();
    for (const auto& stream : {first_, second_}) scheduler_.wait(scheduler_.tail(stream));
    EXPECT_EQ(pools_.destroy(pool_), CUDA_SUCCESS);
    for (const auto& stream : {first_, second_}) scheduler_.closeStream(stream);
  }

  void set(CUmemPool_attribute attribute, uint64_t value) {
    EXPECT_EQ(pools_.set(pool_, attribute, value), CUDA_SUCCESS);
  }
  uint64_t get(CUmemPool_attribute attribute) {
    uint64_t value = 0;
    EXPECT_EQ(pools_.get(pool_, attribute, &value), CUDA_SUCCESS);
    return value;
  }
  uint64_t allocate(const std::shared_ptr<Stream>& stream, uint64_t bytes = kBytes) {
    uint64_t address = 0;
    EXPECT_EQ(pools_.allocate(pool_, bytes, stream, &address), CUDA_SUCCESS);
    return address;
  }
  // The stream stands still until open().
  void hold(const std::shared_ptr<Stream>& stream) {
    scheduler_.submit(stream, [gate = gate_.get_future().share()] { gate.wait(); });
    held_ = true;
  }
  void open() {
    if (held_) gate_.set_value();
    held_ = false;
  }

  MemoryPools& pools_ = Driver::get().pools();
  Scheduler& scheduler_ = Driver::get().scheduler();
  const std::shared_ptr<StreamGroup> group_ = std::make_shared<StreamGroup>();
  const std::shared_ptr<Stream> first_ = scheduler_.createStream(group_, StreamKind::non_blocking);
  const std::shared_ptr<Stream> second_ = scheduler_.createStream(group_, StreamKind::non_blocking);
  CUmemoryPool pool_ = nullptr;
  std::promise<void> gate_;
  bool held_ = false;
};

TEST_F(MemoryPoolTest, TheFreeingStreamGetsItBackAtOnce) {
  hold(first_);
  const uint64_t address = allocate(first_);
  EXPECT_TRUE(pools_.free(address, first_));
  EXPECT_FALSE(pools_.free(address, first_));
  EXPECT_EQ(allocate(first_), address);
  EXPECT_TRUE(pools_.free(address, first_));
}

TEST_F(MemoryPoolTest, AnotherStreamGetsItOnlyWhenTheFreeIsOver) {
  set(CU_MEMPOOL_ATTR_REUSE_ALLOW_INTERNAL_DEPENDENCIES, 0);
  hold(first_);
  const uint64_t address = allocate(first_);
  EXPECT_TRUE(pools_.free(address, first_));
  const uint64_t other = allocate(second_);
  EXPECT_NE(other, address);
  open();
  scheduler_.wait(scheduler_.tail(first_));
  EXPECT_EQ(allocate(second_), address);
  EXPECT_TRUE(pools_.free(address, second_));
  EXPECT_TRUE(pools_.free(other, second_));
}

TEST_F(MemoryPoolTest, WithoutOpportunismOnlyTheFreeingStreamGetsIt) {
  set(CU_MEMPOOL_ATTR_REUSE_ALLOW_INTERNAL_DEPENDENCIES, 0);
  set(CU_MEMPOOL_ATTR_REUSE_ALLOW_OPPORTUNISTIC, 0);
  const uint64_t address = allocate(first_);
  EXPECT_TRUE(pools_.free(address, first_));
  scheduler_.wait(scheduler_.tail(first_));
  const uint64_t other = allocate(second_);
  EXPECT_NE(other, address);
  EXPECT_TRUE(pools_.free(other, second_));
}

TEST_F(MemoryPoolTest, AnInternalDependencyPutsTheOtherStreamBehindTheFree) {
  hold(first_);
  const uint64_t address = allocate(first_);
  EXPECT_TRUE(pools_.free(address, first_));
  EXPECT_EQ(allocate(second_), address);
  const Mark used = scheduler_.submit(second_, [] {});
  EXPECT_FALSE(scheduler_.done({&used, 1}));
  open();
  scheduler_.wait({&used, 1});
  EXPECT_TRUE(pools_.free(address, second_));
}

TEST_F(MemoryPoolTest, NothingIsReleasedBeforeItsFreeIsOver) {
  hold(first_);
  const uint64_t address = allocate(first_);
  EXPECT_TRUE(pools_.free(address, first_));
  EXPECT_EQ(pools_.trim(pool_, 0), CUDA_SUCCESS);
  EXPECT_GE(get(CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT), kBytes);
  open();
  scheduler_.wait(scheduler_.tail(first_));
  EXPECT_EQ(pools_.trim(pool_, 0), CUDA_SUCCESS);
  EXPECT_EQ(get(CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT), 0u);
}

TEST_F(MemoryPoolTest, FreedMemoryIsNoAllocationAnyMore) {
  AddressSpace& memory = Driver::get().memory();
  const uint64_t address = allocate(first_);
  Allocation found;
  EXPECT_TRUE(memory.find(address + kBytes - 1, found));
  const uint64_t number = found.number;
  EXPECT_FALSE(memory.find(address + kBytes, found));
  EXPECT_TRUE(pools_.free(address, first_));
  EXPECT_FALSE(memory.find(address, found));
  // Used again for less, it has that size and is another buffer.
  EXPECT_EQ(allocate(first_, kBytes - 2000), address);
  EXPECT_TRUE(memory.find(address, found));
  EXPECT_EQ(found.bytes, kBytes - 2000);
  EXPECT_NE(found.number, number);
  EXPECT_TRUE(pools_.free(address, first_));
}

}  // namespace
}  // namespace farwarp::cpu
