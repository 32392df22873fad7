// Memory of other processes, which gpud's driver opens. How often each is open is counted here as
// well, so that its address is known for as long as it is one.
#include "interposer/calls/body.h"

namespace farwarp::client::calls {
namespace {

CUresult openMemory(CallId call, CUdeviceptr* address, const CUipcMemHandle& handle,
                    unsigned int flags) {
  CallScope scope(call);
  FARWARP_TRY(scope.enter(kNeedsInit | kNeedsContext));
  if (address == nullptr || flags != CU_IPC_MEM_LAZY_ENABLE_PEER_ACCESS) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  ImportedMemory& imported = scope.client().imported_memory;
  std::lock_guard lock(imported.transitions);
  scope.sendAs(CallId::cuIpcOpenMemHandle_v2);
  wire::Args_cuIpcOpenMemHandle_v2 args;
  args.handle = handle;
  args.flags = flags;
  wire::Reply_cuIpcOpenMemHandle_v2 reply;
  FARWARP_TRY(scope.call(args, reply));
  const Context& context = currentContext(scope);
  Allocation memory;
  memory.base = reply.address;
  memory.bytes = reply.bytes;
  memory.context = context.id;
  memory.device = context.device;
  memory.imported = true;
  const bool first = scope.client().allocations.add(memory);
  imported.opened[reply.address] = first ? 1 : imported.opened[reply.address] + 1;
  *address = reply.address;
  return CUDA_SUCCESS;
}

}  // namespace

CUresult cuIpcOpenMemHandle_v2(CUdeviceptr* address, CUipcMemHandle handle, unsigned int flags) {
  return openMemory(CallId::cuIpcOpenMemHandle_v2, address, handle, flags);
}

CUresult cuIpcOpenMemHandle(CUdeviceptr* address, CUipcMemHandle handle, unsigned int flags) {
  return openMemory(CallId::cuIpcOpenMemHandle, address, handle, flags);
}

CUresult cuIpcCloseMemHandle(CUdeviceptr address) {
  CallScope scope(CallId::cuIpcCloseMemHandle);
  FARWARP_TRY(scope.enter(kNeedsInit | kNeedsContext));
  ImportedMemory& imported = scope.client().imported_memory;
  std::lock_guard lock(imported.transitions);
  AllocationMap& allocations = scope.client().allocations;
  const std::optional<Allocation> known = allocations.find(address);
  if (!known || !known->imported || known->base != address) return CUDA_ERROR_INVALID_VALUE;
  wire::Args_cuIpcCloseMemHandle args;
  args.dptr = address;
  wire::Reply_cuIpcCloseMemHandle reply;
  FARWARP_TRY(scope.call(args, reply));
  if (--imported.opened[address] == 0) {
    imported.opened.erase(address);
    allocations.removeDevice(address);
  }
  return CUDA_SUCCESS;
}

}  // namespace farwarp::client::calls
