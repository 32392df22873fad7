// Goal: exactly the bytes that the program changed are told, whatever the pattern, and pages are
// closed and open as their state says. Method: one region, written through its second mapping or
// after its pages became writable, as the fault handler makes them; a random pattern prints its
// seed.
#include "interposer/session/page_region.h"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <random>
#include <vector>

namespace farwarp::client {
namespace {

constexpr size_t kPages = 16;

class PageRegionTest : public testing::Test {
 protected:
  PageRegionTest() {
    at_ = static_cast<std::byte*>(mmap(nullptr, kPages * kPageBytes, PROT_READ | PROT_WRITE,
                                       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  }
  ~PageRegionTest() override {
    region_.reset();
    munmap(at_, kPages * kPageBytes);
  }
  void place(PageRegion::Content content) {
    region_ = PageRegion::place(reinterpret_cast<uint64_t>(at_), kPages * kPageBytes, content);
    ASSERT_NE(region_, nullptr);
  }
  void placeClean() {
    place(PageRegion::Content::zero);
    EXPECT_TRUE(changes(0).empty());
  }
  // The changed bytes by their offsets; `runs` counts the calls.
  std::map<size_t, std::byte> changes(size_t gap, size_t* runs = nullptr) {
    std::map<size_t, std::byte> found;
    region_->takeChanges(gap, [&](uint64_t address, const std::byte* data, size_t bytes) {
      if (runs != nullptr) ++*runs;
      const size_t offset = address - region_->begin();
      for (size_t i = 0; i < bytes; ++i) {
        EXPECT_TRUE(found.emplace(offset + i, data[i]).second) << "told twice";
      }
    });
    return found;
  }

  std::byte* at_ = nullptr;
  std::unique_ptr<PageRegion> region_;
};

TEST_F(PageRegionTest, NewMemoryIsZeroAndOpen) {
  place(PageRegion::Content::zero);
  EXPECT_EQ(region_->state(0), PageState::dirty);
  EXPECT_EQ(at_[5], std::byte{0});
  at_[77] = std::byte{3};
  const auto found = changes(0);
  EXPECT_EQ(found.size(), 1u);
  EXPECT_EQ(found.begin()->first, 77u);
  EXPECT_EQ(region_->state(0), PageState::clean);
  EXPECT_TRUE(changes(0).empty());
}

TEST_F(PageRegionTest, OfLargeNewMemoryOnlyWhatWasTouchedIsRead) {
  constexpr size_t kMany = size_t{1} << 14;
  void* at = mmap(nullptr, kMany * kPageBytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  auto* bytes = static_cast<std::byte*>(at);
  region_ = PageRegion::place(reinterpret_cast<uint64_t>(at), kMany * kPageBytes,
                              PageRegion::Content::zero);
  ASSERT_NE(region_, nullptr);
  for (const size_t page : {size_t{0}, size_t{5000}, kMany - 1}) {
    bytes[page * kPageBytes + 9] = std::byte{1};
  }
  EXPECT_EQ(changes(0).size(), 3u);
  // What was not touched takes no memory now either.
  std::vector<unsigned char> resident(kMany);
  ASSERT_EQ(mincore(region_->bytesAt(0), kMany * kPageBytes, resident.data()), 0);
  EXPECT_LT(std::count_if(resident.begin(), resident.end(), [](auto r) { return r & 1; }), 2000);
  region_.reset();
  munmap(at, kMany * kPageBytes);
}

TEST_F(PageRegionTest, ExistingMemoryKeepsItsContentAndAllOfItIsNews) {
  std::memset(at_ + 100, 7, 50);
  place(PageRegion::Content::existing);
  EXPECT_EQ(at_[100], std::byte{7});
  const auto found = changes(0);
  EXPECT_EQ(found.size(), 50u);
  EXPECT_EQ(found.begin()->first, 100u);
  EXPECT_EQ(region_->state(0), PageState::clean);
  EXPECT_TRUE(changes(0).empty());
}

TEST_F(PageRegionTest, RandomWritesAreToldByteForByte) {
  placeClean();
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  std::vector<std::byte> before(kPages * kPageBytes);
  for (int round = 0; round < 20; ++round) {
    ASSERT_TRUE(region_->makeDirty(2, 3));
    ASSERT_TRUE(region_->makeDirty(9, 1));
    for (int write = 0; write < 200; ++write) {
      const size_t page = random() % 4 == 3 ? 9 : 2 + random() % 3;
      at_[page * kPageBytes + random() % kPageBytes] = static_cast<std::byte>(random() % 3);
    }
    const auto found = changes(0);
    for (size_t i = 0; i < before.size(); ++i) {
      ASSERT_EQ(found.contains(i), at_[i] != before[i]) << i;
      if (at_[i] != before[i]) ASSERT_EQ(found.at(i), at_[i]);
    }
    std::memcpy(before.data(), at_, before.size());
  }
}

TEST_F(PageRegionTest, AGapJoinsRuns) {
  placeClean();
  for (const auto& [gap, wanted] :
       std::initializer_list<std::pair<size_t, size_t>>{{0, 3}, {2, 3}, {3, 2}, {100, 1}}) {
    ASSERT_TRUE(region_->makeDirty(0, 1));
    for (const size_t offset : {10, 14, 62}) at_[offset] ^= std::byte{1};
    size_t runs = 0;
    EXPECT_GE(changes(gap, &runs).size(), 3u);
    EXPECT_EQ(runs, wanted) << gap;
  }
}

TEST_F(PageRegionTest, WhatIsInvalidIsFilledBeforeItIsSeen) {
  place(PageRegion::Content::remote);
  EXPECT_EQ(region_->state(3), PageState::invalid);
  EXPECT_EQ(region_->runOf(3, PageState::invalid, 5), 5u);
  std::memset(region_->bytesAt(3), 9, kPageBytes);
  ASSERT_TRUE(region_->makeClean(3, 1));
  EXPECT_EQ(at_[3 * kPageBytes], std::byte{9});
  EXPECT_TRUE(region_->mayBeClean());
  ASSERT_TRUE(region_->invalidate());
  EXPECT_EQ(region_->state(3), PageState::invalid);
  EXPECT_FALSE(region_->mayBeClean());
  EXPECT_EQ(region_->bytesAt(3)[0], std::byte{9});
}

TEST_F(PageRegionTest, RunsOfEqualState) {
  placeClean();
  ASSERT_TRUE(region_->makeDirty(4, 4));
  EXPECT_EQ(region_->runBegin(6), 4u);
  EXPECT_EQ(region_->runOf(4, PageState::dirty, 100), 4u);
  EXPECT_EQ(region_->runOf(4, PageState::dirty, 2), 2u);
  EXPECT_EQ(region_->runOf(3, PageState::dirty, 2), 0u);
  EXPECT_EQ(region_->runOf(15, PageState::clean, 100), 1u);
}

}  // namespace
}  // namespace farwarp::client
