#include "gpud/device/cpu/calls/enter.h"

#include "cpu_calls_gen.h"
#include "gpud/device/cpu/thread_state.h"

namespace farwarp::cpu {

CUresult findContext(CUcontext handle, std::shared_ptr<Context>& context) {
  if (CUresult r = enter(); r != CUDA_SUCCESS) return r;
  if (threadState().in_host_function) return CUDA_ERROR_NOT_PERMITTED;
  if (handle == nullptr) handle = threadState().current();
  if (handle == nullptr) return CUDA_ERROR_INVALID_CONTEXT;
  context = Driver::get().contexts().find(handle);
  return context != nullptr ? CUDA_SUCCESS : CUDA_ERROR_CONTEXT_IS_DESTROYED;
}

CUresult findContextAndGreen(CUcontext handle, std::shared_ptr<Context>& context,
                             std::shared_ptr<GreenContext>& green) {
  if (CUresult r = findContext(handle, context); r != CUDA_SUCCESS) return r;
  if (handle == nullptr) handle = threadState().current();
  green = Driver::get().greens().ofContext(handle);
  return CUDA_SUCCESS;
}

CUresult enterEvenFailed(std::shared_ptr<Context>& context) {
  if (CUresult r = findContext(nullptr, context); r != CUDA_SUCCESS) return r;
  return context->active() ? CUDA_SUCCESS : CUDA_ERROR_CONTEXT_IS_DESTROYED;
}

CUresult enter(std::shared_ptr<Context>& context) {
  if (CUresult r = enterEvenFailed(context); r != CUDA_SUCCESS) return r;
  return context->error();
}

CUresult useStream(CUstream stream, uint16_t record_flags, Context& current, StreamUse& use) {
  const bool per_thread =
      stream == CU_STREAM_PER_THREAD || (stream == nullptr && (record_flags & kPerThreadForm) != 0);
  if (per_thread || stream == nullptr || stream == CU_STREAM_LEGACY) {
    use.context = current.shared_from_this();
    use.green = Driver::get().greens().ofContext(threadState().current());
    ContextStreams& streams = use.green != nullptr ? use.green->streams() : current.streams();
    use.stream =
        per_thread ? streams.ofThread(Driver::get().threadNumberForStreams()) : streams.legacy();
    return use.stream != nullptr ? current.error() : CUDA_ERROR_CONTEXT_IS_DESTROYED;
  }
  const auto found = Driver::get().streams().find(stream);
  if (found == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  use = {found->context, found->stream, found->green};
  if (use.green != nullptr && !use.green->active()) return CUDA_ERROR_CONTEXT_IS_DESTROYED;
  return found->context->error();
}

CUresult enterStream(CUstream stream, uint16_t record_flags, StreamUse& use) {
  std::shared_ptr<Context> context;
  if (CUresult r = enter(context); r != CUDA_SUCCESS) return r;
  return useStream(stream, record_flags, *context, use);
}

}  // namespace farwarp::cpu
