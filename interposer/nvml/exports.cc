// The functions of NVML that tools ask a remote device: who it is, its memory, its processes, how
// busy it is. A function that is not here does not exist for the program, which then says so; those
// that every tool calls and that only real hardware answers return "not supported".
#include <strings.h>

#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "interposer/nvml/library.h"

#define FARWARP_NVML extern "C" __attribute__((visibility("default")))

using namespace farwarp::nvml;

namespace {

// A handle is the device's ordinal plus one: never dereferenced, never null.
using Handle = void*;

// One device of a fresh snapshot.
struct Found {
  Snapshot snapshot;
  size_t ordinal = 0;
  const DeviceStatus& device() const { return snapshot.devices[ordinal]; }
};

Result find(Handle handle, Found& found) {
  if (Result r = Library::get().snapshot(found.snapshot); r != kSuccess) return r;
  found.ordinal = reinterpret_cast<uintptr_t>(handle) - 1;
  return found.ordinal < found.snapshot.devices.size() ? kSuccess : kInvalidArgument;
}

Result copyText(const std::string& text, char* out, unsigned bytes) {
  if (out == nullptr) return kInvalidArgument;
  if (bytes <= text.size()) return kInsufficientSize;
  std::memcpy(out, text.c_str(), text.size() + 1);
  return kSuccess;
}

// "GPU-66617277-6172-8070-8063-707500000000"
std::string uuidText(const DeviceStatus& device) {
  const std::string& hex = device.uuid;
  return "GPU-" + hex.substr(0, 8) + "-" + hex.substr(8, 4) + "-" + hex.substr(12, 4) + "-" +
         hex.substr(16, 4) + "-" + hex.substr(20);
}

std::string pciText(const DeviceStatus& device, int domain_digits) {
  char text[32];
  std::snprintf(text, sizeof text, "%0*X:%02X:%02X.0", domain_digits, device.pci_domain,
                device.pci_bus, device.pci_device);
  return text;
}

// What sessions hold that were counted; gpud counts what programs allocated by themselves.
uint64_t usedBytes(const Found& found) {
  uint64_t used = 0;
  for (const SessionStatus& session : found.snapshot.sessions) used += session.bytes[found.ordinal];
  return used < found.device().bytes ? used : found.device().bytes;
}

// The programs on this host that hold memory of the device: a process id of another host would name
// a process here that has nothing to do with it.
std::vector<const SessionStatus*> programsOf(const Found& found) {
  std::vector<const SessionStatus*> programs;
  for (const SessionStatus& session : found.snapshot.sessions) {
    if (session.here && session.bytes[found.ordinal] != 0) programs.push_back(&session);
  }
  return programs;
}

template <typename Entry>
Result listProcesses(Handle handle, unsigned* count, Entry* out) {
  if (count == nullptr) return kInvalidArgument;
  Found found;
  if (Result r = find(handle, found); r != kSuccess) return r;
  const auto programs = programsOf(found);
  const unsigned room = *count;
  *count = static_cast<unsigned>(programs.size());
  if (programs.empty()) return kSuccess;
  if (out == nullptr || room < programs.size()) return kInsufficientSize;
  for (size_t i = 0; i < programs.size(); ++i) {
    Entry& entry = out[i];
    entry = {};
    entry.pid = programs[i]->pid;
    entry.used_bytes = programs[i]->bytes[found.ordinal];
    if constexpr (requires { entry.gpu_instance; }) {
      entry.gpu_instance = entry.compute_instance = kNotPartitioned;
    }
  }
  return kSuccess;
}

template <typename Matches>
Result findHandle(Handle* out, Matches matches) {
  if (out == nullptr) return kInvalidArgument;
  Snapshot snapshot;
  if (Result r = Library::get().snapshot(snapshot); r != kSuccess) return r;
  for (size_t i = 0; i < snapshot.devices.size(); ++i) {
    if (matches(snapshot.devices[i])) {
      *out = reinterpret_cast<Handle>(i + 1);
      return kSuccess;
    }
  }
  return kNotFound;
}

}  // namespace

