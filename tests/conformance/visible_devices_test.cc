// Goal: CUDA_VISIBLE_DEVICES and CUDA_DEVICE_ORDER choose the devices of a program, which then can
// use them, and no others. Method: the program starts itself with lists of all kinds, for the two
// devices that there are; the child tells which devices it has, and works on the last of them.
#include "tests/conformance/child_process.h"
#include "tests/conformance/conformance.h"

namespace farwarp::conformance {
namespace {

constexpr const char* kUuid[] = {"66617277-6172-8070-8063-707500000000",
                                 "66617277-6172-8070-8063-707500000001"};

// The PCI buses of the devices, which are 1 and 2; "!" for a device that does not work.
std::string describeDevices() {
  std::string buses;
  int count = 0;
  EXPECT_EQ(cuDeviceGetCount(&count), CUDA_SUCCESS);
  for (int ordinal = 0; ordinal < count; ++ordinal) {
    CUdevice device = -1;
    EXPECT_EQ(cuDeviceGet(&device, ordinal), CUDA_SUCCESS);
    int bus = 0;
    EXPECT_EQ(cuDeviceGetAttribute(&bus, CU_DEVICE_ATTRIBUTE_PCI_BUS_ID, device), CUDA_SUCCESS);
    buses += std::to_string(bus);
  }
  CUdevice none = -1;
  EXPECT_EQ(cuDeviceGet(&none, count), CUDA_ERROR_INVALID_DEVICE);
  return buses;
}

// Everything that names a device, with the last one.
bool lastDeviceWorks(int count) {
  const CUdevice device = count - 1;
  CUcontext context = nullptr;
  if (cuDevicePrimaryCtxRetain(&context, device) != CUDA_SUCCESS) return false;
  if (cuCtxSetCurrent(context) != CUDA_SUCCESS) return false;
  CUmemPoolProps properties{};
  properties.allocType = CU_MEM_ALLOCATION_TYPE_PINNED;
  properties.location = {CU_MEM_LOCATION_TYPE_DEVICE, device};
  CUmemoryPool pool = nullptr;
  if (cuMemPoolCreate(&pool, &properties) != CUDA_SUCCESS) return false;
  CUdeviceptr address = 0;
  if (cuMemAllocFromPoolAsync(&address, 64, pool, nullptr) != CUDA_SUCCESS) return false;
  int of_pool = -1;
  cuPointerGetAttribute(&of_pool, CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL, address);
  CUmemAccess_flags access = CU_MEM_ACCESS_FLAGS_PROT_NONE;
  CUmemLocation own{CU_MEM_LOCATION_TYPE_DEVICE, device};
  cuMemPoolGetAccess(&access, pool, &own);
  int of_context = -1;
  cuCtxGetDevice(&of_context);
  unsigned value = 0;
  const bool copied = cuMemsetD32_v2(address, 42, 16) == CUDA_SUCCESS &&
                      cuMemcpyDtoH_v2(&value, address + 60, 4) == CUDA_SUCCESS && value == 42;
  const bool freed = cuMemFreeAsync(address, nullptr) == CUDA_SUCCESS &&
                     cuMemPoolDestroy(pool) == CUDA_SUCCESS &&
                     cuDevicePrimaryCtxRelease_v2(device) == CUDA_SUCCESS;
  return of_pool == device && of_context == device &&
         access == CU_MEM_ACCESS_FLAGS_PROT_READWRITE && copied && freed;
}

TEST(VisibleDevicesChild, Answers) {
  if (!isChild()) GTEST_SKIP() << "Started by the other test only.";
  const CUresult started = cuInit(0);
  std::string answer = nameOf(started);
  if (started == CUDA_SUCCESS) {
    const std::string buses = describeDevices();
    answer = buses + (lastDeviceWorks(static_cast<int>(buses.size())) ? "" : "!");
  }
  ASSERT_TRUE(writeAll(kToParentFd, answer.data(), answer.size()));
}

// What a program with these variables has; null leaves one unset.
std::string startWith(const char* visible, const char* order) {
  Child child("VisibleDevicesChild.*", -1,
              {{"CUDA_VISIBLE_DEVICES", visible}, {"CUDA_DEVICE_ORDER", order}});
  const std::string answer = child.receiveRest();
  return child.passed() ? answer : answer + " and failed";
}

TEST(VisibleDevices, AreWhatTheProgramHas) {
  const std::string first = std::string("GPU-") + kUuid[0], second = std::string("GPU-") + kUuid[1];
  const std::string both = second + "," + first, twice = first + "," + first;
  const std::string ambiguous = first.substr(0, 12);
  const struct {
    const char* visible;
    const char* order;
    const char* expected;
  } cases[] = {
      {nullptr, nullptr, "12"},
      {"1", nullptr, "2"},
      {"1,0", nullptr, "21"},
      {"0,5,1", nullptr, "1"},
      {"0,0", nullptr, "CUDA_ERROR_NO_DEVICE"},
      {"-1", nullptr, "CUDA_ERROR_NO_DEVICE"},
      {"", nullptr, "CUDA_ERROR_NO_DEVICE"},
      {second.c_str(), nullptr, "2"},
      {both.c_str(), nullptr, "21"},
      {twice.c_str(), nullptr, "CUDA_ERROR_NO_DEVICE"},
      {ambiguous.c_str(), nullptr, "CUDA_ERROR_NO_DEVICE"},
      {"1,0", "PCI_BUS_ID", "21"},
      {nullptr, "FASTEST_FIRST", "12"},
  };
  for (const auto& [visible, order, expected] : cases) {
    const std::string has = startWith(visible, order);
    EXPECT_EQ(has, expected) << (visible == nullptr ? "unset" : visible);
    note(visible == nullptr ? "unset" : visible,
         has == expected ? CUDA_SUCCESS : CUDA_ERROR_UNKNOWN);
  }
}

}  // namespace
}  // namespace farwarp::conformance
