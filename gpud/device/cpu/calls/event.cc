// Event management.
#include "cpu_calls_gen.h"
#include "gpud/device/cpu/calls/enter.h"
#include "gpud/device/cpu/calls/green_context.h"
#include "gpud/device/cpu/kernel_meter.h"

namespace farwarp::cpu::calls {
namespace {

CUresult findEvent(CUevent handle, std::shared_ptr<EventObject>& event) {
  if (CUresult r = enter(); r != CUDA_SUCCESS) return r;
  event = Driver::get().events().find(handle);
  if (event == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  return event->context->error();
}

}  // namespace

CUresult cuEventCreate(CUevent* out, unsigned int flags) {
  std::shared_ptr<Context> context;
  if (CUresult r = enter(context); r != CUDA_SUCCESS) return r;
  constexpr unsigned kKnown =
      CU_EVENT_BLOCKING_SYNC | CU_EVENT_DISABLE_TIMING | CU_EVENT_INTERPROCESS;
  if (out == nullptr || (flags & ~kKnown) != 0) return CUDA_ERROR_INVALID_VALUE;
  std::shared_ptr<SharedEvent> shared;
  if ((flags & CU_EVENT_INTERPROCESS) != 0) {
    if ((flags & CU_EVENT_DISABLE_TIMING) == 0) return CUDA_ERROR_INVALID_VALUE;
    shared = SharedEvent::create();
    if (shared == nullptr) return CUDA_ERROR_OUT_OF_MEMORY;
  }
  const uintptr_t handle = Driver::get().events().insert(
      std::make_shared<EventObject>(context, flags, std::move(shared)));
  if (handle == 0) return CUDA_ERROR_OUT_OF_MEMORY;
  *out = reinterpret_cast<CUevent>(handle);
  return CUDA_SUCCESS;
}

CUresult cuEventRecordWithFlags(CUevent handle, CUstream stream, unsigned int flags,
                                uint16_t record_flags) {
  if ((flags & ~unsigned{CU_EVENT_RECORD_EXTERNAL}) != 0) return CUDA_ERROR_INVALID_VALUE;
  // Outside of a capture there is no graph that the event could be external to.
  if (flags != 0) return CUDA_ERROR_ILLEGAL_STATE;
  return calls::cuEventRecord(handle, stream, record_flags);
}

CUresult cuEventRecord(CUevent handle, CUstream stream, uint16_t record_flags) {
  StreamUse use;
  if (CUresult r = enterStream(stream, record_flags, use); r != CUDA_SUCCESS) return r;
  const auto event = Driver::get().events().find(handle);
  if (event == nullptr || event->context != use.context) return CUDA_ERROR_INVALID_HANDLE;
  if (event->shared != nullptr) {
    Driver::get().scheduler().submit(
        use.stream,
        [shared = event->shared, number = event->shared->begin()] { shared->finish(number); }, {},
        true);
    return CUDA_SUCCESS;
  }
  auto record = std::make_shared<EventRecord>();
  record->mark = Driver::get().scheduler().submit(
      use.stream, [record] { record->time_ns = nowNs(); }, {}, true);
  event->setLatest(std::move(record));
  return CUDA_SUCCESS;
}

CUresult recordAll(Context& context, GreenContext* green, CUevent handle) {
  const auto event = Driver::get().events().find(handle);
  if (event == nullptr || event->context.get() != &context) return CUDA_ERROR_INVALID_HANDLE;
  auto record = std::make_shared<EventRecord>();
  record->mark = context.everything([record] { record->time_ns = nowNs(); }, green);
  event->setLatest(std::move(record));
  return context.error();
}

CUresult holdAll(Context& context, GreenContext* green, CUevent handle) {
  const auto event = Driver::get().events().find(handle);
  if (event == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  if (const auto record = event->latest(); record != nullptr) context.hold(record->mark, green);
  return context.error();
}

CUresult cuCtxRecordEvent(CUcontext context_handle, CUevent handle) {
  std::shared_ptr<Context> context;
  std::shared_ptr<GreenContext> green;
  if (CUresult r = findContextAndGreen(context_handle, context, green); r != CUDA_SUCCESS) {
    return r == CUDA_ERROR_CONTEXT_IS_DESTROYED ? CUDA_ERROR_INVALID_CONTEXT : r;
  }
  return recordAll(*context, green.get(), handle);
}

CUresult cuCtxWaitEvent(CUcontext context_handle, CUevent handle) {
  std::shared_ptr<Context> context;
  std::shared_ptr<GreenContext> green;
  if (CUresult r = findContextAndGreen(context_handle, context, green); r != CUDA_SUCCESS) {
    return r == CUDA_ERROR_CONTEXT_IS_DESTROYED ? CUDA_ERROR_INVALID_CONTEXT : r;
  }
  return holdAll(*context, green.get(), handle);
}

CUresult cuEventQuery(CUevent handle) {
  std::shared_ptr<EventObject> event;
  if (CUresult r = findEvent(handle, event); r != CUDA_SUCCESS) return r;
  if (event->shared != nullptr) {
    return event->shared->happened(event->shared->latest()) ? event->context->error()
                                                            : CUDA_ERROR_NOT_READY;
  }
  const auto record = event->latest();
  if (record == nullptr) return CUDA_SUCCESS;
  if (!Driver::get().scheduler().done({&record->mark, 1})) return CUDA_ERROR_NOT_READY;
  return event->context->error();
}

CUresult cuEventSynchronize(CUevent handle) {
  std::shared_ptr<EventObject> event;
  if (CUresult r = findEvent(handle, event); r != CUDA_SUCCESS) return r;
  if (event->shared != nullptr) {
    event->shared->wait(event->shared->latest(), [] { return false; });
  }
  const auto record = event->latest();
  if (record != nullptr) Driver::get().scheduler().wait({&record->mark, 1});
  Driver::get().pools().afterSynchronize();
  return event->context->error();
}

CUresult cuEventDestroy_v2(CUevent handle) {
  if (CUresult r = enter(); r != CUDA_SUCCESS) return r;
  const auto event = Driver::get().events().remove(handle);
  return event != nullptr ? event->context->error() : CUDA_ERROR_INVALID_HANDLE;
}

CUresult cuEventElapsedTime_v2(float* milliseconds, CUevent start_handle, CUevent end_handle) {
  std::shared_ptr<EventObject> start, end;
  if (CUresult r = findEvent(start_handle, start); r != CUDA_SUCCESS) return r;
  if (CUresult r = findEvent(end_handle, end); r != CUDA_SUCCESS) return r;
  if (milliseconds == nullptr) return CUDA_ERROR_INVALID_VALUE;
  const auto first = start->latest(), last = end->latest();
  if (first == nullptr || last == nullptr ||
      ((start->flags | end->flags) & CU_EVENT_DISABLE_TIMING) != 0 ||
      start->context != end->context) {
    return CUDA_ERROR_INVALID_HANDLE;
  }
  const Mark marks[] = {first->mark, last->mark};
  if (!Driver::get().scheduler().done(marks)) return CUDA_ERROR_NOT_READY;
  const auto ns = static_cast<int64_t>(last->time_ns - first->time_ns);
  *milliseconds = static_cast<float>(static_cast<double>(ns) / 1e6);
  return CUDA_SUCCESS;
}

CUresult cuEventElapsedTime(float* milliseconds, CUevent start, CUevent end) {
  return calls::cuEventElapsedTime_v2(milliseconds, start, end);
}

}  // namespace farwarp::cpu::calls
