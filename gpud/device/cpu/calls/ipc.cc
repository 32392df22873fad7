// Memory and events of other processes.
#include "cpu_calls_gen.h"
#include "gpud/device/cpu/calls/enter.h"

namespace farwarp::cpu::calls {

CUresult cuIpcGetMemHandle(CUipcMemHandle* handle, CUdeviceptr address) {
  std::shared_ptr<Context> context;
  if (CUresult r = enter(context); r != CUDA_SUCCESS) return r;
  Driver& driver = context->driver();
  Allocation found;
  if (handle == nullptr || !driver.memory().find(address, found) ||
      found.kind != MemoryKind::device) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  return driver.ipc().exportMemory(found, handle);
}

CUresult cuIpcOpenMemHandle_v2(CUdeviceptr* out, CUipcMemHandle handle, unsigned int flags) {
  std::shared_ptr<Context> context;
  if (CUresult r = enter(context); r != CUDA_SUCCESS) return r;
  if (out == nullptr || flags != CU_IPC_MEM_LAZY_ENABLE_PEER_ACCESS) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  uint64_t address = 0;
  const CUresult result = context->driver().ipc().openMemory(*context, handle, &address);
  if (result == CUDA_SUCCESS) *out = address;
  return result;
}

CUresult cuIpcOpenMemHandle(CUdeviceptr* out, CUipcMemHandle handle, unsigned int flags) {
  return calls::cuIpcOpenMemHandle_v2(out, handle, flags);
}

CUresult cuIpcCloseMemHandle(CUdeviceptr address) {
  std::shared_ptr<Context> context;
  if (CUresult r = enter(context); r != CUDA_SUCCESS) return r;
  return context->driver().ipc().closeMemory(*context, address);
}

CUresult cuIpcGetEventHandle(CUipcEventHandle* handle, CUevent event_handle) {
  std::shared_ptr<Context> context;
  if (CUresult r = enter(context); r != CUDA_SUCCESS) return r;
  const auto event = context->driver().events().find(event_handle);
  if (event == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  if (handle == nullptr || event->shared == nullptr) return CUDA_ERROR_INVALID_VALUE;
  return context->driver().ipc().exportEvent(*event->shared, handle);
}

CUresult cuIpcOpenEventHandle(CUevent* out, CUipcEventHandle handle) {
  std::shared_ptr<Context> context;
  if (CUresult r = enter(context); r != CUDA_SUCCESS) return r;
  if (out == nullptr) return CUDA_ERROR_INVALID_VALUE;
  std::shared_ptr<SharedEvent> shared;
  if (CUresult r = context->driver().ipc().openEvent(handle, shared); r != CUDA_SUCCESS) return r;
  const uintptr_t made = context->driver().events().insert(std::make_shared<EventObject>(
      context, CU_EVENT_DISABLE_TIMING | CU_EVENT_INTERPROCESS, std::move(shared)));
  if (made == 0) return CUDA_ERROR_OUT_OF_MEMORY;
  *out = reinterpret_cast<CUevent>(made);
  return CUDA_SUCCESS;
}

}  // namespace farwarp::cpu::calls
