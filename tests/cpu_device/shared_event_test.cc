// Goal: an event that two processes have is the same for both, and a recorder that ends holds
// nobody back. Method: two mappings of one event in this process, a thread that waits, and a child
// that records and ends.
#include "gpud/device/cpu/shared_event.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <thread>

namespace farwarp::cpu {
namespace {

const auto kNever = [] { return false; };

// The same event once more, as another process would open it.
std::shared_ptr<SharedEvent> openAgain(SharedEvent& event) {
  const DescriptorKey* key = event.key();
  const int file = key == nullptr ? -1 : DescriptorBroker::fetch(*key);
  auto again = SharedEvent::open(file);
  close(file);
  return again;
}

TEST(SharedEvent, ARecorderThatEndedHasHappened) {
  const auto event = SharedEvent::create();
  ASSERT_NE(event, nullptr);
  const pid_t child = fork();
  if (child == 0) {
    event->begin();
    _exit(0);
  }
  ASSERT_EQ(waitpid(child, nullptr, 0), child);
  EXPECT_EQ(event->latest(), 1u);
  event->wait(1, kNever);
  EXPECT_TRUE(event->happened(1));
  // Recorded again by a process that lives, it waits for that one.
  EXPECT_EQ(event->begin(), 2u);
  EXPECT_FALSE(event->happened(2));
  event->wait(2, [] { return true; });
}

TEST(SharedEvent, IsOneForAllWhoHaveIt) {
  const auto event = SharedEvent::create();
  ASSERT_NE(event, nullptr);
  const auto again = openAgain(*event);
  ASSERT_NE(again, nullptr);
  EXPECT_TRUE(again->happened(again->latest())) << "never recorded";
  const uint64_t first = event->begin();
  EXPECT_EQ(again->latest(), first);
  EXPECT_FALSE(again->happened(first));
  std::thread waiter([&] { again->wait(first, kNever); });
  event->finish(first);
  waiter.join();
  EXPECT_TRUE(again->happened(first));
  const uint64_t second = again->begin(), third = event->begin();
  event->finish(third);
  EXPECT_TRUE(again->happened(second)) << "only the latest counts";
  again->finish(second);
  EXPECT_TRUE(again->happened(third));
}

TEST(SharedEvent, IsNoOtherFile) {
  EXPECT_EQ(SharedEvent::open(-1), nullptr);
  const int file = open("/dev/null", O_RDWR | O_CLOEXEC);
  EXPECT_EQ(SharedEvent::open(file), nullptr);
  close(file);
}

}  // namespace
}  // namespace farwarp::cpu
