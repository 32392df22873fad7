// Goal: messages arrive whole however they are cut, hostile ones are refused with a reason, and
// what is written arrives once and in order however slowly the channel takes it. Method: a channel
// in memory that gives and takes as many bytes as the test says.
#include "protocol/message_stream.h"

#include <capnp/message.h>
#include <capnp/serialize.h>
#include <errno.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <random>

#include "protocol/uv_event_port.h"

namespace farwarp::wire {
namespace {

using ::testing::HasSubstr;
using Bytes = std::vector<std::byte>;

class MemoryChannel final : public ByteChannel {
 public:
  Bytes input;
  size_t taken = 0;
  size_t readable = 0;  // of input, how much may be read by now
  bool closed = false;  // the peer ended after `readable` bytes
  Bytes output;
  size_t room = SIZE_MAX;
  int writes = 0;
  int write_error = 0;
  bool shut_write = false, shut_both = false;

  void reset() {
    input.clear(), output.clear();
    taken = readable = 0, room = SIZE_MAX, writes = write_error = 0;
    closed = shut_write = shut_both = false;
  }

  ssize_t read(void* buffer, size_t bytes) override {
    const size_t n = std::min(bytes, readable - taken);
    if (n == 0) return closed || shut_both ? 0 : -EAGAIN;
    std::memcpy(buffer, input.data() + taken, n);
    taken += n;
    return static_cast<ssize_t>(n);
  }
  ssize_t write(const iovec* pieces, int count) override {
    if (write_error != 0) return -write_error;
    if (room == 0) return -EAGAIN;
    ++writes;
    size_t total = 0;
    for (int i = 0; i < count && room > 0; ++i) {
      const size_t n = std::min(room, pieces[i].iov_len);
      const auto* at = static_cast<const std::byte*>(pieces[i].iov_base);
      output.insert(output.end(), at, at + n);
      if (room != SIZE_MAX) room -= n;
      total += n;
    }
    return static_cast<ssize_t>(total);
  }
  void shutdownWrite() override { shut_write = true; }
  void shutdownBoth() override { shut_both = true; }
  int fd() const override { return -1; }
};

// A message of `segments` segments with `words` words each; every byte from `seed`.
struct TestMessage {
  std::vector<std::vector<uint64_t>> segments;
  std::vector<Segment> pointers;

  TestMessage(std::vector<size_t> words, uint64_t seed) {
    for (size_t count : words) {
      auto& segment = segments.emplace_back(count);
      for (uint64_t& word : segment)
        word = seed = seed * 6364136223846793005u + 1442695040888963407u;
    }
    for (const auto& s : segments) {
      pointers.emplace_back(reinterpret_cast<const capnp::word*>(s.data()), s.size());
    }
  }
  kj::ArrayPtr<const Segment> array() const { return {pointers.data(), pointers.size()}; }
  // As the standard framing writes it.
  Bytes framed() const {
    const auto words = capnp::messageToFlatArray(array());
    const auto bytes = words.asBytes();
    return Bytes(reinterpret_cast<const std::byte*>(bytes.begin()),
                 reinterpret_cast<const std::byte*>(bytes.end()));
  }
  bool equals(capnp::MessageReader& reader) const {
    for (size_t i = 0; i < segments.size(); ++i) {
      const Segment got = reader.getSegment(static_cast<uint>(i));
      if (got.size() != segments[i].size() ||
          (got.size() > 0 && std::memcmp(got.begin(), segments[i].data(), got.size() * 8) != 0)) {
        return false;
      }
    }
    return reader.getSegment(static_cast<uint>(segments.size())) == nullptr;
  }
};

class Stream : public ::testing::Test {
 protected:
  ~Stream() noexcept override {}

  UvEventPort port_;
  kj::WaitScope scope_{port_.eventLoop()};
  MemoryChannel channel_;

  using Read = kj::Promise<kj::Maybe<kj::Own<capnp::MessageReader>>>;

