// Beginning, ending and asking about captures.
#include <unordered_set>

#include "driver/graph/host.h"
#include "graph_calls_gen.h"

namespace farwarp::graph {
namespace {

CUresult checkMode(CUstreamCaptureMode mode) {
  return static_cast<unsigned>(mode) > CU_STREAM_CAPTURE_MODE_RELAXED ? CUDA_ERROR_INVALID_VALUE
                                                                      : CUDA_SUCCESS;
}

// `existing` is null for a graph of its own.
CUresult begin(Host& host, CUstream stream, CUgraph existing, const CUgraphNode* dependencies,
               const CUgraphEdgeData* edges, size_t count, CUstreamCaptureMode mode,
               uint16_t record_flags) {
  FARWARP_GRAPH_TRY(host.enter(true));
  StreamKey key;
  FARWARP_GRAPH_TRY(host.findStream(stream, record_flags, key));
  FARWARP_GRAPH_TRY(checkMode(mode));
  if (key.legacy()) return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
  CapturedStream first;
  FARWARP_GRAPH_TRY(host.isBlocking(key, first.blocking));
  const uint64_t thread = host.currentThread();
  std::lock_guard lock(host.state.mutex);
  if (host.state.captures.find(key) != nullptr) return CUDA_ERROR_ILLEGAL_STATE;
  auto sequence = std::make_shared<Sequence>();
  sequence->mode = mode;
  sequence->thread = thread;
  sequence->origin = key;
  if (existing != nullptr) {
    sequence->graph = host.state.find(existing);
    if (sequence->graph == nullptr) return CUDA_ERROR_INVALID_VALUE;
    sequence->into_existing = true;
    FARWARP_GRAPH_TRY(
        findDependencies(host.state, *sequence->graph, dependencies, edges, count, first.tips));
  } else {
    sequence->graph = std::make_shared<Graph>();
    if (!host.state.adopt(sequence->graph)) return CUDA_ERROR_OUT_OF_MEMORY;
  }
  sequence->id = host.state.captures.nextId();
  host.state.captures.begin(std::move(sequence), key, std::move(first));
  return CUDA_SUCCESS;
}

// True when all work of the other streams is behind the tips of the stream that ends the capture.
bool joined(const Sequence& sequence) {
  std::unordered_set<const Node*> behind;
  std::vector<const Node*> open;
  for (const Dependency& tip : sequence.streams.at(sequence.origin).tips) open.push_back(tip.node);
  while (!open.empty()) {
    const Node* node = open.back();
    open.pop_back();
    if (!behind.insert(node).second) continue;
    for (const Dependency& dependency : node->dependencies) open.push_back(dependency.node);
  }
  for (const auto& [stream, captured] : sequence.streams) {
    for (const Dependency& tip : captured.tips) {
      if (!behind.contains(tip.node)) return false;
    }
  }
  return true;
}

struct Info {
  CUstreamCaptureStatus status = CU_STREAM_CAPTURE_STATUS_NONE;
  std::shared_ptr<Sequence> sequence;
  StreamKey key;
};

// `host.state.mutex` is locked on success.
CUresult ask(Host& host, CUstream stream, uint16_t record_flags, Info& info,
             std::unique_lock<std::mutex>& lock) {
  FARWARP_GRAPH_TRY(host.enter(true));
  FARWARP_GRAPH_TRY(host.findStream(stream, record_flags, info.key));
  lock = std::unique_lock(host.state.mutex);
  if (info.key.legacy()) return host.state.captures.useLegacy(info.key.context, true);
  info.sequence = host.state.captures.find(info.key);
  if (info.sequence != nullptr) {
    info.status = info.sequence->invalidated ? CU_STREAM_CAPTURE_STATUS_INVALIDATED
                                             : CU_STREAM_CAPTURE_STATUS_ACTIVE;
  }
  return CUDA_SUCCESS;
}

struct Wanted {
  cuuint64_t* id = nullptr;
  CUgraph* graph = nullptr;
  const CUgraphNode** nodes = nullptr;
  const CUgraphEdgeData** edges = nullptr;
  size_t* count = nullptr;
};

CUresult tell(Host& host, CUstream stream, uint16_t record_flags, CUstreamCaptureStatus* status,
              const Wanted& wanted) {
  Info info;
  std::unique_lock<std::mutex> lock;
  FARWARP_GRAPH_TRY(ask(host, stream, record_flags, info, lock));
  if (status == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *status = info.status;
  // CUDA sets the other results only for a stream that captures.
  if (info.status != CU_STREAM_CAPTURE_STATUS_ACTIVE) return CUDA_SUCCESS;
  CapturedStream& captured = info.sequence->streams[info.key];
  captured.shown_nodes.clear();
  captured.shown_edges.clear();
  bool plain = true;
  for (const Dependency& tip : captured.tips) {
    captured.shown_nodes.push_back(tip.node->handle);
    captured.shown_edges.push_back(tip.edge);
    plain = plain && sameEdge(tip.edge, {});
  }
  if (wanted.nodes != nullptr && wanted.edges == nullptr && !plain) return CUDA_ERROR_LOSSY_QUERY;
  if (wanted.id != nullptr) *wanted.id = info.sequence->id;
  if (wanted.graph != nullptr) *wanted.graph = info.sequence->graph->handle;
  if (wanted.nodes != nullptr) *wanted.nodes = captured.shown_nodes.data();
  if (wanted.edges != nullptr) *wanted.edges = captured.shown_edges.data();
  if (wanted.count != nullptr) *wanted.count = captured.tips.size();
  return CUDA_SUCCESS;
}

}  // namespace

CUresult findDependencies(const State& state, const Graph& graph, const CUgraphNode* nodes,
                          const CUgraphEdgeData* edges, size_t count,
                          std::vector<Dependency>& found) {
  if (count > Graph::kNodesMax || (count != 0 && nodes == nullptr)) return CUDA_ERROR_INVALID_VALUE;
  for (size_t i = 0; i < count; ++i) {
    Node* node = state.find(nodes[i]);
    if (node == nullptr || node->graph != &graph) return CUDA_ERROR_INVALID_VALUE;
    for (const Dependency& other : found) {
      if (other.node == node) return CUDA_ERROR_INVALID_VALUE;
    }
    found.push_back({node, edges == nullptr ? CUgraphEdgeData{} : edges[i]});
  }
  return CUDA_SUCCESS;
}

namespace calls {

CUresult cuStreamBeginCapture_v2(Host& host, CUstream stream, CUstreamCaptureMode mode,
                                 uint16_t record_flags) {
  return begin(host, stream, nullptr, nullptr, nullptr, 0, mode, record_flags);
}

CUresult cuStreamBeginCapture(Host& host, CUstream stream, uint16_t record_flags) {
  return calls::cuStreamBeginCapture_v2(host, stream, CU_STREAM_CAPTURE_MODE_GLOBAL, record_flags);
}

CUresult cuStreamBeginCaptureToGraph(Host& host, CUstream stream, CUgraph graph,
                                     const CUgraphNode* dependencies, const CUgraphEdgeData* edges,
                                     size_t count, CUstreamCaptureMode mode,
                                     uint16_t record_flags) {
  if (graph == nullptr) return CUDA_ERROR_INVALID_VALUE;
  return begin(host, stream, graph, dependencies, edges, count, mode, record_flags);
}

CUresult cuStreamEndCapture(Host& host, CUstream stream, CUgraph* graph, uint16_t record_flags) {
  FARWARP_GRAPH_TRY(host.enter(true));
  StreamKey key;
  FARWARP_GRAPH_TRY(host.findStream(stream, record_flags, key));
  const uint64_t thread = host.currentThread();
  std::lock_guard lock(host.state.mutex);
  const auto sequence = host.state.captures.find(key);
  // Who captures into a graph has it; NVIDIA's sample graphConditionalNodes passes null then.
  if (graph == nullptr && (sequence == nullptr || !sequence->into_existing)) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  CUgraph ignored = nullptr;
  if (graph == nullptr) graph = &ignored;
  if (sequence == nullptr) return CUDA_ERROR_ILLEGAL_STATE;
  if (sequence->thread != thread && sequence->mode != CU_STREAM_CAPTURE_MODE_RELAXED) {
    return CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD;
  }
  *graph = nullptr;
  if (!(sequence->origin == key)) {
    sequence->invalidated = true;
    return CUDA_ERROR_STREAM_CAPTURE_UNMATCHED;
  }
  CUresult result = CUDA_SUCCESS;
  if (sequence->invalidated) {
    result = CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
  } else if (!joined(*sequence)) {
    result = CUDA_ERROR_STREAM_CAPTURE_UNJOINED;
  }
  if (result == CUDA_SUCCESS) {
    *graph = sequence->graph->handle;
  } else if (!sequence->into_existing) {
    host.state.forget(*sequence->graph);
  }
  host.state.captures.end(sequence);
  return result;
}

CUresult cuStreamIsCapturing(Host& host, CUstream stream, CUstreamCaptureStatus* status,
                             uint16_t record_flags) {
  return tell(host, stream, record_flags, status, {});
}

CUresult cuStreamGetCaptureInfo(Host& host, CUstream stream, CUstreamCaptureStatus* status,
                                cuuint64_t* id, uint16_t record_flags) {
  return tell(host, stream, record_flags, status, {.id = id});
}

CUresult cuStreamGetCaptureInfo_v2(Host& host, CUstream stream, CUstreamCaptureStatus* status,
                                   cuuint64_t* id, CUgraph* graph, const CUgraphNode** nodes,
                                   size_t* count, uint16_t record_flags) {
  return tell(host, stream, record_flags, status,
              {.id = id, .graph = graph, .nodes = nodes, .count = count});
}

CUresult cuStreamGetCaptureInfo_v3(Host& host, CUstream stream, CUstreamCaptureStatus* status,
                                   cuuint64_t* id, CUgraph* graph, const CUgraphNode** nodes,
                                   const CUgraphEdgeData** edges, size_t* count,
                                   uint16_t record_flags) {
  return tell(host, stream, record_flags, status,
              {.id = id, .graph = graph, .nodes = nodes, .edges = edges, .count = count});
}

CUresult cuStreamUpdateCaptureDependencies_v2(Host& host, CUstream stream, CUgraphNode* nodes,
                                              const CUgraphEdgeData* edges, size_t count,
                                              unsigned int flags, uint16_t record_flags) {
  Info info;
  std::unique_lock<std::mutex> lock;
  FARWARP_GRAPH_TRY(ask(host, stream, record_flags, info, lock));
  if (info.sequence == nullptr) return CUDA_ERROR_ILLEGAL_STATE;
  if (info.sequence->invalidated) return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
  if (flags > CU_STREAM_SET_CAPTURE_DEPENDENCIES) return CUDA_ERROR_INVALID_VALUE;
  std::vector<Dependency> given;
  FARWARP_GRAPH_TRY(
      findDependencies(host.state, *info.sequence->graph, nodes, edges, count, given));
  std::vector<Dependency>& tips = info.sequence->streams[info.key].tips;
  if (flags == CU_STREAM_SET_CAPTURE_DEPENDENCIES) tips.clear();
  for (const Dependency& dependency : given) {
    bool known = false;
    for (const Dependency& tip : tips) known |= tip.node == dependency.node;
    if (!known) tips.push_back(dependency);
  }
  return CUDA_SUCCESS;
}

CUresult cuStreamUpdateCaptureDependencies(Host& host, CUstream stream, CUgraphNode* nodes,
                                           size_t count, unsigned int flags,
                                           uint16_t record_flags) {
  return calls::cuStreamUpdateCaptureDependencies_v2(host, stream, nodes, nullptr, count, flags,
                                                     record_flags);
}

}  // namespace calls
}  // namespace farwarp::graph
