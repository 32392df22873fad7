// A graph as the program sees it: nodes with their parameters, and what each depends on.
//
// The client and the CPU device both keep graphs in this form. Building and asking about one needs
// nobody else; only an executable graph (host.h) reaches a device.
#pragma once

#include <cuda.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "driver/launch_check.h"

namespace farwarp::graph {

class Graph;
class UserObject;

// --- what nodes do; everything that the program passed by pointer is copied ---

struct KernelParams {
  CUfunction function = nullptr;  // as the program gave them: one of the two may be null
  CUkernel kernel = nullptr;
  CUcontext context = nullptr;
  LaunchShape shape{};
  std::vector<std::byte> packed;  // the kernel's parameters by its layout
  std::vector<uint32_t> offsets;  // of each of them
  std::vector<CUlaunchAttribute> attributes;

  CUfunction launched() const {
    return function != nullptr ? function : reinterpret_cast<CUfunction>(kernel);
  }
};

struct CopyParams {
  CUDA_MEMCPY3D copy{};
  CUcontext context = nullptr;
};

struct FillParams {
  CUDA_MEMSET_NODE_PARAMS_v2 fill{};
};

struct HostParams {
  CUhostFn function = nullptr;
  void* data = nullptr;
};

struct ChildParams {
  std::shared_ptr<Graph> graph;  // belongs to the node
};

// What a conditional handle stands for: a value that kernels set and a conditional node asks.
struct Conditional {
  CUgraphConditionalHandle handle = 0;
  CUcontext context = nullptr;
  unsigned default_value = 0;
  unsigned flags = 0;              // CU_GRAPH_COND_ASSIGN_DEFAULT
  std::atomic<unsigned> value{0};  // where the graph runs in this process
};

struct ConditionalParams {
  std::shared_ptr<Conditional> condition;
  CUgraphConditionalNodeType type = CU_GRAPH_COND_TYPE_IF;
  std::vector<std::shared_ptr<Graph>> bodies;  // belong to the node

  // The body that runs for a value of the condition; null when none does.
  const Graph* chosen(unsigned value) const;
};

struct EmptyParams {};

struct EventParams {
  CUevent event = nullptr;
  bool record = false;  // else wait
};

struct AllocParams {
  CUmemPoolProps properties{};
  std::vector<CUmemAccessDesc> access;
  size_t bytes = 0;
  CUdeviceptr address = 0;
  std::shared_ptr<void> memory;  // what keeps it
};

struct FreeParams {
  CUdeviceptr address = 0;
};

struct BatchParams {
  CUcontext context = nullptr;
  unsigned flags = 0;
  std::vector<CUstreamBatchMemOpParams> operations;
};

using Params =
    std::variant<KernelParams, CopyParams, FillParams, HostParams, ChildParams, EmptyParams,
                 EventParams, AllocParams, FreeParams, BatchParams, ConditionalParams>;
// Never changed once a node has it, so that a launch may hold on to it.
using SharedParams = std::shared_ptr<const Params>;

[[nodiscard]] CUgraphNodeType typeOf(const Params& params);
// The graphs inside of a node: a child graph, or the bodies of a conditional node.
[[nodiscard]] std::span<const std::shared_ptr<Graph>> graphsIn(const Params& params);
// True when they certainly do the same.
[[nodiscard]] bool same(const Params& a, const Params& b);

// --- structure ---

struct Node;

struct Dependency {
  Node* node = nullptr;
  CUgraphEdgeData edge{};
};

struct Node {
  CUgraphNode handle = nullptr;
  Graph* graph = nullptr;
  SharedParams params;
  bool enabled = true;
  CUgraphNode original = nullptr;  // in a copy: the node that it was copied from
  uint32_t index = 0;              // in Graph::nodes
  std::vector<Dependency> dependencies;
  std::vector<Node*> dependents;
  std::vector<void*> shown_params;    // what cuGraphKernelNodeGetParams gave out
  std::vector<CUgraph> shown_bodies;  // what a conditional node's creation gave out

  template <typename T>
  const T* as() const {
    return std::get_if<T>(params.get());
  }
};

class Graph {
 public:
  static constexpr size_t kNodesMax = 1u << 20;

  CUgraph handle = nullptr;
  Node* owner = nullptr;  // of a child graph: the node that it belongs to
  std::vector<std::unique_ptr<Node>> nodes;
  // Made for nodes of this graph; a copy has the same ones.
  std::vector<std::shared_ptr<Conditional>> conditionals;
  // References to user objects that go with the graph.
  std::vector<std::pair<std::shared_ptr<UserObject>, unsigned>> user_objects;

  // A node behind `dependencies`, which are nodes of this graph. Null when one is named twice or
  // there are too many nodes.
  Node* add(SharedParams params, std::span<const Dependency> dependencies);
  void remove(Node* node);
  // False when there is such an edge already, or none.
  bool connect(Node* from, Node* to, const CUgraphEdgeData& edge);
  bool disconnect(Node* from, Node* to, const CUgraphEdgeData* edge);

  // The nodes, each behind all that it depends on, otherwise in the order in which they were added.
  // False when there is a cycle.
  [[nodiscard]] bool order(std::vector<Node*>& ordered) const;
  [[nodiscard]] bool empty() const { return nodes.empty(); }

  // A copy whose nodes know their originals; child graphs are copied too. Handles are not set. User
  // objects are not taken along.
  [[nodiscard]] std::shared_ptr<Graph> clone() const;

  // True when the graph, or a graph inside of it, has such a node.
  template <typename T>
  bool has() const {
    for (const auto& node : nodes) {
      if (node->as<T>() != nullptr) return true;
      for (const auto& inner : graphsIn(*node->params)) {
        if (inner->template has<T>()) return true;
      }
    }
    return false;
  }
};

[[nodiscard]] inline bool sameEdge(const CUgraphEdgeData& a, const CUgraphEdgeData& b) {
  return a.from_port == b.from_port && a.to_port == b.to_port && a.type == b.type;
}

}  // namespace farwarp::graph
