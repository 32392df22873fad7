// Goal: preambles survive the wire, and each way in which one can be wrong is told apart in words.
// Method: encode, change bytes, parse.
#include "protocol/preamble.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

namespace farwarp::wire {
namespace {

using ::testing::HasSubstr;

ClientPreamble bulkPreamble() {
  ClientPreamble preamble;
  preamble.kind = ConnectionKind::bulk;
  for (size_t i = 0; i < preamble.route.size(); ++i)
    preamble.route[i] = static_cast<uint8_t>(i + 1);
  return preamble;
}

TEST(Preamble, ClientRoundTrip) {
  ClientPreamble out;
  std::string reason;
  EXPECT_EQ(parseClientPreamble(encodePreamble(bulkPreamble()), out, reason), PreambleStatus::ok);
  EXPECT_EQ(out.kind, ConnectionKind::bulk);
  EXPECT_EQ(out.route, bulkPreamble().route);
  EXPECT_EQ(reason, "");
}

TEST(Preamble, ServerRoundTripOfEveryStatus) {
  for (uint32_t status = 0; status <= 8; ++status) {
    ServerPreamble in{7, static_cast<PreambleStatus>(status)}, out;
    std::string reason;
    ASSERT_TRUE(parseServerPreamble(encodePreamble(in), out, reason));
    EXPECT_EQ(out.version, 7);
    EXPECT_EQ(out.status, in.status);
    EXPECT_EQ(explainStatus(out, "here:1").empty(), status == 0);
    if (status == 0) continue;
    EXPECT_THAT(explainStatus(out, "here:1"), HasSubstr("here:1"));
  }
  EXPECT_THAT(explainStatus({1, static_cast<PreambleStatus>(99)}, "x:1"), HasSubstr("99"));
}

TEST(Preamble, EveryOtherLengthIsRefused) {
  const PreambleBytes bytes = encodePreamble(bulkPreamble());
  for (size_t n = 0; n < kPreambleBytes; ++n) {
    ClientPreamble out;
    ServerPreamble server;
    std::string reason;
    EXPECT_EQ(parseClientPreamble(std::span(bytes).first(n), out, reason),
              PreambleStatus::badRequest);
    EXPECT_FALSE(parseServerPreamble(std::span(bytes).first(n), server, reason)) << n;
    EXPECT_TRUE(looksLikePreamble(std::span(bytes).first(n)));
  }
}

TEST(Preamble, EveryChangedByteOfTheMagicIsRefused) {
  for (size_t i = 0; i < 8; ++i) {
    PreambleBytes bytes = encodePreamble(bulkPreamble());
    bytes[i] ^= std::byte{1};
    ClientPreamble out;
    std::string reason;
    EXPECT_EQ(parseClientPreamble(bytes, out, reason), PreambleStatus::badRequest);
    EXPECT_THAT(reason, HasSubstr("not a Farwarp client"));
    EXPECT_FALSE(looksLikePreamble(bytes));
  }
}

TEST(Preamble, WrongVersionKindAndFlagsAreToldApart) {
  ClientPreamble out;
  std::string reason;
  PreambleBytes bytes = encodePreamble(bulkPreamble());
  bytes[8] = std::byte{77};
  EXPECT_EQ(parseClientPreamble(bytes, out, reason), PreambleStatus::versionRefused);
  EXPECT_THAT(reason, HasSubstr("77"));
  for (uint8_t kind : {0, 4, 255}) {
    bytes = encodePreamble(bulkPreamble());
    bytes[10] = std::byte{kind};
    EXPECT_EQ(parseClientPreamble(bytes, out, reason), PreambleStatus::badRequest);
    EXPECT_THAT(reason, HasSubstr("kind " + std::to_string(kind)));
  }
  bytes = encodePreamble(bulkPreamble());
  bytes[12] = std::byte{4};
  EXPECT_EQ(parseClientPreamble(bytes, out, reason), PreambleStatus::badRequest);
  EXPECT_THAT(reason, HasSubstr("flags 4"));
}

TEST(Preamble, AStrangersAnswerIsQuoted) {
  ServerPreamble out;
  std::string reason;
  const char text[] = "HTTP/1.1 400 Bad Request\r\n";
  EXPECT_FALSE(parseServerPreamble(std::as_bytes(std::span(text)), out, reason));
  EXPECT_THAT(reason, HasSubstr("HTTP/1.1 400 Bad Request.."));
  EXPECT_FALSE(parseServerPreamble({}, out, reason));
  EXPECT_THAT(reason, HasSubstr("without a word"));
}

}  // namespace
}  // namespace farwarp::wire
