// Goal: the answer to the runtime's self-test is the standard construction over the documented
// message. Method: RFC 1319's vectors for MD2; an HMAC written out by hand from its definition; and
// a check that each part of the message changes the answer.
#include "driver/integrity.h"

#include <gtest/gtest.h>

#include <string>
#include <thread>

#include "tests/driver/fake_front.h"

namespace farwarp {
namespace {

std::string hex(const Digest& digest) {
  std::string text;
  for (uint8_t byte : digest) {
    text += "0123456789abcdef"[byte >> 4];
    text += "0123456789abcdef"[byte & 15];
  }
  return text;
}

std::span<const uint8_t> bytesOf(const std::string& text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

TEST(Md2, GivesTheVectorsOfItsRfc) {
  const std::pair<const char*, const char*> vectors[] = {
      {"", "8350e5a3e24c153df2275c9f80692773"},
      {"a", "32ec01ec4a6dac72c0ab96fb34c0b5d1"},
      {"abc", "da853b0d3f88d99b30283a69e6ded6bb"},
      {"message digest", "ab4f496bfb2a530b219ff33031fe06b0"},
      {"abcdefghijklmnopqrstuvwxyz", "4e8ddff3650292ab5a4108c3aa47940b"},
      {"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789",
       "da33def2a42df13975352846c30338cd"},
      {"12345678901234567890123456789012345678901234567890123456789012345678901234567890",
       "d5976f79d83d3a0dc9806c3c66f3efd8"},
  };
  for (const auto& [message, digest] : vectors) {
    EXPECT_EQ(hex(md2(bytesOf(message))), digest) << message;
  }
}

TEST(HmacMd2, IsTwoHashesWithThePaddedKey) {
  for (const std::string key : {"key", "exactly16bytes!!", "a key that is longer than one block"}) {
    const std::string message = "what do ya want for nothing?";
    std::string padded = key;
    if (padded.size() > 16) {
      const Digest hashed = md2(bytesOf(padded));
      padded.assign(hashed.begin(), hashed.end());
    }
    padded.resize(16, '\0');
    std::string inner, outer;
    for (char c : padded) {
      inner += static_cast<char>(c ^ 0x36);
      outer += static_cast<char>(c ^ 0x5c);
    }
    const Digest first = md2(bytesOf(inner + message));
    outer.append(first.begin(), first.end());
    EXPECT_EQ(hex(hmacMd2(bytesOf(key), bytesOf(message))), hex(md2(bytesOf(outer))));
  }
}

TEST(IntegrityAnswer, DependsOnEveryPartOfTheMessage) {
  FakeFront front;
  const int objects[3] = {};
  const IntegrityInput input{.version = 13002,
                             .unix_seconds = 1'700'000'000,
                             .interface_table = &objects[0],
                             .integrity_table = &objects[1],
                             .check_function = &objects[2]};
  const Digest answer = integrityAnswer(front, input);
  EXPECT_EQ(integrityAnswer(front, input), answer);

  IntegrityInput changed = input;
  changed.version++;
  EXPECT_NE(integrityAnswer(front, changed), answer);
  changed = input;
  changed.unix_seconds++;
  EXPECT_NE(integrityAnswer(front, changed), answer);
  changed = input;
  changed.interface_table = &objects[1];
  EXPECT_NE(integrityAnswer(front, changed), answer);
  changed = input;
  changed.integrity_table = &objects[0];
  EXPECT_NE(integrityAnswer(front, changed), answer);
  changed = input;
  changed.check_function = &objects[0];
  EXPECT_NE(integrityAnswer(front, changed), answer);

  std::thread([&] { EXPECT_NE(integrityAnswer(front, input), answer); }).join();
  front.devices = 2;
  EXPECT_NE(integrityAnswer(front, input), answer);
}

}  // namespace
}  // namespace farwarp
