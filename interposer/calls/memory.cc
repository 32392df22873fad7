// Allocation, on the device (gpud's addresses, unchanged) and in pinned host memory (this
// process's).
#include <cstdlib>

#include "interposer/calls/body.h"
#include "interposer/calls/copies.h"

namespace farwarp::client::calls {
namespace {

constexpr size_t kHostAlignment = 4096;  // as pinned memory from a driver has it

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
  void* memory = nullptr;
  if (posix_memalign(&memory, kHostAlignment, bytes) != 0) return CUDA_ERROR_OUT_OF_MEMORY;
  keep(scope, AllocationKind::pinned, idOf(memory), bytes, flags);
  *address = memory;
  return CUDA_SUCCESS;
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
  // Out of the map first: as soon as gpud has freed it, another thread may be given the address.
  if (!allocations.removeDevice(address)) return CUDA_ERROR_INVALID_VALUE;
  wire::Args_cuMemFree_v2 args;
  args.address = address;
  return scope.submit(args);
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
  const CUresult settled = settlePending(scope, address, known->bytes);
  if (!allocations.removeHost(known->base)) return CUDA_ERROR_INVALID_VALUE;
  std::free(address);
  return settled;
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
  return scope.client().allocations.add(memory) ? CUDA_SUCCESS
                                                : CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED;
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
  const CUresult settled = settlePending(scope, address, known->bytes);
  allocations.removeHost(known->base);
  return settled;
}

}  // namespace farwarp::client::calls
