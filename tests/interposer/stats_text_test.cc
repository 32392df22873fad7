// Goal: the figures at exit add up and say when gpud could not be asked. Method: known figures.
#include "interposer/session/stats_text.h"

#include <gtest/gtest.h>

namespace farwarp::client {
namespace {

std::string text(const SessionFigures& figures) {
  std::string all;
  for (const std::string& line : statsLines(figures)) all += line + "\n";
  return all;
}

TEST(StatsText, CountsWhatWasAnsweredLocally) {
  SessionFigures figures;
  figures.calls = 1000;
  figures.async_calls = 300;
  figures.sync_calls = 20;
  figures.server_known = true;
  figures.server_stats.kernel_ns = 1'500'000;
  figures.server_stats.method = "exact";
  const std::string all = text(figures);
  EXPECT_NE(all.find("1000 (680 answered here, 300 sent without waiting, 20 waited for)"),
            std::string::npos)
      << all;
  EXPECT_NE(all.find("1.500 ms"), std::string::npos) << all;
  EXPECT_NE(all.find("exact"), std::string::npos) << all;
}

TEST(StatsText, SaysWhatCompressionSavedWhenThereWasAny) {
  SessionFigures figures;
  EXPECT_EQ(text(figures).find("compressed"), std::string::npos);
  figures.connection.unpacked_bytes = 30u << 20;
  figures.connection.packed_bytes = 20u << 20;
  const std::string all = text(figures);
  EXPECT_NE(all.find("compressed   30.0 MiB to 20.0 MiB (1.50x, 10.0 MiB saved)"),
            std::string::npos)
      << all;
}

TEST(StatsText, SaysWhatGpudHadAlready) {
  SessionFigures figures;
  EXPECT_EQ(text(figures).find("not sent"), std::string::npos);
  figures.known_bytes = 3u << 20;
  EXPECT_NE(text(figures).find("not sent     3.0 MiB of modules that gpud had"), std::string::npos);
}

TEST(StatsText, SaysWhenGpudCouldNotBeAsked) {
  EXPECT_NE(text(SessionFigures()).find("could not be asked"), std::string::npos);
}

TEST(StatsText, TellsWhetherMemoryWasShared) {
  SessionFigures figures;
  EXPECT_EQ(text(figures).find("shared"), std::string::npos);
  figures.connection.bytes_shared = 3u << 20;
  EXPECT_NE(text(figures).find("3.0 MiB through shared memory"), std::string::npos);
  figures.connection.bytes_shared = 0;
  figures.connection.why_not_shared = "The descriptor is lost.";
  EXPECT_NE(text(figures).find("not shared: The descriptor is lost."), std::string::npos);
}

TEST(StatsText, WritesBytesForPeople) {
  EXPECT_EQ(bytesText(0), "0 B");
  EXPECT_EQ(bytesText(1023), "1023 B");
  EXPECT_EQ(bytesText(1536), "1.5 KiB");
  EXPECT_EQ(bytesText(uint64_t{3} << 30), "3.0 GiB");
  EXPECT_EQ(bytesText(~uint64_t{0}), "16384.0 PiB");
}

}  // namespace
}  // namespace farwarp::client
