// Goal: calls that are written past the RPC system obey the same rules and limits as all others,
// and keep their order. Method: a client that writes such messages by hand, against the test
// server.
#include "protocol/direct_call.h"
#include "tests/protocol/raw_client.h"

namespace farwarp::wire {
namespace {

using ::testing::HasSubstr;

// A session whose calls are posted one by one.
class DirectRules : public Rules {
 public:
  ~DirectRules() noexcept override {}

 protected:
  void SetUp() override {
    session_ = std::make_unique<rpc::Session::Client>(client_.session());
    client_.stream().setTaker(&answers_);
  }
  void TearDown() override { client_.stream().setTaker(nullptr); }

  // gpud's first export is its bootstrap, the second the session.
  static constexpr uint32_t kSessionExport = 1;

  void post(DirectMethod method, uint64_t seq, const std::vector<std::byte>& batch) {
    const DirectCall call{kDirectQuestions + next_++, method, seq, batch};
    const uint64_t end = postDirectCall(client_.stream(), call, kSessionExport);
    while (client_.stream().sentTotal() < end && !client_.stream().ended()) turn();
  }
  void turn() {
    client_.stream().flushOutput();
    client_.scope.poll();
  }
  template <typename Condition>
  void turnUntil(Condition condition) {
    while (!condition()) turn();
  }

  struct Answers final : MessageTaker {
    bool take(std::span<const Segment> segments, MessageMemory&) override {
      DirectReturn answer;
      DirectOutput output;
      if (readAtClient(segments, answer, output) != DirectMessage::answer) return false;
      (answer.failed ? failed : good).push_back(answer.question - kDirectQuestions);
      if (answer.failed) reason = answer.reason;
      return true;
    }
    std::vector<uint32_t> good, failed;
    std::string reason;
  };

  RawClient client_{server_};
  std::unique_ptr<rpc::Session::Client> session_;
  Answers answers_;
  uint32_t next_ = 0;
};

TEST_F(DirectRules, CallsAreAnsweredInOrder) {
  for (uint64_t seq = 1; seq <= 100; ++seq) {
    post(seq % 3 == 0 ? DirectMethod::call : DirectMethod::submit, seq,
         testBatch(TestOp::echo, 8 * seq));
  }
  turnUntil([&] { return answers_.good.size() == 100; });
  for (uint32_t i = 0; i < 100; ++i) EXPECT_EQ(answers_.good[i], i);
  EXPECT_TRUE(answers_.failed.empty());
}

TEST_F(DirectRules, SequenceNumbersHaveNoGaps) {
  post(DirectMethod::call, 2, testBatch(TestOp::echo, 8));
  expectEnded("batch 2 where batch 1 must come");
  turnUntil([&] { return !answers_.failed.empty(); });
  EXPECT_THAT(answers_.reason, HasSubstr("batch 2 where batch 1 must come"));
}

TEST_F(DirectRules, BatchesHaveASize) {
  post(DirectMethod::submit, 1, {});
  expectEnded("a batch of 0 bytes");
}

TEST_F(DirectRules, WaitingCallsHaveALimit) {
  for (uint32_t i = 0; i <= kOutstandingCallsMax; ++i) {
    post(DirectMethod::call, i + 1, testBatch(TestOp::park, 8));
  }
  expectEnded("more than 4096 calls");
}

// What comes behind a submit that is not done waits, up to a limit, and then in the socket.
TEST_F(DirectRules, ASubmitThatIsNotDoneHoldsTheNext) {
  post(DirectMethod::submit, 1, testBatch(TestOp::stallSubmits, 8));
  const size_t batch_bytes = kBatchBytesMax / 8 * 8;
  const uint64_t last = 3 * kIncomingCallBytesMax / batch_bytes;
  std::vector<std::vector<std::byte>> batches;
  for (uint64_t seq = 2; seq <= last; ++seq) {
    batches.push_back(testBatch(TestOp::echo, batch_bytes, 0, static_cast<uint32_t>(seq)));
    postDirectCall(
        client_.stream(),
        {kDirectQuestions + static_cast<uint32_t>(seq), DirectMethod::submit, seq, batches.back()},
        kSessionExport);
  }
  const auto read = [&] {
    uint64_t bytes = 0;
    server_.onLoop([&] { bytes = server_.bytesIn(); });
    return bytes;
  };
  turnUntil([&] { return read() > kIncomingCallBytesMax; });
  for (int i = 0; i < 100; ++i) {
    turn();
    ASSERT_LT(read(), kIncomingCallBytesMax + 2 * kMessageBytesMax);
  }
  server_.onLoop([&] { EXPECT_EQ(server_.batch_count, 1u); });
  server_.releaseParked();
  turnUntil([&] { return answers_.good.size() == last; });
  const auto seen = server_.seen();
  ASSERT_EQ(seen.size(), last);
  for (uint64_t i = 1; i < last; ++i) EXPECT_EQ(seen[i].number, i + 1);
}

// A client that asks and does not read is not served without end.
TEST_F(DirectRules, AnswersThatNobodyReadsHaveALimit) {
  const uint32_t reply_bytes = 1u << 20;
  const uint64_t asked = 3 * kUntakenOutputBytesMax / reply_bytes;
  client_.stream().pause();
  for (uint64_t seq = 1; seq <= asked; ++seq) {
    auto batch = testBatch(TestOp::big, 8, 0, reply_bytes);
    post(DirectMethod::call, seq, batch);
  }
  const auto served = [&] {
    uint64_t count = 0;
    server_.onLoop([&] { count = server_.batch_count; });
    return count;
  };
  turnUntil([&] { return served() * reply_bytes > kUntakenOutputBytesMax; });
  for (int i = 0; i < 100; ++i) {
    // What the sockets hold is besides.
    ASSERT_LT(served() * reply_bytes, kUntakenOutputBytesMax + (uint64_t{16} << 20));
  }
  client_.stream().resume();
  turnUntil([&] { return answers_.good.size() == asked; });
}

}  // namespace
}  // namespace farwarp::wire
