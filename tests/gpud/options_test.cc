// Goal: the command line and the file say the same things, the command line wins, and every mistake
// is named with its place. Method: files in a temporary folder, arguments as main gets them.
#include "gpud/options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>

namespace farwarp {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class OptionsTest : public testing::Test {
 protected:
  void TearDown() override { std::remove(path_.c_str()); }

  std::string file(const std::string& text) {
    std::ofstream(path_) << text;
    return path_;
  }
  std::string fileError(const std::string& text) {
    Options options;
    std::string error;
    EXPECT_FALSE(readConfigFile(file(text), options, error)) << text;
    return error;
  }
  int parse(std::vector<std::string> arguments, Options& options) {
    arguments.insert(arguments.begin(), "gpud");
    std::vector<char*> pointers;
    for (std::string& argument : arguments) pointers.push_back(argument.data());
    int status = -1;
    testing::internal::CaptureStderr();
    const bool go_on =
        parseOptions(static_cast<int>(pointers.size()), pointers.data(), options, status);
    said_ = testing::internal::GetCapturedStderr();
    return go_on ? -1 : status;
  }
  std::string said_;
  const std::string path_ =
      testing::TempDir() + std::to_string(getpid()) + "gpud_options_test.toml";
};

TEST_F(OptionsTest, ReadsEverythingFromTheFile) {
  Options options;
  std::string error;
  ASSERT_TRUE(readConfigFile(file("device = \"cpu\"\nlisten = [\"unix:/a\", \"tcp:h:1\"]\n"
                                  "max_sessions = 3\nworker_env = \"A=1\"\n"),
                             options, error))
      << error;
  EXPECT_EQ(options.device, "cpu");
  EXPECT_THAT(options.listen, ElementsAre("unix:/a", "tcp:h:1"));
  EXPECT_EQ(options.max_sessions, 3u);
  EXPECT_THAT(options.worker_env, ElementsAre("A=1"));
}

TEST_F(OptionsTest, NamesFileLineAndKey) {
  EXPECT_THAT(fileError("device = \"cpu\"\n\nmax_session = 3\n"),
              HasSubstr("gpud_options_test.toml:3: \"max_session\" is not a setting"));
  EXPECT_THAT(fileError("max_sessions = \"3\"\n"),
              HasSubstr(":1: \"max_sessions\" must be a whole"));
  EXPECT_THAT(fileError("max_sessions = -3\n"), HasSubstr(":1: \"max_sessions\" must be a whole"));
  EXPECT_THAT(fileError("listen = [1]\n"), HasSubstr(":1: \"listen\" must be a string or a list"));
  EXPECT_THAT(fileError("device = \"cpu\ndevice"), HasSubstr("gpud_options_test.toml:1: "));
}

TEST_F(OptionsTest, TheCommandLineWins) {
  const std::string path = file("device = \"cuda\"\nlisten = [\"unix:/file\"]\nmax_sessions = 3\n");
  Options options;
  ASSERT_EQ(parse({"--config", path, "--device", "cpu", "--listen", "unix:/line"}, options), -1)
      << said_;
  EXPECT_EQ(options.device, "cpu");
  EXPECT_THAT(options.listen, ElementsAre("unix:/line"));
  EXPECT_EQ(options.max_sessions, 3u);
}

TEST_F(OptionsTest, RefusesWhatIsMissingOrOutOfRange) {
  Options a, b, c, d, e;
  EXPECT_EQ(parse({"--listen", "unix:/a"}, a), 2);
  EXPECT_THAT(said_, HasSubstr("No device was chosen"));
  EXPECT_EQ(parse({"--device", "gpu", "--listen", "unix:/a"}, b), 2);
  EXPECT_THAT(said_, HasSubstr("--device is \"gpu\"; it must be cuda or cpu."));
  EXPECT_EQ(parse({"--device", "cpu"}, c), 2);
  EXPECT_THAT(said_, HasSubstr("Nowhere to listen"));
  EXPECT_EQ(parse({"--device", "cpu", "--listen", "unix:/a", "--max-sessions", "0"}, d), 2);
  EXPECT_THAT(said_, HasSubstr("--max-sessions is 0; it must be from 1 to 4096."));
  EXPECT_EQ(parse({"--device", "cpu", "--listen", "unix:/a", "--log-level", "loud"}, e), 2);
}

TEST_F(OptionsTest, ChildrenGetWhatTheyNeed) {
  Options options;
  ASSERT_EQ(parse({"--device", "cpu", "--listen", "unix:/a", "--handles-max", "100"}, options), -1);
  options.device_library = "/lib/x.so";
  Options child;
  std::vector<std::string> arguments = childArguments(options);
  arguments.push_back("--worker");
  ASSERT_EQ(parse(arguments, child), -1) << said_;
  EXPECT_TRUE(child.worker);
  EXPECT_EQ(child.device, "cpu");
  EXPECT_EQ(child.handles_max, 100u);
  EXPECT_EQ(child.device_library, "/lib/x.so");
  EXPECT_TRUE(child.listen.empty());
}

}  // namespace
}  // namespace farwarp
