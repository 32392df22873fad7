#include "gpud/device/cpu/graph_sequence.h"

#include <array>

#include "cpu_calls_gen.h"
#include "gpud/device/cpu/calls/enter.h"
#include "gpud/device/cpu/graph_launch.h"
#include "gpud/device/cpu/launch.h"
#include "gpud/device/cpu/stream_operations.h"
#include "gpud/device/cpu/thread_state.h"

namespace farwarp::cpu {
namespace {

using graph::Exec;
using graph::Graph;
using graph::Node;

thread_local constinit bool t_queues_graph = false;

CUresult queueKernel(const graph::KernelParams& kernel, CUstream stream) {
  size_t bytes = kernel.packed.size();
  std::array<void*, 5> extra = {CU_LAUNCH_PARAM_BUFFER_POINTER,
                                const_cast<std::byte*>(kernel.packed.data()),
                                CU_LAUNCH_PARAM_BUFFER_SIZE, &bytes, CU_LAUNCH_PARAM_END};
  return cpu::launch({.function = kernel.launched(),
                      .shape = kernel.shape,
                      .stream = stream,
                      .extra = bytes == 0 ? nullptr : extra.data()});
}

CUresult queueFill(const CUDA_MEMSET_NODE_PARAMS_v2& fill, CUstream stream) {
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

// A conditional node in one launch of its graph. When the stream gets to it, it asks its condition
// and queues the body that is chosen in streams of its own, and after the body of a loop asks
// again. What comes after the node waits for the gate.
class ConditionalRun : public std::enable_shared_from_this<ConditionalRun> {
 public:
  ConditionalRun(std::shared_ptr<Exec> exec, graph::SharedParams params,
                 std::shared_ptr<Stream> gate)
      : exec_(std::move(exec)),
        params_(std::move(params)),
        node_(std::get<graph::ConditionalParams>(*params_)),
        gate_(std::move(gate)),
        sequence_(node_.condition->context) {}

  // On a thread of the scheduler, which may wait in here when a body has more nodes than a stream
  // takes.
  void step() noexcept {
    if (!queueBody()) Driver::get().scheduler().openGate(gate_);
  }

 private:
  // False when nothing runs any more: no body is chosen, or the context has met an error.
  bool queueBody() {
    const auto context = Driver::get().contexts().find(node_.condition->context);
    if (over_ || context == nullptr || context->error() != CUDA_SUCCESS) return false;
    const Graph* body = node_.chosen(node_.condition->value);
    if (body == nullptr) return false;
    const QueueScope scope;
    sequence_.follow(nullptr);
    CUstream stream = nullptr;
    if (sequence_.enterContext(node_.condition->context, stream) != CUDA_SUCCESS) return false;
    const CUresult result = sequence_.queue(*body, exec_);
    over_ = result != CUDA_SUCCESS || node_.type != CU_GRAPH_COND_TYPE_WHILE;
    if (result != CUDA_SUCCESS) context->fail(result);  // its launch has returned long ago
    Driver::get().scheduler().submit(sequence_.last(),
                                     [self = shared_from_this()] { self->step(); });
    return true;
  }

  const std::shared_ptr<Exec> exec_;  // keeps the graph
  const graph::SharedParams params_;
  const graph::ConditionalParams& node_;
  const std::shared_ptr<Stream> gate_;
  GraphSequence sequence_;
  bool over_ = false;  // the body that is queued is the last
};

void collectConditions(const Graph& graph,
                       std::vector<std::shared_ptr<graph::Conditional>>& conditions) {
  for (const auto& node : graph.nodes) {
    if (const auto* conditional = node->as<graph::ConditionalParams>()) {
      conditions.push_back(conditional->condition);
    }
    for (const auto& inner : graphsIn(*node->params)) collectConditions(*inner, conditions);
  }
}

}  // namespace

bool queuesGraph() {
  return t_queues_graph;
}

QueueScope::QueueScope() : depth_(threadState().depth), before_(threadState().current()) {
  t_queues_graph = true;
}

QueueScope::~QueueScope() {
  t_queues_graph = false;
  threadState().depth = depth_;
  if (depth_ != 0) threadState().stack[depth_ - 1] = before_;
}

GraphSequence::~GraphSequence() {
  for (const auto& [context, stream] : streams_) {
    if (const auto closed = Driver::get().streams().remove(stream)) {
      Driver::get().scheduler().closeStream(closed->stream);
    }
  }
}

CUresult GraphSequence::enterContext(CUcontext context, CUstream& stream) {
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
    if (last_ != nullptr) {
      scheduler.submit(
          queue, [] {}, scheduler.tail(last_));
    }
    last_ = queue;
  }
  return CUDA_SUCCESS;
}

CUresult GraphSequence::queue(const Graph& graph, const std::shared_ptr<Exec>& exec) {
  std::vector<Node*> ordered;
  if (!graph.order(ordered)) return CUDA_ERROR_INVALID_VALUE;
  for (const Node* node : ordered) {
    if (node->enabled) FARWARP_GRAPH_TRY(queue(*node, exec));
  }
  return CUDA_SUCCESS;
}

CUresult GraphSequence::queue(const Node& node, const std::shared_ptr<Exec>& exec) {
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
    FARWARP_GRAPH_TRY(enterContext(object->context->handle(), stream));
    return event->record ? calls::cuEventRecord(event->event, stream, 0)
                         : calls::cuStreamWaitEvent(stream, event->event, 0, 0);
  }
  if (const auto* child = std::get_if<graph::ChildParams>(params.get())) {
    return queue(*child->graph, exec);
  }
  if (std::holds_alternative<graph::ConditionalParams>(*params)) {
    return queueConditional(params, exec);
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

CUresult GraphSequence::queueConditional(const graph::SharedParams& params,
                                         const std::shared_ptr<Exec>& exec) {
  const auto& node = std::get<graph::ConditionalParams>(*params);
  CUstream stream = nullptr;
  FARWARP_GRAPH_TRY(enterContext(node.condition->context, stream));
  Scheduler& scheduler = Driver::get().scheduler();
  auto gate = Scheduler::createGate();
  auto run = std::make_shared<ConditionalRun>(exec, params, gate);
  scheduler.submit(last_, [run] { run->step(); });
  scheduler.submit(last_, [] {}, {Mark{gate, 1}});
  return CUDA_SUCCESS;
}

CUresult GraphSequence::queueDefaults(const Graph& graph) {
  std::vector<std::shared_ptr<graph::Conditional>> conditions;
  collectConditions(graph, conditions);
  std::erase_if(conditions,
                [](const auto& c) { return (c->flags & CU_GRAPH_COND_ASSIGN_DEFAULT) == 0; });
  if (conditions.empty()) return CUDA_SUCCESS;
  CUstream stream = nullptr;
  FARWARP_GRAPH_TRY(enterContext(nullptr, stream));
  Driver::get().scheduler().submit(last_, [conditions = std::move(conditions)] {
    for (const auto& condition : conditions) condition->value = condition->default_value;
  });
  return CUDA_SUCCESS;
}

}  // namespace farwarp::cpu
