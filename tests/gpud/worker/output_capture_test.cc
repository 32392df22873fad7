// Goal: what is written to the captured streams comes out whole and in order, a writer waits for
// room instead of filling memory, and when nobody takes anything text is dropped and said to be.
// Method: pipes of the test's own; one thread writes, the test takes.
#include "gpud/worker/output_capture.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>

namespace farwarp::worker {
namespace {

class OutputCaptureTest : public testing::Test {
 protected:
  void SetUp() override {
    for (auto& pipe : pipes_) {
      ASSERT_EQ(pipe2(pipe, O_CLOEXEC), 0);
      fcntl(pipe[0], F_SETFL, O_NONBLOCK);
    }
  }
  void TearDown() override {
    for (auto& pipe : pipes_) close(pipe[0]), close(pipe[1]);
  }
  void print(bool to_stderr, const std::string& text) {
    size_t done = 0;
    while (done < text.size()) {
      const ssize_t wrote = write(pipes_[to_stderr][1], text.data() + done, text.size() - done);
      ASSERT_GT(wrote, 0);
      done += static_cast<size_t>(wrote);
    }
  }
  int pipes_[2][2];
};

TEST_F(OutputCaptureTest, WhatWasWrittenIsTakenByStream) {
  OutputCapture capture(pipes_[0][0], pipes_[1][0], [] {});
  std::string out, err;
  for (int i = 0; i < 1000; ++i) {
    const std::string number = std::to_string(i) + "\n";
    print(false, number);
    if (i % 3 == 0) print(true, number);
    // All that was written is there at once, whoever read it from the pipe.
    std::string now;
    for (const OutputCapture::Chunk& chunk : capture.takeWritten()) {
      (chunk.to_stderr ? err : out) += chunk.text;
      if (!chunk.to_stderr) now += chunk.text;
    }
    EXPECT_EQ(now, number);
  }
  EXPECT_TRUE(out.ends_with("\n998\n999\n"));
  EXPECT_TRUE(err.starts_with("0\n3\n6\n"));
  EXPECT_TRUE(capture.takeWritten().empty());
}

TEST_F(OutputCaptureTest, AFloodIsTakenWholeByOneWhoIsTold) {
  const std::string line(100, 'x');
  constexpr size_t kLines = 100000;  // ten times what is queued at most
  std::atomic<bool> news{false};
  OutputCapture capture(pipes_[0][0], pipes_[1][0], [&] {
    news = true;
    news.notify_one();
  });
  std::thread writer([&] {
    for (size_t i = 0; i < kLines; ++i) print(false, line);
  });
  size_t bytes = 0;
  while (bytes < kLines * line.size()) {
    news.wait(false);
    news = false;
    OutputCapture::Chunk chunk;
    while (capture.take(chunk)) {
      ASSERT_FALSE(chunk.to_stderr) << chunk.text;
      bytes += chunk.text.size();
    }
  }
  writer.join();
  EXPECT_EQ(bytes, kLines * line.size());
}

TEST_F(OutputCaptureTest, WithoutATakerTextIsDroppedAndSaidToBe) {
  OutputCapture capture(
      pipes_[0][0], pipes_[1][0], [] {}, std::chrono::milliseconds(1));
  const std::string text(1 << 20, 'x');
  constexpr size_t kTexts = 20;
  for (size_t i = 0; i < kTexts; ++i) print(false, text);  // must not wait for ever
  size_t kept = 0;
  std::string said;
  for (const OutputCapture::Chunk& chunk : capture.takeWritten()) {
    chunk.to_stderr ? void(said += chunk.text) : void(kept += chunk.text.size());
  }
  EXPECT_LT(kept, 5u << 20);
  EXPECT_GT(kept, 1u << 20);
  EXPECT_NE(said.find("bytes of output of kernels are lost"), std::string::npos);
}

}  // namespace
}  // namespace farwarp::worker
