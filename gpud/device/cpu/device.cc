#include "gpud/device/cpu/device.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <thread>

namespace farwarp::cpu {
namespace {

// Shared memory by compute capability, as the CUDA programming guide lists it. PTX that was tuned
// for an architecture asks for what that architecture has.
struct ArchitectureLimits {
  uint32_t architecture;  // from this one on
  uint32_t shared_optin_kib;
  uint32_t shared_per_sm_kib;
  uint32_t threads_per_sm;
  uint32_t blocks_per_sm;
};
constexpr ArchitectureLimits kArchitectures[] = {
    {50, 48, 64, 2048, 32},
    {52, 48, 96, 2048, 32},
    {53, 48, 64, 2048, 32},
    {60, 48, 64, 2048, 32},
    {61, 48, 96, 2048, 32},
    {62, 48, 64, 2048, 32},
    {70, 96, 96, 2048, 32},
    {75, 64, 64, 1024, 16},
    {80, 163, 164, 2048, 32},
    {86, 99, 100, 1536, 16},
    {87, 163, 164, 1536, 16},
    {89, 99, 100, 1536, 24},
    {90, 227, 228, 2048, 32},
    {110, 227, 228, 1536, 24},
    {120, 99, 100, 1536, 24},
    // Beyond what there is: as much as any has.
    {130, 227, 228, 2048, 32},
};

const ArchitectureLimits& limitsOf(uint32_t architecture) {
  const ArchitectureLimits* found = kArchitectures;
  for (const ArchitectureLimits& entry : kArchitectures) {
    if (entry.architecture <= architecture) found = &entry;
  }
  return *found;
}

DeviceLimits makeLimits(const Config& config) {
  const uint32_t architecture = config.cc_major * 10 + config.cc_minor;
  const ArchitectureLimits& limits = limitsOf(architecture);
  return {.grid_max = {0x7fffffff, 65535, 65535},
          .block_max = {1024, 1024, 64},
          .threads_per_block_max = 1024,
          .threads_per_sm_max = limits.threads_per_sm,
          .blocks_per_sm_max = limits.blocks_per_sm,
          .registers_per_block = 65536,
          .registers_per_sm = 65536,
          .shared_per_block = 48 * 1024,
          .shared_per_block_optin = limits.shared_optin_kib * 1024,
          .shared_per_sm = limits.shared_per_sm_kib * 1024,
          .shared_reserved = architecture >= 80 ? 1024u : 0u,
          .multiprocessors = config.multiprocessors,
          .warp_size = 32,
          .cooperative_launch = true,
          .cluster_launch = architecture >= 90};
}

// What kernels may make textures and surfaces of: what devices of compute capability 9.0 have, all
// of which the engine reads.
constexpr struct {
  CUdevice_attribute which;
  int value;
} kTextureLimits[] = {
    {CU_DEVICE_ATTRIBUTE_TEXTURE_ALIGNMENT, 512},
    {CU_DEVICE_ATTRIBUTE_TEXTURE_PITCH_ALIGNMENT, 32},
    {CU_DEVICE_ATTRIBUTE_SURFACE_ALIGNMENT, 512},
    {CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURE1D_WIDTH, 131072},
    {CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURE1D_LINEAR_WIDTH, 1 << 28},
    {CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURE1D_MIPMAPPED_WIDTH, 32768},
    {CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURE1D_LAYERED_WIDTH, 32768},
    {CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURE1D_LAYERED_LAYERS, 2048},
    {CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURE2D_WIDTH, 131072},
    {CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURE2D_HEIGHT, 65536},
    {CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURE2D_LINEAR_WIDTH, 131072},
    {CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURE2D_LINEAR_HEIGHT, 65000},
    {CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURE2D_LINEAR_PITCH, 2097120},
    {CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURE2D_MIPMAPPED_WIDTH, 32768},
    {CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURE2D_MIPMAPPED_HEIGHT, 32768},
    {CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURE2D_GATHER_WIDTH, 32768},
    {CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURE2D_GATHER_HEIGHT, 32768},
    {CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURE2D_LAYERED_WIDTH, 32768},
    {CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURE2D_LAYERED_HEIGHT, 32768},
    {CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURE2D_LAYERED_LAYERS, 2048},
    {CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURE3D_WIDTH, 16384},
    {CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURE3D_HEIGHT, 16384},
    {CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURE3D_DEPTH, 16384},
    {CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURECUBEMAP_WIDTH, 32768},
    {CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURECUBEMAP_LAYERED_WIDTH, 32768},
    {CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURECUBEMAP_LAYERED_LAYERS, 2046},
    {CU_DEVICE_ATTRIBUTE_MAXIMUM_SURFACE1D_WIDTH, 131072},
    {CU_DEVICE_ATTRIBUTE_MAXIMUM_SURFACE1D_LAYERED_WIDTH, 32768},
    {CU_DEVICE_ATTRIBUTE_MAXIMUM_SURFACE1D_LAYERED_LAYERS, 2048},
    {CU_DEVICE_ATTRIBUTE_MAXIMUM_SURFACE2D_WIDTH, 131072},
    {CU_DEVICE_ATTRIBUTE_MAXIMUM_SURFACE2D_HEIGHT, 65536},
    {CU_DEVICE_ATTRIBUTE_MAXIMUM_SURFACE2D_LAYERED_WIDTH, 32768},
    {CU_DEVICE_ATTRIBUTE_MAXIMUM_SURFACE2D_LAYERED_HEIGHT, 32768},
    {CU_DEVICE_ATTRIBUTE_MAXIMUM_SURFACE2D_LAYERED_LAYERS, 2048},
    {CU_DEVICE_ATTRIBUTE_MAXIMUM_SURFACE3D_WIDTH, 16384},
    {CU_DEVICE_ATTRIBUTE_MAXIMUM_SURFACE3D_HEIGHT, 16384},
    {CU_DEVICE_ATTRIBUTE_MAXIMUM_SURFACE3D_DEPTH, 16384},
    {CU_DEVICE_ATTRIBUTE_MAXIMUM_SURFACECUBEMAP_WIDTH, 32768},
    {CU_DEVICE_ATTRIBUTE_MAXIMUM_SURFACECUBEMAP_LAYERED_WIDTH, 32768},
    {CU_DEVICE_ATTRIBUTE_MAXIMUM_SURFACECUBEMAP_LAYERED_LAYERS, 2046},
};

}  // namespace

Device::Device(const Config& config, int ordinal, int index)
    : config_(config),
      ordinal_(ordinal),
      index_(index),
      memory_bytes_(config.memory_bytes),
      limits_(makeLimits(config)) {
  constexpr uint64_t kStep = uint64_t{256} << 20;
  if (memory_bytes_ == 0) {
    memory_bytes_ = std::max(machineMemoryBytes() / 2 / kStep * kStep, kStep);
  }
}

DeviceIdentity Device::identity() const {
  DeviceIdentity identity{.pci_domain = 0, .pci_bus = index_ + 1, .pci_device = 0};
  // A version 8 UUID (RFC 9562): ours to fill. The same on every machine and in every run.
  const unsigned char bytes[16] = {'f',  'a', 'r', 'w', 'a', 'r', 0x80, 'p',
                                   0x80, 'c', 'p', 'u', 0,   0,   0,    0};
  std::memcpy(identity.uuid.bytes, bytes, sizeof bytes);
  identity.uuid.bytes[15] = static_cast<char>(index_);
  return identity;
}

std::string Device::pciAddress() const {
  const DeviceIdentity identity = this->identity();
  char text[32];
  std::snprintf(text, sizeof text, "%04x:%02x:%02x.0", identity.pci_domain, identity.pci_bus,
                identity.pci_device);
  return text;
}

CUresult Device::attribute(CUdevice_attribute which, int* value) const {
  if (value == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (which < 1 || which >= CU_DEVICE_ATTRIBUTE_MAX) return CUDA_ERROR_INVALID_VALUE;
  for (const auto& limit : kTextureLimits) {
    if (limit.which != which) continue;
    *value = limit.value;
    return CUDA_SUCCESS;
  }
  const DeviceIdentity id = identity();
  switch (which) {
    case CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK:
      *value = limits_.threads_per_block_max;
      break;
    case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_X:
      *value = limits_.block_max[0];
      break;
    case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Y:
      *value = limits_.block_max[1];
      break;
    case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Z:
      *value = limits_.block_max[2];
      break;
    case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_X:
      *value = limits_.grid_max[0];
      break;
    case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Y:
      *value = limits_.grid_max[1];
      break;
    case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Z:
      *value = limits_.grid_max[2];
      break;
    case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK:
      *value = limits_.shared_per_block;
      break;
    case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN:
      *value = limits_.shared_per_block_optin;
      break;
    case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR:
      *value = limits_.shared_per_sm;
      break;
    case CU_DEVICE_ATTRIBUTE_RESERVED_SHARED_MEMORY_PER_BLOCK:
      *value = limits_.shared_reserved;
      break;
    case CU_DEVICE_ATTRIBUTE_TOTAL_CONSTANT_MEMORY:
      *value = 64 * 1024;
      break;
    case CU_DEVICE_ATTRIBUTE_WARP_SIZE:
      *value = limits_.warp_size;
      break;
    case CU_DEVICE_ATTRIBUTE_MAX_PITCH:
      *value = 0x7fffffff;
      break;
    case CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_BLOCK:
      *value = limits_.registers_per_block;
      break;
    case CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_MULTIPROCESSOR:
      *value = limits_.registers_per_sm;
      break;
    // The rate at which the engine's clock64() counts, in kHz.
    case CU_DEVICE_ATTRIBUTE_CLOCK_RATE:
      *value = 1'000'000;
      break;
    case CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE:
      *value = 1'000'000;
      break;
    case CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH:
      *value = 64;
      break;
    case CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT:
      *value = limits_.multiprocessors;
      break;
    case CU_DEVICE_ATTRIBUTE_KERNEL_EXEC_TIMEOUT:
      *value = config_.kernel_timeout_ms != 0;
      break;
    case CU_DEVICE_ATTRIBUTE_COMPUTE_MODE:
      *value = CU_COMPUTEMODE_DEFAULT;
      break;
    case CU_DEVICE_ATTRIBUTE_GPU_OVERLAP:
      *value = 1;
      break;
    case CU_DEVICE_ATTRIBUTE_ASYNC_ENGINE_COUNT:
      *value = 2;
      break;
    case CU_DEVICE_ATTRIBUTE_CONCURRENT_KERNELS:
      *value = 1;
      break;
    // Managed memory is there, but through gpud not while a kernel runs; both sides say so.
    case CU_DEVICE_ATTRIBUTE_MANAGED_MEMORY:
    case CU_DEVICE_ATTRIBUTE_CAN_MAP_HOST_MEMORY:
    case CU_DEVICE_ATTRIBUTE_CAN_USE_HOST_POINTER_FOR_REGISTERED_MEM:
    case CU_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING:
    case CU_DEVICE_ATTRIBUTE_IPC_EVENT_SUPPORTED:
    case CU_DEVICE_ATTRIBUTE_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED:
    case CU_DEVICE_ATTRIBUTE_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR_SUPPORTED:
      *value = 1;
      break;
    case CU_DEVICE_ATTRIBUTE_MEMPOOL_SUPPORTED_HANDLE_TYPES:
      *value = CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR;
      break;
    case CU_DEVICE_ATTRIBUTE_STREAM_PRIORITIES_SUPPORTED:
      *value = 0;
      break;
    case CU_DEVICE_ATTRIBUTE_GLOBAL_L1_CACHE_SUPPORTED:
      *value = 1;
      break;
    case CU_DEVICE_ATTRIBUTE_LOCAL_L1_CACHE_SUPPORTED:
      *value = 1;
      break;
    case CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE:
      *value = 4 << 20;
      break;
    case CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR:
      *value = limits_.threads_per_sm_max;
      break;
    case CU_DEVICE_ATTRIBUTE_MAX_BLOCKS_PER_MULTIPROCESSOR:
      *value = limits_.blocks_per_sm_max;
      break;
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR:
      *value = config_.cc_major;
      break;
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR:
      *value = config_.cc_minor;
      break;
    // Of device memory, and for this process: no handle types.
    case CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED:
      *value = 1;
      break;
    case CU_DEVICE_ATTRIBUTE_CAN_USE_STREAM_MEM_OPS_V1:
    case CU_DEVICE_ATTRIBUTE_CAN_USE_64_BIT_STREAM_MEM_OPS:
    case CU_DEVICE_ATTRIBUTE_CAN_USE_STREAM_WAIT_VALUE_NOR:
      *value = 1;
      break;
    case CU_DEVICE_ATTRIBUTE_COOPERATIVE_LAUNCH:
      *value = 1;
      break;
    case CU_DEVICE_ATTRIBUTE_TENSOR_MAP_ACCESS_SUPPORTED:
      *value = architecture() >= 90;
      break;
    case CU_DEVICE_ATTRIBUTE_CLUSTER_LAUNCH:
      *value = limits_.cluster_launch;
      break;
    case CU_DEVICE_ATTRIBUTE_HOST_REGISTER_SUPPORTED:
      *value = 1;
      break;
    case CU_DEVICE_ATTRIBUTE_COMPUTE_PREEMPTION_SUPPORTED:
      *value = 1;
      break;
    case CU_DEVICE_ATTRIBUTE_SINGLE_TO_DOUBLE_PRECISION_PERF_RATIO:
      *value = 2;
      break;
    case CU_DEVICE_ATTRIBUTE_PCI_DOMAIN_ID:
      *value = id.pci_domain;
      break;
    case CU_DEVICE_ATTRIBUTE_PCI_BUS_ID:
      *value = id.pci_bus;
      break;
    case CU_DEVICE_ATTRIBUTE_PCI_DEVICE_ID:
      *value = id.pci_device;
      break;
    case CU_DEVICE_ATTRIBUTE_NUMA_ID:
      *value = -1;
      break;  // not a node of its own
    case CU_DEVICE_ATTRIBUTE_HOST_NUMA_ID:
      *value = 0;
      break;
    case CU_DEVICE_ATTRIBUTE_MEM_SYNC_DOMAIN_COUNT:
      *value = 1;
      break;
    // The rest is not there.
    default:
      *value = 0;
      break;
  }
  return CUDA_SUCCESS;
}

}  // namespace farwarp::cpu
