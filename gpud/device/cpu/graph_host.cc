// Executable graphs on the CPU device: a launch queues the graph's nodes, one after the other, in a
// stream of the graph's own, between what the stream of the launch has and what it gets later.
#include <array>
#include <map>
#include <mutex>

#include "cpu_calls_gen.h"
#include "driver/graph/host.h"
#include "gpud/device/cpu/calls/enter.h"
#include "gpud/device/cpu/graph_launch.h"
#include "gpud/device/cpu/launch.h"
#include "gpud/device/cpu/stream_operations.h"
#include "gpud/device/cpu/thread_state.h"

namespace farwarp::cpu {
namespace {

thread_local constinit bool t_queues_graph = false;

using graph::AllocParams;
using graph::Exec;
using graph::Graph;
using graph::KernelLayout;
using graph::Node;
using graph::StreamKey;

CUcontext handleOf(const Context& context) {
  return context.handle();
}

// Queues nodes on one thread: the context of each is current while it is queued, and host memory is
// what it says it is until the node runs.
class QueueScope {
 public:
  QueueScope() : depth_(threadState().depth), before_(threadState().current()) {
    t_queues_graph = true;
  }
  ~QueueScope() {
    t_queues_graph = false;
    threadState().depth = depth_;
    if (depth_ != 0) threadState().stack[depth_ - 1] = before_;
  }
  QueueScope(const QueueScope&) = delete;
  QueueScope& operator=(const QueueScope&) = delete;

 private:
  const int depth_;
  const CUcontext before_;
};

// What runs an executable graph: a stream in each context that its nodes are in.
class MadeExec {
 public:
  explicit MadeExec(CUcontext context) : context_(context) {}
  ~MadeExec() {
    for (const auto& [context, stream] : streams_) {
      if (const auto closed = Driver::get().streams().remove(stream)) {
        Driver::get().scheduler().closeStream(closed->stream);
      }
    }
  }
  MadeExec(const MadeExec&) = delete;
  MadeExec& operator=(const MadeExec&) = delete;

  CUresult launch(const std::shared_ptr<Exec>& exec, const StreamUse& use) {
    std::lock_guard lock(mutex_);
    QueueScope scope;
    Scheduler& scheduler = Driver::get().scheduler();
    last_ = use.stream;
    const CUresult result = queue(*exec->graph);
    // Also when a node could not be queued: the others are on their way. The executable graph lives
    // until they have run.
    scheduler.submit(
        use.stream, [exec] {}, scheduler.tail(last_));
    last_ = nullptr;
    return result;
  }

 private:
  // The stream for a node in `context`, behind the node before it. The context becomes current.
  CUresult enterContext(CUcontext context, CUstream& stream) {
    if (context == nullptr) context = context_;
    threadState().setCurrent(context);
    CUstream& mine = streams_[context];
    if (mine == nullptr || Driver::get().streams().find(mine) == nullptr) {
      FARWARP_GRAPH_TRY(calls::cuStreamCreateWithPriority(&mine, CU_STREAM_NON_BLOCKING, 0));
    }
    stream = mine;
    const auto queue = Driver::get().streams().find(mine)->stream;
    if (queue != last_) {
      Scheduler& scheduler = Driver::get().scheduler();
      scheduler.submit(
          queue, [] {}, scheduler.tail(last_));
      last_ = queue;
    }
    return CUDA_SUCCESS;
  }

  CUresult queue(const Graph& graph) {
    std::vector<Node*> ordered;
    if (!graph.order(ordered)) return CUDA_ERROR_INVALID_VALUE;
    for (const Node* node : ordered) {
      if (node->enabled) FARWARP_GRAPH_TRY(queue(*node));
    }
    return CUDA_SUCCESS;
  }

