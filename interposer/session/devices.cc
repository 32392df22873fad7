#include "interposer/session/devices.h"

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "driver/visible_devices.h"

namespace farwarp::client {

Device::Device(const wire::DeviceSnapshot& snapshot, int server_ordinal)
    : snapshot_(snapshot), server_ordinal_(server_ordinal) {
  for (const wire::DeviceAttribute& attribute : snapshot_.attributes) {
    if (attribute.id <= 0 || attribute.id >= CU_DEVICE_ATTRIBUTE_MAX) continue;
    values_[static_cast<size_t>(attribute.id)] = attribute.value;
    known_.set(static_cast<size_t>(attribute.id));
  }
  // Pools go to other processes as file descriptors only, whatever the device can do.
  values_[CU_DEVICE_ATTRIBUTE_MEMPOOL_SUPPORTED_HANDLE_TYPES] &=
      CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR;
  // The program's memory is coherent with gpud's at launches and waits, not while kernels run, and
  // only what it got from CUDA or registered.
  values_[CU_DEVICE_ATTRIBUTE_CONCURRENT_MANAGED_ACCESS] = 0;
  values_[CU_DEVICE_ATTRIBUTE_PAGEABLE_MEMORY_ACCESS] = 0;
  values_[CU_DEVICE_ATTRIBUTE_PAGEABLE_MEMORY_ACCESS_USES_HOST_PAGE_TABLES] = 0;
  values_[CU_DEVICE_ATTRIBUTE_DIRECT_MANAGED_MEM_ACCESS_FROM_HOST] = 0;
  values_[CU_DEVICE_ATTRIBUTE_HOST_NATIVE_ATOMIC_SUPPORTED] = 0;
  // Virtual memory management is forwarded for memory of devices, shared as file descriptors.
  values_[CU_DEVICE_ATTRIBUTE_HANDLE_TYPE_FABRIC_SUPPORTED] = 0;
  values_[CU_DEVICE_ATTRIBUTE_HOST_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED] = 0;
  values_[CU_DEVICE_ATTRIBUTE_HOST_NUMA_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED] = 0;
  values_[CU_DEVICE_ATTRIBUTE_GPU_DIRECT_RDMA_WITH_CUDA_VMM_SUPPORTED] = 0;
  values_[CU_DEVICE_ATTRIBUTE_MULTICAST_SUPPORTED] = 0;
  values_[CU_DEVICE_ATTRIBUTE_SPARSE_CUDA_ARRAY_SUPPORTED] = 0;
  auto limit = [this](CUdevice_attribute name) {
    return static_cast<uint32_t>(std::max(0, value(name)));
  };
  limits_.grid_max[0] = limit(CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_X);
  limits_.grid_max[1] = limit(CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Y);
  limits_.grid_max[2] = limit(CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Z);
  limits_.block_max[0] = limit(CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_X);
  limits_.block_max[1] = limit(CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Y);
  limits_.block_max[2] = limit(CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Z);
  limits_.threads_per_block_max = limit(CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK);
  limits_.threads_per_sm_max = limit(CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR);
  limits_.blocks_per_sm_max = limit(CU_DEVICE_ATTRIBUTE_MAX_BLOCKS_PER_MULTIPROCESSOR);
  limits_.registers_per_block = limit(CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_BLOCK);
  limits_.registers_per_sm = limit(CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_MULTIPROCESSOR);
  limits_.shared_per_block = limit(CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK);
  limits_.shared_per_block_optin = limit(CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN);
  limits_.shared_per_sm = limit(CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR);
  limits_.shared_reserved = limit(CU_DEVICE_ATTRIBUTE_RESERVED_SHARED_MEMORY_PER_BLOCK);
  limits_.multiprocessors = limit(CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT);
  limits_.warp_size = std::max(1u, limit(CU_DEVICE_ATTRIBUTE_WARP_SIZE));  // it is divided by
  limits_.cooperative_launch = value(CU_DEVICE_ATTRIBUTE_COOPERATIVE_LAUNCH) != 0;
  limits_.cluster_launch = value(CU_DEVICE_ATTRIBUTE_CLUSTER_LAUNCH) != 0;
}

std::optional<int> Device::attribute(CUdevice_attribute attribute) const {
  const auto id = static_cast<size_t>(attribute);
  if (id >= known_.size() || !known_[id]) return std::nullopt;
  return values_[id];
}

DeviceIdentity Device::identity() const {
  DeviceIdentity identity{};
  std::memcpy(identity.uuid.bytes, snapshot_.uuid.data(), sizeof(identity.uuid.bytes));
  identity.pci_domain = value(CU_DEVICE_ATTRIBUTE_PCI_DOMAIN_ID);
  identity.pci_bus = value(CU_DEVICE_ATTRIBUTE_PCI_BUS_ID);
  identity.pci_device = value(CU_DEVICE_ATTRIBUTE_PCI_DEVICE_ID);
  return identity;
}

void Devices::fill(const wire::ServerHello& hello, const char* visible, const char* order) {
  cpu_ = hello.device_kind == "cpu";
  std::vector<Device> all;
  std::vector<DeviceIdentity> identities;
  for (const wire::DeviceSnapshot& snapshot : hello.devices) {
    all.emplace_back(snapshot, static_cast<int>(all.size()));
    identities.push_back(all.back().identity());
  }
  for (int index : visibleDevices(identities, visible, order)) {
    devices_.push_back(all[static_cast<size_t>(index)]);
  }
}

int Devices::fromServer(int server_ordinal) const {
  const auto found = std::find_if(devices_.begin(), devices_.end(), [&](const Device& device) {
    return device.serverOrdinal() == server_ordinal;
  });
  return found == devices_.end() ? -1 : static_cast<int>(found - devices_.begin());
}

int Devices::findByPciBusId(const char* text) const {
  unsigned domain = 0, bus = 0, device = 0, function = 0;
  if (std::sscanf(text, "%x:%x:%x.%x", &domain, &bus, &device, &function) < 3) {
    domain = function = 0;
    if (std::sscanf(text, "%x:%x.%x", &bus, &device, &function) < 2) return -1;
  }
  if (function != 0) return -1;
  for (int i = 0; i < count(); ++i) {
    const Device& candidate = devices_[static_cast<size_t>(i)];
    if (candidate.value(CU_DEVICE_ATTRIBUTE_PCI_DOMAIN_ID) == static_cast<int>(domain) &&
        candidate.value(CU_DEVICE_ATTRIBUTE_PCI_BUS_ID) == static_cast<int>(bus) &&
        candidate.value(CU_DEVICE_ATTRIBUTE_PCI_DEVICE_ID) == static_cast<int>(device)) {
      return i;
    }
  }
  return -1;
}

}  // namespace farwarp::client
