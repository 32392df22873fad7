// Context management.
#include "cpu_calls_gen.h"
#include "gpud/device/cpu/calls/enter.h"
#include "gpud/device/cpu/thread_state.h"

namespace farwarp::cpu::calls {
namespace {

constexpr unsigned kApiVersion = 3020;  // of contexts made by cuCtxCreate_v2 and later
constexpr size_t kContextsMax = 256;    // live at once, per process

CUresult create(CUcontext* out, unsigned flags, CUdevice ordinal) {
  if (CUresult r = enter(); r != CUDA_SUCCESS) return r;
  if (out == nullptr || (flags & ~unsigned{CU_CTX_FLAGS_MASK}) != 0)
    return CUDA_ERROR_INVALID_VALUE;
  Driver& driver = Driver::get();
  Device* device = driver.device(ordinal);
  if (device == nullptr) return CUDA_ERROR_INVALID_DEVICE;
  if (driver.contexts().all().size() >= kContextsMax) return CUDA_ERROR_OUT_OF_MEMORY;
  auto context = std::make_shared<Context>(driver, *device, false);
  context->flags = flags;
  context->activate();
  context->setHandle(driver.contexts().insert(context));
  if (!threadState().push(context->handle())) {
    driver.contexts().remove(context->handle());
    context->end();
    return CUDA_ERROR_OUT_OF_MEMORY;
  }
  *out = context->handle();
  return CUDA_SUCCESS;
}

}  // namespace

CUresult cuCtxCreate_v2(CUcontext* out, unsigned int flags, CUdevice device) {
  return create(out, flags, device);
}

CUresult cuCtxCreate_v3(CUcontext* out, CUexecAffinityParam* params, int count, unsigned int flags,
                        CUdevice device) {
  if (params != nullptr || count != 0) return CUDA_ERROR_UNSUPPORTED_EXEC_AFFINITY;
  return create(out, flags, device);
}

CUresult cuCtxCreate_v4(CUcontext* out, CUctxCreateParams* params, unsigned int flags,
                        CUdevice device) {
  if (params != nullptr) {
    if (params->numExecAffinityParams != 0) return CUDA_ERROR_UNSUPPORTED_EXEC_AFFINITY;
    if (params->cigParams != nullptr) return CUDA_ERROR_NOT_SUPPORTED;
  }
  return create(out, flags, device);
}

CUresult cuCtxDestroy_v2(CUcontext handle) {
  if (CUresult r = enter(); r != CUDA_SUCCESS) return r;
  Driver& driver = Driver::get();
  const auto context = driver.contexts().find(handle);
  if (context == nullptr || context->primary()) return CUDA_ERROR_INVALID_CONTEXT;
  if (driver.contexts().remove(handle) == nullptr) return CUDA_ERROR_INVALID_CONTEXT;
  if (threadState().current() == handle) --threadState().depth;
  context->end();
  return CUDA_SUCCESS;
}

CUresult cuCtxGetCurrent(CUcontext* out) {
  if (CUresult r = enter(); r != CUDA_SUCCESS) return r;
  if (out == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *out = threadState().current();
  return CUDA_SUCCESS;
}

CUresult cuCtxSetCurrent(CUcontext handle) {
  if (CUresult r = enter(); r != CUDA_SUCCESS) return r;
  // A primary context may be set while it is inactive; cudart does so before it retains it.
  if (handle != nullptr && Driver::get().contexts().find(handle) == nullptr) {
    return CUDA_ERROR_INVALID_CONTEXT;
  }
  threadState().setCurrent(handle);
  return CUDA_SUCCESS;
}

CUresult cuCtxPushCurrent_v2(CUcontext handle) {
  if (CUresult r = enter(); r != CUDA_SUCCESS) return r;
  if (handle == nullptr || Driver::get().contexts().find(handle) == nullptr) {
    return CUDA_ERROR_INVALID_CONTEXT;
  }
  return threadState().push(handle) ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

CUresult cuCtxPopCurrent_v2(CUcontext* out) {
  if (CUresult r = enter(); r != CUDA_SUCCESS) return r;
  ThreadState& thread = threadState();
  if (thread.depth == 0) return CUDA_ERROR_INVALID_CONTEXT;
  if (out != nullptr) *out = thread.current();
  --thread.depth;
  return CUDA_SUCCESS;
}

CUresult cuCtxGetDevice_v2(CUdevice* out, CUcontext handle) {
  std::shared_ptr<Context> context;
  if (CUresult r = findContext(handle, context); r != CUDA_SUCCESS) return r;
  if (out == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *out = context->device().ordinal();
  return CUDA_SUCCESS;
}

CUresult cuCtxGetDevice(CUdevice* out) {
  return calls::cuCtxGetDevice_v2(out, nullptr);
}

CUresult cuCtxGetApiVersion(CUcontext handle, unsigned int* version) {
  std::shared_ptr<Context> context;
  if (CUresult r = findContext(handle, context); r != CUDA_SUCCESS) return r;
  if (version == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *version = kApiVersion;
  return CUDA_SUCCESS;
}

CUresult cuCtxGetFlags(unsigned int* flags) {
  std::shared_ptr<Context> context;
  if (CUresult r = findContext(nullptr, context); r != CUDA_SUCCESS) return r;
  if (flags == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *flags = context->flags;
  return CUDA_SUCCESS;
}

CUresult cuCtxSetFlags(unsigned int flags) {
  std::shared_ptr<Context> context;
  if (CUresult r = enter(context); r != CUDA_SUCCESS) return r;
  if ((flags & ~unsigned{CU_CTX_FLAGS_MASK}) != 0) return CUDA_ERROR_INVALID_VALUE;
  context->flags = flags;
  return CUDA_SUCCESS;
}

CUresult cuCtxGetId(CUcontext handle, unsigned long long* id) {
  std::shared_ptr<Context> context;
  std::shared_ptr<GreenContext> green;
  if (CUresult r = findContextAndGreen(handle, context, green); r != CUDA_SUCCESS) return r;
  if (id == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *id = green != nullptr ? green->number() : context->number();
  return CUDA_SUCCESS;
}

CUresult cuCtxGetCacheConfig(CUfunc_cache* config) {
  std::shared_ptr<Context> context;
  if (CUresult r = enter(context); r != CUDA_SUCCESS) return r;
  if (config == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *config = context->cache_config;
  return CUDA_SUCCESS;
}

CUresult cuCtxSetCacheConfig(CUfunc_cache config) {
  std::shared_ptr<Context> context;
  if (CUresult r = enter(context); r != CUDA_SUCCESS) return r;
  if (config > CU_FUNC_CACHE_PREFER_EQUAL) return CUDA_ERROR_INVALID_VALUE;
  context->cache_config = config;
  return CUDA_SUCCESS;
}

CUresult cuCtxGetSharedMemConfig(CUsharedconfig* config) {
  std::shared_ptr<Context> context;
  if (CUresult r = enter(context); r != CUDA_SUCCESS) return r;
  if (config == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *config = context->shared_config;
  return CUDA_SUCCESS;
}

// Banks have had one width since compute capability 5.0; the call is taken and changes nothing.
CUresult cuCtxSetSharedMemConfig(CUsharedconfig config) {
  std::shared_ptr<Context> context;
  if (CUresult r = enter(context); r != CUDA_SUCCESS) return r;
  return config <= CU_SHARED_MEM_CONFIG_EIGHT_BYTE_BANK_SIZE ? CUDA_SUCCESS
                                                             : CUDA_ERROR_INVALID_VALUE;
}

// Attaching counted uses of a context before there were primary contexts.
CUresult cuCtxAttach(CUcontext* out, unsigned int flags) {
  if (CUresult r = enter(); r != CUDA_SUCCESS) return r;
  if (out == nullptr || flags != 0) return CUDA_ERROR_INVALID_VALUE;
  if (threadState().current() == nullptr) return CUDA_ERROR_INVALID_CONTEXT;
  *out = threadState().current();
  return CUDA_SUCCESS;
}

CUresult cuCtxDetach(CUcontext handle) {
  return calls::cuCtxDestroy_v2(handle);
}

CUresult cuCtxGetLimit(size_t* value, CUlimit limit) {
  std::shared_ptr<Context> context;
  if (CUresult r = enter(context); r != CUDA_SUCCESS) return r;
  if (value == nullptr || limit >= CU_LIMIT_MAX) return CUDA_ERROR_INVALID_VALUE;
  if (limit == CU_LIMIT_DEV_RUNTIME_SYNC_DEPTH ||
      limit == CU_LIMIT_DEV_RUNTIME_PENDING_LAUNCH_COUNT) {
    return CUDA_ERROR_UNSUPPORTED_LIMIT;
  }
  *value = context->limits[limit];
  return CUDA_SUCCESS;
}

CUresult cuCtxSetLimit(CUlimit limit, size_t value) {
  std::shared_ptr<Context> context;
  if (CUresult r = enter(context); r != CUDA_SUCCESS) return r;
  constexpr size_t kStackMax = 512 * 1024, kGranularityMax = 128;
  switch (limit) {
    case CU_LIMIT_STACK_SIZE:
      if (value > kStackMax) return CUDA_ERROR_INVALID_VALUE;
      break;
    case CU_LIMIT_MAX_L2_FETCH_GRANULARITY:
      if (value > kGranularityMax) return CUDA_ERROR_INVALID_VALUE;
      break;
    case CU_LIMIT_PRINTF_FIFO_SIZE:
    case CU_LIMIT_MALLOC_HEAP_SIZE:
      if (value > context->device().memoryBytes()) return CUDA_ERROR_INVALID_VALUE;
      break;
    default:
      return limit < CU_LIMIT_MAX ? CUDA_ERROR_UNSUPPORTED_LIMIT : CUDA_ERROR_INVALID_VALUE;
  }
  context->limits[limit] = value;
  return CUDA_SUCCESS;
}

CUresult cuCtxGetStreamPriorityRange(int* least, int* greatest) {
  std::shared_ptr<Context> context;
  if (CUresult r = enter(context); r != CUDA_SUCCESS) return r;
  if (least != nullptr) *least = 0;
  if (greatest != nullptr) *greatest = 0;
  return CUDA_SUCCESS;
}

CUresult cuCtxResetPersistingL2Cache() {
  std::shared_ptr<Context> context;
  return enter(context);
}

CUresult cuCtxSynchronize_v2(CUcontext handle) {
  std::shared_ptr<Context> context;
  std::shared_ptr<GreenContext> green;
  if (CUresult r = findContextAndGreen(handle, context, green); r != CUDA_SUCCESS) return r;
  if (!context->active()) return CUDA_ERROR_CONTEXT_IS_DESTROYED;
  context->synchronize(green.get());
  Driver::get().pools().afterSynchronize();
  return context->error();
}

CUresult cuCtxSynchronize() {
  return calls::cuCtxSynchronize_v2(nullptr);
}

// No context has affinity: that is for clients of MPS.
CUresult cuCtxGetExecAffinity(CUexecAffinityParam* affinity, CUexecAffinityType type) {
  std::shared_ptr<Context> context;
  if (CUresult r = enter(context); r != CUDA_SUCCESS) return r;
  if (affinity == nullptr || type != CU_EXEC_AFFINITY_TYPE_SM_COUNT) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  return CUDA_ERROR_UNSUPPORTED_EXEC_AFFINITY;
}

}  // namespace farwarp::cpu::calls