  CUresult queue(const Node& node) {
    const auto params = node.params;  // may be replaced while they are used
    CUstream stream = nullptr;
    if (const auto* kernel = std::get_if<graph::KernelParams>(params.get())) {
      FARWARP_GRAPH_TRY(enterContext(kernel->context, stream));
      return queueKernel(*kernel, stream);
    }
    if (const auto* copy = std::get_if<graph::CopyParams>(params.get())) {
      FARWARP_GRAPH_TRY(enterContext(copy->context, stream));
      return calls::cuMemcpy3DAsync_v2(&copy->copy, stream, 0);
    }
    if (const auto* fill = std::get_if<graph::FillParams>(params.get())) {
      FARWARP_GRAPH_TRY(enterContext(fill->fill.ctx, stream));
      return queueFill(fill->fill, stream);
    }
    if (const auto* event = std::get_if<graph::EventParams>(params.get())) {
      const auto object = Driver::get().events().find(event->event);
      if (object == nullptr) return CUDA_ERROR_INVALID_HANDLE;
      FARWARP_GRAPH_TRY(enterContext(handleOf(*object->context), stream));
      return event->record ? calls::cuEventRecord(event->event, stream, 0)
                           : calls::cuStreamWaitEvent(stream, event->event, 0, 0);
    }
    if (const auto* child = std::get_if<graph::ChildParams>(params.get())) {
      return queue(*child->graph);
    }
    if (const auto* function = std::get_if<graph::HostParams>(params.get())) {
      FARWARP_GRAPH_TRY(enterContext(nullptr, stream));
      return calls::cuLaunchHostFunc(stream, function->function, function->data, 0);
    }
    if (const auto* batch = std::get_if<graph::BatchParams>(params.get())) {
      FARWARP_GRAPH_TRY(enterContext(batch->context, stream));
      return queueOperations(batch->operations, stream, 0);
    }
    return CUDA_SUCCESS;
  }

  static CUresult queueKernel(const graph::KernelParams& kernel, CUstream stream) {
    size_t bytes = kernel.packed.size();
    std::array<void*, 5> extra = {CU_LAUNCH_PARAM_BUFFER_POINTER,
                                  const_cast<std::byte*>(kernel.packed.data()),
                                  CU_LAUNCH_PARAM_BUFFER_SIZE, &bytes, CU_LAUNCH_PARAM_END};
    return cpu::launch({.function = kernel.launched(),
                        .shape = kernel.shape,
                        .stream = stream,
                        .extra = bytes == 0 ? nullptr : extra.data()});
  }

  static CUresult queueFill(const CUDA_MEMSET_NODE_PARAMS_v2& fill, CUstream stream) {
    switch (fill.elementSize) {
      case 1:
        return calls::cuMemsetD2D8Async(fill.dst, fill.pitch, static_cast<uint8_t>(fill.value),
                                        fill.width, fill.height, stream, 0);
      case 2:
        return calls::cuMemsetD2D16Async(fill.dst, fill.pitch, static_cast<uint16_t>(fill.value),
                                         fill.width, fill.height, stream, 0);
      default:
        return calls::cuMemsetD2D32Async(fill.dst, fill.pitch, fill.value, fill.width, fill.height,
                                         stream, 0);
    }
  }

  const CUcontext context_;  // where the graph was made
  std::mutex mutex_;         // guards the rest: launches of one executable graph do not mix
  std::map<CUcontext, CUstream> streams_;
  std::shared_ptr<Stream> last_;  // where the node before was queued
};

class CpuGraphHost final : public graph::Host {
 public:
  const DriverTable& table() override { return kCpuTable; }
  CUresult enter(bool needs_context) override {
    if (!needs_context) return cpu::enter();
    std::shared_ptr<Context> context;
    return cpu::enter(context);
  }
  CUcontext currentContext() override { return threadState().current(); }
  uint64_t currentThread() override { return Driver::get().threadNumberForStreams(); }
  CUresult currentDevice(CUdevice& device) override {
    std::shared_ptr<Context> context;
    FARWARP_GRAPH_TRY(cpu::enter(context));
    device = context->device().ordinal();
    return CUDA_SUCCESS;
  }
  CUresult checkDevice(CUdevice device) override {
    return Driver::get().device(device) != nullptr ? CUDA_SUCCESS : CUDA_ERROR_INVALID_DEVICE;
  }

