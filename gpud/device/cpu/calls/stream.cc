// Stream management.
#include "cpu_calls_gen.h"
#include "gpud/device/cpu/calls/enter.h"
#include "gpud/device/cpu/calls/green_context.h"
#include "gpud/device/cpu/thread_state.h"

namespace farwarp::cpu::calls {
namespace {

std::atomic<uint64_t> g_stream_numbers{2};  // 1 and 2 name the default streams

// What the program asks about a stream: for a default stream the values that CUDA gives it.
struct StreamFacts {
  std::shared_ptr<Context> context;
  std::shared_ptr<GreenContext> green;
  unsigned flags = 0;
  int priority = 0;
  uint64_t number = 0;
};

CUresult factsOf(CUstream handle, uint16_t record_flags, StreamFacts& facts) {
  std::shared_ptr<Context> context;
  if (CUresult r = enter(context); r != CUDA_SUCCESS) return r;
  if (handle == nullptr || handle == CU_STREAM_LEGACY || handle == CU_STREAM_PER_THREAD) {
    const bool legacy =
        handle == CU_STREAM_LEGACY || (handle == nullptr && (record_flags & kPerThreadForm) == 0);
    facts = {.context = context,
             .green = Driver::get().greens().ofContext(threadState().current()),
             .number = legacy ? 1u : 2u};
    return CUDA_SUCCESS;
  }
  const auto stream = Driver::get().streams().find(handle);
  if (stream == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  if (stream->green != nullptr && !stream->green->active()) return CUDA_ERROR_CONTEXT_IS_DESTROYED;
  facts = {stream->context, stream->green, stream->flags, stream->priority, stream->number};
  return CUDA_SUCCESS;
}

}  // namespace

CUresult createStream(const std::shared_ptr<Context>& context,
                      const std::shared_ptr<GreenContext>& green, unsigned flags, CUstream* out) {
  const bool non_blocking = (flags & CU_STREAM_NON_BLOCKING) != 0;
  ContextStreams& streams = green != nullptr ? green->streams() : context->streams();
  auto stream = std::make_shared<StreamObject>();
  stream->context = context;
  stream->green = green;
  stream->stream = streams.create(non_blocking ? StreamKind::non_blocking : StreamKind::blocking);
  stream->flags = flags;
  stream->priority = 0;  // all priorities are clamped to the one there is
  stream->number = ++g_stream_numbers;
  const uintptr_t handle = Driver::get().streams().insert(stream);
  if (handle == 0) {
    Driver::get().scheduler().closeStream(stream->stream);
    return CUDA_ERROR_OUT_OF_MEMORY;
  }
  *out = reinterpret_cast<CUstream>(handle);
  return CUDA_SUCCESS;
}

CUresult greenOfStream(CUstream handle, std::shared_ptr<GreenContext>& green) {
  StreamFacts facts;
  if (CUresult r = factsOf(handle, 0, facts); r != CUDA_SUCCESS) return r;
  green = facts.green;
  return CUDA_SUCCESS;
}

CUresult cuStreamCreateWithPriority(CUstream* out, unsigned int flags, int) {
  std::shared_ptr<Context> context;
  if (CUresult r = enter(context); r != CUDA_SUCCESS) return r;
  if (out == nullptr || (flags & ~unsigned{CU_STREAM_NON_BLOCKING}) != 0) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  return createStream(context, Driver::get().greens().ofContext(threadState().current()), flags,
                      out);
}

CUresult cuStreamCreate(CUstream* out, unsigned int flags) {
  return calls::cuStreamCreateWithPriority(out, flags, 0);
}

CUresult cuStreamDestroy_v2(CUstream handle) {
  if (CUresult r = enter(); r != CUDA_SUCCESS) return r;
  auto stream = Driver::get().streams().find(handle);
  // As documented, what outlived its green context cannot be destroyed either.
  if (stream != nullptr && stream->green != nullptr && !stream->green->active()) {
    return CUDA_ERROR_CONTEXT_IS_DESTROYED;
  }
  stream = Driver::get().streams().remove(handle);
  if (stream == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  Driver::get().scheduler().closeStream(stream->stream);
  return stream->context->error();
}

CUresult cuStreamGetPriority(CUstream handle, int* priority, uint16_t record_flags) {
  StreamFacts facts;
  if (CUresult r = factsOf(handle, record_flags, facts); r != CUDA_SUCCESS) return r;
  if (priority == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *priority = facts.priority;
  return CUDA_SUCCESS;
}

CUresult cuStreamGetFlags(CUstream handle, unsigned int* flags, uint16_t record_flags) {
  StreamFacts facts;
  if (CUresult r = factsOf(handle, record_flags, facts); r != CUDA_SUCCESS) return r;
  if (flags == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *flags = facts.flags;
  return CUDA_SUCCESS;
}

CUresult cuStreamGetId(CUstream handle, unsigned long long* id, uint16_t record_flags) {
  StreamFacts facts;
  if (CUresult r = factsOf(handle, record_flags, facts); r != CUDA_SUCCESS) return r;
  if (id == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *id = facts.number;
  return CUDA_SUCCESS;
}

CUresult cuStreamGetCtx(CUstream handle, CUcontext* out, uint16_t record_flags) {
  StreamFacts facts;
  if (CUresult r = factsOf(handle, record_flags, facts); r != CUDA_SUCCESS) return r;
  if (out == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *out = facts.green != nullptr ? facts.green->contextHandle() : facts.context->handle();
  return CUDA_SUCCESS;
}

CUresult cuStreamGetCtx_v2(CUstream handle, CUcontext* out, CUgreenCtx* green,
                           uint16_t record_flags) {
  StreamFacts facts;
  if (CUresult r = factsOf(handle, record_flags, facts); r != CUDA_SUCCESS) return r;
  if (out == nullptr) return CUDA_ERROR_INVALID_VALUE;
  // As documented. (The stream itself may be used.)
  if (facts.green != nullptr && facts.number == 2) return CUDA_ERROR_INVALID_HANDLE;
  *out = facts.context->handle();
  if (green != nullptr) *green = facts.green != nullptr ? facts.green->handle() : nullptr;
  return CUDA_SUCCESS;
}

CUresult cuStreamGetDevice(CUstream handle, CUdevice* device, uint16_t record_flags) {
  StreamFacts facts;
  if (CUresult r = factsOf(handle, record_flags, facts); r != CUDA_SUCCESS) return r;
  if (device == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *device = facts.context->device().ordinal();
  return CUDA_SUCCESS;
}

CUresult cuStreamQuery(CUstream handle, uint16_t record_flags) {
  StreamUse use;
  if (CUresult r = enterStream(handle, record_flags, use); r != CUDA_SUCCESS) return r;
  Scheduler& scheduler = Driver::get().scheduler();
  if (!scheduler.done(scheduler.tail(use.stream))) return CUDA_ERROR_NOT_READY;
  Driver::get().pools().afterSynchronize();
  return use.context->error();
}

CUresult cuStreamSynchronize(CUstream handle, uint16_t record_flags) {
  StreamUse use;
  if (CUresult r = enterStream(handle, record_flags, use); r != CUDA_SUCCESS) return r;
  Scheduler& scheduler = Driver::get().scheduler();
  scheduler.wait(scheduler.tail(use.stream));
  Driver::get().pools().afterSynchronize();
  return use.context->error();
}

CUresult cuStreamWaitEvent(CUstream handle, CUevent event_handle, unsigned int flags,
                           uint16_t record_flags) {
  StreamUse use;
  if (CUresult r = enterStream(handle, record_flags, use); r != CUDA_SUCCESS) return r;
  if ((flags & ~unsigned{CU_EVENT_WAIT_EXTERNAL}) != 0) return CUDA_ERROR_INVALID_VALUE;
  const auto event = Driver::get().events().find(event_handle);
  if (event == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  if (event->shared != nullptr) {
    const uint64_t number = event->shared->latest();
    if (event->shared->happened(number)) return CUDA_SUCCESS;
    Driver::get().scheduler().submit(
        use.stream, [context = use.context, shared = event->shared, number] {
          shared->wait(number, [&] { return context->error() != CUDA_SUCCESS; });
        });
    return CUDA_SUCCESS;
  }
  // An event that was never recorded holds nothing back.
  if (const auto record = event->latest(); record != nullptr) {
    Driver::get().scheduler().submit(
        use.stream, [] {}, {record->mark}, true);
  }
  return CUDA_SUCCESS;
}

// A callback is told of an error; it runs all the same.
CUresult cuStreamAddCallback(CUstream handle, CUstreamCallback callback, void* user,
                             unsigned int callback_flags, uint16_t record_flags) {
  StreamUse use;
  if (CUresult r = enterStream(handle, record_flags, use); r != CUDA_SUCCESS) return r;
  if (callback == nullptr || callback_flags != 0) return CUDA_ERROR_INVALID_VALUE;
  Driver::get().scheduler().submit(use.stream, [context = use.context, handle, callback, user] {
    threadState().in_host_function = true;
    callback(handle, context->error(), user);
    threadState().in_host_function = false;
  });
  return CUDA_SUCCESS;
}

}  // namespace farwarp::cpu::calls
