// Goal: what a worker counts is seen by the supervisor, and a worker's memory cannot harm the
// reader. Method: two mappings of one memfd in this process; then nonsense written where a string's
// length is.
#include "gpud/metering/session_counters.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <string>

namespace farwarp {
namespace {

TEST(SessionCounters, AreSharedBetweenMappings) {
  SharedCounters supervisor;
  ASSERT_TRUE(supervisor.create());
  SharedCounters worker;
  ASSERT_TRUE(worker.open(dup(supervisor.fd())));
  worker.get()->kernel_ns += 42;
  worker.get()->program.set("a.out");
  EXPECT_EQ(supervisor.get()->kernel_ns, 42u);
  EXPECT_EQ(supervisor.get()->program.get(), "a.out");
}

TEST(SessionCounters, CannotBeShrunkUnderTheReader) {
  SharedCounters supervisor;
  ASSERT_TRUE(supervisor.create());
  EXPECT_NE(ftruncate(supervisor.fd(), 0), 0);
}

TEST(SessionCounters, RefusesForeignMemory) {
  const int fd = memfd_create("other", 0);
  ASSERT_EQ(ftruncate(fd, 10), 0);
  SharedCounters counters;
  EXPECT_FALSE(counters.open(fd));
}

TEST(SessionCounters, CutsAndCleansStrings) {
  SharedCounters counters;
  ASSERT_TRUE(counters.create());
  auto& program = counters.get()->program;
  program.set(std::string(1000, 'x') + "end");
  EXPECT_EQ(program.get(), std::string(240, 'x'));
  program.set("line\nforged");
  EXPECT_EQ(program.get(), "line?forged");
  program.length = 0xffffffff;
  EXPECT_EQ(program.get().size(), 240u);
}

}  // namespace
}  // namespace farwarp
