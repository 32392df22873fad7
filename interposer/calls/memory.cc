// Allocation, on the device (gpud's addresses, unchanged) and in pinned host memory (this
// process's).
#include "interposer/calls/body.h"
#include "interposer/calls/copies.h"
#include "interposer/calls/host_memory.h"

namespace farwarp::client::calls {
namespace {

// Enters a new allocation of the current context into the map.
void keep(CallScope& scope, AllocationKind kind, uint64_t base, uint64_t bytes, uint32_t flags) {
  const Context& context = currentContext(scope);
  Allocation memory;
  memory.base = base;
  memory.bytes = bytes;
  memory.kind = kind;
  memory.context = context.id;
  memory.device = context.device;
  memory.flags = flags;
  scope.client().allocations.add(memory);
}

CUresult allocateHost(CallId call, void** address, size_t bytes, unsigned int flags) {
  CallScope scope(call);
  FARWARP_TRY(scope.enter(kNeedsInit | kNeedsContext));
  constexpr unsigned int kKnown =
      CU_MEMHOSTALLOC_PORTABLE | CU_MEMHOSTALLOC_DEVICEMAP | CU_MEMHOSTALLOC_WRITECOMBINED;
  if (address == nullptr || bytes == 0 || (flags & ~kKnown) != 0) return CUDA_ERROR_INVALID_VALUE;
  Client& client = scope.client();
  const uint64_t memory = client.host_arena.allocate(bytes);
  if (memory == 0) return CUDA_ERROR_OUT_OF_MEMORY;
  if ((flags & CU_MEMHOSTALLOC_DEVICEMAP) != 0) {
    const CUresult shared =
        client.shared_memory.share(memory, HostArena::roundUp(bytes), PageRegion::Content::zero);
    if (shared != CUDA_SUCCESS) {
      client.host_arena.free(memory, bytes);
      return shared;
    }
  }
  keep(scope, AllocationKind::pinned, memory, bytes, flags);
  if ((flags & CU_MEMHOSTALLOC_DEVICEMAP) != 0) client.allocations.setShared(memory);
  *address = reinterpret_cast<void*>(memory);
  return CUDA_SUCCESS;
}

// Kernels may still be at work on managed memory that the program frees: gpud's driver waits.
CUresult freeManaged(CallScope& scope, const Allocation& memory) {
  scope.client().managed_advice.forget(memory.base, memory.bytes);
  const CUresult result = scope.client().shared_memory.unshare(memory.base, SharedMemory::Keep::no);
  scope.client().host_arena.free(memory.base, memory.bytes);
  return result;
}

}  // namespace

CUresult cuMemAlloc_v2(CUdeviceptr* address, size_t bytes) {
  CallScope scope(CallId::cuMemAlloc_v2);
  FARWARP_TRY(scope.enter(kNeedsInit | kNeedsContext));
  if (address == nullptr || bytes == 0) return CUDA_ERROR_INVALID_VALUE;
  wire::Args_cuMemAlloc_v2 args;
  args.bytes = bytes;
  wire::Reply_cuMemAlloc_v2 reply;
  FARWARP_TRY(scope.call(args, reply));
  keep(scope, AllocationKind::device, reply.address, bytes, 0);
  *address = reply.address;
  return CUDA_SUCCESS;
}

CUresult cuMemAllocPitch_v2(CUdeviceptr* address, size_t* pitch, size_t width, size_t height,
                            unsigned int element_bytes) {
  CallScope scope(CallId::cuMemAllocPitch_v2);
  FARWARP_TRY(scope.enter(kNeedsInit | kNeedsContext));
  if (address == nullptr || pitch == nullptr || width == 0 || height == 0) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  wire::Args_cuMemAllocPitch_v2 args;
  args.width_bytes = width;
  args.height = height;
  args.element_bytes = element_bytes;
  wire::Reply_cuMemAllocPitch_v2 reply;
  FARWARP_TRY(scope.call(args, reply));
  keep(scope, AllocationKind::device, reply.address, reply.pitch * height, 0);
  *address = reply.address;
  *pitch = reply.pitch;
  return CUDA_SUCCESS;
}

CUresult cuMemFree_v2(CUdeviceptr address) {
  CallScope scope(CallId::cuMemFree_v2);
  FARWARP_TRY(scope.enter(kNeedsInit | kNeedsContext));
  if (address == 0) return CUDA_SUCCESS;
  AllocationMap& allocations = scope.client().allocations;
  const std::optional<Allocation> known = allocations.findDevice(address);
  if (!known || known->base != address || known->global) return CUDA_ERROR_INVALID_VALUE;
  if (known->kind != AllocationKind::device && known->kind != AllocationKind::managed) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  if (known->physical != 0 || known->imported) return CUDA_ERROR_INVALID_VALUE;
  // Out of the map first: as soon as gpud has freed it, another thread may be given the address.
  if (!allocations.removeDevice(address)) return CUDA_ERROR_INVALID_VALUE;
  if (known->kind == AllocationKind::managed) return freeManaged(scope, *known);
  wire::Args_cuMemFree_v2 args;
  args.address = address;
  return scope.submit(args);
}

CUresult cuMemAllocManaged(CUdeviceptr* address, size_t bytes, unsigned int flags) {
  CallScope scope(CallId::cuMemAllocManaged);
  FARWARP_TRY(scope.enter(kNeedsInit | kNeedsContext));
  if (address == nullptr || bytes == 0 ||
      (flags != CU_MEM_ATTACH_GLOBAL && flags != CU_MEM_ATTACH_HOST)) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  Client& client = scope.client();
  const uint64_t memory = client.host_arena.allocate(bytes);
  if (memory == 0) return CUDA_ERROR_OUT_OF_MEMORY;
  const CUresult shared =
      client.shared_memory.share(memory, HostArena::roundUp(bytes), PageRegion::Content::zero);
  if (shared != CUDA_SUCCESS) {
    client.host_arena.free(memory, bytes);
    return shared;
  }
  keep(scope, AllocationKind::managed, memory, bytes, flags);
  *address = memory;
  return CUDA_SUCCESS;
}

CUresult cuMemGetAddressRange_v2(CUdeviceptr* base, size_t* bytes, CUdeviceptr address) {
  CallScope scope(CallId::cuMemGetAddressRange_v2);
  FARWARP_TRY(scope.enter(kNeedsInit | kNeedsContext));
  const std::optional<Allocation> known = scope.client().allocations.find(address);
  if (!known) return CUDA_ERROR_NOT_FOUND;
  if (base != nullptr) *base = known->base;
  if (bytes != nullptr) *bytes = known->bytes;
  return CUDA_SUCCESS;
}

CUresult cuMemAllocHost_v2(void** address, size_t bytes) {
  return allocateHost(CallId::cuMemAllocHost_v2, address, bytes, 0);
}

CUresult cuMemHostAlloc(void** address, size_t bytes, unsigned int flags) {
  return allocateHost(CallId::cuMemHostAlloc, address, bytes, flags);
}

CUresult cuMemFreeHost(void* address) {
  CallScope scope(CallId::cuMemFreeHost);
  FARWARP_TRY(scope.enter(kNeedsInit));
  if (address == nullptr) return CUDA_SUCCESS;
  AllocationMap& allocations = scope.client().allocations;
  const std::optional<Allocation> known = allocations.findHost(idOf(address));
  if (!known || known->base != idOf(address) || known->kind != AllocationKind::pinned) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  // A copy that is still on its way must not land in memory that was given back.
  CUresult result = settlePending(scope, address, known->bytes);
  const std::optional<Allocation> gone = allocations.removeHost(known->base);
  if (!gone) return CUDA_ERROR_INVALID_VALUE;
  if (gone->shared) {
    const CUresult ended = scope.client().shared_memory.unshare(gone->base, SharedMemory::Keep::no);
    if (result == CUDA_SUCCESS) result = ended;
  }
  scope.client().host_arena.free(gone->base, gone->bytes);
  return result;
}

CUresult cuMemHostGetDevicePointer_v2(CUdeviceptr* seen, void* address, unsigned int flags) {
  CallScope scope(CallId::cuMemHostGetDevicePointer_v2);
  FARWARP_TRY(scope.enter(kNeedsInit | kNeedsContext));
  if (seen == nullptr || flags != 0) return CUDA_ERROR_INVALID_VALUE;
  const std::optional<Allocation> known = scope.client().allocations.findHost(idOf(address));
  if (!known) return CUDA_ERROR_INVALID_VALUE;
  if (!known->shared) FARWARP_TRY(shareHost(scope, *known));
  *seen = idOf(address);
  return CUDA_SUCCESS;
}

CUresult cuMemHostGetFlags(unsigned int* flags, void* address) {
  CallScope scope(CallId::cuMemHostGetFlags);
  FARWARP_TRY(scope.enter(kNeedsInit));
  if (flags == nullptr) return CUDA_ERROR_INVALID_VALUE;
  const std::optional<Allocation> known = scope.client().allocations.findHost(idOf(address));
  if (!known) return CUDA_ERROR_INVALID_VALUE;
  *flags = known->flags;
  return CUDA_SUCCESS;
}

CUresult cuMemHostRegister_v2(void* address, size_t bytes, unsigned int flags) {
  CallScope scope(CallId::cuMemHostRegister_v2);
  FARWARP_TRY(scope.enter(kNeedsInit | kNeedsContext));
  constexpr unsigned int kKnown = CU_MEMHOSTREGISTER_PORTABLE | CU_MEMHOSTREGISTER_DEVICEMAP |
                                  CU_MEMHOSTREGISTER_IOMEMORY | CU_MEMHOSTREGISTER_READ_ONLY;
  if (address == nullptr || bytes == 0 || (flags & ~kKnown) != 0) return CUDA_ERROR_INVALID_VALUE;
  if (idOf(address) + bytes < idOf(address)) return CUDA_ERROR_INVALID_VALUE;
  const Context& context = currentContext(scope);
  Allocation memory;
  memory.base = idOf(address);
  memory.bytes = bytes;
  memory.kind = AllocationKind::registered;
  memory.context = context.id;
  memory.device = context.device;
  memory.flags = flags;
  if (!scope.client().allocations.add(memory)) return CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED;
  // Parts of pages are page-locked memory for copies: the rest of the page is somebody else's, so
  // it cannot be shared. A program that asks for their device pointer is told.
  if ((flags & CU_MEMHOSTREGISTER_DEVICEMAP) == 0 || !isWholePages(memory)) return CUDA_SUCCESS;
  const CUresult shared = shareHost(scope, memory);
  if (shared != CUDA_SUCCESS) scope.client().allocations.removeHost(memory.base);
  return shared;
}

CUresult cuMemHostUnregister(void* address) {
  CallScope scope(CallId::cuMemHostUnregister);
  FARWARP_TRY(scope.enter(kNeedsInit));
  if (address == nullptr) return CUDA_ERROR_INVALID_VALUE;
  AllocationMap& allocations = scope.client().allocations;
  const std::optional<Allocation> known = allocations.findHost(idOf(address));
  if (!known || known->base != idOf(address) || known->kind != AllocationKind::registered) {
    return CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED;
  }
  CUresult result = settlePending(scope, address, known->bytes);
  const std::optional<Allocation> gone = allocations.removeHost(known->base);
  if (!gone) return CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED;
  if (!gone->shared) return result;
  // What the device still writes belongs to the program's memory.
  if (result == CUDA_SUCCESS) result = kClientTable.cuCtxSynchronize();
  const CUresult ended = scope.client().shared_memory.unshare(gone->base, SharedMemory::Keep::yes);
  return result == CUDA_SUCCESS ? ended : result;
}

}  // namespace farwarp::client::calls
