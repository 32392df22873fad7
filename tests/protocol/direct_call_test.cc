// Goal: messages that are written past the RPC system say what was meant, also when they are large
// or not aligned, and hostile ones are left to the RPC system or refused without harm. Method:
// write into a stream whose channel keeps the bytes, read them back, then every byte changed.
#include "protocol/direct_call.h"

#include <capnp/rpc.capnp.h>
#include <capnp/serialize.h>
#include <errno.h>
#include <gtest/gtest.h>

#include <cstring>
#include <random>

#include "protocol/direct_bulk.h"
#include "protocol/uv_event_port.h"
#include "tests/protocol/test_server.h"

namespace farwarp::wire {
namespace {

using Bytes = std::vector<std::byte>;

class KeepingChannel final : public ByteChannel {
 public:
  Bytes output;
  ssize_t read(void*, size_t) override { return -EAGAIN; }
  ssize_t write(const iovec* pieces, int count) override {
    size_t total = 0;
    for (int i = 0; i < count; ++i) {
      const auto* at = static_cast<const std::byte*>(pieces[i].iov_base);
      output.insert(output.end(), at, at + pieces[i].iov_len);
      total += pieces[i].iov_len;
    }
    return static_cast<ssize_t>(total);
  }
  void shutdownWrite() override {}
  void shutdownBoth() override {}
  int fd() const override { return -1; }
};

class DirectCalls : public ::testing::Test {
 public:
  ~DirectCalls() noexcept override {}

 protected:
  // The segments of the one message that was posted.
  std::span<const Segment> sent() {
    stream_.flushOutput();
    words_.assign(channel_.output.size() / 8, 0);
    std::memcpy(words_.data(), channel_.output.data(), words_.size() * 8);
    return parse();
  }
  std::span<const Segment> parse() {
    segments_.clear();
    const auto* table = reinterpret_cast<const uint32_t*>(words_.data());
    const uint32_t count = table[0] + 1;
    size_t at = count / 2 + 1;
    for (uint32_t i = 0; i < count; ++i) {
      segments_.emplace_back(reinterpret_cast<const capnp::word*>(words_.data() + at),
                             table[i + 1]);
      at += table[i + 1];
    }
    return segments_;
  }

