// Goal: a program that reads the driver's error log finds the calls that failed, in order, remotely
// as locally. Method: calls that must fail are made, and the log is read in every way: whole, from
// an iterator on, into buffers that are too small, into a file, and by callbacks.
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>

#include "tests/conformance/conformance.h"

namespace farwarp::conformance {
namespace {

class ErrorLogTest : public ConformanceTest {
 protected:
  void SetUp() override {
    ConformanceTest::SetUp();
    ASSERT_OK(cuLogsCurrent(&iterator_, 0));
  }
  void failOnce() { EXPECT_CUDA(cuMemAlloc_v2(nullptr, 16), CUDA_ERROR_INVALID_VALUE); }
  void failOtherwise() {
    CUdevice device = 0;
    EXPECT_CUDA(cuDeviceGet(&device, 99), CUDA_ERROR_INVALID_DEVICE);
  }
  std::string dump(CUlogIterator* from, size_t room = 30000) {
    std::string text(room, 'x');
    size_t bytes = room;
    EXPECT_OK(cuLogsDumpToMemory(from, text.data(), &bytes, 0));
    EXPECT_EQ(text[bytes], '\0');
    return text.substr(0, bytes);
  }
  static size_t lines(const std::string& text) {
    return static_cast<size_t>(std::count(text.begin(), text.end(), '\n'));
  }

  CUlogIterator iterator_ = 0;
};

TEST_F(ErrorLogTest, FailedCallsAreInIt) {
  EXPECT_EQ(dump(&iterator_), "");
  failOnce();
  failOtherwise();
  CUlogIterator same = iterator_;
  const std::string text = dump(&iterator_);
  EXPECT_EQ(lines(text), 2u) << text;
  const size_t first = text.find("cuMemAlloc_v2");
  const size_t second = text.find("cuDeviceGet");
  EXPECT_NE(first, std::string::npos) << text;
  EXPECT_NE(second, std::string::npos) << text;
  EXPECT_LT(first, second);
  EXPECT_NE(text.find("CUDA_ERROR_INVALID_DEVICE"), std::string::npos) << text;
  // The iterator has moved; one that stood still finds the same again.
  EXPECT_EQ(dump(&iterator_), "");
  EXPECT_EQ(dump(&same), text);
  EXPECT_NE(dump(nullptr).find(text), std::string::npos);
}

TEST_F(ErrorLogTest, SmallBuffersHoldTheNewest) {
  for (int i = 0; i < 5; ++i) failOnce();
  failOtherwise();
  const std::string text = dump(&iterator_, 300);
  EXPECT_LT(text.size(), 300u);
  EXPECT_NE(text.find("too small"), std::string::npos) << text;
  EXPECT_NE(text.find("cuDeviceGet"), std::string::npos) << text;
  failOnce();
  char tiny[8];
  size_t bytes = sizeof tiny;
  EXPECT_CUDA(cuLogsDumpToMemory(&iterator_, tiny, &bytes, 0), CUDA_ERROR_INVALID_VALUE);
  EXPECT_EQ(bytes, 0u);
}

TEST_F(ErrorLogTest, OldMessagesGiveWay) {
  for (int i = 0; i < 1000; ++i) static_cast<void>(cuMemAlloc_v2(nullptr, 16));
  const std::string text = dump(&iterator_, 60000);
  EXPECT_LT(text.size(), 26000u);
  EXPECT_NE(text.find("lost"), std::string::npos);
}

TEST_F(ErrorLogTest, Files) {
  const std::filesystem::path path = testing::TempDir() + "farwarp-log-" + std::to_string(getpid());
  failOnce();
  CUlogIterator same = iterator_;
  EXPECT_EQ(note("dump to a file", cuLogsDumpToFile(&same, path.c_str(), 0)), "CUDA_SUCCESS");
  std::ifstream file(path);
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  EXPECT_EQ(text, dump(&iterator_));
  std::filesystem::remove(path);
  EXPECT_CUDA(cuLogsDumpToFile(nullptr, "/nonexistent/log", 0), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuLogsDumpToFile(nullptr, nullptr, 0), CUDA_ERROR_INVALID_VALUE);
}

TEST_F(ErrorLogTest, Callbacks) {
  struct Heard {
    std::vector<std::string> messages;
    bool calls = false;
  } heard;
  const auto hear = [](void* data, CUlogLevel level, char* message, size_t length) {
    auto& into = *static_cast<Heard*>(data);
    EXPECT_EQ(level, CU_LOG_LEVEL_ERROR);
    into.messages.emplace_back(message, length);
    // A failure in here is not told again.
    if (into.calls) static_cast<void>(cuMemAlloc_v2(nullptr, 16));
  };
  CUlogsCallbackHandle handle = nullptr;
  EXPECT_OK(cuLogsRegisterCallback(hear, &heard, &handle));
  failOnce();
  ASSERT_EQ(heard.messages.size(), 1u);
  EXPECT_NE(heard.messages[0].find("CUDA_ERROR_INVALID_VALUE"), std::string::npos);
  EXPECT_EQ(heard.messages[0].find('\n'), std::string::npos);
  heard.calls = true;
  failOtherwise();
  EXPECT_EQ(heard.messages.size(), 2u);
  EXPECT_OK(cuLogsUnregisterCallback(handle));
  failOnce();
  EXPECT_EQ(heard.messages.size(), 2u);
  EXPECT_BAD_HANDLE(cuLogsUnregisterCallback(handle), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuLogsRegisterCallback(nullptr, nullptr, nullptr), CUDA_ERROR_INVALID_VALUE);
}

TEST_F(ErrorLogTest, ReservedFlags) {
  char text[16];
  size_t bytes = sizeof text;
  EXPECT_CUDA(cuLogsCurrent(nullptr, 0), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuLogsCurrent(&iterator_, 1), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuLogsDumpToMemory(nullptr, text, &bytes, 1), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuLogsDumpToMemory(nullptr, nullptr, &bytes, 0), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuLogsDumpToFile(nullptr, "/tmp/x", 1), CUDA_ERROR_INVALID_VALUE);
}

}  // namespace
}  // namespace farwarp::conformance
