// Goal: only live ids of the right type reach an object; ids are never valid again; what belongs to
// an object goes with it; hostile ids cost little. Method: each rule by itself, then random binds
// and unbinds against a map (the seed is printed).
#include "gpud/worker/handle_table.h"

#include <gtest/gtest.h>

#include <iostream>
#include <map>
#include <random>

namespace farwarp::worker {
namespace {

using wire::HandleId;
using wire::HandleType;
using Result = HandleTable::BindResult;

void* object(uintptr_t n) {
  return reinterpret_cast<void*>(n);
}
uint64_t streamId(uint32_t generation, uint32_t index) {
  return HandleId(HandleType::stream, generation, index).bits;
}

TEST(HandleTable, FindsWhatWasBound) {
  HandleTable table(100);
  ASSERT_EQ(table.bind(HandleType::stream, streamId(1, 5), object(77)), Result::bound);
  EXPECT_EQ(table.find(HandleType::stream, streamId(1, 5)), object(77));
  EXPECT_EQ(table.idAt(HandleType::stream, 5), streamId(1, 5));
  EXPECT_EQ(table.liveHandles(), 1u);
}

TEST(HandleTable, RefusesOtherTypesGenerationsAndIndexes) {
  HandleTable table(100);
  ASSERT_EQ(table.bind(HandleType::stream, streamId(3, 5), object(77)), Result::bound);
  EXPECT_EQ(table.find(HandleType::event, streamId(3, 5)), nullptr);
  EXPECT_EQ(table.find(HandleType::event, HandleId(HandleType::event, 3, 5).bits), nullptr);
  EXPECT_EQ(table.find(HandleType::stream, streamId(2, 5)), nullptr);
  EXPECT_EQ(table.find(HandleType::stream, streamId(4, 5)), nullptr);
  EXPECT_EQ(table.find(HandleType::stream, streamId(3, 6)), nullptr);
  EXPECT_EQ(table.find(HandleType::stream, streamId(3, 5) | uint64_t{1} << 63), nullptr);
  EXPECT_EQ(table.find(HandleType::stream, ~uint64_t{0}), nullptr);
  EXPECT_EQ(table.find(HandleType::stream, 0), nullptr);
}

TEST(HandleTable, RefusesBadBinds) {
  HandleTable table(2);
  EXPECT_EQ(table.bind(HandleType::event, streamId(1, 1), object(1)), Result::wrong_type);
  EXPECT_EQ(table.bind(HandleType::none, HandleId(HandleType::none, 1, 1).bits, object(1)),
            Result::wrong_type);
  EXPECT_EQ(table.bind(HandleType::stream, streamId(1, 0), object(1)), Result::bad_index);
  EXPECT_EQ(table.bind(HandleType::stream, streamId(1, wire::kHandleIndexMax + 1), object(1)),
            Result::bad_index);
  ASSERT_EQ(table.bind(HandleType::stream, streamId(1, 1), object(1)), Result::bound);
  EXPECT_EQ(table.bind(HandleType::stream, streamId(1, 1), object(2)), Result::old_generation);
  EXPECT_EQ(table.bind(HandleType::stream, streamId(2, 1), object(2)), Result::old_generation);
  EXPECT_EQ(table.find(HandleType::stream, streamId(1, 1)), object(1));
  ASSERT_EQ(table.bind(HandleType::stream, streamId(0, wire::kHandleIndexMax), object(1)),
            Result::bound);
  EXPECT_EQ(table.bind(HandleType::stream, streamId(1, 3), object(1)), Result::too_many);
}

TEST(HandleTable, StaleIdsStayStale) {
  HandleTable table(100);
  ASSERT_EQ(table.bind(HandleType::stream, streamId(1, 1), object(1)), Result::bound);
  EXPECT_TRUE(table.unbind(HandleType::stream, streamId(1, 1)));
  EXPECT_FALSE(table.unbind(HandleType::stream, streamId(1, 1)));
  EXPECT_EQ(table.find(HandleType::stream, streamId(1, 1)), nullptr);
  EXPECT_EQ(table.bind(HandleType::stream, streamId(1, 1), object(2)), Result::old_generation);
  EXPECT_EQ(table.bind(HandleType::stream, streamId(2, 1), object(2)), Result::bound);
  EXPECT_EQ(table.find(HandleType::stream, streamId(1, 1)), nullptr);
  EXPECT_EQ(table.liveHandles(), 1u);
}

TEST(HandleTable, ChildrenGoWithTheirParents) {
  HandleTable table(100);
  const uint64_t context = HandleId(HandleType::context, 1, 1).bits;
  const uint64_t module = HandleId(HandleType::module, 1, 1).bits;
  const uint64_t function = HandleId(HandleType::function, 1, 1).bits;
  ASSERT_EQ(table.bind(HandleType::context, context, object(1)), Result::bound);
  ASSERT_EQ(table.bind(HandleType::module, module, object(2), context), Result::bound);
  ASSERT_EQ(table.bind(HandleType::function, function, object(3), module), Result::bound);
  table.unbindChildren(context);
  EXPECT_EQ(table.find(HandleType::context, context), object(1));
  EXPECT_EQ(table.find(HandleType::module, module), nullptr);
  EXPECT_EQ(table.find(HandleType::function, function), nullptr);
  EXPECT_EQ(table.liveHandles(), 1u);
}

TEST(HandleTable, ReplacesBehindALiveId) {
  HandleTable table(100);
  const uint64_t id = HandleId(HandleType::context, 1, 1).bits;
  EXPECT_FALSE(table.replace(HandleType::context, id, object(1)));
  ASSERT_EQ(table.bind(HandleType::context, id, object(1)), Result::bound);
  EXPECT_TRUE(table.replace(HandleType::context, id, nullptr));
  EXPECT_EQ(table.find(HandleType::context, id), nullptr);
  EXPECT_TRUE(table.replace(HandleType::context, id, object(2)));
  EXPECT_EQ(table.find(HandleType::context, id), object(2));
}

TEST(HandleTable, EqualsAMapOverRandomUse) {
  const unsigned seed = std::random_device{}();
  std::cout << "seed " << seed << '\n';
  std::mt19937 random(seed);
  HandleTable table(1u << 20);
  const uint64_t parent = HandleId(HandleType::context, 1, 1).bits;
  ASSERT_EQ(table.bind(HandleType::context, parent, object(1)), Result::bound);
  std::map<uint32_t, uint32_t> live;  // index -> generation
  std::map<uint32_t, uint32_t> generations;
  for (int step = 0; step < 50000; ++step) {
    const uint32_t index = 1 + random() % 2000;
    if (live.count(index) == 0) {
      const uint32_t generation = ++generations[index];
      ASSERT_EQ(table.bind(HandleType::stream, streamId(generation, index), object(index), parent),
                Result::bound);
      live[index] = generation;
    } else {
      ASSERT_TRUE(table.unbind(HandleType::stream, streamId(live[index], index)));
      live.erase(index);
    }
    ASSERT_EQ(table.liveHandles(), live.size() + 1);
  }
  for (const auto& [index, generation] : generations) {
    EXPECT_EQ(table.find(HandleType::stream, streamId(generation, index)) != nullptr,
              live.count(index) != 0);
  }
  table.unbindChildren(parent);
  EXPECT_EQ(table.liveHandles(), 1u);
}

}  // namespace
}  // namespace farwarp::worker
