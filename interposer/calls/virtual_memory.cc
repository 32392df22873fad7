// Virtual memory management. gpud's driver maps; what is mapped where is kept here as well, in the
// map of allocations, from which questions about addresses are answered.
#include <cstring>
#include <vector>

#include "driver/physical_memory.h"
#include "interposer/calls/body.h"
#include "interposer/session/shareable_file.h"

namespace farwarp::client::calls {
namespace {

using wire::HandleType;
using Lock = std::lock_guard<std::mutex>;

const void* pointerOf(CUmemGenericAllocationHandle handle) {
  return reinterpret_cast<const void*>(static_cast<uintptr_t>(handle));
}

// Memory that the program has a handle of. `transitions` is held.
CUresult findPhysical(CallScope& scope, CUmemGenericAllocationHandle handle, PhysicalMemory*& out) {
  uint64_t id = 0;
  FARWARP_TRY(scope.use(HandleType::memoryAllocation, pointerOf(handle), id));
  out = scope.client().virtual_memory.findHeld(id);
  return out != nullptr ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

// gpud is told when neither the program nor an address needs the memory any more. `transitions` is
// held.
CUresult releaseIfUnused(CallScope& scope, uint64_t id) {
  VirtualMemory& memory = scope.client().virtual_memory;
  const auto found = memory.physical.find(id);
  if (found->second.references != 0 || found->second.mappings != 0) return CUDA_SUCCESS;
  memory.physical.erase(found);
  CallScope release(CallId::cuMemRelease);
  FARWARP_TRY(release.enter(kNeedsInit));
  wire::Args_cuMemRelease args;
  args.allocation = id;
  wire::Reply_cuMemRelease reply;
  const CUresult result = release.call(args, reply);
  release.destroy(id);
  return result;
}

// The mappings that make up the range; none when it is not made up of whole ones.
std::vector<Allocation> mappingsOf(CallScope& scope, CUdeviceptr address, size_t bytes) {
  std::vector<Allocation> mappings;
  for (uint64_t at = address; at - address < bytes;) {
    const std::optional<Allocation> mapping = scope.client().allocations.find(at);
    if (!mapping || mapping->physical == 0 || mapping->base != at) return {};
    mappings.push_back(*mapping);
    at += mapping->bytes;
    if (at - address > bytes) return {};
  }
  return mappings;
}

int serverDevice(CallScope& scope, const CUmemAllocationProp& properties) {
  return scope.client().devices.toServer(properties.location.id);
}

}  // namespace

CUresult cuMemAddressReserve(CUdeviceptr* address, size_t bytes, size_t align, CUdeviceptr wanted,
                             unsigned long long flags) {
  CallScope scope(CallId::cuMemAddressReserve);
  FARWARP_TRY(scope.enter(kNeedsInit));
  if (address == nullptr || flags != 0) return CUDA_ERROR_INVALID_VALUE;
  wire::Args_cuMemAddressReserve args;
  args.bytes = bytes;
  args.alignment = align;
  args.wanted = wanted;
  wire::Reply_cuMemAddressReserve reply;
  FARWARP_TRY(scope.call(args, reply));
  *address = reply.address;
  return CUDA_SUCCESS;
}

CUresult cuMemCreate(CUmemGenericAllocationHandle* handle, size_t bytes,
                     const CUmemAllocationProp* properties, unsigned long long flags) {
  CallScope scope(CallId::cuMemCreate);
  FARWARP_TRY(scope.enter(kNeedsInit));
  if (handle == nullptr || properties == nullptr || flags != 0) return CUDA_ERROR_INVALID_VALUE;
  FARWARP_TRY(checkPhysicalProperties(*properties, scope.client().devices.count()));
  wire::Args_cuMemCreate args;
  args.bytes = bytes;
  args.device = serverDevice(scope, *properties);
  args.handle_types = static_cast<uint32_t>(properties->requestedHandleTypes);
  args.compression = properties->allocFlags.compressionType;
  FARWARP_TRY(scope.create(HandleType::memoryAllocation, args.allocation, 0, nullptr));
  wire::Reply_cuMemCreate reply;
  if (CUresult r = scope.call(args, reply); r != CUDA_SUCCESS) {
    scope.abandon(args.allocation);
    return r;
  }
  VirtualMemory& memory = scope.client().virtual_memory;
  Lock lock(memory.transitions);
  memory.physical[args.allocation] = {*properties, 1, 0};
  *handle = args.allocation;
  return CUDA_SUCCESS;
}

CUresult cuMemRelease(CUmemGenericAllocationHandle handle) {
  CallScope scope(CallId::cuMemRelease);
  FARWARP_TRY(scope.enter(kNeedsInit));
  Lock lock(scope.client().virtual_memory.transitions);
  PhysicalMemory* physical = nullptr;
  FARWARP_TRY(findPhysical(scope, handle, physical));
  --physical->references;
  return releaseIfUnused(scope, handle);
}

CUresult cuMemMap(CUdeviceptr address, size_t bytes, size_t offset,
                  CUmemGenericAllocationHandle handle, unsigned long long flags) {
  CallScope scope(CallId::cuMemMap);
  FARWARP_TRY(scope.enter(kNeedsInit));
  if (flags != 0) return CUDA_ERROR_INVALID_VALUE;
  Lock lock(scope.client().virtual_memory.transitions);
  PhysicalMemory* physical = nullptr;
  FARWARP_TRY(findPhysical(scope, handle, physical));
  wire::Args_cuMemMap args;
  args.address = address;
  args.bytes = bytes;
  args.offset = offset;
  args.allocation = handle;
  wire::Reply_cuMemMap reply;
  FARWARP_TRY(scope.call(args, reply));
  Allocation mapping;
  mapping.base = address;
  mapping.bytes = bytes;
  mapping.device = physical->properties.location.id;
  mapping.physical = handle;
  mapping.handle_types = static_cast<uint32_t>(physical->properties.requestedHandleTypes);
  if (scope.client().allocations.add(mapping)) ++physical->mappings;
  return CUDA_SUCCESS;
}

CUresult cuMemUnmap(CUdeviceptr address, size_t bytes) {
  CallScope scope(CallId::cuMemUnmap);
  FARWARP_TRY(scope.enter(kNeedsInit));
  VirtualMemory& memory = scope.client().virtual_memory;
  Lock lock(memory.transitions);
  const std::vector<Allocation> mappings = mappingsOf(scope, address, bytes);
  if (mappings.empty()) return CUDA_ERROR_INVALID_VALUE;
  wire::Args_cuMemUnmap args;
  args.ptr = address;
  args.size = bytes;
  wire::Reply_cuMemUnmap reply;
  FARWARP_TRY(scope.call(args, reply));
  CUresult result = CUDA_SUCCESS;
  for (const Allocation& mapping : mappings) {
    scope.client().allocations.removeDevice(mapping.base);
    --memory.physical.at(mapping.physical).mappings;
    const CUresult released = releaseIfUnused(scope, mapping.physical);
    if (result == CUDA_SUCCESS) result = released;
  }
  return result;
}

CUresult cuMemSetAccess(CUdeviceptr address, size_t bytes, const CUmemAccessDesc* places,
                        size_t count) {
  CallScope scope(CallId::cuMemSetAccess);
  FARWARP_TRY(scope.enter(kNeedsInit));
  if (places == nullptr || count == 0) return CUDA_ERROR_INVALID_VALUE;
  Client& client = scope.client();
  std::vector<int32_t> devices;
  std::vector<uint32_t> flags;
  uint64_t changed = 0, granted = 0;
  for (size_t i = 0; i < count; ++i) {
    FARWARP_TRY(checkAccessPlace(places[i].location, client.devices.count()));
    const auto access = static_cast<uint32_t>(places[i].flags);
    if (access > CU_MEM_ACCESS_FLAGS_PROT_MAX || i >= wire::kDevicesMax) {
      return CUDA_ERROR_INVALID_VALUE;
    }
    devices.push_back(client.devices.toServer(places[i].location.id));
    flags.push_back(access);
    const uint64_t bit = uint64_t{1} << places[i].location.id;
    changed |= bit;
    granted = access == CU_MEM_ACCESS_FLAGS_PROT_NONE ? granted & ~bit : granted | bit;
  }
  Lock lock(client.virtual_memory.transitions);
  wire::Args_cuMemSetAccess args;
  args.address = address;
  args.bytes = bytes;
  args.devices = devices;
  args.flags = flags;
  wire::Reply_cuMemSetAccess reply;
  FARWARP_TRY(scope.call(args, reply));
  for (const Allocation& mapping : mappingsOf(scope, address, bytes)) {
    client.allocations.setAccess(mapping.base, (mapping.access & ~changed) | granted);
  }
  return CUDA_SUCCESS;
}

CUresult cuMemGetAccess(unsigned long long* flags, const CUmemLocation* location,
                        CUdeviceptr address) {
  CallScope scope(CallId::cuMemGetAccess);
  FARWARP_TRY(scope.enter(kNeedsInit));
  if (flags == nullptr || location == nullptr) return CUDA_ERROR_INVALID_VALUE;
  FARWARP_TRY(checkAccessPlace(*location, scope.client().devices.count()));
  const std::optional<Allocation> mapping = scope.client().allocations.find(address);
  if (!mapping || mapping->physical == 0) return CUDA_ERROR_INVALID_VALUE;
  *flags = (mapping->access >> location->id & 1) != 0 ? CU_MEM_ACCESS_FLAGS_PROT_READWRITE
                                                      : CU_MEM_ACCESS_FLAGS_PROT_NONE;
  return CUDA_SUCCESS;
}

CUresult cuMemGetAllocationGranularity(size_t* bytes, const CUmemAllocationProp* properties,
                                       CUmemAllocationGranularity_flags option) {
  CallScope scope(CallId::cuMemGetAllocationGranularity);
  FARWARP_TRY(scope.enter(kNeedsInit));
  if (bytes == nullptr || properties == nullptr ||
      (option != CU_MEM_ALLOC_GRANULARITY_MINIMUM &&
       option != CU_MEM_ALLOC_GRANULARITY_RECOMMENDED)) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  FARWARP_TRY(checkPhysicalProperties(*properties, scope.client().devices.count()));
  wire::Args_cuMemGetAllocationGranularity args;
  args.device = serverDevice(scope, *properties);
  args.handle_types = static_cast<uint32_t>(properties->requestedHandleTypes);
  args.compression = properties->allocFlags.compressionType;
  args.option = static_cast<uint32_t>(option);
  wire::Reply_cuMemGetAllocationGranularity reply;
  FARWARP_TRY(scope.call(args, reply));
  *bytes = reply.bytes;
  return CUDA_SUCCESS;
}

CUresult cuMemGetAllocationPropertiesFromHandle(CUmemAllocationProp* properties,
                                                CUmemGenericAllocationHandle handle) {
  CallScope scope(CallId::cuMemGetAllocationPropertiesFromHandle);
  FARWARP_TRY(scope.enter(kNeedsInit));
  if (properties == nullptr) return CUDA_ERROR_INVALID_VALUE;
  Lock lock(scope.client().virtual_memory.transitions);
  PhysicalMemory* physical = nullptr;
  FARWARP_TRY(findPhysical(scope, handle, physical));
  *properties = physical->properties;
  return CUDA_SUCCESS;
}

CUresult cuMemRetainAllocationHandle(CUmemGenericAllocationHandle* handle, void* address) {
  CallScope scope(CallId::cuMemRetainAllocationHandle);
  FARWARP_TRY(scope.enter(kNeedsInit));
  if (handle == nullptr) return CUDA_ERROR_INVALID_VALUE;
  VirtualMemory& memory = scope.client().virtual_memory;
  Lock lock(memory.transitions);
  const std::optional<Allocation> mapping = scope.client().allocations.find(idOf(address));
  if (!mapping || mapping->physical == 0) return CUDA_ERROR_INVALID_VALUE;
  ++memory.physical.at(mapping->physical).references;
  *handle = mapping->physical;
  return CUDA_SUCCESS;
}

CUresult cuMemExportToShareableHandle(void* shareable, CUmemGenericAllocationHandle handle,
                                      CUmemAllocationHandleType type, unsigned long long flags) {
  CallScope scope(CallId::cuMemExportToShareableHandle);
  FARWARP_TRY(scope.enter(kNeedsInit));
  if (shareable == nullptr || flags != 0 || type != CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  Lock lock(scope.client().virtual_memory.transitions);
  PhysicalMemory* physical = nullptr;
  FARWARP_TRY(findPhysical(scope, handle, physical));
  wire::Args_cuMemExportToShareableHandle args;
  args.allocation = handle;
  wire::Reply_cuMemExportToShareableHandle reply;
  FARWARP_TRY(scope.call(args, reply));
  const int file = createShareableFile(ShareableKind::memory, reply.key);
  if (file < 0) return CUDA_ERROR_OPERATING_SYSTEM;
  std::memcpy(shareable, &file, sizeof(file));
  return CUDA_SUCCESS;
}

// The descriptor is the pointer's value, as CUDA has it.
CUresult cuMemImportFromShareableHandle(CUmemGenericAllocationHandle* handle, void* shareable,
                                        CUmemAllocationHandleType type) {
  CallScope scope(CallId::cuMemImportFromShareableHandle);
  FARWARP_TRY(scope.enter(kNeedsInit));
  if (handle == nullptr || type != CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  ShareableFile content;
  if (!readShareableFile(static_cast<int>(idOf(shareable)), ShareableKind::memory, content)) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  wire::Args_cuMemImportFromShareableHandle args;
  args.key = {content.key, content.key_bytes};
  FARWARP_TRY(scope.create(HandleType::memoryAllocation, args.allocation, 0, nullptr));
  wire::Reply_cuMemImportFromShareableHandle reply;
  if (CUresult r = scope.call(args, reply); r != CUDA_SUCCESS) {
    scope.abandon(args.allocation);
    return r;
  }
  PhysicalMemory physical;
  physical.properties.type = CU_MEM_ALLOCATION_TYPE_PINNED;
  physical.properties.requestedHandleTypes =
      static_cast<CUmemAllocationHandleType>(reply.handle_types);
  physical.properties.location = {CU_MEM_LOCATION_TYPE_DEVICE,
                                  scope.client().devices.fromServer(reply.device)};
  physical.properties.allocFlags.compressionType = static_cast<unsigned char>(reply.compression);
  VirtualMemory& memory = scope.client().virtual_memory;
  Lock lock(memory.transitions);
  memory.physical[args.allocation] = physical;
  *handle = args.allocation;
  return CUDA_SUCCESS;
}

}  // namespace farwarp::client::calls
