// Goal: a worker maps only memory that cannot be taken away from under it. Method: descriptors of
// every wrong kind, and the right one.
#include "protocol/shared_region.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

namespace farwarp::wire {
namespace {

using ::testing::HasSubstr;

std::string whyNot(int fd) {
  std::string why;
  EXPECT_FALSE(SharedRegion::adopt(fd, why).has_value());
  return why;
}

TEST(SharedRegion, IsOneMemoryOnBothSides) {
  auto ours = SharedRegion::create();
  ASSERT_TRUE(ours);
  std::string why;
  auto theirs = SharedRegion::adopt(dup(ours->fd()), why);
  ASSERT_TRUE(theirs) << why;
  ours->uploads().front() = std::byte{7};
  theirs->downloads().back() = std::byte{9};
  EXPECT_EQ(theirs->uploads().front(), std::byte{7});
  EXPECT_EQ(ours->downloads().back(), std::byte{9});
  EXPECT_EQ(ours->uploads().size() + ours->downloads().size(), kSharedRegionBytes);
}

TEST(SharedRegion, CannotBeResized) {
  auto region = SharedRegion::create();
  ASSERT_TRUE(region);
  EXPECT_NE(ftruncate(region->fd(), 4096), 0);
  EXPECT_NE(ftruncate(region->fd(), 2 * kSharedRegionBytes), 0);
}

TEST(SharedRegion, RefusesWhatIsNotSealed) {
  const int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  ASSERT_EQ(ftruncate(fd, kSharedRegionBytes), 0);
  ASSERT_EQ(fcntl(fd, F_ADD_SEALS, F_SEAL_GROW), 0);
  EXPECT_THAT(whyNot(fd), HasSubstr("not sealed"));
}

TEST(SharedRegion, RefusesWhoseSealsCanGrow) {
  const int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  ASSERT_EQ(ftruncate(fd, kSharedRegionBytes), 0);
  ASSERT_EQ(fcntl(fd, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK), 0);
  EXPECT_THAT(whyNot(fd), HasSubstr("not sealed"));
}

TEST(SharedRegion, RefusesHugePages) {
  const int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_HUGETLB);
  if (fd < 0) GTEST_SKIP() << "This system has no huge pages.";
  ASSERT_EQ(ftruncate(fd, kSharedRegionBytes), 0);
  ASSERT_EQ(fcntl(fd, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL), 0);
  EXPECT_THAT(whyNot(fd), HasSubstr("ordinary pages"));
}

TEST(SharedRegion, RefusesAnotherSize) {
  const int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  ASSERT_EQ(ftruncate(fd, kSharedRegionBytes - 4096), 0);
  ASSERT_EQ(fcntl(fd, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL), 0);
  EXPECT_THAT(whyNot(fd), HasSubstr("it must have"));
}

TEST(SharedRegion, RefusesWhatIsNoMemory) {
  EXPECT_THAT(whyNot(open("/dev/null", O_RDWR | O_CLOEXEC)), HasSubstr("not sealed"));
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  EXPECT_THAT(whyNot(ends[0]), HasSubstr("not sealed"));
  close(ends[1]);
}

TEST(SharedRegion, RefusesMemoryThatMayNotBeWritten) {
  const int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  ASSERT_EQ(ftruncate(fd, kSharedRegionBytes), 0);
  ASSERT_EQ(fcntl(fd, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL | F_SEAL_WRITE), 0);
  EXPECT_THAT(whyNot(fd), HasSubstr("memory"));
}

}  // namespace
}  // namespace farwarp::wire