FARWARP_NVML Result nvmlInit_v2() {
  return Library::get().initialize();
}
FARWARP_NVML Result nvmlInit() {
  return Library::get().initialize();
}
FARWARP_NVML Result nvmlInitWithFlags(unsigned) {
  return Library::get().initialize();
}
FARWARP_NVML Result nvmlShutdown() {
  return Library::get().shutDown();
}

FARWARP_NVML const char* nvmlErrorString(Result result) {
  switch (result) {
    case kSuccess:
      return "Success";
    case kUninitialized:
      return "The library was not initialised";
    case kInvalidArgument:
      return "An argument is wrong";
    case kNotSupported:
      return "Not supported";
    case kNotFound:
      return "Not found";
    case kInsufficientSize:
      return "The buffer is too small";
    case kDriverNotLoaded:
      return "No gpud answers at FARWARP_SERVER";
    case kArgumentVersionMismatch:
      return "The version of the argument is not known";
    default:
      return "Unknown error";
  }
}

// --- the system
// ------------------------------------------------------------------------------------

FARWARP_NVML Result nvmlSystemGetDriverVersion(char* out, unsigned bytes) {
  Snapshot snapshot;
  if (Result r = Library::get().snapshot(snapshot); r != kSuccess) return r;
  return copyText(snapshot.version, out, bytes);
}

FARWARP_NVML Result nvmlSystemGetNVMLVersion(char* out, unsigned bytes) {
  Snapshot snapshot;
  if (Result r = Library::get().snapshot(snapshot); r != kSuccess) return r;
  return copyText(std::to_string(snapshot.driver / 1000) + "." + snapshot.version, out, bytes);
}

FARWARP_NVML Result nvmlSystemGetCudaDriverVersion_v2(int* version) {
  if (version == nullptr) return kInvalidArgument;
  Snapshot snapshot;
  if (Result r = Library::get().snapshot(snapshot); r != kSuccess) return r;
  *version = snapshot.driver;
  return kSuccess;
}
FARWARP_NVML Result nvmlSystemGetCudaDriverVersion(int* version) {
  return nvmlSystemGetCudaDriverVersion_v2(version);
}

FARWARP_NVML Result nvmlSystemGetProcessName(unsigned pid, char* out, unsigned bytes) {
  if (out == nullptr || bytes == 0) return kInvalidArgument;
  Snapshot snapshot;
  if (Result r = Library::get().snapshot(snapshot); r != kSuccess) return r;
  for (const SessionStatus& session : snapshot.sessions) {
    if (!session.here || session.pid != pid) continue;
    return copyText(session.program.substr(0, bytes - 1), out, bytes);  // cut, as documented
  }
  return kNotFound;
}

// --- devices
// ---------------------------------------------------------------------------------------

FARWARP_NVML Result nvmlDeviceGetCount_v2(unsigned* count) {
  if (count == nullptr) return kInvalidArgument;
  Snapshot snapshot;
  if (Result r = Library::get().snapshot(snapshot); r != kSuccess) return r;
  *count = static_cast<unsigned>(snapshot.devices.size());
  return kSuccess;
}
FARWARP_NVML Result nvmlDeviceGetCount(unsigned* count) {
  return nvmlDeviceGetCount_v2(count);
}

FARWARP_NVML Result nvmlDeviceGetHandleByIndex_v2(unsigned index, Handle* out) {
  if (out == nullptr) return kInvalidArgument;
  Snapshot snapshot;
  if (Result r = Library::get().snapshot(snapshot); r != kSuccess) return r;
  if (index >= snapshot.devices.size()) return kInvalidArgument;
  *out = reinterpret_cast<Handle>(uintptr_t{index} + 1);
  return kSuccess;
}
FARWARP_NVML Result nvmlDeviceGetHandleByIndex(unsigned index, Handle* out) {
  return nvmlDeviceGetHandleByIndex_v2(index, out);
}

FARWARP_NVML Result nvmlDeviceGetHandleByUUID(const char* uuid, Handle* out) {
  if (uuid == nullptr) return kInvalidArgument;
  return findHandle(out, [&](const DeviceStatus& device) { return uuidText(device) == uuid; });
}

