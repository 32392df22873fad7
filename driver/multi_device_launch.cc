// cuLaunchCooperativeKernelMultiDevice: the same kernel on several devices, a cooperative launch on
// each. Groups over several devices are not in CUDA 13's headers any more, so the grids need not
// run at the same time; what is kept is the order with the work of all the streams.
#include <cstring>
#include <string>
#include <vector>

#include "driver/graph/host.h"
#include "driver_calls_gen.h"
#include "graph_calls_gen.h"

namespace farwarp::graph {
namespace {

constexpr unsigned kFlagsKnown = CUDA_COOPERATIVE_LAUNCH_MULTI_DEVICE_NO_PRE_LAUNCH_SYNC |
                                 CUDA_COOPERATIVE_LAUNCH_MULTI_DEVICE_NO_POST_LAUNCH_SYNC;

// Makes a context current for as long as it lives.
class CurrentContext {
 public:
  CurrentContext(Host& host, CUcontext context) : table_(host.table()) {
    result = table_.cuCtxPushCurrent_v2(context);
  }
  ~CurrentContext() {
    CUcontext popped = nullptr;
    if (result == CUDA_SUCCESS) static_cast<void>(table_.cuCtxPopCurrent_v2(&popped));
  }
  CurrentContext(const CurrentContext&) = delete;
  CurrentContext& operator=(const CurrentContext&) = delete;
  CUresult result = CUDA_SUCCESS;

 private:
  const DriverTable& table_;
};

// One device's launch.
struct Part {
  const CUDA_LAUNCH_PARAMS& params;
  CUcontext context = nullptr;
  CUdevice device = 0;
  std::string kernel;
};

CUresult describe(Host& host, Part& part) {
  const CUstream stream = part.params.hStream;
  if (stream == nullptr || stream == CU_STREAM_LEGACY || stream == CU_STREAM_PER_THREAD) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  StreamKey key;
  FARWARP_GRAPH_TRY(host.findStream(stream, 0, key));
  part.context = key.context;
  const CurrentContext current(host, part.context);
  FARWARP_GRAPH_TRY(current.result);
  FARWARP_GRAPH_TRY(host.currentDevice(part.device));
  const char* name = nullptr;
  FARWARP_GRAPH_TRY(host.table().cuFuncGetName(&name, part.params.function));
  part.kernel = name;
  const CUDA_LAUNCH_PARAMS& p = part.params;
  return host.checkShape(p.function, {.grid = {p.gridDimX, p.gridDimY, p.gridDimZ},
                                      .block = {p.blockDimX, p.blockDimY, p.blockDimZ},
                                      .shared_dynamic = p.sharedMemBytes,
                                      .cooperative = true});
}

// The documented conditions: the same kernel and shape everywhere, each device once.
bool fit(const Part& a, const Part& b) {
  return a.device != b.device && a.kernel == b.kernel &&
         std::memcmp(&a.params.gridDimX, &b.params.gridDimX, 7 * sizeof(unsigned)) == 0;
}

// What is queued in any of the streams from now on waits for all that is queued in them.
CUresult joinStreams(Host& host, const std::vector<Part>& parts) {
  const DriverTable& table = host.table();
  std::vector<CUevent> events;
  CUresult result = CUDA_SUCCESS;
  for (const Part& part : parts) {
    const CurrentContext current(host, part.context);
    CUevent event = nullptr;
    result = current.result != CUDA_SUCCESS ? current.result
                                            : table.cuEventCreate(&event, CU_EVENT_DISABLE_TIMING);
    if (result != CUDA_SUCCESS) break;
    events.push_back(event);
    if ((result = table.cuEventRecord(event, part.params.hStream)) != CUDA_SUCCESS) break;
  }
  for (size_t i = 0; i < parts.size() && result == CUDA_SUCCESS; ++i) {
    const CurrentContext current(host, parts[i].context);
    for (size_t k = 0; k < events.size() && result == CUDA_SUCCESS; ++k) {
      if (k != i) result = table.cuStreamWaitEvent(parts[i].params.hStream, events[k], 0);
    }
  }
  // CUDA keeps an event that something waits for until it has come.
  for (CUevent event : events) static_cast<void>(table.cuEventDestroy_v2(event));
  return result;
}

}  // namespace

namespace calls {

CUresult cuLaunchCooperativeKernelMultiDevice(Host& host, CUDA_LAUNCH_PARAMS* list,
                                              unsigned int count, unsigned int flags) {
  FARWARP_GRAPH_TRY(host.enter(true));
  int devices = 0;
  FARWARP_GRAPH_TRY(host.table().cuDeviceGetCount(&devices));
  if (list == nullptr || count == 0 || count > static_cast<unsigned>(devices) ||
      (flags & ~kFlagsKnown) != 0) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  std::vector<Part> parts;
  for (unsigned i = 0; i < count; ++i) {
    parts.push_back({.params = list[i]});
    FARWARP_GRAPH_TRY(describe(host, parts.back()));
    for (unsigned k = 0; k < i; ++k) {
      if (!fit(parts[i], parts[k])) return CUDA_ERROR_INVALID_VALUE;
    }
  }
  if ((flags & CUDA_COOPERATIVE_LAUNCH_MULTI_DEVICE_NO_PRE_LAUNCH_SYNC) == 0 && count > 1) {
    FARWARP_GRAPH_TRY(joinStreams(host, parts));
  }
  for (const Part& part : parts) {
    const CurrentContext current(host, part.context);
    FARWARP_GRAPH_TRY(current.result);
    const CUDA_LAUNCH_PARAMS& p = part.params;
    FARWARP_GRAPH_TRY(host.table().cuLaunchCooperativeKernel(
        p.function, p.gridDimX, p.gridDimY, p.gridDimZ, p.blockDimX, p.blockDimY, p.blockDimZ,
        p.sharedMemBytes, p.hStream, p.kernelParams));
  }
  if ((flags & CUDA_COOPERATIVE_LAUNCH_MULTI_DEVICE_NO_POST_LAUNCH_SYNC) == 0 && count > 1) {
    return joinStreams(host, parts);
  }
  return CUDA_SUCCESS;
}

}  // namespace calls
}  // namespace farwarp::graph
