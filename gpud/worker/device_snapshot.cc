#include "gpud/worker/device_snapshot.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "protocol/limits.h"

namespace farwarp::worker {
namespace {

void askContext(const DriverTable& driver, CUdevice device, wire::DeviceSnapshot& snapshot) {
  CUcontext context = nullptr;
  if (driver.cuDevicePrimaryCtxRetain(&context, device) != CUDA_SUCCESS) return;
  driver.cuCtxSetCurrent(context);
  driver.cuCtxGetStreamPriorityRange(&snapshot.stream_priority_least,
                                     &snapshot.stream_priority_greatest);
  for (int limit = 0; limit < CU_LIMIT_MAX; ++limit) {
    size_t value = 0;
    if (driver.cuCtxGetLimit(&value, static_cast<CUlimit>(limit)) == CUDA_SUCCESS) {
      snapshot.default_limits.push_back({limit, value});
    }
  }
  driver.cuCtxSetCurrent(nullptr);
  driver.cuDevicePrimaryCtxRelease_v2(device);
}

CUresult describe(const DriverTable& driver, int ordinal, bool contexts_are_cheap,
                  wire::DeviceSnapshot& snapshot) {
  CUdevice device = 0;
  if (CUresult r = driver.cuDeviceGet(&device, ordinal); r != CUDA_SUCCESS) return r;
  char text[256] = {};
  if (CUresult r = driver.cuDeviceGetName(text, sizeof(text) - 1, device); r != CUDA_SUCCESS)
    return r;
  snapshot.name = text;
  CUuuid uuid{};
  if (driver.cuDeviceGetUuid_v2(&uuid, device) != CUDA_SUCCESS)
    driver.cuDeviceGetUuid(&uuid, device);
  std::memcpy(snapshot.uuid.data(), uuid.bytes, snapshot.uuid.size());
  size_t bytes = 0;
  if (CUresult r = driver.cuDeviceTotalMem_v2(&bytes, device); r != CUDA_SUCCESS) return r;
  snapshot.total_memory_bytes = bytes;
  std::memset(text, 0, sizeof(text));
  if (driver.cuDeviceGetPCIBusId(text, sizeof(text) - 1, device) == CUDA_SUCCESS) {
    snapshot.pci_bus_id = text;
  }
  for (int id = 1; id < CU_DEVICE_ATTRIBUTE_MAX; ++id) {
    int value = 0;
    if (driver.cuDeviceGetAttribute(&value, static_cast<CUdevice_attribute>(id), device) ==
        CUDA_SUCCESS) {
      snapshot.attributes.push_back({id, value});
    }
  }
  driver.cuDeviceGetAttribute(&snapshot.compute_major, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR,
                              device);
  driver.cuDeviceGetAttribute(&snapshot.compute_minor, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR,
                              device);
  if (contexts_are_cheap) askContext(driver, device, snapshot);
  return CUDA_SUCCESS;
}

}  // namespace

bool takeSnapshot(const DriverTable& driver, bool contexts_are_cheap, wire::ServerHello& server,
                  std::string& refusal) {
  int version = 0;
  int count = 0;
  CUresult result = driver.cuDriverGetVersion(&version);
  if (result == CUDA_SUCCESS) result = driver.cuDeviceGetCount(&count);
  server.driver_version = version;
  count = std::min<int>(count, wire::kDevicesMax);
  for (int ordinal = 0; result == CUDA_SUCCESS && ordinal < count; ++ordinal) {
    result = describe(driver, ordinal, contexts_are_cheap, server.devices.emplace_back());
  }
  if (result == CUDA_SUCCESS) return true;
  refusal = fmt::format("The server's CUDA driver does not describe its devices: error {}.",
                        static_cast<int>(result));
  return false;
}

}  // namespace farwarp::worker
