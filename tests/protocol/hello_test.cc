// Goal: greetings and figures survive the wire, and each limit on what a peer says is enforced.
// Method: write into a message, change one thing, read it back.
#include "protocol/hello.h"

#include <capnp/message.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "protocol/hello_schema.h"
#include "protocol/limits.h"

namespace farwarp::wire {
namespace {

using ::testing::HasSubstr;

struct Message {
  capnp::MallocMessageBuilder builder;
  rpc::ServerHello::Builder hello = builder.initRoot<rpc::ServerHello>();
};

ServerHello someServer() {
  ServerHello server;
  server.server_version = "0.1.0";
  server.device_kind = "cuda";
  server.devices.resize(2);
  server.devices[0].name = "A";
  server.devices[0].attributes = {{1, 2}, {3, -4}};
  server.devices[1].default_limits = {{5, 6}};
  server.devices[1].uuid = {1, 2, 3};
  return server;
}

std::string refusal(Message& message) {
  ServerHello out;
  std::string error;
  EXPECT_FALSE(readHello(message.hello.asReader(), out, error));
  return error;
}

TEST(Hello, ServerRoundTrip) {
  Message message;
  writeHello(someServer(), message.hello);
  ServerHello out;
  std::string error;
  ASSERT_TRUE(readHello(message.hello.asReader(), out, error)) << error;
  EXPECT_EQ(out.devices, someServer().devices);
  EXPECT_EQ(out.server_version, "0.1.0");
}

TEST(Hello, StringsHaveALimit) {
  capnp::MallocMessageBuilder builder;
  auto hello = builder.initRoot<rpc::ClientHello>();
  ClientHello out;
  std::string error;
  hello.setProgram(std::string(kHelloStringBytesMax, 'p'));
  EXPECT_TRUE(readHello(hello.asReader(), out, error));
  hello.setProgram(std::string(kHelloStringBytesMax + 1, 'p'));
  EXPECT_FALSE(readHello(hello.asReader(), out, error));
  EXPECT_THAT(error, HasSubstr("1025 bytes; the limit is 1024"));
}

TEST(Hello, TokensHave16Bytes) {
  Message message;
  writeHello(someServer(), message.hello);
  message.hello.setToken(kj::StringPtr("short").asBytes());
  EXPECT_THAT(refusal(message), HasSubstr("token has 5 bytes; it must have 16"));
}

TEST(Hello, DevicesHaveALimit) {
  Message message;
  writeHello(someServer(), message.hello);
  message.hello.initDevices(kDevicesMax + 1);
  EXPECT_THAT(refusal(message), HasSubstr("65 devices; the limit is 64"));
}

TEST(Hello, AttributeListsMustMatchAndHaveALimit) {
  Message message;
  writeHello(someServer(), message.hello);
  message.hello.getDevices()[0].initAttributeValues(1);
  EXPECT_THAT(refusal(message), HasSubstr("2 ids and 1 values of attributes"));
  message.hello.getDevices()[0].initAttributeIds(kDeviceAttributesMax + 1);
  message.hello.getDevices()[0].initAttributeValues(kDeviceAttributesMax + 1);
  EXPECT_THAT(refusal(message), HasSubstr("at most 1024"));
}

TEST(Hello, FiguresRoundTrip) {
  capnp::MallocMessageBuilder builder;
  auto stats = builder.initRoot<rpc::SessionStats>();
  SessionStats in{1, 2, 3, 4, 5, 6, 7, "events"}, out;
  writeStats(in, stats);
  std::string error;
  ASSERT_TRUE(readStats(stats.asReader(), out, error));
  EXPECT_EQ(out.waiting_calls, 2u);
  EXPECT_EQ(out.busy_ns, 7u);
  EXPECT_EQ(out.method, "events");
}

}  // namespace
}  // namespace farwarp::wire
