// Conditional nodes: handles whose values kernels set, and nodes that run their bodies by them.
#include "driver/graph/node_params.h"
#include "graph_calls_gen.h"

namespace farwarp::graph {
namespace {

constexpr unsigned kBodiesMax = 1024;  // of a switch; CUDA names no limit
constexpr size_t kConditionalsMax = 1u << 20;

// Kernels get handles in their parameters, where gpud finds them by their value and puts in those
// of its driver. So they look like nothing that a program computes.
CUgraphConditionalHandle handleFor(uint64_t number) {
  return number * 0x9e37'79b9'7f4a'7c15 ^ 0xf5a7'c04d'1b3c'6e02;  // another one for each number
}

}  // namespace

CUresult makeConditional(Host& host, const CUDA_CONDITIONAL_NODE_PARAMS& from, SharedParams& to) {
  const bool fits = from.type == CU_GRAPH_COND_TYPE_IF      ? from.size == 1 || from.size == 2
                    : from.type == CU_GRAPH_COND_TYPE_WHILE ? from.size == 1
                                                            : from.size >= 1;
  if (from.type > CU_GRAPH_COND_TYPE_SWITCH || !fits) return CUDA_ERROR_INVALID_VALUE;
  if (from.size > kBodiesMax) return CUDA_ERROR_OUT_OF_MEMORY;
  CUcontext context = from.ctx;
  FARWARP_GRAPH_TRY(host.checkContext(context));
  std::lock_guard lock(host.state.mutex);
  ConditionalParams made;
  made.condition = host.state.findConditional(from.handle);
  if (made.condition == nullptr || made.condition->context != context) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  made.type = from.type;
  for (unsigned i = 0; i < from.size; ++i) made.bodies.push_back(std::make_shared<Graph>());
  to = share(std::move(made));
  return CUDA_SUCCESS;
}

namespace calls {

CUresult cuGraphConditionalHandleCreate(Host& host, CUgraphConditionalHandle* out, CUgraph handle,
                                        CUcontext context, unsigned int default_value,
                                        unsigned int flags) {
  FARWARP_GRAPH_TRY(host.enter(false));
  if (out == nullptr || (flags & ~unsigned{CU_GRAPH_COND_ASSIGN_DEFAULT}) != 0) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  FARWARP_GRAPH_TRY(host.checkContext(context));
  std::lock_guard lock(host.state.mutex);
  const auto graph = host.state.find(handle);
  if (graph == nullptr) return CUDA_ERROR_INVALID_VALUE;
  std::erase_if(host.state.conditionals, [](const auto& entry) { return entry.second.expired(); });
  if (host.state.conditionals.size() >= kConditionalsMax) return CUDA_ERROR_OUT_OF_MEMORY;
  auto made = std::make_shared<Conditional>();
  made->handle = handleFor(host.state.nextHandle());
  made->context = context;
  made->default_value = default_value;
  made->flags = flags;
  host.state.conditionals[made->handle] = made;
  *out = made->handle;
  graph->conditionals.push_back(std::move(made));
  return CUDA_SUCCESS;
}

}  // namespace calls
}  // namespace farwarp::graph
