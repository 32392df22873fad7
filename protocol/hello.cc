#include "protocol/hello.h"

#include <cstring>

#include "protocol/hello_schema.h"
#include "protocol/limits.h"

namespace farwarp::wire {
namespace {

bool readText(capnp::Text::Reader from, const char* what, std::string& to, std::string& error) {
  if (from.size() > kHelloStringBytesMax) {
    error = std::string("The ") + what + " has " + std::to_string(from.size()) +
            " bytes; the limit is " + std::to_string(kHelloStringBytesMax) + ".";
    return false;
  }
  to.assign(from.begin(), from.size());
  return true;
}

template <size_t N>
bool readBytes(capnp::Data::Reader from, const char* what, std::array<uint8_t, N>& to,
               std::string& error) {
  if (from.size() != N) {
    error = std::string("The ") + what + " has " + std::to_string(from.size()) +
            " bytes; it must have " + std::to_string(N) + ".";
    return false;
  }
  std::memcpy(to.data(), from.begin(), N);
  return true;
}

template <size_t N>
kj::ArrayPtr<const kj::byte> dataOf(const std::array<uint8_t, N>& bytes) {
  return kj::ArrayPtr<const kj::byte>(bytes.data(), N);
}

bool readMode(uint8_t from, CompressionMode& to, std::string& error) {
  to = static_cast<CompressionMode>(from);
  if (to <= CompressionMode::on) return true;
  error = "The compression mode is " + std::to_string(from) + "; it must be from 0 to 2.";
  return false;
}

bool checkCount(size_t ids, size_t values, const char* what, std::string& error) {
  if (ids == values && ids <= kDeviceAttributesMax) return true;
  error = std::string("The device has ") + std::to_string(ids) + " ids and " +
          std::to_string(values) + " values of " + what + "; they must be as many, and at most " +
          std::to_string(kDeviceAttributesMax) + ".";
  return false;
}

void writeDevice(const DeviceSnapshot& from, rpc::Device::Builder to) {
  to.setName(from.name);
  to.setUuid(dataOf(from.uuid));
  to.setTotalMemoryBytes(from.total_memory_bytes);
  to.setComputeMajor(from.compute_major);
  to.setComputeMinor(from.compute_minor);
  to.setPciBusId(from.pci_bus_id);
  to.setStreamPriorityLeast(from.stream_priority_least);
  to.setStreamPriorityGreatest(from.stream_priority_greatest);
  auto ids = to.initAttributeIds(from.attributes.size());
  auto values = to.initAttributeValues(from.attributes.size());
  for (size_t i = 0; i < from.attributes.size(); ++i) {
    ids.set(i, from.attributes[i].id);
    values.set(i, from.attributes[i].value);
  }
  auto limit_ids = to.initLimitIds(from.default_limits.size());
  auto limit_values = to.initLimitValues(from.default_limits.size());
  for (size_t i = 0; i < from.default_limits.size(); ++i) {
    limit_ids.set(i, from.default_limits[i].id);
    limit_values.set(i, from.default_limits[i].value);
  }
}

bool readDevice(rpc::Device::Reader from, DeviceSnapshot& to, std::string& error) {
  const auto ids = from.getAttributeIds();
  const auto values = from.getAttributeValues();
  const auto limit_ids = from.getLimitIds();
  const auto limit_values = from.getLimitValues();
  if (!readText(from.getName(), "device name", to.name, error) ||
      !readText(from.getPciBusId(), "PCI bus id", to.pci_bus_id, error) ||
      !readBytes(from.getUuid(), "device UUID", to.uuid, error) ||
      !checkCount(ids.size(), values.size(), "attributes", error) ||
      !checkCount(limit_ids.size(), limit_values.size(), "limits", error)) {
    return false;
  }
  to.total_memory_bytes = from.getTotalMemoryBytes();
  to.compute_major = from.getComputeMajor();
  to.compute_minor = from.getComputeMinor();
  to.stream_priority_least = from.getStreamPriorityLeast();
  to.stream_priority_greatest = from.getStreamPriorityGreatest();
  to.attributes.clear();
  to.default_limits.clear();
  for (uint32_t i = 0; i < ids.size(); ++i) to.attributes.push_back({ids[i], values[i]});
  for (uint32_t i = 0; i < limit_ids.size(); ++i) {
    to.default_limits.push_back({limit_ids[i], limit_values[i]});
  }
  return true;
}

}  // namespace

void writeHello(const ClientHello& from, rpc::ClientHello::Builder to) {
  to.setClientVersion(from.client_version);
  to.setSpecVersion(from.spec_version);
  to.setPid(from.pid);
  to.setProgram(from.program);
  to.setCudaVersion(from.cuda_version);
  to.setCompression(static_cast<uint8_t>(from.compression));
}

bool readHello(rpc::ClientHello::Reader from, ClientHello& to, std::string& error) {
  to.spec_version = from.getSpecVersion();
  to.pid = from.getPid();
  to.cuda_version = from.getCudaVersion();
  return readText(from.getClientVersion(), "client version", to.client_version, error) &&
         readText(from.getProgram(), "program name", to.program, error) &&
         readMode(from.getCompression(), to.compression, error);
}

void writeHello(const ServerHello& from, rpc::ServerHello::Builder to) {
  to.setServerVersion(from.server_version);
  to.setSpecVersion(from.spec_version);
  to.setToken(dataOf(from.token));
  to.setDriverVersion(from.driver_version);
  to.setDeviceKind(from.device_kind);
  to.setBatchBytesMax(from.limits.batch_bytes_max);
  to.setChunkBytesMax(from.limits.chunk_bytes_max);
  to.setPendingTransfersMax(from.limits.pending_transfers_max);
  to.setCompression(static_cast<uint8_t>(from.compression));
  to.setKeepsContent(from.keeps_content);
  auto devices = to.initDevices(from.devices.size());
  for (size_t i = 0; i < from.devices.size(); ++i) writeDevice(from.devices[i], devices[i]);
}

bool readHello(rpc::ServerHello::Reader from, ServerHello& to, std::string& error) {
  to.spec_version = from.getSpecVersion();
  to.driver_version = from.getDriverVersion();
  to.limits.batch_bytes_max = from.getBatchBytesMax();
  to.limits.chunk_bytes_max = from.getChunkBytesMax();
  to.limits.pending_transfers_max = from.getPendingTransfersMax();
  to.keeps_content = from.getKeepsContent();
  if (!readText(from.getServerVersion(), "server version", to.server_version, error) ||
      !readText(from.getDeviceKind(), "device kind", to.device_kind, error) ||
      !readBytes(from.getToken(), "session token", to.token, error) ||
      !readMode(from.getCompression(), to.compression, error)) {
    return false;
  }
  const auto devices = from.getDevices();
  if (devices.size() > kDevicesMax) {
    error = "The server has " + std::to_string(devices.size()) + " devices; the limit is " +
            std::to_string(kDevicesMax) + ".";
    return false;
  }
  to.devices.assign(devices.size(), {});
  for (uint32_t i = 0; i < devices.size(); ++i) {
    if (!readDevice(devices[i], to.devices[i], error)) return false;
  }
  return true;
}

void writeStats(const SessionStats& from, rpc::SessionStats::Builder to) {
  to.setCalls(from.calls);
  to.setWaitingCalls(from.waiting_calls);
  to.setBytesIn(from.bytes_in);
  to.setBytesOut(from.bytes_out);
  to.setLaunches(from.launches);
  to.setKernelNs(from.kernel_ns);
  to.setBusyNs(from.busy_ns);
  to.setMethod(from.method);
}

bool readStats(rpc::SessionStats::Reader from, SessionStats& to, std::string& error) {
  to.calls = from.getCalls();
  to.waiting_calls = from.getWaitingCalls();
  to.bytes_in = from.getBytesIn();
  to.bytes_out = from.getBytesOut();
  to.launches = from.getLaunches();
  to.kernel_ns = from.getKernelNs();
  to.busy_ns = from.getBusyNs();
  return readText(from.getMethod(), "metering method", to.method, error);
}

void writeTimeline(const KernelTimeline& from, rpc::KernelTimeline::Builder to) {
  to.setNowNs(from.now_ns);
  to.setLost(from.lost);
  auto names = to.initNames(static_cast<unsigned>(from.names.size()));
  for (unsigned i = 0; i < names.size(); ++i) names.set(i, from.names[i]);
  auto kernels = to.initKernels(static_cast<unsigned>(from.kernels.size()));
  for (unsigned i = 0; i < kernels.size(); ++i) {
    kernels[i].setStartNs(from.kernels[i].start_ns);
    kernels[i].setDurationNs(from.kernels[i].duration_ns);
    kernels[i].setDevice(from.kernels[i].device);
    kernels[i].setName(from.kernels[i].name);
  }
}

bool readTimeline(rpc::KernelTimeline::Reader from, KernelTimeline& to, std::string& error) {
  to.now_ns = from.getNowNs();
  to.lost = from.getLost();
  const auto names = from.getNames();
  const auto kernels = from.getKernels();
  if (names.size() > kTimelineNamesMax || kernels.size() > kTimelineKernelsMax) {
    error = "The timeline has " + std::to_string(kernels.size()) + " kernels and " +
            std::to_string(names.size()) + " names; the limits are " +
            std::to_string(kTimelineKernelsMax) + " and " + std::to_string(kTimelineNamesMax) + ".";
    return false;
  }
  to.names.resize(names.size());
  for (unsigned i = 0; i < names.size(); ++i) {
    if (!readText(names[i], "kernel name", to.names[i], error)) return false;
  }
  to.kernels.resize(kernels.size());
  for (unsigned i = 0; i < kernels.size(); ++i) {
    to.kernels[i] = {kernels[i].getStartNs(), kernels[i].getDurationNs(), kernels[i].getDevice(),
                     kernels[i].getName()};
  }
  return true;
}

}  // namespace farwarp::wire
