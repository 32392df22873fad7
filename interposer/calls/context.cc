// Contexts: the stack of each thread is kept here; a record tells gpud which context was current.
#include <mutex>

#include "interposer/calls/body.h"

namespace farwarp::client::calls {
namespace {

CUresult checkFlags(unsigned int flags) {
  if ((flags & ~static_cast<unsigned>(CU_CTX_FLAGS_MASK)) != 0 ||
      (flags & CU_CTX_SCHED_MASK) > CU_CTX_SCHED_BLOCKING_SYNC) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  return CUDA_SUCCESS;
}

// The context that `handle` names, or the current one for null.
CUresult findContext(CallScope& scope, CUcontext handle, Context*& context) {
  if (handle == nullptr) handle = scope.thread().current();
  context = scope.client().contexts.find(handle);
  return context == nullptr ? CUDA_ERROR_INVALID_CONTEXT : CUDA_SUCCESS;
}

// Takes every mention of the context off the calling thread's stack.
void dropFromStack(ThreadState& thread, CUcontext handle) {
  std::erase(thread.contexts, handle);
}

constexpr size_t kStackMax = 1024;  // CUDA documents no limit; no program pushes without end

}  // namespace

CUresult cuCtxCreate_v2(CUcontext* handle, unsigned int flags, CUdevice device) {
  CallScope scope(CallId::cuCtxCreate_v2);
  FARWARP_TRY(scope.enter(kNeedsInit));
  if (handle == nullptr) return CUDA_ERROR_INVALID_VALUE;
  FARWARP_TRY(checkFlags(flags));
  if (scope.client().devices.find(device) == nullptr) return CUDA_ERROR_INVALID_DEVICE;
  Context* context = nullptr;
  FARWARP_TRY(scope.client().contexts.create(device, flags, context));
  wire::Args_cuCtxCreate_v2 args;
  args.flags = flags;
  args.dev = scope.client().devices.toServer(device);
  args.context = context->id;
  wire::Reply_cuCtxCreate_v2 reply;
  if (CUresult result = scope.call(args, reply); result != CUDA_SUCCESS) {
    scope.abandon(context->id);
    scope.client().contexts.retire(context);
    return result;
  }
  *handle = handleOf<CUcontext>(context->id);
  scope.thread().contexts.push_back(*handle);
  return CUDA_SUCCESS;
}

CUresult cuCtxCreate_v3(CUcontext* handle, CUexecAffinityParam* affinity, int affinities,
                        unsigned int flags, CUdevice device) {
  // Affinity belongs to MPS clients; a session is none.
  if (affinity != nullptr || affinities != 0) return CUDA_ERROR_UNSUPPORTED_EXEC_AFFINITY;
  return calls::cuCtxCreate_v2(handle, flags, device);
}

CUresult cuCtxCreate_v4(CUcontext* handle, CUctxCreateParams* parameters, unsigned int flags,
                        CUdevice device) {
  if (parameters != nullptr) {
    if (parameters->numExecAffinityParams != 0) return CUDA_ERROR_UNSUPPORTED_EXEC_AFFINITY;
    if (parameters->cigParams != nullptr) return CUDA_ERROR_NOT_SUPPORTED;
  }
  return calls::cuCtxCreate_v2(handle, flags, device);
}

CUresult cuCtxDestroy_v2(CUcontext handle) {
  CallScope scope(CallId::cuCtxDestroy_v2);
  FARWARP_TRY(scope.enter(kNeedsInit));
  Context* context = scope.client().contexts.find(handle);
  if (context == nullptr || context->primary || context->green != nullptr) {
    return CUDA_ERROR_INVALID_CONTEXT;
  }
  wire::Args_cuCtxDestroy_v2 args;
  args.context = context->id;
  scope.client().endSharing(*context);
  wire::Reply_cuCtxDestroy_v2 reply;
  const CUresult result = scope.call(args, reply);
  scope.client().endContext(*context);
  scope.destroy(args.context);
  dropFromStack(scope.thread(), handle);
  return result;
}

CUresult cuCtxGetCurrent(CUcontext* handle) {
  CallScope scope(CallId::cuCtxGetCurrent);
  FARWARP_TRY(scope.enter(kNeedsInit));
  if (handle == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *handle = scope.thread().current();
  return CUDA_SUCCESS;
}

CUresult cuCtxSetCurrent(CUcontext handle) {
  CallScope scope(CallId::cuCtxSetCurrent);
  FARWARP_TRY(scope.enter(kNeedsInit));
  if (handle != nullptr && scope.client().contexts.find(handle) == nullptr) {
    return CUDA_ERROR_INVALID_CONTEXT;
  }
  scope.thread().setCurrent(handle);
  return CUDA_SUCCESS;
}

CUresult cuCtxPushCurrent_v2(CUcontext handle) {
  CallScope scope(CallId::cuCtxPushCurrent_v2);
  FARWARP_TRY(scope.enter(kNeedsInit));
  if (scope.client().contexts.find(handle) == nullptr) return CUDA_ERROR_INVALID_CONTEXT;
  if (scope.thread().contexts.size() >= kStackMax) return CUDA_ERROR_OUT_OF_MEMORY;
  scope.thread().contexts.push_back(handle);
  return CUDA_SUCCESS;
}

CUresult cuCtxPopCurrent_v2(CUcontext* handle) {
  CallScope scope(CallId::cuCtxPopCurrent_v2);
  FARWARP_TRY(scope.enter(kNeedsInit));
  ThreadState& thread = scope.thread();
  if (thread.contexts.empty()) return CUDA_ERROR_INVALID_CONTEXT;
  if (handle != nullptr) *handle = thread.contexts.back();
  thread.contexts.pop_back();
  return CUDA_SUCCESS;
}

CUresult cuCtxGetDevice(CUdevice* device) {
  CallScope scope(CallId::cuCtxGetDevice);
  FARWARP_TRY(scope.enter(kNeedsInit));
  if (device == nullptr) return CUDA_ERROR_INVALID_VALUE;
  Context* context = nullptr;
  FARWARP_TRY(findContext(scope, nullptr, context));
  *device = context->device;
  return CUDA_SUCCESS;
}

CUresult cuCtxGetDevice_v2(CUdevice* device, CUcontext handle) {
  CallScope scope(CallId::cuCtxGetDevice_v2);
  FARWARP_TRY(scope.enter(kNeedsInit));
  if (device == nullptr) return CUDA_ERROR_INVALID_VALUE;
  Context* context = nullptr;
  FARWARP_TRY(findContext(scope, handle, context));
  *device = context->device;
  return CUDA_SUCCESS;
}

CUresult cuCtxGetApiVersion(CUcontext handle, unsigned int* version) {
  CallScope scope(CallId::cuCtxGetApiVersion);
  FARWARP_TRY(scope.enter(kNeedsInit));
  if (version == nullptr) return CUDA_ERROR_INVALID_VALUE;
  Context* context = nullptr;
  FARWARP_TRY(findContext(scope, handle, context));
  *version = context->api_version;
  return CUDA_SUCCESS;
}

CUresult cuCtxGetFlags(unsigned int* flags) {
  CallScope scope(CallId::cuCtxGetFlags);
  FARWARP_TRY(scope.enter(kNeedsInit | kNeedsContext));
  if (flags == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *flags = currentContext(scope).flags;
  return CUDA_SUCCESS;
}

CUresult cuCtxSetFlags(unsigned int flags) {
  CallScope scope(CallId::cuCtxSetFlags);
  FARWARP_TRY(scope.enter(kNeedsInit | kNeedsContext));
  FARWARP_TRY(checkFlags(flags));
  // All flags say how threads of the GPU's own process wait, which is gpud's business.
  currentContext(scope).flags = flags;
  return CUDA_SUCCESS;
}

CUresult cuCtxGetId(CUcontext handle, unsigned long long* number) {
  CallScope scope(CallId::cuCtxGetId);
  FARWARP_TRY(scope.enter(kNeedsInit));
  if (number == nullptr) return CUDA_ERROR_INVALID_VALUE;
  Context* context = nullptr;
  FARWARP_TRY(findContext(scope, handle, context));
  *number = context->number;
  return CUDA_SUCCESS;
}

CUresult cuCtxGetCacheConfig(CUfunc_cache* config) {
  CallScope scope(CallId::cuCtxGetCacheConfig);
  FARWARP_TRY(scope.enter(kNeedsInit | kNeedsContext));
  if (config == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *config = currentContext(scope).cache_config;
  return CUDA_SUCCESS;
}

// A preference that the driver is free to ignore, so it is kept and not sent.
CUresult cuCtxSetCacheConfig(CUfunc_cache config) {
  CallScope scope(CallId::cuCtxSetCacheConfig);
  FARWARP_TRY(scope.enter(kNeedsInit | kNeedsContext));
  if (config < CU_FUNC_CACHE_PREFER_NONE || config > CU_FUNC_CACHE_PREFER_EQUAL) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  currentContext(scope).cache_config = config;
  return CUDA_SUCCESS;
}

CUresult cuCtxGetSharedMemConfig(CUsharedconfig* config) {
  CallScope scope(CallId::cuCtxGetSharedMemConfig);
  FARWARP_TRY(scope.enter(kNeedsInit | kNeedsContext));
  if (config == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *config = currentContext(scope).shared_config;
  return CUDA_SUCCESS;
}

// Devices since Maxwell have one bank size; drivers keep the value and do nothing with it.
CUresult cuCtxSetSharedMemConfig(CUsharedconfig config) {
  CallScope scope(CallId::cuCtxSetSharedMemConfig);
  FARWARP_TRY(scope.enter(kNeedsInit | kNeedsContext));
  if (config < CU_SHARED_MEM_CONFIG_DEFAULT_BANK_SIZE ||
      config > CU_SHARED_MEM_CONFIG_EIGHT_BYTE_BANK_SIZE) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  currentContext(scope).shared_config = config;
  return CUDA_SUCCESS;
}

// Attach and detach count uses of the current context; only a count of one was ever useful.
CUresult cuCtxAttach(CUcontext* handle, unsigned int flags) {
  CallScope scope(CallId::cuCtxAttach);
  FARWARP_TRY(scope.enter(kNeedsInit | kNeedsContext));
  if (handle == nullptr || flags != 0) return CUDA_ERROR_INVALID_VALUE;
  *handle = scope.thread().current();
  return CUDA_SUCCESS;
}

CUresult cuCtxDetach(CUcontext handle) {
  CallScope scope(CallId::cuCtxDetach);
  FARWARP_TRY(scope.enter(kNeedsInit));
  if (handle == nullptr || handle != scope.thread().current()) return CUDA_ERROR_INVALID_CONTEXT;
  return calls::cuCtxDestroy_v2(handle);
}

// No context has affinity: that is for clients of MPS.
CUresult cuCtxGetExecAffinity(CUexecAffinityParam* affinity, CUexecAffinityType type) {
  CallScope scope(CallId::cuCtxGetExecAffinity);
  FARWARP_TRY(scope.enter(kNeedsInit | kNeedsContext));
  if (affinity == nullptr || type != CU_EXEC_AFFINITY_TYPE_SM_COUNT) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  return CUDA_ERROR_UNSUPPORTED_EXEC_AFFINITY;
}

}  // namespace farwarp::client::calls
