// Goal: ids name exactly one object, stale and made-up values are refused without being
// dereferenced, and what ends a parent ends its children. Method: the table alone, including values
// that no table made, every index of several chunks, and threads that create, check and destroy at
// the same time.
#include "interposer/session/handle_table.h"

#include <gtest/gtest.h>

#include <set>
#include <thread>

namespace farwarp::client {
namespace {

using wire::HandleId;
using wire::HandleType;

uint64_t make(HandleTable& table, HandleType type, uint64_t parent = 0, void* object = nullptr) {
  uint64_t id = 0;
  EXPECT_EQ(table.create(type, parent, object, id), CUDA_SUCCESS);
  return id;
}

TEST(HandleTable, KeepsWhatItWasGiven) {
  HandleTable table;
  int object = 0;
  const uint64_t parent = make(table, HandleType::context);
  const uint64_t id = make(table, HandleType::stream, parent, &object);
  EXPECT_EQ(HandleId(id).type(), HandleType::stream);
  EXPECT_EQ(HandleId(id).index(), 1u);
  EXPECT_TRUE(table.live(HandleType::stream, id));
  EXPECT_FALSE(table.live(HandleType::event, id));
  EXPECT_EQ(table.object(id), &object);
  EXPECT_EQ(table.parent(id), parent);
  EXPECT_EQ(table.count(HandleType::stream), 1u);
}

TEST(HandleTable, RefusesValuesThatItNeverGave) {
  HandleTable table;
  const uint64_t id = make(table, HandleType::event);
  int local = 0;
  for (uint64_t value :
       {uint64_t{0}, uint64_t{1}, uint64_t{2}, ~uint64_t{0}, id + 1, id | uint64_t{1} << 63,
        id + (uint64_t{1} << 32), id & 0xffffffff, reinterpret_cast<uint64_t>(&local),
        HandleId(HandleType::event, 1, 0).bits, HandleId(HandleType::event, 1, 0xffffffff).bits,
        HandleId(HandleType::event, 0, 2).bits}) {
    EXPECT_FALSE(table.live(HandleType::event, value)) << std::hex << value;
    EXPECT_EQ(table.object(value), nullptr) << std::hex << value;
    EXPECT_FALSE(table.destroy(value)) << std::hex << value;
  }
  EXPECT_TRUE(table.live(HandleType::event, id));
}

TEST(HandleTable, GivesAnIndexANewGenerationWhenItIsUsedAgain) {
  HandleTable table;
  const uint64_t first = make(table, HandleType::event);
  EXPECT_TRUE(table.destroy(first));
  EXPECT_FALSE(table.live(HandleType::event, first));
  EXPECT_FALSE(table.destroy(first));
  const uint64_t second = make(table, HandleType::event);
  EXPECT_EQ(HandleId(second).index(), HandleId(first).index());
  EXPECT_NE(second, first);
  EXPECT_FALSE(table.live(HandleType::event, first));
  EXPECT_TRUE(table.live(HandleType::event, second));
}

TEST(HandleTable, NeverUsesAnAbandonedIndexAgain) {
  HandleTable table;
  const uint64_t abandoned = make(table, HandleType::module);
  const uint64_t below = make(table, HandleType::function, abandoned);
  table.abandon(abandoned);
  EXPECT_FALSE(table.live(HandleType::module, abandoned));
  EXPECT_FALSE(table.live(HandleType::function, below));
  EXPECT_NE(HandleId(make(table, HandleType::module)).index(), HandleId(abandoned).index());
  EXPECT_NE(HandleId(make(table, HandleType::function)).index(), HandleId(below).index());
}

TEST(HandleTable, EndsChildrenWithTheirParentAndTellsThem) {
  HandleTable table;
  int objects[4];
  const uint64_t context = make(table, HandleType::context, 0, &objects[0]);
  const uint64_t module = make(table, HandleType::module, context, &objects[1]);
  const uint64_t function = make(table, HandleType::function, module, &objects[2]);
  const uint64_t stream = make(table, HandleType::stream, context, &objects[3]);
  const uint64_t other = make(table, HandleType::stream);
  std::vector<HandleTable::Removed> removed;
  EXPECT_TRUE(table.destroy(context, &removed));
  ASSERT_EQ(removed.size(), 4u);
  EXPECT_EQ(removed.back().id, context);
  EXPECT_EQ(removed.back().object, &objects[0]);
  std::set<uint64_t> ids;
  for (const auto& gone : removed) ids.insert(gone.id);
  EXPECT_EQ(ids, (std::set<uint64_t>{context, module, function, stream}));
  for (uint64_t id : ids) EXPECT_EQ(table.object(id), nullptr);
  EXPECT_TRUE(table.live(HandleType::stream, other));
}

TEST(HandleTable, UnlinksAChildThatEndsFirst) {
  HandleTable table;
  const uint64_t context = make(table, HandleType::context);
  uint64_t streams[3];
  for (uint64_t& stream : streams) stream = make(table, HandleType::stream, context);
  EXPECT_TRUE(table.destroy(streams[1]));
  const uint64_t reused = make(table, HandleType::stream);  // takes the index, not the parent
  std::vector<HandleTable::Removed> removed;
  EXPECT_TRUE(table.destroyChildren(context, &removed));
  EXPECT_EQ(removed.size(), 2u);
  EXPECT_TRUE(table.live(HandleType::context, context));
  EXPECT_TRUE(table.live(HandleType::stream, reused));
}

TEST(HandleTable, FindsEveryObjectAcrossChunks) {
  HandleTable table;
  constexpr int kObjects = 5000;
  std::vector<uint64_t> ids;
  std::vector<int> objects(kObjects);
  for (int& object : objects) ids.push_back(make(table, HandleType::event, 0, &object));
  EXPECT_EQ(std::set<uint64_t>(ids.begin(), ids.end()).size(), ids.size());
  for (int i = 0; i < kObjects; ++i) EXPECT_EQ(table.object(ids[i]), &objects[i]);
  EXPECT_EQ(table.count(HandleType::event), static_cast<uint32_t>(kObjects));
}

TEST(HandleTable, ThreadsSeeTheirOwnObjectsOnly) {
  HandleTable table;
  constexpr int kThreads = 4, kRounds = 3000;
  std::vector<std::thread> threads;
  std::atomic<int> wrong{0};
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&] {
      int object = 0;
      uint64_t stale = 0;
      for (int i = 0; i < kRounds; ++i) {
        uint64_t id = 0;
        if (table.create(HandleType::event, 0, &object, id) != CUDA_SUCCESS) ++wrong;
        if (!table.live(HandleType::event, id) || table.object(id) != &object) ++wrong;
        if (stale != 0 && table.live(HandleType::event, stale)) ++wrong;
        if (!table.destroy(id)) ++wrong;
        stale = id;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(table.count(HandleType::event), 0u);
}

}  // namespace
}  // namespace farwarp::client
