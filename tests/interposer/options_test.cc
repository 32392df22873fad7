// Goal: the environment is read as documented, and a bad server address is named before anything
// tries to connect to it. Method: variables set and read back; good and bad addresses.
#include "interposer/session/options.h"

#include <gtest/gtest.h>

#include <cstdlib>

namespace farwarp::client {
namespace {

TEST(Options, ReadsTheEnvironment) {
  setenv("FARWARP_SERVER", "unix:/tmp/x", 1);
  setenv("FARWARP_LOG", "stderr", 1);
  for (const char* off : {"", "0", "no"}) {
    setenv("FARWARP_STATS", off, 1);
    EXPECT_FALSE(readOptions().stats) << off;
  }
  setenv("FARWARP_STATS", "1", 1);
  const Options options = readOptions();
  EXPECT_EQ(options.server, "unix:/tmp/x");
  EXPECT_EQ(options.log_path, "stderr");
  EXPECT_TRUE(options.stats);
  for (const char* name : {"FARWARP_SERVER", "FARWARP_LOG", "FARWARP_STATS"}) unsetenv(name);
  EXPECT_EQ(readOptions().server, "");
  EXPECT_EQ(readOptions().log_path, "");
  EXPECT_FALSE(readOptions().stats);
}

TEST(Options, TakesAddressesOfEitherKind) {
  for (const char* good :
       {"host:1", "127.0.0.1:65535", "tcp:host:80", "[::1]:80", "unix:/a/b", "unix:/with,comma"}) {
    EXPECT_EQ(whyNotServer(good), "") << good;
  }
}

TEST(Options, NamesWhatIsWrongWithAnAddress) {
  EXPECT_NE(whyNotServer("unix:").find("path"), std::string::npos);
  for (const char* bad :
       {"host", "host:", ":80", "host:0", "host:65536", "host:port", "one:1,two:2"}) {
    const std::string why = whyNotServer(bad);
    EXPECT_NE(why.find(bad), std::string::npos) << bad << ": " << why;
    EXPECT_EQ(why.back(), '.') << why;
  }
}

}  // namespace
}  // namespace farwarp::client
