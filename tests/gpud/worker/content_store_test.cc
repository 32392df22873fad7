// Goal: content that was kept comes back byte for byte, names cannot be made to lie, and the folder
// stays below its limit. Method: stores on a folder of the test's own, and files changed by hand.
#include "gpud/worker/content_store.h"

#include <gtest/gtest.h>
#include <spdlog/spdlog.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <vector>

namespace farwarp::worker {
namespace {

namespace fs = std::filesystem;

std::vector<std::byte> content(size_t bytes, int seed) {
  std::vector<std::byte> out(bytes);
  for (size_t i = 0; i < bytes; ++i) out[i] = static_cast<std::byte>(i * 7 + i / 255 + seed);
  return out;
}

class ContentStoreTest : public testing::Test {
 protected:
  ContentStoreTest() {
    spdlog::set_level(spdlog::level::off);
    std::string name = testing::TempDir() + "content.XXXXXX";
    folder_ = mkdtemp(name.data());
  }
  ~ContentStoreTest() override {
    std::error_code ignored;
    fs::remove_all(folder_, ignored);
  }
  std::string kept() const { return folder_ + "/kept"; }
  size_t files() const {
    return static_cast<size_t>(std::distance(fs::directory_iterator(kept()), {}));
  }
  static void keep(ContentStore& store, std::span<const std::byte> bytes) {
    store.expect(1);
    store.arrived(1, bytes);
  }
  static bool has(const ContentStore& store, std::span<const std::byte> bytes) {
    const auto found = store.find(wire::digestOf(bytes), bytes.size());
    return found != nullptr && std::memcmp(found.get(), bytes.data(), bytes.size()) == 0;
  }
  std::string folder_;
};

TEST_F(ContentStoreTest, GivesBackWhatCameForAllWorkers) {
  ContentStore store(kept(), 1 << 20), other(kept(), 1 << 20);
  const auto bytes = content(100'000, 1);
  EXPECT_FALSE(has(store, bytes));
  keep(store, bytes);
  EXPECT_TRUE(has(store, bytes));
  EXPECT_TRUE(has(other, bytes));
  struct stat info {};
  ASSERT_EQ(stat(kept().c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0700u);
  // By its digest and its length, not by one of them.
  EXPECT_EQ(store.find(wire::digestOf(bytes), bytes.size() - 1), nullptr);
  EXPECT_EQ(store.find({}, bytes.size()), nullptr);
}

TEST_F(ContentStoreTest, KeepsOnlyWhatItWasAskedFor) {
  ContentStore store(kept(), 1 << 20);
  const auto bytes = content(1000, 1);
  store.arrived(7, bytes);
  EXPECT_FALSE(has(store, bytes));
  for (uint64_t transfer = 1; transfer <= 100; ++transfer) store.expect(transfer);
  store.arrived(1, bytes);  // long ago
  EXPECT_FALSE(has(store, bytes));
  store.arrived(100, bytes);
  EXPECT_TRUE(has(store, bytes));
}

TEST_F(ContentStoreTest, AFileThatWasChangedIsNotBelieved) {
  ContentStore store(kept(), 1 << 20);
  const auto bytes = content(5000, 1);
  keep(store, bytes);
  const fs::path file = fs::directory_iterator(kept())->path();
  std::fstream(file, std::ios::in | std::ios::out | std::ios::binary).seekp(100).put('?');
  EXPECT_EQ(store.find(wire::digestOf(bytes), bytes.size()), nullptr);
  EXPECT_FALSE(fs::exists(file));
  keep(store, bytes);
  EXPECT_TRUE(has(store, bytes));
  // A link to another file is not followed.
  const fs::path elsewhere = folder_ + "/elsewhere";
  fs::rename(file, elsewhere);
  fs::create_symlink(elsewhere, file);
  EXPECT_FALSE(has(store, bytes));
}

TEST_F(ContentStoreTest, TheOldestGoesWhenThereIsTooMuch) {
  ContentStore store(kept(), 10'000);
  const auto first = content(4000, 1), second = content(4000, 2), third = content(4000, 3);
  keep(store, first);
  keep(store, second);
  // Used later than the other, whatever the clock's steps are.
  for (const auto& entry : fs::directory_iterator(kept())) {
    fs::last_write_time(entry, fs::file_time_type::clock::now() - std::chrono::hours(1));
  }
  EXPECT_TRUE(has(store, first));
  keep(store, third);
  EXPECT_EQ(files(), 2u);
  EXPECT_TRUE(has(store, first));
  EXPECT_FALSE(has(store, second));
  EXPECT_TRUE(has(store, third));
  keep(store, content(10'001, 4));  // more than there may be at all
  EXPECT_EQ(files(), 2u);
}

TEST_F(ContentStoreTest, NothingIsKeptWhenNothingMayBe) {
  ContentStore store(kept(), 0);
  keep(store, content(1000, 1));
  EXPECT_FALSE(fs::exists(kept()));
  // Nor where it cannot be.
  ContentStore nowhere("/proc/farwarp", 1 << 20);
  keep(nowhere, content(1000, 1));
  EXPECT_FALSE(has(nowhere, content(1000, 1)));
}

}  // namespace
}  // namespace farwarp::worker