FARWARP_NVML Result nvmlDeviceGetHandleByPciBusId_v2(const char* bus_id, Handle* out) {
  if (bus_id == nullptr) return kInvalidArgument;
  return findHandle(out, [&](const DeviceStatus& device) {
    return strcasecmp(pciText(device, 8).c_str(), bus_id) == 0 ||
           strcasecmp(pciText(device, 4).c_str(), bus_id) == 0;
  });
}
FARWARP_NVML Result nvmlDeviceGetHandleByPciBusId(const char* bus_id, Handle* out) {
  return nvmlDeviceGetHandleByPciBusId_v2(bus_id, out);
}

FARWARP_NVML Result nvmlDeviceGetName(Handle handle, char* out, unsigned bytes) {
  Found found;
  if (Result r = find(handle, found); r != kSuccess) return r;
  return copyText(found.device().name, out, bytes);
}

FARWARP_NVML Result nvmlDeviceGetUUID(Handle handle, char* out, unsigned bytes) {
  Found found;
  if (Result r = find(handle, found); r != kSuccess) return r;
  return copyText(uuidText(found.device()), out, bytes);
}

FARWARP_NVML Result nvmlDeviceGetIndex(Handle handle, unsigned* index) {
  Found found;
  if (Result r = find(handle, found); r != kSuccess) return r;
  if (index == nullptr) return kInvalidArgument;
  *index = static_cast<unsigned>(found.ordinal);
  return kSuccess;
}

FARWARP_NVML Result nvmlDeviceGetCudaComputeCapability(Handle handle, int* major, int* minor) {
  Found found;
  if (Result r = find(handle, found); r != kSuccess) return r;
  if (major == nullptr || minor == nullptr) return kInvalidArgument;
  *major = found.device().major;
  *minor = found.device().minor;
  return kSuccess;
}

FARWARP_NVML Result nvmlDeviceGetPciInfo_v3(Handle handle, PciInfo* out) {
  Found found;
  if (Result r = find(handle, found); r != kSuccess) return r;
  if (out == nullptr) return kInvalidArgument;
  const DeviceStatus& device = found.device();
  *out = {};
  out->domain = device.pci_domain;
  out->bus = device.pci_bus;
  out->device = device.pci_device;
  std::snprintf(out->legacy_bus_id, sizeof out->legacy_bus_id, "%s", pciText(device, 4).c_str());
  std::snprintf(out->bus_id, sizeof out->bus_id, "%s", pciText(device, 8).c_str());
  return kSuccess;
}

FARWARP_NVML Result nvmlDeviceGetMemoryInfo(Handle handle, Memory* out) {
  Found found;
  if (Result r = find(handle, found); r != kSuccess) return r;
  if (out == nullptr) return kInvalidArgument;
  out->total = found.device().bytes;
  out->used = usedBytes(found);
  out->free = out->total - out->used;
  return kSuccess;
}

FARWARP_NVML Result nvmlDeviceGetMemoryInfo_v2(Handle handle, MemoryV2* out) {
  if (out == nullptr) return kInvalidArgument;
  if (out->version != MemoryV2::kVersion) return kArgumentVersionMismatch;
  Memory memory{};
  if (Result r = nvmlDeviceGetMemoryInfo(handle, &memory); r != kSuccess) return r;
  *out = {MemoryV2::kVersion, memory.total, 0, memory.free, memory.used};
  return kSuccess;
}

// gpud does not measure how busy the memory is.
FARWARP_NVML Result nvmlDeviceGetUtilizationRates(Handle handle, Utilization* out) {
  Found found;
  if (Result r = find(handle, found); r != kSuccess) return r;
  if (out == nullptr) return kInvalidArgument;
  out->memory = 0;
  return Library::get().utilization(out->gpu);
}

FARWARP_NVML Result nvmlDeviceGetComputeRunningProcesses_v3(Handle handle, unsigned* count,
                                                            Process* out) {
  return listProcesses(handle, count, out);
}
FARWARP_NVML Result nvmlDeviceGetComputeRunningProcesses_v2(Handle handle, unsigned* count,
                                                            Process* out) {
  return listProcesses(handle, count, out);
}
FARWARP_NVML Result nvmlDeviceGetComputeRunningProcesses(Handle handle, unsigned* count,
                                                         ProcessV1* out) {
  return listProcesses(handle, count, out);
}

