// Goal: values are found per context and key, vanish when removed, and their destructors run
// exactly once, when the context ends; all of it from several threads. Method: the storage itself
// with made-up contexts; the reads that a thread remembers are tested by changing a value from
// another thread between two reads.
#include "driver/context_local_storage.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

namespace farwarp {
namespace {

CUcontext context(uintptr_t number) {
  return reinterpret_cast<CUcontext>(number << 4);
}
void* object(uintptr_t number) {
  return reinterpret_cast<void*>(number);
}

struct Destroyed {
  CUcontext context;
  void* key;
  void* value;
};
std::vector<Destroyed> g_destroyed;
void recordDestruction(CUcontext context, void* key, void* value) {
  g_destroyed.push_back({context, key, value});
}

TEST(ContextLocalStorage, KeepsValuesPerContextAndKey) {
  ContextLocalStorage storage;
  void* value = object(99);
  EXPECT_EQ(storage.get(&value, context(1), object(1)), CUDA_ERROR_INVALID_HANDLE);
  EXPECT_EQ(storage.get(&value, nullptr, object(1)), CUDA_ERROR_INVALID_CONTEXT);
  EXPECT_EQ(value, object(99));
  ASSERT_EQ(storage.put(context(1), object(1), object(11), nullptr), CUDA_SUCCESS);
  ASSERT_EQ(storage.put(context(1), object(2), object(12), nullptr), CUDA_SUCCESS);
  ASSERT_EQ(storage.put(context(2), object(1), object(21), nullptr), CUDA_SUCCESS);
  for (int pass = 0; pass < 2; ++pass) {  // the second pass comes from the remembered reads
    ASSERT_EQ(storage.get(&value, context(1), object(1)), CUDA_SUCCESS);
    EXPECT_EQ(value, object(11));
    ASSERT_EQ(storage.get(&value, context(1), object(2)), CUDA_SUCCESS);
    EXPECT_EQ(value, object(12));
    ASSERT_EQ(storage.get(&value, context(2), object(1)), CUDA_SUCCESS);
    EXPECT_EQ(value, object(21));
  }
  EXPECT_EQ(storage.put(nullptr, object(1), object(2), nullptr), CUDA_ERROR_INVALID_CONTEXT);
}

TEST(ContextLocalStorage, ForgetsWhatIsRemovedWithoutDestroyingIt) {
  g_destroyed.clear();
  ContextLocalStorage storage;
  void* value = nullptr;
  ASSERT_EQ(storage.put(context(1), object(1), object(11), recordDestruction), CUDA_SUCCESS);
  ASSERT_EQ(storage.get(&value, context(1), object(1)), CUDA_SUCCESS);
  EXPECT_EQ(storage.remove(context(1), object(1)), CUDA_SUCCESS);
  EXPECT_EQ(storage.remove(context(1), object(1)), CUDA_ERROR_INVALID_HANDLE);
  EXPECT_EQ(storage.get(&value, context(1), object(1)), CUDA_ERROR_INVALID_HANDLE);
  storage.endContext(context(1));
  EXPECT_TRUE(g_destroyed.empty());
}

TEST(ContextLocalStorage, DestroysTheValuesOfTheContextThatEnds) {
  g_destroyed.clear();
  ContextLocalStorage storage;
  void* value = nullptr;
  ASSERT_EQ(storage.put(context(1), object(1), object(11), recordDestruction), CUDA_SUCCESS);
  ASSERT_EQ(storage.put(context(1), object(2), object(12), nullptr), CUDA_SUCCESS);
  ASSERT_EQ(storage.put(context(2), object(1), object(21), recordDestruction), CUDA_SUCCESS);
  ASSERT_EQ(storage.get(&value, context(1), object(1)), CUDA_SUCCESS);
  storage.endContext(context(1));
  ASSERT_EQ(g_destroyed.size(), 1u);
  EXPECT_EQ(g_destroyed[0].context, context(1));
  EXPECT_EQ(g_destroyed[0].key, object(1));
  EXPECT_EQ(g_destroyed[0].value, object(11));
  EXPECT_EQ(storage.get(&value, context(1), object(1)), CUDA_ERROR_INVALID_HANDLE);
  EXPECT_EQ(storage.get(&value, context(2), object(1)), CUDA_SUCCESS);
  storage.endContext(context(1));
  EXPECT_EQ(g_destroyed.size(), 1u);
}

TEST(ContextLocalStorage, ADestructorMayUseTheStorage) {
  static ContextLocalStorage storage;
  const auto remove_and_put = [](CUcontext c, void* key, void*) {
    EXPECT_EQ(storage.remove(c, key), CUDA_ERROR_INVALID_HANDLE);
    EXPECT_EQ(storage.put(c, key, object(77), nullptr), CUDA_SUCCESS);
  };
  ASSERT_EQ(storage.put(context(3), object(1), object(1), remove_and_put), CUDA_SUCCESS);
  storage.endContext(context(3));
  void* value = nullptr;
  ASSERT_EQ(storage.get(&value, context(3), object(1)), CUDA_SUCCESS);
  EXPECT_EQ(value, object(77));
}

TEST(ContextLocalStorage, AChangeByAnotherThreadIsSeen) {
  ContextLocalStorage storage;
  void* value = nullptr;
  ASSERT_EQ(storage.put(context(1), object(1), object(1), nullptr), CUDA_SUCCESS);
  for (uintptr_t i = 2; i < 200; ++i) {
    ASSERT_EQ(storage.get(&value, context(1), object(1)), CUDA_SUCCESS);
    ASSERT_EQ(value, object(i - 1));
    std::thread([&] { storage.put(context(1), object(1), object(i), nullptr); }).join();
  }
}

TEST(ContextLocalStorage, ThreadsNeverSeeAValueOfAnotherKey) {
  ContextLocalStorage storage;
  constexpr uintptr_t kThreads = 4, kRounds = 3000;
  std::vector<std::thread> threads;
  std::atomic<int> wrong{0};
  for (uintptr_t t = 1; t <= kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (uintptr_t i = 0; i < kRounds; ++i) {
        void* value = nullptr;
        storage.put(context(t % 2 + 1), object(t), object(t * 1'000'000 + i), nullptr);
        if (storage.get(&value, context(t % 2 + 1), object(t)) != CUDA_SUCCESS) wrong++;
        if (value != object(t * 1'000'000 + i)) wrong++;
        if (i % 64 == 0) storage.remove(context(t % 2 + 1), object(t));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
}

TEST(ContextLocalStorage, ANewStorageAtAnOldAddressStartsEmpty) {
  alignas(ContextLocalStorage) std::byte place[sizeof(ContextLocalStorage)];
  void* value = nullptr;
  auto* first = new (place) ContextLocalStorage;
  ASSERT_EQ(first->put(context(1), object(1), object(1), nullptr), CUDA_SUCCESS);
  ASSERT_EQ(first->get(&value, context(1), object(1)), CUDA_SUCCESS);
  first->~ContextLocalStorage();
  auto* second = new (place) ContextLocalStorage;
  EXPECT_EQ(second->get(&value, context(1), object(1)), CUDA_ERROR_INVALID_HANDLE);
  second->~ContextLocalStorage();
}

}  // namespace
}  // namespace farwarp
