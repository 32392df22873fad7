// Goal: any range of a box's packed bytes reaches exactly its rows, in few driver calls, and a box
// that describes nothing is refused. Method: a driver whose copies work on this process's memory;
// every offset and length of small boxes against a loop.
#include "gpud/worker/device_box.h"

#include <gtest/gtest.h>

#include <cstring>
#include <numeric>
#include <vector>

namespace farwarp::worker {
namespace {

int driver_calls = 0;

CUresult copyIn(CUdeviceptr to, const void* from, size_t bytes, CUstream) {
  ++driver_calls;
  std::memcpy(reinterpret_cast<void*>(to), from, bytes);
  return CUDA_SUCCESS;
}
CUresult copyOut(void* to, CUdeviceptr from, size_t bytes, CUstream) {
  ++driver_calls;
  std::memcpy(to, reinterpret_cast<void*>(from), bytes);
  return CUDA_SUCCESS;
}
CUresult copyBox(const CUDA_MEMCPY3D* parameters, CUstream) {
  ++driver_calls;
  CopyRequest request;
  const CUresult result = describeCopy(*parameters, request);
  if (result == CUDA_SUCCESS) copyRows(request.to.rows, request.from.rows, request.box);
  return result;
}

DriverTable makeDriver() {
  DriverTable driver{};
  driver.cuMemcpyHtoDAsync_v2 = copyIn;
  driver.cuMemcpyDtoHAsync_v2 = copyOut;
  driver.cuMemcpy3DAsync_v2 = copyBox;
  return driver;
}

uint64_t at(const std::vector<unsigned char>& v) {
  return reinterpret_cast<uint64_t>(v.data());
}

TEST(DeviceBox, EveryRangeOfPackedBytes) {
  const DriverTable driver = makeDriver();
  const CopyBox shapes[] = {{4, 3, 3}, {1, 5, 2}, {5, 1, 4}, {7, 1, 1}, {3, 4, 1}};
  for (const CopyBox& shape : shapes) {
    std::vector<unsigned char> memory(200);
    std::iota(memory.begin(), memory.end(), 0);
    const Rows rows{at(memory), 8, 6};
    DeviceBox box;
    ASSERT_TRUE(box.assign(rows, shape));
    ASSERT_EQ(box.bytes(), shape.bytes());
    std::vector<unsigned char> packed(shape.bytes());
    copyRows({at(packed), shape.width, shape.height}, rows, shape);
    for (size_t offset = 0; offset < packed.size(); ++offset) {
      for (size_t bytes = 1; bytes <= packed.size() - offset; ++bytes) {
        driver_calls = 0;
        std::vector<unsigned char> part(bytes);
        ASSERT_EQ(box.read(driver, offset, std::as_writable_bytes(std::span(part)), nullptr).result,
                  CUDA_SUCCESS);
        ASSERT_EQ(part, std::vector<unsigned char>(packed.begin() + offset,
                                                   packed.begin() + offset + bytes));
        ASSERT_LE(driver_calls, 5);

        std::vector<unsigned char> before = memory, expected = packed;
        for (size_t i = 0; i < bytes; ++i) expected[offset + i] = part[i] = 200 + i % 50;
        ASSERT_EQ(box.write(driver, offset, std::as_bytes(std::span(part)), nullptr).result,
                  CUDA_SUCCESS);
        std::vector<unsigned char> after = before;
        copyRows({at(after), 8, 6}, {at(expected), shape.width, shape.height}, shape);
        ASSERT_EQ(memory, after);
        memory = before;
      }
    }
  }
}

TEST(DeviceBox, RefusesWhatDescribesNothing) {
  constexpr uint64_t kHuge = ~uint64_t{0};
  DeviceBox box;
  EXPECT_FALSE(box.assign({1000, 8, 6}, {0, 1, 1}));
  EXPECT_FALSE(box.assign({1000, 8, 6}, {8, 0, 1}));
  EXPECT_FALSE(box.assign({1000, 8, 6}, {9, 2, 1}));
  EXPECT_FALSE(box.assign({1000, 8, 6}, {8, 7, 2}));
  EXPECT_FALSE(box.assign({1000, 8, 6}, {kHuge, 1, 1}));
  EXPECT_FALSE(box.assign({kHuge - 8, 8, 6}, {8, 2, 1}));
  EXPECT_FALSE(box.assign({1000, kPitchMax, kHuge}, {8, 2, kHuge}));
  EXPECT_FALSE(box.assign({1000, 1, uint64_t{1} << 40}, {1, uint64_t{1} << 40, uint64_t{1} << 40}));
  EXPECT_TRUE(box.assign({1000, 8, 6}, {8, 6, 2}));
}

TEST(DeviceBox, TellsWhetherTheDriverHasBegun) {
  DriverTable driver = makeDriver();
  driver.cuMemcpy3DAsync_v2 = [](const CUDA_MEMCPY3D*, CUstream) {
    return CUDA_ERROR_INVALID_VALUE;
  };
  std::vector<unsigned char> memory(100), data(10);
  DeviceBox box;
  ASSERT_TRUE(box.assign({at(memory), 8, 6}, {4, 6, 1}));
  const auto bytes = std::as_bytes(std::span(data));
  EXPECT_FALSE(box.write(driver, 0, bytes, nullptr).begun);
  const DeviceBox::Outcome outcome = box.write(driver, 1, bytes, nullptr);
  EXPECT_EQ(outcome.result, CUDA_SUCCESS);  // the end of a row, a row, and the start of another
  const DeviceBox::Outcome half =
      box.write(driver, 3, std::as_bytes(std::span(memory)).first(10), nullptr);
  EXPECT_EQ(half.result, CUDA_ERROR_INVALID_VALUE);
  EXPECT_TRUE(half.begun);
}

}  // namespace
}  // namespace farwarp::worker