  CUresult findStream(CUstream stream, uint16_t record_flags, StreamKey& key) override {
    const bool per_thread = stream == CU_STREAM_PER_THREAD ||
                            (stream == nullptr && (record_flags & kPerThreadForm) != 0);
    if (per_thread || stream == nullptr || stream == CU_STREAM_LEGACY) {
      key = {per_thread ? 2u : 1u, currentContext(), per_thread ? currentThread() : 0};
      return CUDA_SUCCESS;
    }
    const auto found = Driver::get().streams().find(stream);
    if (found == nullptr) return CUDA_ERROR_INVALID_HANDLE;
    key = {reinterpret_cast<uint64_t>(stream), handleOf(*found->context), 0};
    return CUDA_SUCCESS;
  }
  CUresult isBlocking(const StreamKey& key, bool& blocking) override {
    blocking = true;
    if (key.stream <= 2) return CUDA_SUCCESS;
    const auto found = Driver::get().streams().find(reinterpret_cast<CUstream>(key.stream));
    if (found == nullptr) return CUDA_ERROR_INVALID_HANDLE;
    blocking = (found->flags & CU_STREAM_NON_BLOCKING) == 0;
    return CUDA_SUCCESS;
  }
  CUresult checkEvent(CUevent event) override {
    return Driver::get().events().find(event) != nullptr ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
  }
  CUresult checkContext(CUcontext& context) override {
    if (context == nullptr) context = currentContext();
    const auto found = context == nullptr ? nullptr : Driver::get().contexts().find(context);
    return found != nullptr ? CUDA_SUCCESS : CUDA_ERROR_INVALID_CONTEXT;
  }

  CUresult kernelLayout(CUfunction handle, KernelLayout& layout) override {
    const auto function = Driver::get().functions().find(handle);
    if (function == nullptr) return CUDA_ERROR_INVALID_HANDLE;
    layout.bytes = static_cast<uint32_t>(function->info().param_bytes);
    for (const auto& param : function->info().params) {
      layout.params.push_back(
          {static_cast<uint32_t>(param.offset), static_cast<uint32_t>(param.size)});
    }
    return CUDA_SUCCESS;
  }
  CUresult checkShape(CUfunction handle, const LaunchShape& shape) override {
    std::shared_ptr<Context> context;
    FARWARP_GRAPH_TRY(cpu::enter(context));
    const auto function = Driver::get().functions().find(handle);
    if (function == nullptr) return CUDA_ERROR_INVALID_HANDLE;
    const Device& device = context->device();
    return checkLaunch(device.limits(), function->limits(device), shape);
  }

  CUresult checkOperand(CUdeviceptr address, size_t bytes) override {
    return Driver::get().memory().covers(address, bytes) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
  }
  CUresult operate(CUstream stream, uint16_t record_flags,
                   std::span<const CUstreamBatchMemOpParams> operations) override {
    return queueOperations(operations, stream, record_flags);
  }
  CUresult allocate(const AllocParams& wanted, CUdeviceptr& address,
                    std::shared_ptr<void>& memory) override {
    std::shared_ptr<Context> context;
    FARWARP_GRAPH_TRY(cpu::enter(context));
    // Memory of another device than the current one would need a context there.
    if (wanted.properties.location.id != context->device().ordinal())
      return CUDA_ERROR_NOT_SUPPORTED;
    FARWARP_GRAPH_TRY(calls::cuMemAlloc_v2(&address, wanted.bytes));
    Allocation made;
    Driver::get().memory().find(address, made);
    memory = std::shared_ptr<void>(nullptr, [made](void*) {
      if (const auto owner = Driver::get().contextByNumber(made.context)) owner->synchronize();
      Driver::get().memory().release(made.begin, MemoryKind::device, made.number);
    });
    return CUDA_SUCCESS;
  }

  CUresult instantiate(Exec& exec) override {
    exec.made = std::make_shared<MadeExec>(currentContext());
    std::lock_guard lock(state.mutex);
    exec.handle = reinterpret_cast<CUgraphExec>(state.nextHandle());
    return CUDA_SUCCESS;
  }
  CUresult update(Exec&, std::span<Node* const>) override { return CUDA_SUCCESS; }
  CUresult launch(const std::shared_ptr<Exec>& exec, CUstream stream,
                  uint16_t record_flags) override {
    StreamUse use;
    FARWARP_GRAPH_TRY(enterStream(stream, record_flags, use));
    return static_cast<MadeExec*>(exec->made.get())->launch(exec, use);
  }
  CUresult upload(Exec&, CUstream stream, uint16_t record_flags) override {
    StreamUse use;
    return enterStream(stream, record_flags, use);
  }
  CUresult destroy(Exec&) override { return CUDA_SUCCESS; }
};

}  // namespace

bool queuesGraph() {
  return t_queues_graph;
}

// Never destroyed: programs destroy their graphs after our own destructors would have run.
graph::Host& graphHost() {
  static auto* host = new CpuGraphHost;
  return *host;
}

}  // namespace farwarp::cpu
