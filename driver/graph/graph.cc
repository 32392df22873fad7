#include "driver/graph/graph.h"

#include <algorithm>
#include <cstring>
#include <queue>

namespace farwarp::graph {

CUgraphNodeType typeOf(const Params& params) {
  struct Visitor {
    CUgraphNodeType operator()(const KernelParams&) { return CU_GRAPH_NODE_TYPE_KERNEL; }
    CUgraphNodeType operator()(const CopyParams&) { return CU_GRAPH_NODE_TYPE_MEMCPY; }
    CUgraphNodeType operator()(const FillParams&) { return CU_GRAPH_NODE_TYPE_MEMSET; }
    CUgraphNodeType operator()(const HostParams&) { return CU_GRAPH_NODE_TYPE_HOST; }
    CUgraphNodeType operator()(const ChildParams&) { return CU_GRAPH_NODE_TYPE_GRAPH; }
    CUgraphNodeType operator()(const EmptyParams&) { return CU_GRAPH_NODE_TYPE_EMPTY; }
    CUgraphNodeType operator()(const EventParams& event) {
      return event.record ? CU_GRAPH_NODE_TYPE_EVENT_RECORD : CU_GRAPH_NODE_TYPE_WAIT_EVENT;
    }
    CUgraphNodeType operator()(const AllocParams&) { return CU_GRAPH_NODE_TYPE_MEM_ALLOC; }
    CUgraphNodeType operator()(const FreeParams&) { return CU_GRAPH_NODE_TYPE_MEM_FREE; }
    CUgraphNodeType operator()(const BatchParams&) { return CU_GRAPH_NODE_TYPE_BATCH_MEM_OP; }
    CUgraphNodeType operator()(const ConditionalParams&) { return CU_GRAPH_NODE_TYPE_CONDITIONAL; }
  };
  return std::visit(Visitor(), params);
}

std::span<const std::shared_ptr<Graph>> graphsIn(const Params& params) {
  if (const auto* child = std::get_if<ChildParams>(&params)) return {&child->graph, 1};
  if (const auto* node = std::get_if<ConditionalParams>(&params)) return node->bodies;
  return {};
}

const Graph* ConditionalParams::chosen(unsigned value) const {
  switch (type) {
    case CU_GRAPH_COND_TYPE_IF:
      if (value == 0) return bodies.size() > 1 ? bodies[1].get() : nullptr;
      return bodies[0].get();
    case CU_GRAPH_COND_TYPE_WHILE:
      return value != 0 ? bodies[0].get() : nullptr;
    case CU_GRAPH_COND_TYPE_SWITCH:
      return value < bodies.size() ? bodies[value].get() : nullptr;
  }
  return nullptr;
}

namespace {

template <typename T>
bool sameBytes(const T& a, const T& b) {
  return std::memcmp(&a, &b, sizeof a) == 0;
}

template <typename T>
bool sameElements(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() &&
         (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0);
}

struct Same {
  bool operator()(const KernelParams& a, const KernelParams& b) const {
    return a.function == b.function && a.kernel == b.kernel && a.context == b.context &&
           sameBytes(a.shape.grid, b.shape.grid) && sameBytes(a.shape.block, b.shape.block) &&
           a.shape.shared_dynamic == b.shape.shared_dynamic && a.packed == b.packed &&
           sameElements(a.attributes, b.attributes);
  }
  bool operator()(const CopyParams& a, const CopyParams& b) const {
    return a.context == b.context && sameBytes(a.copy, b.copy);
  }
  bool operator()(const FillParams& a, const FillParams& b) const {
    return sameBytes(a.fill, b.fill);
  }
  bool operator()(const HostParams& a, const HostParams& b) const {
    return a.function == b.function && a.data == b.data;
  }
  bool operator()(const EmptyParams&, const EmptyParams&) const { return true; }
  bool operator()(const EventParams& a, const EventParams& b) const {
    return a.event == b.event && a.record == b.record;
  }
  bool operator()(const AllocParams& a, const AllocParams& b) const {
    return a.address == b.address;
  }
  bool operator()(const FreeParams& a, const FreeParams& b) const { return a.address == b.address; }
  // Everything else is rare enough to count as changed.
  template <typename A, typename B>
  bool operator()(const A&, const B&) const {
    return false;
  }
};

}  // namespace

bool same(const Params& a, const Params& b) {
  return std::visit(Same(), a, b);
}

Node* Graph::add(SharedParams params, std::span<const Dependency> dependencies) {
  if (nodes.size() >= kNodesMax) return nullptr;
  for (size_t i = 0; i < dependencies.size(); ++i) {
    for (size_t j = 0; j < i; ++j) {
      if (dependencies[i].node == dependencies[j].node) return nullptr;
    }
  }
  auto node = std::make_unique<Node>();
  node->graph = this;
  node->params = std::move(params);
  node->index = static_cast<uint32_t>(nodes.size());
  node->dependencies.assign(dependencies.begin(), dependencies.end());
  for (const Dependency& dependency : dependencies) {
    dependency.node->dependents.push_back(node.get());
  }
  nodes.push_back(std::move(node));
  return nodes.back().get();
}

void Graph::remove(Node* node) {
  for (const Dependency& dependency : node->dependencies) {
    std::erase(dependency.node->dependents, node);
  }
  for (Node* dependent : node->dependents) {
    std::erase_if(dependent->dependencies, [node](const auto& d) { return d.node == node; });
  }
  const uint32_t index = node->index;
  nodes.erase(nodes.begin() + index);
  for (uint32_t i = index; i < nodes.size(); ++i) nodes[i]->index = i;
}

bool Graph::connect(Node* from, Node* to, const CUgraphEdgeData& edge) {
  const auto same = [from](const Dependency& d) { return d.node == from; };
  if (std::any_of(to->dependencies.begin(), to->dependencies.end(), same)) return false;
  to->dependencies.push_back({from, edge});
  from->dependents.push_back(to);
  return true;
}

bool Graph::disconnect(Node* from, Node* to, const CUgraphEdgeData* edge) {
  const auto found =
      std::find_if(to->dependencies.begin(), to->dependencies.end(), [&](const Dependency& d) {
        return d.node == from && (edge == nullptr || sameEdge(d.edge, *edge));
      });
  if (found == to->dependencies.end()) return false;
  to->dependencies.erase(found);
  std::erase(from->dependents, to);
  return true;
}

bool Graph::order(std::vector<Node*>& ordered) const {
  ordered.clear();
  std::vector<uint32_t> missing(nodes.size());
  const auto later = [](const Node* a, const Node* b) { return a->index > b->index; };
  std::priority_queue<Node*, std::vector<Node*>, decltype(later)> ready(later);
  for (const auto& node : nodes) {
    missing[node->index] = static_cast<uint32_t>(node->dependencies.size());
    if (missing[node->index] == 0) ready.push(node.get());
  }
  while (!ready.empty()) {
    Node* node = ready.top();
    ready.pop();
    ordered.push_back(node);
    for (Node* dependent : node->dependents) {
      if (--missing[dependent->index] == 0) ready.push(dependent);
    }
  }
  return ordered.size() == nodes.size();
}

std::shared_ptr<Graph> Graph::clone() const {
  auto copy = std::make_shared<Graph>();
  copy->nodes.reserve(nodes.size());
  copy->conditionals = conditionals;
  for (const auto& node : nodes) {
    SharedParams params = node->params;
    if (const auto* nested = node->as<ChildParams>()) {
      params = std::make_shared<const Params>(ChildParams{nested->graph->clone()});
    } else if (const auto* conditional = node->as<ConditionalParams>()) {
      ConditionalParams cloned{conditional->condition, conditional->type, {}};
      for (const auto& body : conditional->bodies) cloned.bodies.push_back(body->clone());
      params = std::make_shared<const Params>(std::move(cloned));
    }
    Node* made = copy->add(std::move(params), {});
    for (const auto& inner : graphsIn(*made->params)) inner->owner = made;
    made->enabled = node->enabled;
    made->original = node->handle;
  }
  for (const auto& node : nodes) {
    Node* made = copy->nodes[node->index].get();
    for (const Dependency& dependency : node->dependencies) {
      made->dependencies.push_back({copy->nodes[dependency.node->index].get(), dependency.edge});
    }
    for (const Node* dependent : node->dependents) {
      made->dependents.push_back(copy->nodes[dependent->index].get());
    }
  }
  return copy;
}

}  // namespace farwarp::graph
