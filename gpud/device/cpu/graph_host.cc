// Executable graphs on the CPU device: a launch queues the graph's nodes, one after the other, in a
// stream of the graph's own, between what the stream of the launch has and what it gets later.
#include <mutex>

#include "cpu_calls_gen.h"
#include "driver/graph/host.h"
#include "gpud/device/cpu/calls/enter.h"
#include "gpud/device/cpu/graph_sequence.h"
#include "gpud/device/cpu/stream_operations.h"
#include "gpud/device/cpu/thread_state.h"

namespace farwarp::cpu {
namespace {

using graph::AllocParams;
using graph::Exec;
using graph::Graph;
using graph::KernelLayout;
using graph::Node;
using graph::StreamKey;

CUcontext handleOf(const Context& context) {
  return context.handle();
}

// What runs an executable graph.
class MadeExec {
 public:
  explicit MadeExec(CUcontext context) : sequence_(context) {}

  CUresult launch(const std::shared_ptr<Exec>& exec, const StreamUse& use) {
    std::lock_guard lock(mutex_);
    const QueueScope scope;
    Scheduler& scheduler = Driver::get().scheduler();
    sequence_.follow(use.stream);
    CUresult result = sequence_.queueDefaults(*exec->graph);
    if (result == CUDA_SUCCESS) result = sequence_.queue(*exec->graph, exec);
    // Also when a node could not be queued: the others are on their way. The executable graph lives
    // until they have run.
    scheduler.submit(
        use.stream, [exec] {}, scheduler.tail(sequence_.last()));
    sequence_.follow(nullptr);
    return result;
  }

 private:
  std::mutex mutex_;  // guards the rest: launches of one executable graph do not mix
  GraphSequence sequence_;
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
    const CUcontext context =
        found->green != nullptr ? found->green->contextHandle() : handleOf(*found->context);
    key = {reinterpret_cast<uint64_t>(stream), context, 0};
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

// Never destroyed: programs destroy their graphs after our own destructors would have run.
graph::Host& graphHost() {
  static auto* host = new CpuGraphHost;
  return *host;
}

}  // namespace farwarp::cpu
