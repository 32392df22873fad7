// Executable graphs: made, changed, launched, ended.
#include <algorithm>
#include <cstring>
#include <unordered_map>

#include "driver/graph/node_params.h"
#include "graph_calls_gen.h"

namespace farwarp::graph {
namespace {

constexpr uint64_t kFlagsKnown =
    CUDA_GRAPH_INSTANTIATE_FLAG_AUTO_FREE_ON_LAUNCH | CUDA_GRAPH_INSTANTIATE_FLAG_UPLOAD |
    CUDA_GRAPH_INSTANTIATE_FLAG_DEVICE_LAUNCH | CUDA_GRAPH_INSTANTIATE_FLAG_USE_NODE_PRIORITY;

CUresult findExec(Host& host, CUgraphExec handle, std::shared_ptr<Exec>& exec) {
  FARWARP_GRAPH_TRY(host.enter(false));
  std::lock_guard lock(host.state.mutex);
  exec = host.state.find(handle);
  return exec != nullptr ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

// True when the graph and those inside of it have no cycle.
bool wellFormed(const Graph& graph) {
  std::vector<Node*> ordered;
  if (!graph.order(ordered)) return false;
  for (const Node* node : ordered) {
    for (const auto& inner : graphsIn(*node->params)) {
      if (!wellFormed(*inner)) return false;
    }
  }
  return true;
}

// The conditions that the conditional nodes of a graph ask, those of inner graphs included.
void collectConditions(const Graph& graph, std::vector<const Conditional*>& asked) {
  for (const auto& node : graph.nodes) {
    if (const auto* conditional = node->as<ConditionalParams>()) {
      asked.push_back(conditional->condition.get());
    }
    for (const auto& inner : graphsIn(*node->params)) collectConditions(*inner, asked);
  }
}

// What is inside of a conditional node: kinds of nodes that a device can run by itself, and kernels
// of one context.
bool fitsBody(const Graph& body, CUcontext context) {
  for (const auto& node : body.nodes) {
    if (const auto* kernel = node->as<KernelParams>()) {
      if (kernel->context != nullptr && kernel->context != context) return false;
    } else if (node->as<CopyParams>() == nullptr && node->as<FillParams>() == nullptr &&
               node->as<EmptyParams>() == nullptr && graphsIn(*node->params).empty()) {
      return false;
    }
    for (const auto& inner : graphsIn(*node->params)) {
      if (!fitsBody(*inner, context)) return false;
    }
  }
  return true;
}

CUgraphInstantiateResult checkConditionals(const Graph& graph) {
  std::vector<const Conditional*> asked;
  collectConditions(graph, asked);
  for (const auto& condition : graph.conditionals) {
    if (std::count(asked.begin(), asked.end(), condition.get()) != 1) {
      return CUDA_GRAPH_INSTANTIATE_CONDITIONAL_HANDLE_UNUSED;
    }
  }
  for (const auto& node : graph.nodes) {
    const auto* conditional = node->as<ConditionalParams>();
    for (const auto& inner : graphsIn(*node->params)) {
      if (conditional != nullptr && !fitsBody(*inner, conditional->condition->context)) {
        return CUDA_GRAPH_INSTANTIATE_NODE_OPERATION_NOT_SUPPORTED;
      }
      if (const auto why = checkConditionals(*inner); why != CUDA_GRAPH_INSTANTIATE_SUCCESS) {
        return why;
      }
    }
  }
  return CUDA_GRAPH_INSTANTIATE_SUCCESS;
}

CUresult instantiate(Host& host, CUgraphExec* out, CUgraph handle, uint64_t flags,
                     CUgraphInstantiateResult& why) {
  why = CUDA_GRAPH_INSTANTIATE_ERROR;
  FARWARP_GRAPH_TRY(host.enter(true));
  if (out == nullptr || (flags & ~kFlagsKnown) != 0) return CUDA_ERROR_INVALID_VALUE;
  if ((flags & CUDA_GRAPH_INSTANTIATE_FLAG_DEVICE_LAUNCH) != 0) {
    return (flags & CUDA_GRAPH_INSTANTIATE_FLAG_AUTO_FREE_ON_LAUNCH) != 0
               ? CUDA_ERROR_INVALID_VALUE
               : CUDA_ERROR_NOT_SUPPORTED;
  }
  auto exec = std::make_shared<Exec>();
  exec->flags = flags;
  {
    std::lock_guard lock(host.state.mutex);
    const auto graph = host.state.find(handle);
    if (graph == nullptr) return CUDA_ERROR_INVALID_VALUE;
    if (!wellFormed(*graph)) {
      why = CUDA_GRAPH_INSTANTIATE_INVALID_STRUCTURE;
      return CUDA_ERROR_INVALID_VALUE;
    }
    why = checkConditionals(*graph);
    if (why != CUDA_GRAPH_INSTANTIATE_SUCCESS) return CUDA_ERROR_INVALID_VALUE;
    why = CUDA_GRAPH_INSTANTIATE_ERROR;
    exec->setGraph(graph->clone());
    exec->graph->user_objects = graph->user_objects;
  }
  FARWARP_GRAPH_TRY(host.instantiate(*exec));
  *out = exec->handle;
  std::lock_guard lock(host.state.mutex);
  host.state.add(exec);
  why = CUDA_GRAPH_INSTANTIATE_SUCCESS;
  return CUDA_SUCCESS;
}

// --- updates from a whole graph ---

struct Difference {
  CUgraphExecUpdateResult result = CU_GRAPH_EXEC_UPDATE_SUCCESS;
  const Node* node = nullptr;  // of the new graph
  const Node* from = nullptr;
};

bool sameDependencies(const Node& a, const Node& b) {
  if (a.dependencies.size() != b.dependencies.size()) return false;
  for (size_t i = 0; i < a.dependencies.size(); ++i) {
    if (a.dependencies[i].node->index != b.dependencies[i].node->index ||
        !sameEdge(a.dependencies[i].edge, b.dependencies[i].edge)) {
      return false;
    }
  }
  return true;
}

// True when nothing inside of a conditional node is different. What CUDA lets an update change
// there is not taken over.
bool sameBodies(const ConditionalParams& a, const ConditionalParams& b);

bool sameGraph(const Graph& a, const Graph& b) {
  if (a.nodes.size() != b.nodes.size()) return false;
  for (size_t i = 0; i < a.nodes.size(); ++i) {
    const Node& mine = *a.nodes[i];
    const Node& other = *b.nodes[i];
    if (!sameDependencies(mine, other) || mine.params->index() != other.params->index()) {
      return false;
    }
    if (const auto* conditional = mine.as<ConditionalParams>()) {
      if (!sameBodies(*conditional, *other.as<ConditionalParams>())) return false;
    } else if (mine.params != other.params && !same(*mine.params, *other.params)) {
      return false;
    }
  }
  return true;
}

bool sameBodies(const ConditionalParams& a, const ConditionalParams& b) {
  if (a.condition != b.condition || a.type != b.type || a.bodies.size() != b.bodies.size()) {
    return false;
  }
  for (size_t i = 0; i < a.bodies.size(); ++i) {
    if (!sameGraph(*a.bodies[i], *b.bodies[i])) return false;
  }
  return true;
}

// What CUDA does not let an update change.
CUgraphExecUpdateResult compareParams(const Node& old_node, const Node& new_node) {
  if (const auto* before = old_node.as<CopyParams>()) {
    const auto* after = new_node.as<CopyParams>();
    if (before->copy.dstMemoryType != after->copy.dstMemoryType ||
        before->copy.srcMemoryType != after->copy.srcMemoryType ||
        before->context != after->context) {
      return CU_GRAPH_EXEC_UPDATE_ERROR_PARAMETERS_CHANGED;
    }
  }
  if (const auto* before = old_node.as<FillParams>()) {
    if (before->fill.ctx != new_node.as<FillParams>()->fill.ctx) {
      return CU_GRAPH_EXEC_UPDATE_ERROR_PARAMETERS_CHANGED;
    }
  }
  if (const auto* before = old_node.as<KernelParams>()) {
    const auto* after = new_node.as<KernelParams>();
    if (before->context != after->context) {
      return CU_GRAPH_EXEC_UPDATE_ERROR_UNSUPPORTED_FUNCTION_CHANGE;
    }
    if (before->shape.cooperative != after->shape.cooperative) {
      return CU_GRAPH_EXEC_UPDATE_ERROR_ATTRIBUTES_CHANGED;
    }
  }
  if (const auto* before = old_node.as<ConditionalParams>()) {
    return sameBodies(*before, *new_node.as<ConditionalParams>())
               ? CU_GRAPH_EXEC_UPDATE_SUCCESS
               : CU_GRAPH_EXEC_UPDATE_ERROR_NOT_SUPPORTED;
  }
  if (old_node.as<AllocParams>() != nullptr || old_node.as<FreeParams>() != nullptr) {
    return same(*old_node.params, *new_node.params) ? CU_GRAPH_EXEC_UPDATE_SUCCESS
                                                    : CU_GRAPH_EXEC_UPDATE_ERROR_NOT_SUPPORTED;
  }
  return CU_GRAPH_EXEC_UPDATE_SUCCESS;
}

// Nodes are paired in the order in which they were added, which is what the same sequence of calls
// gives.
Difference compare(const Graph& old_graph, const Graph& new_graph) {
  Difference difference;
  if (old_graph.nodes.size() != new_graph.nodes.size()) {
    difference.result = CU_GRAPH_EXEC_UPDATE_ERROR_TOPOLOGY_CHANGED;
    return difference;
  }
  for (size_t i = 0; i < old_graph.nodes.size(); ++i) {
    const Node& old_node = *old_graph.nodes[i];
    const Node& new_node = *new_graph.nodes[i];
    difference.node = &new_node;
    if (!sameDependencies(old_node, new_node)) {
      difference.result = CU_GRAPH_EXEC_UPDATE_ERROR_TOPOLOGY_CHANGED;
      return difference;
    }
    if (typeOf(*old_node.params) != typeOf(*new_node.params)) {
      difference.result = CU_GRAPH_EXEC_UPDATE_ERROR_NODE_TYPE_CHANGED;
      return difference;
    }
    difference.result = compareParams(old_node, new_node);
    if (difference.result != CU_GRAPH_EXEC_UPDATE_SUCCESS) return difference;
    if (const auto* child = old_node.as<ChildParams>()) {
      const Difference inside = compare(*child->graph, *new_node.as<ChildParams>()->graph);
      if (inside.result != CU_GRAPH_EXEC_UPDATE_SUCCESS) return inside;
    }
  }
  difference.node = nullptr;
  return difference;
}

// Takes over what is different. The graphs have the same structure.
void takeOver(const Graph& graph, Exec& exec, std::vector<Node*>& changed) {
  for (size_t i = 0; i < graph.nodes.size(); ++i) {
    Node& mine = *exec.graph->nodes[i];
    const SharedParams& given = graph.nodes[i]->params;
    if (const auto* child = std::get_if<ChildParams>(given.get())) {
      mine.params = share(ChildParams{child->graph->clone()});
    } else if (std::holds_alternative<ConditionalParams>(*given)) {
      continue;  // compared equal
    } else if (mine.params == given || same(*mine.params, *given)) {
      continue;
    } else {
      mine.params = given;
    }
    changed.push_back(&mine);
  }
}

CUresult update(Host& host, CUgraphExec exec_handle, CUgraph graph_handle,
                CUgraphExecUpdateResultInfo& info) {
  info = {CU_GRAPH_EXEC_UPDATE_ERROR, nullptr, nullptr};
  std::shared_ptr<Exec> exec;
  FARWARP_GRAPH_TRY(findExec(host, exec_handle, exec));
  std::vector<Node*> changed;
  {
    std::lock_guard lock(host.state.mutex);
    const auto graph = host.state.find(graph_handle);
    if (graph == nullptr) return CUDA_ERROR_INVALID_VALUE;
    const Difference difference = compare(*exec->graph, *graph);
    info.result = difference.result;
    if (difference.node != nullptr) info.errorNode = difference.node->handle;
    if (difference.result != CU_GRAPH_EXEC_UPDATE_SUCCESS) {
      return CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE;
    }
    takeOver(*graph, *exec, changed);
  }
  const CUresult result = changed.empty() ? CUDA_SUCCESS : host.update(*exec, changed);
  if (result != CUDA_SUCCESS) info.result = CU_GRAPH_EXEC_UPDATE_ERROR;
  return result;
}

}  // namespace

CUresult setExecParams(Host& host, CUgraphExec exec_handle, CUgraphNode handle,
                       SharedParams params) {
  std::shared_ptr<Exec> exec;
  FARWARP_GRAPH_TRY(findExec(host, exec_handle, exec));
  Node* node = nullptr;
  {
    std::lock_guard lock(host.state.mutex);
    node = exec->find(handle);
    if (node == nullptr) return CUDA_ERROR_INVALID_VALUE;
    Node given;
    given.params = params;
    if (const auto* kernel = node->as<KernelParams>()) {
      auto with = std::get<KernelParams>(*params);
      with.attributes = kernel->attributes;
      std::memcpy(with.shape.cluster, kernel->shape.cluster, sizeof with.shape.cluster);
      with.shape.cooperative = kernel->shape.cooperative;
      if (with.context == nullptr) with.context = kernel->context;
      given.params = share(std::move(with));
    }
    if (compareParams(*node, given) != CU_GRAPH_EXEC_UPDATE_SUCCESS) {
      return CUDA_ERROR_INVALID_VALUE;
    }
    if (const auto* child = node->as<ChildParams>()) {
      const auto* other = given.as<ChildParams>();
      if (compare(*child->graph, *other->graph).result != CU_GRAPH_EXEC_UPDATE_SUCCESS) {
        return CUDA_ERROR_INVALID_VALUE;
      }
    }
    node->params = given.params;
  }
  return host.update(*exec, {&node, 1});
}

namespace calls {

CUresult cuGraphInstantiateWithParams(Host& host, CUgraphExec* out, CUgraph graph,
                                      CUDA_GRAPH_INSTANTIATE_PARAMS* params,
                                      uint16_t record_flags) {
  if (params == nullptr) return CUDA_ERROR_INVALID_VALUE;
  params->hErrNode_out = nullptr;
  FARWARP_GRAPH_TRY(instantiate(host, out, graph, params->flags, params->result_out));
  if ((params->flags & CUDA_GRAPH_INSTANTIATE_FLAG_UPLOAD) == 0) return CUDA_SUCCESS;
  return calls::cuGraphUpload(host, *out, params->hUploadStream, record_flags);
}

CUresult cuGraphInstantiateWithFlags(Host& host, CUgraphExec* out, CUgraph graph,
                                     unsigned long long flags) {
  CUgraphInstantiateResult why;
  // Only cuGraphInstantiateWithParams names a stream to upload in.
  if ((flags & CUDA_GRAPH_INSTANTIATE_FLAG_UPLOAD) != 0) return CUDA_ERROR_INVALID_VALUE;
  return instantiate(host, out, graph, flags, why);
}

CUresult cuGraphInstantiate_v2(Host& host, CUgraphExec* out, CUgraph graph, CUgraphNode* error_node,
                               char* log, size_t log_bytes) {
  if (error_node != nullptr) *error_node = nullptr;
  if (log != nullptr && log_bytes != 0) log[0] = '\0';
  CUgraphInstantiateResult why;
  return instantiate(host, out, graph, 0, why);
}

CUresult cuGraphInstantiate(Host& host, CUgraphExec* out, CUgraph graph, CUgraphNode* error_node,
                            char* log, size_t log_bytes) {
  return calls::cuGraphInstantiate_v2(host, out, graph, error_node, log, log_bytes);
}

CUresult cuGraphExecDestroy(Host& host, CUgraphExec handle) {
  FARWARP_GRAPH_TRY(host.enter(false));
  std::shared_ptr<Exec> exec;
  {
    std::lock_guard lock(host.state.mutex);
    exec = host.state.remove(handle);
  }
  return exec != nullptr ? host.destroy(*exec) : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuGraphExecGetFlags(Host& host, CUgraphExec handle, cuuint64_t* flags) {
  std::shared_ptr<Exec> exec;
  FARWARP_GRAPH_TRY(findExec(host, handle, exec));
  if (flags == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *flags = exec->flags;
  return CUDA_SUCCESS;
}

CUresult cuGraphLaunch(Host& host, CUgraphExec handle, CUstream stream, uint16_t record_flags) {
  std::shared_ptr<Exec> exec;
  FARWARP_GRAPH_TRY(findExec(host, handle, exec));
  {
    std::lock_guard lock(host.state.mutex);
    FARWARP_GRAPH_TRY(host.state.launchMemory(*exec));
  }
  return host.launch(exec, stream, record_flags);
}

CUresult cuGraphUpload(Host& host, CUgraphExec handle, CUstream stream, uint16_t record_flags) {
  std::shared_ptr<Exec> exec;
  FARWARP_GRAPH_TRY(findExec(host, handle, exec));
  return host.upload(*exec, stream, record_flags);
}

CUresult cuGraphNodeSetEnabled(Host& host, CUgraphExec handle, CUgraphNode node_handle,
                               unsigned int enabled) {
  std::shared_ptr<Exec> exec;
  FARWARP_GRAPH_TRY(findExec(host, handle, exec));
  Node* node = nullptr;
  {
    std::lock_guard lock(host.state.mutex);
    node = exec->find(node_handle);
    if (node == nullptr) return CUDA_ERROR_INVALID_VALUE;
    // CUDA switches these kinds and no others.
    if (node->as<KernelParams>() == nullptr && node->as<FillParams>() == nullptr &&
        node->as<CopyParams>() == nullptr) {
      return CUDA_ERROR_INVALID_VALUE;
    }
    if (node->enabled == (enabled != 0)) return CUDA_SUCCESS;
    node->enabled = enabled != 0;
  }
  return host.update(*exec, {&node, 1});
}

CUresult cuGraphNodeGetEnabled(Host& host, CUgraphExec handle, CUgraphNode node_handle,
                               unsigned int* enabled) {
  std::shared_ptr<Exec> exec;
  FARWARP_GRAPH_TRY(findExec(host, handle, exec));
  std::lock_guard lock(host.state.mutex);
  const Node* node = exec->find(node_handle);
  if (node == nullptr || enabled == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *enabled = node->enabled ? 1 : 0;
  return CUDA_SUCCESS;
}

CUresult cuGraphExecUpdate_v2(Host& host, CUgraphExec exec, CUgraph graph,
                              CUgraphExecUpdateResultInfo* info) {
  return info == nullptr ? CUDA_ERROR_INVALID_VALUE : update(host, exec, graph, *info);
}

CUresult cuGraphExecUpdate(Host& host, CUgraphExec exec, CUgraph graph, CUgraphNode* error_node,
                           CUgraphExecUpdateResult* result) {
  CUgraphExecUpdateResultInfo info{};
  const CUresult returned = update(host, exec, graph, info);
  if (error_node != nullptr) *error_node = info.errorNode;
  if (result != nullptr) *result = info.result;
  return returned;
}

}  // namespace calls
}  // namespace farwarp::graph
