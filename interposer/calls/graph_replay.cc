#include "interposer/calls/graph_replay.h"

#include <array>

#include "driver/copy_shape.h"
#include "interposer/calls/body.h"

namespace farwarp::client {
namespace {

class Replay {
 public:
  Replay(graph::Host& host, CUstream stream) : host_(host), stream_(stream) {}

  CUresult run(const graph::Graph& graph) {
    std::vector<graph::Node*> ordered;
    if (!graph.order(ordered)) return CUDA_ERROR_INVALID_VALUE;
    for (const graph::Node* node : ordered) {
      if (node->enabled) FARWARP_TRY(run(*node));
    }
    return CUDA_SUCCESS;
  }

 private:
  CUresult run(const graph::Node& node) {
    if (const auto* kernel = node.as<graph::KernelParams>()) return launch(*kernel);
    if (const auto* copy = node.as<graph::CopyParams>()) return this->copy(*copy);
    if (const auto* fill = node.as<graph::FillParams>()) return this->fill(fill->fill);
    if (const auto* child = node.as<graph::ChildParams>()) return run(*child->graph);
    if (const auto* batch = node.as<graph::BatchParams>()) {
      FARWARP_TRY(checkContext(batch->context));
      return host_.operate(stream_, 0, batch->operations);
    }
    if (const auto* event = node.as<graph::EventParams>()) {
      return event->record ? kClientTable.cuEventRecord(event->event, stream_)
                           : kClientTable.cuStreamWaitEvent(stream_, event->event, 0);
    }
    if (const auto* function = node.as<graph::HostParams>()) {
      behind_function_ = true;
      return kClientTable.cuLaunchHostFunc(stream_, function->function, function->data);
    }
    return CUDA_SUCCESS;
  }

  CUresult checkContext(CUcontext context) {
    return context == nullptr || context == host_.currentContext() ? CUDA_SUCCESS
                                                                   : CUDA_ERROR_NOT_SUPPORTED;
  }

  CUresult launch(const graph::KernelParams& kernel) {
    FARWARP_TRY(checkContext(kernel.context));
    CUlaunchConfig config{};
    config.gridDimX = kernel.shape.grid[0];
    config.gridDimY = kernel.shape.grid[1];
    config.gridDimZ = kernel.shape.grid[2];
    config.blockDimX = kernel.shape.block[0];
    config.blockDimY = kernel.shape.block[1];
    config.blockDimZ = kernel.shape.block[2];
    config.sharedMemBytes = kernel.shape.shared_dynamic;
    config.hStream = stream_;
    config.attrs = const_cast<CUlaunchAttribute*>(kernel.attributes.data());
    config.numAttrs = static_cast<unsigned>(kernel.attributes.size());
    size_t bytes = kernel.packed.size();
    std::array<void*, 5> extra = {CU_LAUNCH_PARAM_BUFFER_POINTER,
                                  const_cast<std::byte*>(kernel.packed.data()),
                                  CU_LAUNCH_PARAM_BUFFER_SIZE, &bytes, CU_LAUNCH_PARAM_END};
    return kClientTable.cuLaunchKernelEx(&config, kernel.launched(), nullptr,
                                         bytes == 0 ? nullptr : extra.data());
  }

  CUresult copy(const graph::CopyParams& copy) {
    FARWARP_TRY(checkContext(copy.context));
    CopyRequest request;
    FARWARP_TRY(describeCopy(copy.copy, request));
    const bool reads_host = request.from.type != CU_MEMORYTYPE_ARRAY &&
                            !Client::get().allocations.findDevice(request.from.rows.address);
    // The function may still be writing it.
    if (behind_function_ && reads_host) FARWARP_TRY(kClientTable.cuStreamSynchronize(stream_));
    return kClientTable.cuMemcpy3DAsync_v2(&copy.copy, stream_);
  }

  CUresult fill(const CUDA_MEMSET_NODE_PARAMS_v2& fill) {
    FARWARP_TRY(checkContext(fill.ctx));
    switch (fill.elementSize) {
      case 1:
        return kClientTable.cuMemsetD2D8Async(fill.dst, fill.pitch,
                                              static_cast<uint8_t>(fill.value), fill.width,
                                              fill.height, stream_);
      case 2:
        return kClientTable.cuMemsetD2D16Async(fill.dst, fill.pitch,
                                               static_cast<uint16_t>(fill.value), fill.width,
                                               fill.height, stream_);
      default:
        return kClientTable.cuMemsetD2D32Async(fill.dst, fill.pitch, fill.value, fill.width,
                                               fill.height, stream_);
    }
  }

  graph::Host& host_;
  const CUstream stream_;
  bool behind_function_ = false;
};

}  // namespace

CUresult replayGraph(const graph::Graph& graph, graph::Host& host, CUstream stream,
                     uint16_t record_flags) {
  const bool own = stream == nullptr && (record_flags & wire::kPerThreadDefaultStream) != 0;
  return Replay(host, own ? CU_STREAM_PER_THREAD : stream).run(graph);
}

}  // namespace farwarp::client
