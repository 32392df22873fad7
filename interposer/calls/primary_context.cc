// Primary contexts. Their handles exist from the start: runtimes make them current before they
// retain them. gpud counts the retains and releases too, so each is sent; none is waited for.
#include <mutex>

#include "interposer/calls/body.h"

namespace farwarp::client::calls {

CUresult cuDevicePrimaryCtxRetain(CUcontext* handle, CUdevice device) {
  CallScope scope(CallId::cuDevicePrimaryCtxRetain);
  FARWARP_TRY(scope.enter(kNeedsInit));
  if (handle == nullptr) return CUDA_ERROR_INVALID_VALUE;
  Contexts& contexts = scope.client().contexts;
  Context* context = contexts.primary(device);
  if (context == nullptr) return CUDA_ERROR_INVALID_DEVICE;
  std::lock_guard lock(contexts.transitions);
  wire::Args_cuDevicePrimaryCtxRetain args;
  args.dev = scope.client().devices.toServer(device);
  args.context = context->id;
  FARWARP_TRY(scope.submit(args));
  context->active = true;
  ++context->retained;
  *handle = handleOf<CUcontext>(context->id);
  return CUDA_SUCCESS;
}

CUresult cuDevicePrimaryCtxRelease_v2(CUdevice device) {
  CallScope scope(CallId::cuDevicePrimaryCtxRelease_v2);
  FARWARP_TRY(scope.enter(kNeedsInit));
  Contexts& contexts = scope.client().contexts;
  Context* context = contexts.primary(device);
  if (context == nullptr) return CUDA_ERROR_INVALID_DEVICE;
  {
    std::lock_guard lock(contexts.transitions);
    if (context->retained == 0) return CUDA_ERROR_INVALID_CONTEXT;
    wire::Args_cuDevicePrimaryCtxRelease_v2 args;
    args.dev = scope.client().devices.toServer(device);
    args.context = context->id;
    if (context->retained == 1) scope.client().endSharing(*context);
    FARWARP_TRY(scope.submit(args));
    if (--context->retained != 0) return CUDA_SUCCESS;
    context->active = false;
  }
  scope.client().endContext(*context);
  return CUDA_SUCCESS;
}

CUresult cuDevicePrimaryCtxRelease(CUdevice device) {
  return calls::cuDevicePrimaryCtxRelease_v2(device);
}

CUresult cuDevicePrimaryCtxReset_v2(CUdevice device) {
  CallScope scope(CallId::cuDevicePrimaryCtxReset_v2);
  FARWARP_TRY(scope.enter(kNeedsInit));
  Contexts& contexts = scope.client().contexts;
  Context* context = contexts.primary(device);
  if (context == nullptr) return CUDA_ERROR_INVALID_DEVICE;
  CUresult result = CUDA_SUCCESS;
  {
    // As CUDA documents, the program still holds the context; it is active again when retained
    // again.
    std::lock_guard lock(contexts.transitions);
    if (context->active.exchange(false)) {
      wire::Args_cuDevicePrimaryCtxReset_v2 args;
      args.dev = scope.client().devices.toServer(device);
      scope.client().endSharing(*context);
      wire::Reply_cuDevicePrimaryCtxReset_v2 reply;
      result = scope.call(args, reply);
    }
  }
  // Without the lock: the runtime's destructors may call in, and find an inactive context.
  scope.client().endContext(*context);
  return result;
}

CUresult cuDevicePrimaryCtxReset(CUdevice device) {
  return calls::cuDevicePrimaryCtxReset_v2(device);
}

CUresult cuDevicePrimaryCtxSetFlags_v2(CUdevice device, unsigned int flags) {
  CallScope scope(CallId::cuDevicePrimaryCtxSetFlags_v2);
  FARWARP_TRY(scope.enter(kNeedsInit));
  Context* context = scope.client().contexts.primary(device);
  if (context == nullptr) return CUDA_ERROR_INVALID_DEVICE;
  if ((flags & ~static_cast<unsigned>(CU_CTX_FLAGS_MASK)) != 0 ||
      (flags & CU_CTX_SCHED_MASK) > CU_CTX_SCHED_BLOCKING_SYNC) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  wire::Args_cuDevicePrimaryCtxSetFlags_v2 args;
  args.dev = scope.client().devices.toServer(device);
  args.flags = flags;
  FARWARP_TRY(scope.submit(args));
  context->flags = flags;
  return CUDA_SUCCESS;
}

CUresult cuDevicePrimaryCtxSetFlags(CUdevice device, unsigned int flags) {
  return calls::cuDevicePrimaryCtxSetFlags_v2(device, flags);
}

CUresult cuDevicePrimaryCtxGetState(CUdevice device, unsigned int* flags, int* active) {
  CallScope scope(CallId::cuDevicePrimaryCtxGetState);
  FARWARP_TRY(scope.enter(kNeedsInit));
  const Context* context = scope.client().contexts.primary(device);
  if (context == nullptr) return CUDA_ERROR_INVALID_DEVICE;
  if (flags == nullptr && active == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (flags != nullptr) *flags = context->flags;
  if (active != nullptr) *active = context->active ? 1 : 0;
  return CUDA_SUCCESS;
}

}  // namespace farwarp::client::calls
