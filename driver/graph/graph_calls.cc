// Graphs as a whole: made, copied, connected, listed, ended.
#include <algorithm>

#include "driver/graph/host.h"
#include "graph_calls_gen.h"

namespace farwarp::graph {
namespace {

using Lock = std::unique_lock<std::mutex>;

CUresult enterGraph(Host& host, CUgraph handle, Lock& lock, std::shared_ptr<Graph>& graph) {
  FARWARP_GRAPH_TRY(host.enter(false));
  lock = Lock(host.state.mutex);
  graph = host.state.find(handle);
  return graph != nullptr ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult enterNode(Host& host, CUgraphNode handle, Lock& lock, Node*& node) {
  FARWARP_GRAPH_TRY(host.enter(false));
  lock = Lock(host.state.mutex);
  node = host.state.find(handle);
  return node != nullptr ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

// Writes a list as CUDA does: with no array its length; else as many as there is room for, the rest
// of the room set to null, and the number of those that there are.
template <typename T>
CUresult put(const std::vector<T>& list, T* out, size_t* count) {
  if (count == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (out == nullptr) {
    *count = list.size();
    return CUDA_SUCCESS;
  }
  const size_t room = *count;
  const size_t written = std::min(room, list.size());
  std::copy_n(list.begin(), written, out);
  std::fill(out + written, out + room, T{});
  *count = written;
  return CUDA_SUCCESS;
}

// An edge list cannot be told without its edge data when an edge has any.
CUresult putEdges(const std::vector<CUgraphEdgeData>& list, CUgraphEdgeData* out, size_t room,
                  bool asked_for_nodes) {
  if (out != nullptr) {
    for (size_t i = 0; i < room; ++i) out[i] = i < list.size() ? list[i] : CUgraphEdgeData{};
    return CUDA_SUCCESS;
  }
  const bool plain =
      std::all_of(list.begin(), list.end(), [](const auto& edge) { return sameEdge(edge, {}); });
  return plain || !asked_for_nodes ? CUDA_SUCCESS : CUDA_ERROR_LOSSY_QUERY;
}

CUresult checkEdge(const Node& from, const CUgraphEdgeData& edge) {
  if (edge.to_port != 0 || edge.type > CU_GRAPH_DEPENDENCY_TYPE_PROGRAMMATIC ||
      edge.from_port > CU_GRAPH_KERNEL_NODE_PORT_LAUNCH_ORDER) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  const bool plain = edge.from_port == 0 && edge.type == 0;
  return plain || from.as<KernelParams>() != nullptr ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult changeEdges(Host& host, CUgraph handle, const CUgraphNode* from, const CUgraphNode* to,
                     const CUgraphEdgeData* edges, size_t count, bool add) {
  Lock lock;
  std::shared_ptr<Graph> graph;
  FARWARP_GRAPH_TRY(enterGraph(host, handle, lock, graph));
  if (count != 0 && (from == nullptr || to == nullptr)) return CUDA_ERROR_INVALID_VALUE;
  // Dependencies of graphs with allocations cannot be taken away.
  if (!add && (graph->has<AllocParams>() || graph->has<FreeParams>())) {
    return CUDA_ERROR_NOT_SUPPORTED;
  }
  for (size_t i = 0; i < count; ++i) {
    Node* before = host.state.find(from[i]);
    Node* after = host.state.find(to[i]);
    if (before == nullptr || after == nullptr || before == after || before->graph != graph.get() ||
        after->graph != graph.get()) {
      return CUDA_ERROR_INVALID_VALUE;
    }
    const CUgraphEdgeData edge = edges == nullptr ? CUgraphEdgeData{} : edges[i];
    if (add) {
      FARWARP_GRAPH_TRY(checkEdge(*before, edge));
      if (!graph->connect(before, after, edge)) return CUDA_ERROR_INVALID_VALUE;
    } else if (!graph->disconnect(before, after, edges == nullptr ? nullptr : &edge)) {
      return CUDA_ERROR_INVALID_VALUE;
    }
  }
  return CUDA_SUCCESS;
}

}  // namespace

namespace calls {

CUresult cuGraphCreate(Host& host, CUgraph* out, unsigned int flags) {
  FARWARP_GRAPH_TRY(host.enter(false));
  if (out == nullptr || flags != 0) return CUDA_ERROR_INVALID_VALUE;
  const auto graph = std::make_shared<Graph>();
  std::lock_guard lock(host.state.mutex);
  if (!host.state.adopt(graph)) return CUDA_ERROR_OUT_OF_MEMORY;
  *out = graph->handle;
  return CUDA_SUCCESS;
}

CUresult cuGraphDestroy(Host& host, CUgraph handle) {
  Lock lock;
  std::shared_ptr<Graph> graph;
  FARWARP_GRAPH_TRY(enterGraph(host, handle, lock, graph));
  if (graph->owner != nullptr) return CUDA_ERROR_INVALID_VALUE;  // belongs to its node
  host.state.forget(*graph);
  lock.unlock();
  graph = nullptr;  // memory and user objects may end here, without the lock
  return CUDA_SUCCESS;
}

CUresult cuGraphClone(Host& host, CUgraph* out, CUgraph handle) {
  Lock lock;
  std::shared_ptr<Graph> graph;
  FARWARP_GRAPH_TRY(enterGraph(host, handle, lock, graph));
  if (out == nullptr) return CUDA_ERROR_INVALID_VALUE;
  // Memory nodes and conditional nodes cannot be copied.
  if (graph->has<AllocParams>() || graph->has<FreeParams>() || graph->has<ConditionalParams>()) {
    return CUDA_ERROR_NOT_SUPPORTED;
  }
  const auto copy = graph->clone();
  copy->user_objects = graph->user_objects;
  if (!host.state.adopt(copy)) return CUDA_ERROR_OUT_OF_MEMORY;
  *out = copy->handle;
  return CUDA_SUCCESS;
}

CUresult cuGraphNodeFindInClone(Host& host, CUgraphNode* out, CUgraphNode original, CUgraph clone) {
  Lock lock;
  std::shared_ptr<Graph> graph;
  FARWARP_GRAPH_TRY(enterGraph(host, clone, lock, graph));
  if (out == nullptr || host.state.find(original) == nullptr) return CUDA_ERROR_INVALID_VALUE;
  for (const auto& node : graph->nodes) {
    if (node->original != original) continue;
    *out = node->handle;
    return CUDA_SUCCESS;
  }
  return CUDA_ERROR_INVALID_VALUE;
}

CUresult cuGraphGetNodes(Host& host, CUgraph handle, CUgraphNode* nodes, size_t* count) {
  Lock lock;
  std::shared_ptr<Graph> graph;
  FARWARP_GRAPH_TRY(enterGraph(host, handle, lock, graph));
  std::vector<CUgraphNode> list;
  for (const auto& node : graph->nodes) list.push_back(node->handle);
  return put(list, nodes, count);
}

CUresult cuGraphGetRootNodes(Host& host, CUgraph handle, CUgraphNode* nodes, size_t* count) {
  Lock lock;
  std::shared_ptr<Graph> graph;
  FARWARP_GRAPH_TRY(enterGraph(host, handle, lock, graph));
  std::vector<CUgraphNode> list;
  for (const auto& node : graph->nodes) {
    if (node->dependencies.empty()) list.push_back(node->handle);
  }
  return put(list, nodes, count);
}

CUresult cuGraphGetEdges_v2(Host& host, CUgraph handle, CUgraphNode* from, CUgraphNode* to,
                            CUgraphEdgeData* edges, size_t* count) {
  Lock lock;
  std::shared_ptr<Graph> graph;
  FARWARP_GRAPH_TRY(enterGraph(host, handle, lock, graph));
  if (count == nullptr || (from == nullptr) != (to == nullptr)) return CUDA_ERROR_INVALID_VALUE;
  std::vector<CUgraphNode> before, after;
  std::vector<CUgraphEdgeData> data;
  for (const auto& node : graph->nodes) {
    for (const Dependency& dependency : node->dependencies) {
      before.push_back(dependency.node->handle);
      after.push_back(node->handle);
      data.push_back(dependency.edge);
    }
  }
  FARWARP_GRAPH_TRY(putEdges(data, from == nullptr ? nullptr : edges, *count, from != nullptr));
  size_t again = *count;
  FARWARP_GRAPH_TRY(put(before, from, &again));
  return put(after, to, count);
}

CUresult cuGraphGetEdges(Host& host, CUgraph graph, CUgraphNode* from, CUgraphNode* to,
                         size_t* count) {
  return calls::cuGraphGetEdges_v2(host, graph, from, to, nullptr, count);
}

CUresult cuGraphNodeGetDependencies_v2(Host& host, CUgraphNode handle, CUgraphNode* nodes,
                                       CUgraphEdgeData* edges, size_t* count) {
  Lock lock;
  Node* node = nullptr;
  FARWARP_GRAPH_TRY(enterNode(host, handle, lock, node));
  if (count == nullptr) return CUDA_ERROR_INVALID_VALUE;
  std::vector<CUgraphNode> list;
  std::vector<CUgraphEdgeData> data;
  for (const Dependency& dependency : node->dependencies) {
    list.push_back(dependency.node->handle);
    data.push_back(dependency.edge);
  }
  FARWARP_GRAPH_TRY(putEdges(data, nodes == nullptr ? nullptr : edges, *count, nodes != nullptr));
  return put(list, nodes, count);
}

CUresult cuGraphNodeGetDependencies(Host& host, CUgraphNode node, CUgraphNode* nodes,
                                    size_t* count) {
  return calls::cuGraphNodeGetDependencies_v2(host, node, nodes, nullptr, count);
}

CUresult cuGraphNodeGetDependentNodes_v2(Host& host, CUgraphNode handle, CUgraphNode* nodes,
                                         CUgraphEdgeData* edges, size_t* count) {
  Lock lock;
  Node* node = nullptr;
  FARWARP_GRAPH_TRY(enterNode(host, handle, lock, node));
  if (count == nullptr) return CUDA_ERROR_INVALID_VALUE;
  std::vector<CUgraphNode> list;
  std::vector<CUgraphEdgeData> data;
  for (Node* dependent : node->dependents) {
    list.push_back(dependent->handle);
    for (const Dependency& dependency : dependent->dependencies) {
      if (dependency.node == node) data.push_back(dependency.edge);
    }
  }
  FARWARP_GRAPH_TRY(putEdges(data, nodes == nullptr ? nullptr : edges, *count, nodes != nullptr));
  return put(list, nodes, count);
}

CUresult cuGraphNodeGetDependentNodes(Host& host, CUgraphNode node, CUgraphNode* nodes,
                                      size_t* count) {
  return calls::cuGraphNodeGetDependentNodes_v2(host, node, nodes, nullptr, count);
}

CUresult cuGraphAddDependencies_v2(Host& host, CUgraph graph, const CUgraphNode* from,
                                   const CUgraphNode* to, const CUgraphEdgeData* edges,
                                   size_t count) {
  return changeEdges(host, graph, from, to, edges, count, true);
}

CUresult cuGraphAddDependencies(Host& host, CUgraph graph, const CUgraphNode* from,
                                const CUgraphNode* to, size_t count) {
  return changeEdges(host, graph, from, to, nullptr, count, true);
}

CUresult cuGraphRemoveDependencies_v2(Host& host, CUgraph graph, const CUgraphNode* from,
                                      const CUgraphNode* to, const CUgraphEdgeData* edges,
                                      size_t count) {
  return changeEdges(host, graph, from, to, edges, count, false);
}

CUresult cuGraphRemoveDependencies(Host& host, CUgraph graph, const CUgraphNode* from,
                                   const CUgraphNode* to, size_t count) {
  return changeEdges(host, graph, from, to, nullptr, count, false);
}

CUresult cuGraphNodeGetType(Host& host, CUgraphNode handle, CUgraphNodeType* type) {
  Lock lock;
  Node* node = nullptr;
  FARWARP_GRAPH_TRY(enterNode(host, handle, lock, node));
  if (type == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *type = typeOf(*node->params);
  return CUDA_SUCCESS;
}

CUresult cuGraphDestroyNode(Host& host, CUgraphNode handle) {
  Lock lock;
  Node* node = nullptr;
  FARWARP_GRAPH_TRY(enterNode(host, handle, lock, node));
  if (node->as<AllocParams>() != nullptr || node->as<FreeParams>() != nullptr) {
    return CUDA_ERROR_NOT_SUPPORTED;  // memory nodes stay with their graph
  }
  host.state.forget(*node);
  node->graph->remove(node);
  return CUDA_SUCCESS;
}

}  // namespace calls
}  // namespace farwarp::graph
