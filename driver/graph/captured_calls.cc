// What becomes of a call that is made on a stream that captures: a node of the capture's graph.
#include <cstring>
#include <optional>

#include "driver/graph/node_params.h"
#include "driver/graph/recording.h"
#include "driver_calls_gen.h"
#include "graph_calls_gen.h"

namespace farwarp::graph {
namespace {

CUstreamCaptureMode& threadMode() {
  static thread_local constinit CUstreamCaptureMode mode = CU_STREAM_CAPTURE_MODE_GLOBAL;
  return mode;
}

bool recordCopy(Host& host, CUresult& result, const CUDA_MEMCPY3D* copy, CUstream stream,
                uint16_t flags) {
  return record(host, result, stream, flags, [&](const Recording& recording, SharedParams& params) {
    if (copy == nullptr) return CUDA_ERROR_INVALID_VALUE;
    if (copy->WidthInBytes == 0 || copy->Height == 0 || copy->Depth == 0) return CUDA_SUCCESS;
    CopyParams made;
    FARWARP_GRAPH_TRY(makeCopy(host, copy, recording.key.context, made));
    params = share(std::move(made));
    return CUDA_SUCCESS;
  });
}

struct End {
  CUmemorytype type;
  uint64_t address = 0;
  CUarray array = nullptr;
  size_t offset = 0;
};

CUDA_MEMCPY3D linear(const End& to, const End& from, size_t bytes) {
  CUDA_MEMCPY3D copy{};
  copy.dstMemoryType = to.type;
  copy.dstDevice = to.address;
  copy.dstHost = reinterpret_cast<void*>(to.address);
  copy.dstArray = to.array;
  copy.dstXInBytes = to.offset;
  copy.srcMemoryType = from.type;
  copy.srcDevice = from.address;
  copy.srcHost = reinterpret_cast<const void*>(from.address);
  copy.srcArray = from.array;
  copy.srcXInBytes = from.offset;
  copy.WidthInBytes = bytes;
  copy.Height = copy.Depth = 1;
  return copy;
}

End host(const void* pointer) {
  return {CU_MEMORYTYPE_HOST, reinterpret_cast<uint64_t>(pointer)};
}
End device(CUdeviceptr address) {
  return {CU_MEMORYTYPE_DEVICE, address};
}
End unified(CUdeviceptr address) {
  return {CU_MEMORYTYPE_UNIFIED, address};
}

bool recordLinear(Host& host, CUresult& result, const End& to, const End& from, size_t bytes,
                  CUstream stream, uint16_t flags) {
  const CUDA_MEMCPY3D copy = linear(to, from, bytes);
  return recordCopy(host, result, &copy, stream, flags);
}

bool recordFill(Host& host, CUresult& result, CUdeviceptr dst, size_t pitch, unsigned value,
                unsigned element, size_t width, size_t height, CUstream stream, uint16_t flags) {
  return record(host, result, stream, flags, [&](const Recording& recording, SharedParams& params) {
    if (width == 0 || height == 0) return CUDA_SUCCESS;
    FillParams made;
    FARWARP_GRAPH_TRY(
        makeFill(host, {dst, pitch, value, element, width, height, recording.key.context}, made));
    params = share(made);
    return CUDA_SUCCESS;
  });
}

bool recordKernel(Host& host, CUresult& result, const CUDA_KERNEL_NODE_PARAMS_v3& kernel,
                  std::span<const CUlaunchAttribute> attributes, CUstream stream, uint16_t flags) {
  return record(host, result, stream, flags, [&](const Recording& recording, SharedParams& params) {
    KernelParams made;
    FARWARP_GRAPH_TRY(makeKernel(host, kernel, attributes, made));
    made.context = recording.key.context;
    params = share(std::move(made));
    return CUDA_SUCCESS;
  });
}

}  // namespace

CUresult refuseOnStream(Host& host, CUstream stream, uint16_t record_flags) {
  StreamKey key;
  if (host.enter(true) != CUDA_SUCCESS ||
      host.findStream(stream, record_flags, key) != CUDA_SUCCESS) {
    return CUDA_SUCCESS;
  }
  std::lock_guard lock(host.state.mutex);
  return host.state.captures.use(key);
}

CUresult refuseUnsafe(Host& host) {
  const uint64_t thread = host.currentThread();
  std::lock_guard lock(host.state.mutex);
  return host.state.captures.useUnsafe(thread, threadMode());
}

namespace calls {

CUresult cuThreadExchangeStreamCaptureMode(Host& host, CUstreamCaptureMode* mode) {
  FARWARP_GRAPH_TRY(host.enter(false));
  if (mode == nullptr || static_cast<unsigned>(*mode) > CU_STREAM_CAPTURE_MODE_RELAXED) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  std::swap(threadMode(), *mode);
  return CUDA_SUCCESS;
}

}  // namespace calls

namespace captured {

bool cuLaunchKernel(Host& host, CUresult& result, CUfunction f, unsigned int gx, unsigned int gy,
                    unsigned int gz, unsigned int bx, unsigned int by, unsigned int bz,
                    unsigned int shared, CUstream stream, void** params, void** extra,
                    uint16_t flags) {
  return recordKernel(host, result,
                      {f, gx, gy, gz, bx, by, bz, shared, params, extra, nullptr, nullptr}, {},
                      stream, flags);
}

bool cuLaunchCooperativeKernel(Host& host, CUresult& result, CUfunction f, unsigned int gx,
                               unsigned int gy, unsigned int gz, unsigned int bx, unsigned int by,
                               unsigned int bz, unsigned int shared, CUstream stream, void** params,
                               uint16_t flags) {
  CUlaunchAttribute cooperative;
  std::memset(&cooperative, 0, sizeof cooperative);
  cooperative.id = CU_LAUNCH_ATTRIBUTE_COOPERATIVE;
  cooperative.value.cooperative = 1;
  return recordKernel(host, result,
                      {f, gx, gy, gz, bx, by, bz, shared, params, nullptr, nullptr, nullptr},
                      {&cooperative, 1}, stream, flags);
}

bool cuLaunchKernelEx(Host& host, CUresult& result, const CUlaunchConfig* config, CUfunction f,
                      void** params, void** extra, uint16_t flags) {
  if (config == nullptr || (config->numAttrs != 0 && config->attrs == nullptr)) return false;
  return recordKernel(host, result,
                      {f, config->gridDimX, config->gridDimY, config->gridDimZ, config->blockDimX,
                       config->blockDimY, config->blockDimZ, config->sharedMemBytes, params, extra,
                       nullptr, nullptr},
                      {config->attrs, config->numAttrs}, config->hStream, flags);
}

bool cuMemcpyAsync(Host& h, CUresult& result, CUdeviceptr dst, CUdeviceptr src, size_t bytes,
                   CUstream stream, uint16_t flags) {
  return recordLinear(h, result, unified(dst), unified(src), bytes, stream, flags);
}

bool cuMemcpyHtoDAsync_v2(Host& h, CUresult& result, CUdeviceptr dst, const void* src, size_t bytes,
                          CUstream stream, uint16_t flags) {
  return recordLinear(h, result, device(dst), host(src), bytes, stream, flags);
}

bool cuMemcpyDtoHAsync_v2(Host& h, CUresult& result, void* dst, CUdeviceptr src, size_t bytes,
                          CUstream stream, uint16_t flags) {
  return recordLinear(h, result, host(dst), device(src), bytes, stream, flags);
}

bool cuMemcpyDtoDAsync_v2(Host& h, CUresult& result, CUdeviceptr dst, CUdeviceptr src, size_t bytes,
                          CUstream stream, uint16_t flags) {
  return recordLinear(h, result, device(dst), device(src), bytes, stream, flags);
}

bool cuMemcpyPeerAsync(Host& h, CUresult& result, CUdeviceptr dst, CUcontext, CUdeviceptr src,
                       CUcontext, size_t bytes, CUstream stream, uint16_t flags) {
  return recordLinear(h, result, device(dst), device(src), bytes, stream, flags);
}

bool cuMemcpyHtoAAsync_v2(Host& h, CUresult& result, CUarray dst, size_t offset, const void* src,
                          size_t bytes, CUstream stream, uint16_t flags) {
  return recordLinear(h, result, {CU_MEMORYTYPE_ARRAY, 0, dst, offset}, host(src), bytes, stream,
                      flags);
}

bool cuMemcpyAtoHAsync_v2(Host& h, CUresult& result, void* dst, CUarray src, size_t offset,
                          size_t bytes, CUstream stream, uint16_t flags) {
  return recordLinear(h, result, host(dst), {CU_MEMORYTYPE_ARRAY, 0, src, offset}, bytes, stream,
                      flags);
}

bool cuMemcpy3DAsync_v2(Host& host, CUresult& result, const CUDA_MEMCPY3D* copy, CUstream stream,
                        uint16_t flags) {
  return recordCopy(host, result, copy, stream, flags);
}

bool cuMemcpy2DAsync_v2(Host& host, CUresult& result, const CUDA_MEMCPY2D* copy, CUstream stream,
                        uint16_t flags) {
  if (copy == nullptr) return recordCopy(host, result, nullptr, stream, flags);
  CUDA_MEMCPY3D whole{};
  whole.srcXInBytes = copy->srcXInBytes;
  whole.srcY = copy->srcY;
  whole.srcMemoryType = copy->srcMemoryType;
  whole.srcHost = copy->srcHost;
  whole.srcDevice = copy->srcDevice;
  whole.srcArray = copy->srcArray;
  whole.srcPitch = copy->srcPitch;
  whole.dstXInBytes = copy->dstXInBytes;
  whole.dstY = copy->dstY;
  whole.dstMemoryType = copy->dstMemoryType;
  whole.dstHost = copy->dstHost;
  whole.dstDevice = copy->dstDevice;
  whole.dstArray = copy->dstArray;
  whole.dstPitch = copy->dstPitch;
  whole.WidthInBytes = copy->WidthInBytes;
  whole.Height = copy->Height;
  whole.Depth = 1;
  return recordCopy(host, result, &whole, stream, flags);
}

bool cuMemsetD8Async(Host& host, CUresult& result, CUdeviceptr dst, unsigned char value, size_t n,
                     CUstream stream, uint16_t flags) {
  return recordFill(host, result, dst, 0, value, 1, n, 1, stream, flags);
}
bool cuMemsetD16Async(Host& host, CUresult& result, CUdeviceptr dst, unsigned short value, size_t n,
                      CUstream stream, uint16_t flags) {
  return recordFill(host, result, dst, 0, value, 2, n, 1, stream, flags);
}
bool cuMemsetD32Async(Host& host, CUresult& result, CUdeviceptr dst, unsigned int value, size_t n,
                      CUstream stream, uint16_t flags) {
  return recordFill(host, result, dst, 0, value, 4, n, 1, stream, flags);
}
bool cuMemsetD2D8Async(Host& host, CUresult& result, CUdeviceptr dst, size_t pitch,
                       unsigned char value, size_t width, size_t height, CUstream stream,
                       uint16_t flags) {
  return recordFill(host, result, dst, pitch, value, 1, width, height, stream, flags);
}
bool cuMemsetD2D16Async(Host& host, CUresult& result, CUdeviceptr dst, size_t pitch,
                        unsigned short value, size_t width, size_t height, CUstream stream,
                        uint16_t flags) {
  return recordFill(host, result, dst, pitch, value, 2, width, height, stream, flags);
}
bool cuMemsetD2D32Async(Host& host, CUresult& result, CUdeviceptr dst, size_t pitch,
                        unsigned int value, size_t width, size_t height, CUstream stream,
                        uint16_t flags) {
  return recordFill(host, result, dst, pitch, value, 4, width, height, stream, flags);
}

bool cuLaunchHostFunc(Host& host, CUresult& result, CUstream stream, CUhostFn function, void* data,
                      uint16_t flags) {
  return record(host, result, stream, flags, [&](const Recording&, SharedParams& params) {
    if (function == nullptr) return CUDA_ERROR_INVALID_VALUE;
    params = share(HostParams{function, data});
    return CUDA_SUCCESS;
  });
}

bool cuGraphLaunch(Host& host, CUresult& result, CUgraphExec handle, CUstream stream,
                   uint16_t flags) {
  return record(host, result, stream, flags, [&](const Recording&, SharedParams& params) {
    std::lock_guard lock(host.state.mutex);
    const auto exec = host.state.find(handle);
    if (exec == nullptr) return CUDA_ERROR_INVALID_VALUE;
    params = share(ChildParams{exec->graph->clone()});
    return CUDA_SUCCESS;
  });
}

// --- events ---

bool cuEventRecordWithFlags(Host& host, CUresult& result, CUevent event, CUstream stream,
                            unsigned int event_flags, uint16_t flags) {
  if (host.checkEvent(event) != CUDA_SUCCESS || (event_flags & ~1u) != 0) return false;
  Recording recording;
  if (!startRecording(host, result, stream, flags, recording)) {
    std::lock_guard lock(host.state.mutex);
    host.state.captures.forget(event);
    return false;
  }
  if (result != CUDA_SUCCESS) return true;
  if ((event_flags & CU_EVENT_RECORD_EXTERNAL) != 0) {
    result = addNode(host, recording, share(EventParams{event, true}));
    return true;
  }
  std::lock_guard lock(host.state.mutex);
  const auto captured = recording.sequence->streams.find(recording.key);
  if (captured == recording.sequence->streams.end()) return true;
  host.state.captures.record(event, {recording.sequence, captured->second.tips});
  return true;
}

bool cuEventRecord(Host& host, CUresult& result, CUevent event, CUstream stream, uint16_t flags) {
  return captured::cuEventRecordWithFlags(host, result, event, stream, 0, flags);
}

namespace {

CUresult waitInCapture(Captures& captures, Sequence& sequence, const StreamKey& key,
                       const Captures::Event* event) {
  if (sequence.invalidated) return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
  if (event == nullptr || event->sequence->over) {
    sequence.invalidated = true;
    return CUDA_ERROR_STREAM_CAPTURE_ISOLATION;
  }
  if (event->sequence.get() != &sequence) {
    sequence.invalidated = event->sequence->invalidated = true;
    return CUDA_ERROR_STREAM_CAPTURE_MERGE;
  }
  static_cast<void>(captures);
  std::vector<Dependency>& tips = sequence.streams[key].tips;
  for (const Dependency& tip : event->tips) {
    bool known = false;
    for (const Dependency& own : tips) known |= own.node == tip.node;
    if (!known) tips.push_back(tip);
  }
  return CUDA_SUCCESS;
}

}  // namespace

bool cuStreamWaitEvent(Host& host, CUresult& result, CUstream stream, CUevent event,
                       unsigned int wait_flags, uint16_t flags) {
  if (host.checkEvent(event) != CUDA_SUCCESS || (wait_flags & ~1u) != 0) return false;
  StreamKey key;
  if (host.enter(true) != CUDA_SUCCESS || host.findStream(stream, flags, key) != CUDA_SUCCESS) {
    return false;
  }
  bool blocking = true;
  if (CUresult r = host.isBlocking(key, blocking); r != CUDA_SUCCESS) {
    result = r;
    return true;
  }
  std::unique_lock lock(host.state.mutex);
  Captures& captures = host.state.captures;
  const auto sequence = captures.find(key);
  const Captures::Event* found = captures.find(event);
  if (sequence != nullptr) {
    if ((wait_flags & CU_EVENT_WAIT_EXTERNAL) == 0) {
      result = waitInCapture(captures, *sequence, key, found);
      return true;
    }
    lock.unlock();
    result = addNode(host, {key, sequence}, share(EventParams{event, false}));
    return true;
  }
  if (found == nullptr) {
    result = key.legacy() ? captures.useLegacy(key.context) : CUDA_SUCCESS;
    return result != CUDA_SUCCESS;
  }
  // The stream joins the capture that the event comes from.
  if (found->sequence->over) {
    result = CUDA_ERROR_CAPTURED_EVENT;
  } else if (found->sequence->invalidated) {
    result = CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
  } else if (key.legacy()) {
    found->sequence->invalidated = true;
    result = CUDA_ERROR_STREAM_CAPTURE_IMPLICIT;
  } else {
    result = CUDA_SUCCESS;
    captures.join(found->sequence, key, {found->tips, blocking, {}, {}});
  }
  return true;
}

namespace {

// Asking about an event that was last recorded in a capture.
bool refuseCaptured(Host& host, CUresult& result, CUevent event) {
  std::lock_guard lock(host.state.mutex);
  const Captures::Event* found = host.state.captures.find(event);
  if (found == nullptr) return false;
  if (!found->sequence->over) found->sequence->invalidated = true;
  result = CUDA_ERROR_CAPTURED_EVENT;
  return true;
}

}  // namespace

bool cuEventQuery(Host& host, CUresult& result, CUevent event) {
  if (refuseCaptured(host, result, event)) return true;
  result = refuseUnsafe(host);
  return result != CUDA_SUCCESS;
}
bool cuEventSynchronize(Host& host, CUresult& result, CUevent event) {
  if (refuseCaptured(host, result, event)) return true;
  result = refuseUnsafe(host);
  return result != CUDA_SUCCESS;
}
bool cuEventElapsedTime(Host& host, CUresult& result, float*, CUevent start, CUevent end) {
  return refuseCaptured(host, result, start) || refuseCaptured(host, result, end);
}
bool cuEventElapsedTime_v2(Host& host, CUresult& result, float*, CUevent start, CUevent end) {
  return refuseCaptured(host, result, start) || refuseCaptured(host, result, end);
}
bool cuEventDestroy_v2(Host& host, CUresult&, CUevent event) {
  std::lock_guard lock(host.state.mutex);
  host.state.captures.forget(event);
  return false;
}

bool cuCtxSynchronize(Host& host, CUresult& result) {
  const CUcontext context = host.currentContext();
  std::lock_guard lock(host.state.mutex);
  result = host.state.captures.useContext(context);
  return result != CUDA_SUCCESS;
}
bool cuCtxSynchronize_v2(Host& host, CUresult& result, CUcontext context) {
  if (context == nullptr) context = host.currentContext();
  std::lock_guard lock(host.state.mutex);
  result = host.state.captures.useContext(context);
  return result != CUDA_SUCCESS;
}
bool cuCtxRecordEvent(Host& host, CUresult& result, CUcontext context, CUevent event) {
  if (captured::cuCtxSynchronize_v2(host, result, context)) return true;
  std::lock_guard lock(host.state.mutex);
  host.state.captures.forget(event);  // it means this recording now
  return false;
}
bool cuCtxWaitEvent(Host& host, CUresult& result, CUcontext context, CUevent event) {
  {
    std::lock_guard lock(host.state.mutex);
    if (host.state.captures.find(event) != nullptr) {
      result = CUDA_ERROR_CAPTURED_EVENT;
      return true;
    }
  }
  return captured::cuCtxSynchronize_v2(host, result, context);
}

// A green context is asked about as the context that cuCtxFromGreenCtx makes of it.
bool cuGreenCtxRecordEvent(Host& host, CUresult& result, CUgreenCtx green, CUevent event) {
  CUcontext context = nullptr;
  result = host.table().cuCtxFromGreenCtx(&context, green);
  return result != CUDA_SUCCESS || captured::cuCtxRecordEvent(host, result, context, event);
}
bool cuGreenCtxWaitEvent(Host& host, CUresult& result, CUgreenCtx green, CUevent event) {
  CUcontext context = nullptr;
  result = host.table().cuCtxFromGreenCtx(&context, green);
  return result != CUDA_SUCCESS || captured::cuCtxWaitEvent(host, result, context, event);
}

}  // namespace captured
}  // namespace farwarp::graph
