// Goal: a descriptor reaches whoever knows its key, in this and in another process, and nobody
// else. Method: a pipe is offered, and fetched with the key, wrong keys, and after it was
// withdrawn; a child process, made before the broker has its thread, fetches it too.
#include "gpud/device/descriptor_broker.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

namespace farwarp {
namespace {

// Writes a byte to what `file` is, and reads it from `from`.
bool isWriteEndOf(int file, int from) {
  char byte = 'x';
  if (file < 0 || write(file, &byte, 1) != 1) return false;
  byte = 0;
  return read(from, &byte, 1) == 1 && byte == 'x';
}

TEST(DescriptorBroker, GivesADescriptorToAnotherProcess) {
  int keys[2], shared[2];
  ASSERT_EQ(pipe(keys), 0);
  ASSERT_EQ(pipe(shared), 0);
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    std::array<std::byte, DescriptorKey::kBytes> bytes;
    const bool told =
        read(keys[0], bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size());
    const int file = told ? DescriptorBroker::fetch(*DescriptorKey::from(bytes)) : -1;
    const char byte = 'c';
    _exit(file >= 0 && write(file, &byte, 1) == 1 ? 0 : 1);
  }
  const auto key = DescriptorBroker::get().offer(dup(shared[1]));
  ASSERT_TRUE(key);
  EXPECT_TRUE(DescriptorBroker::get().isOwn(*key));
  const auto bytes = key->bytes();
  ASSERT_EQ(write(keys[1], bytes.data(), bytes.size()), static_cast<ssize_t>(bytes.size()));
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  char byte = 0;
  EXPECT_EQ(read(shared[0], &byte, 1), 1);
  EXPECT_EQ(byte, 'c');
  DescriptorBroker::get().withdraw(*key);
  for (int file : {keys[0], keys[1], shared[0], shared[1]}) close(file);
}

TEST(DescriptorBroker, KnowsItsOwnKeysAlone) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  const auto key = DescriptorBroker::get().offer(dup(ends[1]));
  ASSERT_TRUE(key);
  const int file = DescriptorBroker::fetch(*key);
  EXPECT_TRUE(isWriteEndOf(file, ends[0]));
  close(file);
  DescriptorKey wrong = *key;
  wrong.secret[3] ^= std::byte{1};
  EXPECT_EQ(DescriptorBroker::fetch(wrong), -1);
  wrong = *key;
  wrong.socket[3] ^= std::byte{1};
  EXPECT_EQ(DescriptorBroker::fetch(wrong), -1);
  EXPECT_FALSE(DescriptorBroker::get().isOwn(wrong));
  DescriptorBroker::get().withdraw(*key);
  EXPECT_EQ(DescriptorBroker::fetch(*key), -1);
  for (int end : ends) close(end);
}

TEST(DescriptorBroker, ReadsKeysOfTheRightLength) {
  std::array<std::byte, DescriptorKey::kBytes> bytes{};
  bytes[0] = std::byte{1};
  bytes[31] = std::byte{2};
  const auto key = DescriptorKey::from(bytes);
  ASSERT_TRUE(key);
  EXPECT_EQ(key->bytes(), bytes);
  EXPECT_FALSE(DescriptorKey::from({bytes.data(), 31}));
  EXPECT_FALSE(DescriptorKey::from({}));
}

}  // namespace
}  // namespace farwarp
