// Goal: gpud init makes keys that only their owner can read, prints the one line that a client
// needs, and renews a certificate so that the line stays right; gpud says what is missing without
// it. Method: real processes on folders of their own; a client connects with the printed line.
#include "gpud/init.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstdio>
#include <filesystem>

#include "tests/gpud/gpud_process.h"

namespace farwarp {
namespace {

using testing::HasSubstr;
using testing::MatchesRegex;
using testing::Not;

struct Folder {
  std::string path;
  Folder() {
    std::string name = testing::TempDir() + "gpud_init.XXXXXX";
    path = mkdtemp(name.data());
  }
  ~Folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path, ignored);
  }
};

// What gpud init prints on stdout.
std::string initIn(const std::string& folder, const std::string& more = "") {
  const std::string command =
      std::string(GPUD_PATH) + " init --folder " + folder + " " + more + " 2>" + folder + ".said";
  FILE* pipe = popen(command.c_str(), "r");
  char text[4096];
  const size_t bytes = fread(text, 1, sizeof(text), pipe);
  EXPECT_EQ(pclose(pipe), 0);
  std::filesystem::remove(folder + ".said");
  return std::string(text, bytes);
}

mode_t modeOf(const std::string& path) {
  struct stat info {};
  EXPECT_EQ(stat(path.c_str(), &info), 0) << path;
  return info.st_mode & 0777;
}

TEST(Init, KeysAreTheOwnersAlone) {
  Folder folder;
  const std::string keys = folder.path + "/a/tls";
  std::filesystem::create_directories(folder.path + "/a");
  EXPECT_THAT(initIn(keys), MatchesRegex("FARWARP_FINGERPRINT=sha256:[0-9a-f]+\n"));
  EXPECT_EQ(modeOf(keys), 0700u);
  for (const char* name : {"ca.key", "server.key"}) EXPECT_EQ(modeOf(keys + "/" + name), 0600u);
}

TEST(Init, TheLineOpensASessionAndStaysRightAfterARenewal) {
  Folder folder;
  const std::string keys = folder.path + "/tls";
  const std::string line = initIn(keys, "--name 127.0.0.1 --name gpu1.example");
  EXPECT_EQ(initIn(keys, "--name 127.0.0.1"), line);
  GpudProcess gpud({"--tls-folder", keys});
  wire::ClientOptions options;
  options.trust.fingerprint = line.substr(line.find('=') + 1);
  options.trust.fingerprint.pop_back();  // the newline
  wire::ConnectionError error;
  EXPECT_NE(openSession(gpud.tcp(), error, "pinned", options), nullptr) << error.sentence;
  options.trust = {"", ""};
  EXPECT_EQ(openSession(gpud.tcp(), error, "nothing trusted", options), nullptr);
  EXPECT_EQ(error.kind, wire::Trouble::untrusted);
  options.trust.ca_file = keys + "/ca.crt";
  EXPECT_NE(openSession(gpud.tcp(), error, "by file", options), nullptr) << error.sentence;
}

TEST(Init, RefusesNamesThatAreNone) {
  std::string said;
  EXPECT_EQ(runGpud({"init", "--name", "a,DNS:b", "--folder", "/nowhere"}, said), 2);
  EXPECT_THAT(said, HasSubstr("\"a,DNS:b\" is no name for a certificate"));
}

TEST(Init, GpudSaysWhatIsMissingWithoutIt) {
  Folder folder;
  std::string said;
  EXPECT_EQ(runGpud({"--device", "cpu", "--cpu-device", MOCK_DRIVER_PATH, "--listen",
                     "tcp:127.0.0.1:0", "--tls-folder", folder.path},
                    said),
            1);
  EXPECT_THAT(said, HasSubstr(folder.path + "/server.crt"));
  EXPECT_THAT(said, HasSubstr("make a certificate with gpud init"));
  EXPECT_THAT(said, HasSubstr("--insecure"));
}

}  // namespace
}  // namespace farwarp
