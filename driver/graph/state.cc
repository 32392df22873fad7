#include "driver/graph/host.h"

namespace farwarp::graph {

Node* Exec::find(CUgraphNode original) const {
  const auto found = by_original_.find(original);
  return found == by_original_.end() ? nullptr : found->second;
}

void Exec::setGraph(std::shared_ptr<Graph> copy) {
  graph = std::move(copy);
  by_original_.clear();
  for (const auto& node : graph->nodes) by_original_[node->original] = node.get();
}

// Values that differ from every id on the wire and from the CPU device's handles, whose low bits
// are others.
uintptr_t State::nextHandle() {
  return ++count_ << 8 | 0xf8;
}

std::shared_ptr<Graph> State::find(CUgraph graph) const {
  const auto found = graphs_.find(graph);
  return found == graphs_.end() ? nullptr : found->second;
}

Node* State::find(CUgraphNode node) const {
  const auto found = nodes_.find(node);
  return found == nodes_.end() ? nullptr : found->second;
}

std::shared_ptr<Exec> State::find(CUgraphExec exec) const {
  const auto found = execs_.find(exec);
  return found == execs_.end() ? nullptr : found->second;
}

std::shared_ptr<Exec> State::remove(CUgraphExec exec) {
  const auto found = execs_.find(exec);
  if (found == execs_.end()) return nullptr;
  const auto removed = std::move(found->second);
  execs_.erase(found);
  return removed;
}

bool State::adopt(const std::shared_ptr<Graph>& graph) {
  if (graphs_.size() >= kGraphsMax) return false;
  graph->handle = reinterpret_cast<CUgraph>(nextHandle());
  graphs_[graph->handle] = graph;
  for (const auto& node : graph->nodes) adopt(node.get());
  return true;
}

void State::adopt(Node* node, CUgraphNode handle) {
  node->handle = handle != nullptr ? handle : reinterpret_cast<CUgraphNode>(nextHandle());
  nodes_[node->handle] = node;
  for (const auto& inner : graphsIn(*node->params)) static_cast<void>(adopt(inner));
}

void State::forget(Graph& graph) {
  for (const auto& node : graph.nodes) forget(*node);
  graphs_.erase(graph.handle);
}

void State::forget(Node& node) {
  for (const auto& inner : graphsIn(*node.params)) forget(*inner);
  nodes_.erase(node.handle);
}

std::shared_ptr<Conditional> State::findConditional(CUgraphConditionalHandle handle) const {
  const auto found = conditionals.find(handle);
  return found == conditionals.end() ? nullptr : found->second.lock();
}

void State::sweepMemory() {
  std::erase_if(memory, [](const auto& entry) {
    return !entry.second.live && entry.second.memory.expired();
  });
  captures.watchMemory(!memory.empty());
}

namespace {

// Allocations and frees of a graph and its child graphs, in the order in which they run.
CUresult collectMemory(const Graph& graph, std::vector<std::pair<CUdeviceptr, bool>>& steps) {
  std::vector<Node*> ordered;
  if (!graph.order(ordered)) return CUDA_ERROR_INVALID_VALUE;
  for (const Node* node : ordered) {
    if (const auto* alloc = node->as<AllocParams>()) steps.emplace_back(alloc->address, true);
    if (const auto* free = node->as<FreeParams>()) steps.emplace_back(free->address, false);
    // Bodies of conditional nodes have no memory nodes.
    if (const auto* child = node->as<ChildParams>()) {
      FARWARP_GRAPH_TRY(collectMemory(*child->graph, steps));
    }
  }
  return CUDA_SUCCESS;
}

}  // namespace

CUresult State::launchMemory(const Exec& exec) {
  if (memory.empty()) return CUDA_SUCCESS;
  std::vector<std::pair<CUdeviceptr, bool>> steps;
  FARWARP_GRAPH_TRY(collectMemory(*exec.graph, steps));
  const bool auto_free = (exec.flags & CUDA_GRAPH_INSTANTIATE_FLAG_AUTO_FREE_ON_LAUNCH) != 0;
  for (bool apply : {false, true}) {
    std::unordered_map<CUdeviceptr, bool> live;
    for (const auto& [address, allocates] : steps) {
      const auto found = memory.find(address);
      if (found == memory.end()) return CUDA_ERROR_INVALID_VALUE;
      auto [now, first] = live.try_emplace(address, found->second.live);
      if (first && allocates && auto_free) now->second = false;
      if (now->second == allocates) return CUDA_ERROR_INVALID_VALUE;
      now->second = allocates;
      if (!apply) continue;
      found->second.live = allocates;
      found->second.kept = allocates ? found->second.memory.lock() : nullptr;
    }
  }
  return CUDA_SUCCESS;
}

}  // namespace farwarp::graph