  // Reads a message while the input comes as `step` bytes at a time.
  kj::Maybe<kj::Own<capnp::MessageReader>> readStepwise(MessageStream& stream, size_t step) {
    Read read = stream.tryReadMessage();
    while (!read.poll(scope_)) {
      if (channel_.readable == channel_.input.size()) {
        channel_.closed = true;
      } else {
        channel_.readable = std::min(channel_.input.size(), channel_.readable + step);
      }
      stream.readReady();
    }
    return read.wait(scope_);
  }

  void give(const Bytes& bytes) {
    channel_.input.insert(channel_.input.end(), bytes.begin(), bytes.end());
  }

  std::string failureOfRead(MessageStream& stream) {
    std::string reason;
    Read read = stream.tryReadMessage();
    stream.readReady();
    stream.readReady();
    KJ_IF_MAYBE (exception, kj::runCatchingExceptions([&] {
                   if (!read.poll(scope_)) {
                     reason = "(waits)";
                   } else if (read.wait(scope_) == nullptr) {
                     reason = "(end)";
                   }
                 })) {
      reason = exception->getDescription().cStr();
    }
    return reason;
  }
};

std::vector<TestMessage> someMessages() {
  std::vector<TestMessage> messages;
  messages.emplace_back(std::vector<size_t>{3}, 1);
  messages.emplace_back(std::vector<size_t>{0}, 2);
  messages.emplace_back(std::vector<size_t>{2, 1}, 3);
  messages.emplace_back(std::vector<size_t>{1, 0, 4, 2}, 4);
  messages.emplace_back(std::vector<size_t>(kMessageSegmentsMax, 1), 5);
  return messages;
}

TEST_F(Stream, MessagesCutAtEveryByteArriveWhole) {
  const auto messages = someMessages();
  Bytes all;
  for (const auto& m : messages) {
    const Bytes framed = m.framed();
    all.insert(all.end(), framed.begin(), framed.end());
  }
  for (size_t cut = 0; cut <= all.size(); ++cut) {
    channel_.reset();
    give(all);
    channel_.readable = cut;
    MessageStream stream(port_.flushers(), channel_, nullptr);
    for (const auto& m : messages) {
      KJ_IF_MAYBE (reader, readStepwise(stream, all.size())) {
        ASSERT_TRUE(m.equals(**reader)) << cut;
      } else {
        FAIL() << cut;
      }
    }
    EXPECT_TRUE(readStepwise(stream, 1) == nullptr);
    EXPECT_EQ(stream.endReason(), "");
  }
}

TEST_F(Stream, EveryStepWidthWorks) {
  const TestMessage small({5}, 1), large({40, 3000}, 2);
  for (size_t step : {1u, 7u, 8u, 63u, 1000u, 1024u, 4096u}) {
    channel_.reset();
    give(large.framed());
    give(small.framed());
    give(large.framed());
    StreamOptions options;
    options.read_ahead_bytes = 1024;
    MessageStream stream(port_.flushers(), channel_, nullptr, options);
    for (const TestMessage* m : {&large, &small, &large}) {
      KJ_IF_MAYBE (reader, readStepwise(stream, step)) {
        ASSERT_TRUE(m->equals(**reader)) << step;
      } else {
        FAIL() << step;
      }
    }
  }
}

TEST_F(Stream, AnEndInsideAMessageIsNoOrderlyEnd) {
  const Bytes framed = TestMessage({2, 3}, 1).framed();
  for (size_t cut = 1; cut < framed.size(); ++cut) {
    channel_.reset();
    give(framed);
    channel_.readable = cut;
    channel_.closed = true;
    MessageStream stream(port_.flushers(), channel_, nullptr);
    EXPECT_THAT(failureOfRead(stream), HasSubstr("inside a message")) << cut;
    EXPECT_FALSE(stream.violated());
  }
}

TEST_F(Stream, HostileSegmentTablesAreRefused) {
  const auto attempt = [&](std::vector<uint32_t> words) {
    channel_.reset();
    channel_.input.resize(words.size() * 4);
    std::memcpy(channel_.input.data(), words.data(), words.size() * 4);
    channel_.readable = channel_.input.size();
    MessageStream stream(port_.flushers(), channel_, nullptr);
    const std::string reason = failureOfRead(stream);
    EXPECT_TRUE(stream.violated()) << reason;
    EXPECT_TRUE(channel_.shut_both);
    EXPECT_EQ(failureOfRead(stream), reason) << "a later read fails the same way";
    return reason;
  };
  EXPECT_THAT(attempt({0xffffffff, 0}), HasSubstr("4294967296 segments; the limit is 16"));
  EXPECT_THAT(attempt({0xfffffffe, 0}), HasSubstr("4294967295 segments"));
  EXPECT_THAT(attempt({kMessageSegmentsMax, 0}), HasSubstr("17 segments"));
  EXPECT_THAT(attempt({0, 0xffffffff}), HasSubstr("34359738360 bytes"));
  EXPECT_THAT(attempt({0, kMessageBytesMax / 8 + 1}), HasSubstr("the limit is 12582912"));
  std::vector<uint32_t> table(18, 0xffffffff);
  table[0] = kMessageSegmentsMax - 1;
  EXPECT_THAT(attempt(table), HasSubstr("549755813760 bytes"));
}

TEST_F(Stream, TheLargestMessageIsTaken) {
  const TestMessage message({kMessageBytesMax / 8}, 9);
  give(message.framed());
  MessageStream stream(port_.flushers(), channel_, nullptr);
  KJ_IF_MAYBE (reader, readStepwise(stream, 100000)) {
    EXPECT_TRUE(message.equals(**reader));
  } else {
    FAIL();
  }
}

TEST_F(Stream, GarbageEndsInAReasonOrAMessageNeverInACrash) {
  for (uint32_t seed = 0; seed < 500; ++seed) {
    std::mt19937 random(seed);
    channel_.reset();
    channel_.input.resize(random() % 300);
    for (std::byte& b : channel_.input) b = static_cast<std::byte>(random() % (seed % 3 ? 4 : 256));
    channel_.readable = channel_.input.size();
    channel_.closed = true;
    MessageStream stream(port_.flushers(), channel_, nullptr);
    std::string reason;
    for (int i = 0; i < 400 && (reason = failureOfRead(stream)).empty(); ++i) {
    }
    EXPECT_FALSE(reason.empty() || reason == "(waits)") << "seed " << seed;
  }
}

TEST_F(Stream, SmallMessagesGoOutInOneWrite) {
  MessageStream stream(port_.flushers(), channel_, nullptr);
  Bytes expected;
  for (uint64_t i = 0; i < 50; ++i) {
    const TestMessage message({1 + i % 7}, i);
    stream.writeMessage(message.array()).wait(scope_);
    const Bytes framed = message.framed();
    expected.insert(expected.end(), framed.begin(), framed.end());
  }
  EXPECT_EQ(channel_.writes, 0);
  stream.flushOutput();
  EXPECT_EQ(channel_.writes, 1);
  EXPECT_EQ(channel_.output, expected);
}

// Sends `messages` while the channel takes `step` bytes at a time; returns what came out.
Bytes writeStepwise(MessageStream& stream, MemoryChannel& channel, kj::WaitScope& scope,
                    const std::vector<TestMessage>& messages, size_t step) {
  channel.room = 0;
  std::vector<kj::Promise<void>> writes;
  for (const auto& m : messages) writes.push_back(stream.writeMessage(m.array()));
  for (int i = 0; i < 1000000 && stream.unsentBytes() > 0; ++i) {
    channel.room = step;
    stream.flushOutput();
    scope.poll();
  }
  for (auto& write : writes) write.wait(scope);
  return channel.output;
}

TEST_F(Stream, SeveralWritersWaitAtOnceAndNothingIsDoubled) {
  std::vector<TestMessage> messages;
  Bytes expected;
  for (size_t i = 0; i < 6; ++i) {
    messages.emplace_back(std::vector<size_t>{5, i % 2 ? 3000u : 4u, 70}, i);
    const Bytes framed = messages.back().framed();
    expected.insert(expected.end(), framed.begin(), framed.end());
  }
  for (size_t step : {1u, 13u, 1000u, 24000u, 100000u}) {
    channel_.reset();
    MessageStream stream(port_.flushers(), channel_, nullptr);
    ASSERT_EQ(writeStepwise(stream, channel_, scope_, messages, step), expected) << step;
  }
}

TEST_F(Stream, ACancelledWriterLeavesItsMessageWhole) {
  // The promise goes, and the memory with it, after every possible number of bytes.
  for (size_t sent : {0u, 1u, 16u, 100u, 9000u, 20000u}) {
    channel_.reset();
    channel_.room = sent;
    MessageStream stream(port_.flushers(), channel_, nullptr);
    TestMessage first({2, 2000}, 1);
    const TestMessage second({2, 1500}, 2);
    Bytes expected = first.framed();
    const Bytes rest = second.framed();
    expected.insert(expected.end(), rest.begin(), rest.end());
    kj::Promise<void> cancelled = stream.writeMessage(first.array());
    kj::Promise<void> kept = stream.writeMessage(second.array());
    cancelled = nullptr;
    for (uint64_t& word : first.segments[1]) word = 0xdeaddeaddeaddead;
    channel_.room = SIZE_MAX;
    stream.flushOutput();
    kept.wait(scope_);
    ASSERT_EQ(channel_.output, expected) << sent;
  }
}

TEST_F(Stream, AFailedWriteReleasesWritersAndEndsReading) {
  channel_.room = 100;
  MessageStream stream(port_.flushers(), channel_, nullptr);
  const TestMessage message({2, 2000}, 1);
  bool owner_gone = false;
  stream.attachToSegment(message.pointers[1].begin(),
                         kj::heap(kj::defer([&owner_gone] { owner_gone = true; })));
  kj::Promise<void> write = stream.writeMessage(message.array());
  EXPECT_FALSE(write.poll(scope_));
  EXPECT_FALSE(owner_gone);
  channel_.write_error = EPIPE;
  stream.flushOutput();
  write.wait(scope_);
  EXPECT_TRUE(owner_gone);
  EXPECT_EQ(failureOfRead(stream), "(end)");
  EXPECT_TRUE(channel_.shut_both);
  stream.writeMessage(message.array()).wait(scope_);  // into the void, at once
}

TEST_F(Stream, OwnersOfSegmentsGoWhenTheirBytesAreWritten) {
  channel_.room = 0;
  MessageStream stream(port_.flushers(), channel_, nullptr);
  const TestMessage message({2, 2000}, 1);
  int gone = 0;
  stream.attachToSegment(message.pointers[1].begin(), kj::heap(kj::defer([&gone] { ++gone; })));
  stream.attachToSegment(&gone, kj::heap(kj::defer([&gone] { ++gone; })));
  kj::Promise<void> write = stream.writeMessage(message.array());
  channel_.room = 16000;
  stream.flushOutput();
  EXPECT_EQ(gone, 0);
  channel_.room = SIZE_MAX;
  stream.flushOutput();
  write.wait(scope_);
  EXPECT_EQ(gone, 1);
  stream.detachSegment(&gone);
  EXPECT_EQ(gone, 2);
}

TEST_F(Stream, WritersWaitWhenTooMuchIsUnsent) {
  channel_.room = 0;
  MessageStream stream(port_.flushers(), channel_, nullptr);
  const TestMessage message({500}, 1);
  std::vector<kj::Promise<void>> writes;
  while (writes.empty() || writes.back().poll(scope_)) {
    writes.push_back(stream.writeMessage(message.array()));
    ASSERT_LT(writes.size(), 1000u);
  }
  EXPECT_LE(stream.unsentBytes(), (1u << 20) + 8192);
  channel_.room = SIZE_MAX;
  stream.flushOutput();
  for (auto& write : writes) write.wait(scope_);
}

TEST_F(Stream, TheEndIsSentAfterEverythingElse) {
  channel_.room = 0;
  MessageStream stream(port_.flushers(), channel_, nullptr);
  const TestMessage message({20}, 1);
  stream.writeMessage(message.array()).wait(scope_);
  stream.end().wait(scope_);
  EXPECT_FALSE(channel_.shut_write);
  channel_.room = SIZE_MAX;
  stream.flushOutput();
  EXPECT_TRUE(channel_.shut_write);
  EXPECT_EQ(channel_.output, message.framed());
}

struct Hook final : PlacementHook {
  std::vector<std::byte> memory;
  size_t shift = 0;
  bool refuse = false;
  int asked = 0;
  std::span<std::byte> place(std::span<const Segment> segments) override {
    ++asked;
    if (refuse) return {};
    const size_t bytes = segments.back().size() * 8;
    for (size_t i = 0; i < bytes; i += 512) {
      EXPECT_EQ(reinterpret_cast<const char*>(segments.back().begin())[i], 0);
    }
    memory.assign(bytes + shift, std::byte{0});
    return std::span(memory).subspan(shift);
  }
};

TEST_F(Stream, LargeLastSegmentsArePlaced) {
  const TestMessage large({3, kPlacedBytesMin / 8}, 1), single({1000}, 2),
      small({3, kPlacedBytesMin / 8 - 1}, 3);
  for (size_t step : {1u, 100u, 100000u}) {
    for (size_t shift : {0u, 3u}) {
      channel_.reset();
      for (const TestMessage* m : {&large, &single, &small, &large}) give(m->framed());
      Hook hook;
      hook.shift = shift;
      MessageStream stream(port_.flushers(), channel_, &hook);
      for (const TestMessage* m : {&large, &single, &small, &large}) {
        KJ_IF_MAYBE (reader, readStepwise(stream, step)) {
          if (m != &large) {
            EXPECT_TRUE(m->equals(**reader));
            continue;
          }
          EXPECT_TRUE(isStandIn((*reader)->getSegment(1).begin()));
          EXPECT_EQ(
              std::memcmp(hook.memory.data() + shift, large.segments[1].data(), kPlacedBytesMin),
              0);
        } else {
          FAIL();
        }
      }
      EXPECT_EQ(hook.asked, 2);
    }
  }
}

TEST_F(Stream, WhatAHookRefusesIsReceivedAsUsual) {
  const TestMessage large({3, 5000}, 1);
  give(large.framed());
  Hook hook;
  hook.refuse = true;
  MessageStream stream(port_.flushers(), channel_, &hook);
  KJ_IF_MAYBE (reader, readStepwise(stream, 1000)) {
    EXPECT_TRUE(large.equals(**reader));
  } else {
    FAIL();
  }
}

TEST_F(Stream, MessagesOutliveTheStream) {
  kj::Own<capnp::MessageReader> kept;
  const TestMessage message({700}, 1);
  give(message.framed());
  {
    MessageStream stream(port_.flushers(), channel_, nullptr);
    KJ_IF_MAYBE (reader, readStepwise(stream, 5000)) kept = kj::mv(*reader);
  }
  ASSERT_NE(kept.get(), nullptr);
  EXPECT_TRUE(message.equals(*kept));
}

// Takes messages whose first word is odd, and may do something at each.
struct OddTaker final : MessageTaker {
  bool take(std::span<const Segment> segments, MessageMemory&) override {
    uint64_t word;
    std::memcpy(&word, segments[0].begin(), sizeof(word));
    if (word % 2 == 0) return false;
    taken.push_back(word);
    if (on_take) on_take();
    return true;
  }
  std::vector<uint64_t> taken;
  std::function<void()> on_take;
};

TEST_F(Stream, ATakerGetsItsMessagesAndTheReaderTheOthers) {
  TestMessage message({1, 3}, 1);
  for (const size_t step : {1, 8, 33, 100000}) {
    channel_.reset();
    MessageStream stream(port_.flushers(), channel_, nullptr);
    OddTaker taker;
    stream.setTaker(&taker);
    const std::vector<uint64_t> words = {1, 3, 4, 5, 6, 8, 7, 9, 10};
    for (const uint64_t word : words) {
      message.segments[0][0] = word;
      give(message.framed());
    }
    std::vector<uint64_t> read;
    for (size_t i = 0; i < 4; ++i) {
      KJ_IF_MAYBE (found, readStepwise(stream, step)) {
        uint64_t word;
        std::memcpy(&word, (*found)->getSegment(0).begin(), sizeof(word));
        read.push_back(word);
      }
    }
    EXPECT_EQ(read, (std::vector<uint64_t>{4, 6, 8, 10})) << step;
    EXPECT_EQ(taker.taken, (std::vector<uint64_t>{1, 3, 5, 7, 9})) << step;
    stream.setTaker(nullptr);
  }
}

// Input that has arrived is not told of again by the descriptor: resuming must go on with it.
TEST_F(Stream, APausedStreamGoesOnWhereItStood) {
  MessageStream stream(port_.flushers(), channel_, nullptr);
  OddTaker taker;
  stream.setTaker(&taker);
  TestMessage message({1}, 1);
  for (uint64_t word = 1; word <= 19; word += 2) {
    message.segments[0][0] = word;
    give(message.framed());
  }
  channel_.readable = channel_.input.size();
  taker.on_take = [&] { stream.pause(); };
  stream.readReady();
  for (size_t count = 1; count <= 10; ++count) {
    EXPECT_EQ(taker.taken.size(), count);
    stream.readReady();  // it may be told of more, and waits nevertheless
    scope_.poll();
    EXPECT_EQ(taker.taken.size(), count);
    EXPECT_FALSE(stream.interestRead() && count == 0);
    stream.resume();
    EXPECT_EQ(taker.taken.size(), count);  // in a turn of its own
    scope_.poll();
  }
  EXPECT_EQ(taker.taken.size(), 10u);
  stream.setTaker(nullptr);
}

// What resumes may run inside the turn that goes on with the input.
TEST_F(Stream, ATakerMayPauseAndResumeAtEachMessage) {
  MessageStream stream(port_.flushers(), channel_, nullptr);
  OddTaker taker;
  stream.setTaker(&taker);
  TestMessage message({1}, 1);
  for (uint64_t word = 1; word < 2000; word += 2) {
    message.segments[0][0] = word;
    give(message.framed());
  }
  channel_.readable = channel_.input.size();
  kj::Promise<void> later = nullptr;
  taker.on_take = [&] {
    stream.pause();
    if (taker.taken.size() % 3 == 0) {
      later = kj::evalLater([&] { stream.resume(); }).eagerlyEvaluate(nullptr);
    } else {
      stream.resume();
    }
  };
  stream.readReady();
  scope_.poll();
  ASSERT_EQ(taker.taken.size(), 1000u);
  later = nullptr;
  EXPECT_EQ(taker.taken.back(), 1999u);
  stream.setTaker(nullptr);
}

TEST_F(Stream, TellsTheWindowItWasGiven) {
  StreamOptions options;
  options.window_bytes = 12345;
  MessageStream stream(port_.flushers(), channel_, nullptr, options);
  KJ_IF_MAYBE (size, stream.getSendBufferSize()) {
    EXPECT_EQ(*size, 12345);
  } else {
    FAIL();
  }
}

}  // namespace
}  // namespace farwarp::wire
