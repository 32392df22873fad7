// Goal: the device is what FARWARP_CPU_DEVICE says, and nonsense in it is reported.
// Method: parses settings and reads the device that follows from them.
#include "gpud/device/cpu/config.h"

#include <gtest/gtest.h>

#include <set>

#include "gpud/device/cpu/device.h"

namespace farwarp::cpu {
namespace {

Config parse(const std::string& text) {
  Config config;
  std::string why;
  EXPECT_TRUE(parseConfig(text, config, why)) << why;
  return config;
}

TEST(Config, ReadsEverySetting) {
  const Config config = parse(
      "name=Big one,cc=12.0,sms=132,memory=2GiB,count=3,threads=4,timeout_ms=10,quiet=1,"
      "memcheck=1,order=18446744073709551615");
  EXPECT_EQ(config.name, "Big one");
  EXPECT_EQ(config.cc_major, 12u);
  EXPECT_EQ(config.cc_minor, 0u);
  EXPECT_EQ(config.multiprocessors, 132u);
  EXPECT_EQ(config.memory_bytes, uint64_t{2} << 30);
  EXPECT_EQ(config.devices, 3u);
  EXPECT_EQ(config.threads, 4u);
  EXPECT_EQ(config.kernel_timeout_ms, 10u);
  EXPECT_TRUE(config.quiet);
  EXPECT_TRUE(config.memcheck);
  EXPECT_EQ(config.order, ~uint64_t{0});
  EXPECT_FALSE(parse("").memcheck);
  EXPECT_EQ(parse("").order, 0u);
  EXPECT_EQ(parse("").cc_major, 9u);
  EXPECT_EQ(parse(",,memory=512MiB,").memory_bytes, uint64_t{512} << 20);
}

TEST(Config, ReportsWhatItCannotRead) {
  for (const char* text :
       {"x", "x=1", "cc=9", "cc=100.0", "cc=9.x", "sms=0", "sms=-1", "memory=1", "memory=2000GiB",
        "memory=99999999999999999999", "count=17", "name=", "quiet=2", "threads=many"}) {
    Config config;
    std::string why;
    EXPECT_FALSE(parseConfig(text, config, why)) << text;
    EXPECT_NE(why.find(text), std::string::npos) << why;
  }
}

// No toolkit has machine code for it, so all of them hand the driver PTX.
TEST(Device, OfTheFutureHasRoomForWhatWasTunedForAnyOther) {
  const Device device(parse("cc=99.0"), 0, 0);
  EXPECT_EQ(device.architecture(), 990u);
  EXPECT_EQ(device.limits().shared_per_block_optin, 227u * 1024);
  EXPECT_EQ(device.limits().threads_per_sm_max, 2048u);
}

TEST(Device, FollowsItsConfiguration) {
  const Device device(parse("cc=8.6,sms=7,memory=1GiB"), 0, 1);
  int value = -1;
  EXPECT_EQ(device.attribute(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, &value), CUDA_SUCCESS);
  EXPECT_EQ(value, 6);
  EXPECT_EQ(device.attribute(CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, &value), CUDA_SUCCESS);
  EXPECT_EQ(value, 7);
  EXPECT_EQ(device.attribute(CU_DEVICE_ATTRIBUTE_CLUSTER_LAUNCH, &value), CUDA_SUCCESS);
  EXPECT_EQ(value, 0);
  EXPECT_EQ(device.memoryBytes(), uint64_t{1} << 30);
  EXPECT_EQ(device.pciAddress(), "0000:02:00.0");
  EXPECT_EQ(device.attribute(CU_DEVICE_ATTRIBUTE_MAX, &value), CUDA_ERROR_INVALID_VALUE);
  EXPECT_EQ(device.attribute(static_cast<CUdevice_attribute>(0), &value), CUDA_ERROR_INVALID_VALUE);
  EXPECT_EQ(device.attribute(CU_DEVICE_ATTRIBUTE_WARP_SIZE, nullptr), CUDA_ERROR_INVALID_VALUE);
}

TEST(Device, HasAnIdentityOfItsOwn) {
  std::set<std::string> uuids;
  for (int ordinal = 0; ordinal < 4; ++ordinal) {
    const Device device({}, ordinal, ordinal), again({}, ordinal, ordinal);
    const DeviceIdentity id = device.identity();
    uuids.emplace(id.uuid.bytes, sizeof id.uuid.bytes);
    EXPECT_EQ(std::string(id.uuid.bytes, 16), std::string(again.identity().uuid.bytes, 16));
    EXPECT_EQ(id.uuid.bytes[6] & 0xf0, 0x80) << "version 8";
    EXPECT_EQ(id.uuid.bytes[8] & 0xc0, 0x80) << "the variant of RFC 9562";
  }
  EXPECT_EQ(uuids.size(), 4u);
}

}  // namespace
}  // namespace farwarp::cpu