// No program draws on a remote device.
FARWARP_NVML Result nvmlDeviceGetGraphicsRunningProcesses_v3(Handle handle, unsigned* count,
                                                             Process*) {
  Found found;
  if (Result r = find(handle, found); r != kSuccess) return r;
  if (count == nullptr) return kInvalidArgument;
  *count = 0;
  return kSuccess;
}
FARWARP_NVML Result nvmlDeviceGetGraphicsRunningProcesses_v2(Handle handle, unsigned* count,
                                                             Process* out) {
  return nvmlDeviceGetGraphicsRunningProcesses_v3(handle, count, out);
}

// --- what only hardware knows, and gpud does not ask
// ---------------------------------------------- NVML's own answer for a device without the sensor
// or the setting. Arguments do not matter.
#define FARWARP_NVML_NOT_SUPPORTED(name) \
  FARWARP_NVML Result name() {           \
    return kNotSupported;                \
  }
FARWARP_NVML_NOT_SUPPORTED(nvmlDeviceGetTemperature)
FARWARP_NVML_NOT_SUPPORTED(nvmlDeviceGetFanSpeed)
FARWARP_NVML_NOT_SUPPORTED(nvmlDeviceGetPowerUsage)
FARWARP_NVML_NOT_SUPPORTED(nvmlDeviceGetEnforcedPowerLimit)
FARWARP_NVML_NOT_SUPPORTED(nvmlDeviceGetPowerManagementLimit)
FARWARP_NVML_NOT_SUPPORTED(nvmlDeviceGetPerformanceState)
FARWARP_NVML_NOT_SUPPORTED(nvmlDeviceGetClockInfo)
FARWARP_NVML_NOT_SUPPORTED(nvmlDeviceGetMaxClockInfo)
FARWARP_NVML_NOT_SUPPORTED(nvmlDeviceGetEncoderUtilization)
FARWARP_NVML_NOT_SUPPORTED(nvmlDeviceGetDecoderUtilization)
FARWARP_NVML_NOT_SUPPORTED(nvmlDeviceGetPcieThroughput)
FARWARP_NVML_NOT_SUPPORTED(nvmlDeviceGetTotalEccErrors)
FARWARP_NVML_NOT_SUPPORTED(nvmlDeviceGetEccMode)
FARWARP_NVML_NOT_SUPPORTED(nvmlDeviceGetMigMode)
FARWARP_NVML_NOT_SUPPORTED(nvmlDeviceGetDisplayActive)
FARWARP_NVML_NOT_SUPPORTED(nvmlDeviceGetDisplayMode)
FARWARP_NVML_NOT_SUPPORTED(nvmlDeviceGetPersistenceMode)
FARWARP_NVML_NOT_SUPPORTED(nvmlDeviceGetComputeMode)
FARWARP_NVML_NOT_SUPPORTED(nvmlDeviceGetCurrentDriverModel)
FARWARP_NVML_NOT_SUPPORTED(nvmlDeviceGetBAR1MemoryInfo)
FARWARP_NVML_NOT_SUPPORTED(nvmlDeviceGetProcessUtilization)
FARWARP_NVML_NOT_SUPPORTED(nvmlDeviceGetMinorNumber)
FARWARP_NVML_NOT_SUPPORTED(nvmlDeviceGetSerial)
FARWARP_NVML_NOT_SUPPORTED(nvmlDeviceGetVbiosVersion)
// PyTorch looks for these when memory runs out, and says nothing of the memory when one is missing.
FARWARP_NVML_NOT_SUPPORTED(nvmlDeviceGetNvLinkRemoteDeviceType)
FARWARP_NVML_NOT_SUPPORTED(nvmlDeviceGetNvLinkRemotePciInfo_v2)
FARWARP_NVML_NOT_SUPPORTED(nvmlDeviceGetNvLinkState)
FARWARP_NVML_NOT_SUPPORTED(nvmlDeviceGetNvLinkCapability)
FARWARP_NVML_NOT_SUPPORTED(nvmlDeviceGetGpuFabricInfo)
FARWARP_NVML_NOT_SUPPORTED(nvmlDeviceGetGpuFabricInfoV)
