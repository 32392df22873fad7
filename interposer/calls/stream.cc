// What is known of a stream without asking: its context and its device; and callbacks.
#include "interposer/calls/body.h"

namespace farwarp::client::calls {
namespace {

// The context that a stream belongs to; special streams are those of the current one.
CUresult contextOf(CallScope& scope, CUstream stream, Context*& context) {
  FARWARP_TRY(scope.enter(kNeedsInit | kNeedsContext));
  uint64_t id = 0;
  FARWARP_TRY(scope.use(wire::HandleType::stream, stream, id, true));
  context = &currentContext(scope);
  if (!wire::isSpecialHandle(wire::HandleType::stream, id)) {
    context = scope.client().contexts.find(handleOf<CUcontext>(scope.client().handles.parent(id)));
  }
  return context == nullptr ? CUDA_ERROR_CONTEXT_IS_DESTROYED : CUDA_SUCCESS;
}

}  // namespace

CUresult cuStreamGetCtx(CUstream stream, CUcontext* handle, uint16_t record_flags) {
  CallScope scope(CallId::cuStreamGetCtx, record_flags);
  Context* context = nullptr;
  FARWARP_TRY(contextOf(scope, stream, context));
  if (handle == nullptr) return CUDA_ERROR_INVALID_VALUE;
  const GreenContext* green = greenOf(scope, idOf(stream));
  *handle = handleOf<CUcontext>(green != nullptr ? green->context_id : context->id.load());
  return CUDA_SUCCESS;
}

CUresult cuStreamGetCtx_v2(CUstream stream, CUcontext* handle, CUgreenCtx* green_handle,
                           uint16_t record_flags) {
  CallScope scope(CallId::cuStreamGetCtx_v2, record_flags);
  Context* context = nullptr;
  FARWARP_TRY(contextOf(scope, stream, context));
  if (handle == nullptr) return CUDA_ERROR_INVALID_VALUE;
  const GreenContext* green = greenOf(scope, idOf(stream));
  const bool per_thread =
      stream == CU_STREAM_PER_THREAD ||
      (stream == nullptr && (record_flags & wire::kPerThreadDefaultStream) != 0);
  // As documented. (The stream itself may be used.)
  if (green != nullptr && per_thread) return CUDA_ERROR_INVALID_HANDLE;
  *handle = handleOf<CUcontext>(context->id);
  if (green_handle != nullptr) {
    *green_handle = handleOf<CUgreenCtx>(green != nullptr ? green->id : 0);
  }
  return CUDA_SUCCESS;
}

CUresult cuStreamGetDevice(CUstream stream, CUdevice* device, uint16_t record_flags) {
  CallScope scope(CallId::cuStreamGetDevice, record_flags);
  Context* context = nullptr;
  FARWARP_TRY(contextOf(scope, stream, context));
  if (device == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *device = context->device;
  return CUDA_SUCCESS;
}

CUresult cuStreamAddCallback(CUstream stream, CUstreamCallback callback, void* user,
                             unsigned int callback_flags, uint16_t record_flags) {
  CallScope scope(CallId::cuStreamAddCallback, record_flags);
  FARWARP_TRY(scope.enter(kNeedsInit | kNeedsContext));
  wire::Args_cuStreamAddCallback args;
  FARWARP_TRY(scope.use(wire::HandleType::stream, stream, args.stream, true));
  if (callback == nullptr || callback_flags != 0) return CUDA_ERROR_INVALID_VALUE;
  HostFunctions& functions = scope.client().host_functions;
  const auto body = [stream, callback, user](CUresult status) { callback(stream, status, user); };
  FARWARP_TRY(
      functions.add(scope.thread().current(), HostFunctions::Runs::once, body, args.function));
  const CUresult result = scope.submit(args);
  if (result != CUDA_SUCCESS) functions.forget(args.function);
  return result;
}

}  // namespace farwarp::client::calls