  UvEventPort port_;
  kj::WaitScope scope_{port_.eventLoop()};
  KeepingChannel channel_;
  MessageStream stream_{port_.flushers(), channel_, nullptr};
  std::vector<uint64_t> words_;
  std::vector<Segment> segments_;
};

TEST_F(DirectCalls, AreReadAsTheyWereWritten) {
  for (const size_t bytes : {1, 8, 100, 2000, 8192, 8200, 100001}) {
    channel_.output.clear();
    const Bytes batch = patternBytes(bytes, 3);
    const uint64_t end =
        postDirectCall(stream_, {kDirectQuestions + 7, DirectMethod::submit, 12, batch}, 5);
    DirectCall call;
    DirectReturn answer;
    ASSERT_EQ(readAtServer(sent(), call, answer), DirectMessage::call) << bytes;
    EXPECT_EQ(stream_.sentTotal(), end);
    EXPECT_EQ(call.question, kDirectQuestions + 7);
    EXPECT_EQ(call.method, DirectMethod::submit);
    EXPECT_EQ(call.seq, 12u);
    EXPECT_EQ(Bytes(call.batch.begin(), call.batch.end()), batch);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(call.batch.data()) % 8, 0u);
  }
}

TEST_F(DirectCalls, BringRepliesAndReasons) {
  for (const size_t bytes : {0, 16, 300, 5000, 70000}) {
    channel_.output.clear();
    const Bytes expected = patternBytes(bytes, 5);
    DirectReply reply;
    const auto room = reply.begin(kDirectQuestions, bytes);
    ASSERT_EQ(room.size(), bytes);
    std::copy(expected.begin(), expected.end(), room.begin());
    reply.post(stream_);
    DirectReturn answer;
    DirectOutput output;
    ASSERT_EQ(readAtClient(sent(), answer, output), DirectMessage::answer);
    EXPECT_FALSE(answer.failed);
    EXPECT_EQ(Bytes(answer.reply.begin(), answer.reply.end()), expected);
  }
  channel_.output.clear();
  postDirectException(stream_, kDirectQuestions + 1, "The reason.");
  DirectReturn answer;
  DirectOutput output;
  ASSERT_EQ(readAtClient(sent(), answer, output), DirectMessage::answer);
  EXPECT_TRUE(answer.failed);
  EXPECT_EQ(answer.reason, "The reason.");
}

TEST_F(DirectCalls, BringOutput) {
  const Bytes text = patternBytes(20000, 1);
  postDirectOutput(stream_, {kDirectQuestions + 3, true, text}, 4);
  DirectReturn answer;
  DirectOutput output;
  ASSERT_EQ(readAtClient(sent(), answer, output), DirectMessage::output);
  EXPECT_TRUE(output.to_stderr);
  EXPECT_EQ(Bytes(output.text.begin(), output.text.end()), text);
}

TEST_F(DirectCalls, OfSharedMemoryAreReadAsTheyWereWritten) {
  for (const SharedMethod method : {SharedMethod::put, SharedMethod::get, SharedMethod::taken}) {
    channel_.output.clear();
    postSharedCall(stream_, {kDirectQuestions + 2, method, 9, 4096, 262144, 77}, 1);
    SharedCall call;
    ASSERT_EQ(readSharedCall(sent(), call), DirectMessage::call);
    EXPECT_EQ(call.method, method);
    EXPECT_EQ(call.question, kDirectQuestions + 2);
    if (method != SharedMethod::taken) {
      EXPECT_EQ(call.transfer, 9u);
      EXPECT_EQ(call.offset, 4096u);
      EXPECT_EQ(call.length, 77u);
    }
    if (method != SharedMethod::get) {
      EXPECT_EQ(call.place, 262144u);
    }
  }
}

// The RPC system's own questions, and calls of other methods, are not ours.
TEST_F(DirectCalls, LeaveOthersToTheRpcSystem) {
  DirectCall call;
  DirectReturn answer;
  SharedCall shared;
  const Bytes batch(8);
  postDirectCall(stream_, {kDirectQuestions - 1, DirectMethod::call, 1, batch}, 5);
  EXPECT_EQ(readAtServer(sent(), call, answer), DirectMessage::other);
  EXPECT_EQ(readSharedCall(sent(), shared), DirectMessage::other);
  channel_.output.clear();
  postDirectFinish(stream_, 3);
  EXPECT_EQ(readAtServer(sent(), call, answer), DirectMessage::other);
  channel_.output.clear();
  postDirectFinish(stream_, kDirectQuestions);
  EXPECT_EQ(readAtServer(sent(), call, answer), DirectMessage::finish);
}

TEST_F(DirectCalls, SurviveEveryChangedByte) {
  const Bytes batch = patternBytes(64, 9);
  const auto post = [&](int which) {
    channel_.output.clear();
    DirectReply reply;
    switch (which) {
      case 0:
        postDirectCall(stream_, {kDirectQuestions, DirectMethod::call, 1, batch}, 5);
        break;
      case 1:
        reply.begin(kDirectQuestions, 40);
        reply.post(stream_);
        break;
      case 2:
        postDirectOutput(stream_, {kDirectQuestions, false, batch}, 1);
        break;
      case 3:
        postSharedCall(stream_, {kDirectQuestions, SharedMethod::put, 1, 0, 0, 5}, 1);
        break;
      default:
        postSharedAnswer(stream_, {kDirectQuestions, false, {}, true, 1u << 20});
    }
    return sent();
  };
  std::mt19937 random(11);
  for (int which = 0; which < 5; ++which) {
    const auto whole = post(which);
    ASSERT_EQ(whole.size(), 1u);
    std::vector<capnp::word> copy(whole[0].begin(), whole[0].end());
    auto* bytes = reinterpret_cast<unsigned char*>(copy.data());
    for (size_t i = 0; i < copy.size() * 8; ++i) {
      const unsigned char before = bytes[i];
      for (int change = 0; change < 8; ++change) {
        bytes[i] = static_cast<unsigned char>(change == 0 ? before ^ 0xff : random());
        const Segment segment(copy.data(), copy.size());
        DirectCall call;
        DirectReturn answer;
        DirectOutput output;
        SharedCall shared;
        SharedAnswer shared_answer;
        uint32_t found;
        if (readAtServer({&segment, 1}, call, answer) == DirectMessage::call) {
          EXPECT_LE(call.batch.size(), copy.size() * 8);
        }
        readAtClient({&segment, 1}, answer, output);
        readSharedCall({&segment, 1}, shared);
        readSharedAnswer({&segment, 1}, shared_answer);
        readSessionExport({&segment, 1}, found);
        readCallbacksExport({&segment, 1}, found);
      }
      bytes[i] = before;
    }
  }
}

}  // namespace
}  // namespace farwarp::wire
