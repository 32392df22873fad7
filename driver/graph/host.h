// What the shared code of graphs and captures needs of the driver that it serves: the client, whose
// executable graphs live in gpud, or the CPU device, which runs them.
#pragma once

#include <cuda.h>

#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <tuple>
#include <unordered_map>
#include <vector>

#include "driver/graph/captures.h"
#include "driver/graph/graph.h"

namespace farwarp {
struct DriverTable;
}

namespace farwarp::graph {

// How a kernel takes its parameters.
struct KernelLayout {
  struct Param {
    uint32_t offset;
    uint32_t bytes;
  };
  std::vector<Param> params;
  uint32_t bytes = 0;  // of all, packed
};

// An executable graph.
struct Exec {
  CUgraphExec handle = nullptr;  // the host chooses it
  // Its own copy; nodes know the nodes of the graph that it was made from.
  std::shared_ptr<Graph> graph;
  uint64_t flags = 0;
  std::shared_ptr<void> made;  // what the host needs to run it

  // The node that stands for `original`; null when there is none.
  Node* find(CUgraphNode original) const;
  void setGraph(std::shared_ptr<Graph> copy);

 private:
  std::unordered_map<CUgraphNode, Node*> by_original_;
};

// Memory of an allocation node. It is there, at the same address, as long as a graph or executable
// graph can use it or the program has it.
struct GraphMemory {
  size_t bytes = 0;
  int device = 0;
  bool live = false;  // a launch has allocated it, and nobody has freed it
  std::weak_ptr<void> memory;
  std::shared_ptr<void> kept;  // while it is live
};

// The most that a device ever had, in bytes.
struct GraphMemoryPeaks {
  cuuint64_t used = 0;
  cuuint64_t reserved = 0;
};

// The handles of graphs, nodes and executable graphs, and what streams capture.
class State {
 public:
  static constexpr size_t kGraphsMax = 1u << 20;

  std::mutex mutex;  // guards everything here and in all graphs; hosts are asked without it
  Captures captures;

  // Null for what is no live handle. `graph` may be a child graph.
  std::shared_ptr<Graph> find(CUgraph graph) const;
  Node* find(CUgraphNode node) const;
  std::shared_ptr<Exec> find(CUgraphExec exec) const;

  // Gives the graph, its nodes and its child graphs handles. False when there are too many graphs.
  [[nodiscard]] bool adopt(const std::shared_ptr<Graph>& graph);
  // With `handle`, under that one.
  void adopt(Node* node, CUgraphNode handle = nullptr);
  // Takes the handles back; the graph ends with its last owner.
  void forget(Graph& graph);
  void forget(Node& node);
  void add(const std::shared_ptr<Exec>& exec) { execs_[exec->handle] = exec; }
  std::shared_ptr<Exec> remove(CUgraphExec exec);

  // Attributes that were set.
  std::map<StreamKey, std::map<CUstreamAttrID, CUstreamAttrValue>> stream_attributes;
  std::unordered_map<CUuserObject, std::shared_ptr<UserObject>> user_objects;
  uintptr_t nextHandle();

  // By handle, as long as a graph has them.
  std::unordered_map<CUgraphConditionalHandle, std::weak_ptr<Conditional>> conditionals;
  std::shared_ptr<Conditional> findConditional(CUgraphConditionalHandle handle) const;

  // Memory of allocation nodes by address.
  std::unordered_map<CUdeviceptr, GraphMemory> memory;
  std::unordered_map<CUdevice, GraphMemoryPeaks> memory_peaks;
  // Forgets memory that nobody has any more.
  void sweepMemory();
  // What a launch of `exec` does to it. CUDA_ERROR_INVALID_VALUE when it would allocate what is
  // live, or free what is not.
  [[nodiscard]] CUresult launchMemory(const Exec& exec);

 private:
  uintptr_t count_ = 0;
  std::unordered_map<CUgraph, std::shared_ptr<Graph>> graphs_;
  std::unordered_map<CUgraphNode, Node*> nodes_;
  std::unordered_map<CUgraphExec, std::shared_ptr<Exec>> execs_;
};

// Every function may be called by any thread of the program, without State::mutex.
class Host {
 public:
  State state;

  // The functions of this driver, for calls that are several of others.
  virtual const DriverTable& table() = 0;
  // What every call checks first: the driver is initialised, and the thread has a current context
  // if it needs one.
  [[nodiscard]] virtual CUresult enter(bool needs_context) = 0;
  virtual CUcontext currentContext() = 0;
  [[nodiscard]] virtual CUresult currentDevice(CUdevice& device) = 0;
  [[nodiscard]] virtual CUresult checkDevice(CUdevice device) = 0;
  // A number for the calling thread.
  virtual uint64_t currentThread() = 0;

  // Which stream a handle means, with the flags of the form that was called.
  [[nodiscard]] virtual CUresult findStream(CUstream stream, uint16_t record_flags,
                                            StreamKey& key) = 0;
  // True for a stream that is ordered with the legacy default stream.
  [[nodiscard]] virtual CUresult isBlocking(const StreamKey& key, bool& blocking) = 0;
  [[nodiscard]] virtual CUresult checkEvent(CUevent event) = 0;
  // A context that a node names; null means the current one, and is replaced by it.
  [[nodiscard]] virtual CUresult checkContext(CUcontext& context) = 0;
  [[nodiscard]] virtual CUresult kernelLayout(CUfunction function, KernelLayout& layout) = 0;
  // What CUDA checks at a launch.
  [[nodiscard]] virtual CUresult checkShape(CUfunction function, const LaunchShape& shape) = 0;

  // Memory operations on values: memory that `bytes` may be read from and written to.
  [[nodiscard]] virtual CUresult checkOperand(CUdeviceptr address, size_t bytes) = 0;
  [[nodiscard]] virtual CUresult operate(CUstream stream, uint16_t record_flags,
                                         std::span<const CUstreamBatchMemOpParams> operations) = 0;
  // Device memory for an allocation node; it ends with `memory`.
  [[nodiscard]] virtual CUresult allocate(const AllocParams& wanted, CUdeviceptr& address,
                                          std::shared_ptr<void>& memory) = 0;

  // Makes `exec`, whose graph was checked, runnable, and chooses its handle.
  [[nodiscard]] virtual CUresult instantiate(Exec& exec) = 0;
  // These nodes of `exec` have other parameters now, or are enabled or not, for later launches.
  [[nodiscard]] virtual CUresult update(Exec& exec, std::span<Node* const> nodes) = 0;
  [[nodiscard]] virtual CUresult launch(const std::shared_ptr<Exec>& exec, CUstream stream,
                                        uint16_t record_flags) = 0;
  [[nodiscard]] virtual CUresult upload(Exec& exec, CUstream stream, uint16_t record_flags) = 0;
  [[nodiscard]] virtual CUresult destroy(Exec& exec) = 0;

 protected:
  ~Host() = default;
};

// Finds nodes of `graph` by their handles; `edges` may be null. CUDA_ERROR_INVALID_VALUE for what
// is no node of it, and for one that is named twice.
[[nodiscard]] CUresult findDependencies(const State& state, const Graph& graph,
                                        const CUgraphNode* nodes, const CUgraphEdgeData* edges,
                                        size_t count, std::vector<Dependency>& found);

// Gives the node of an executable graph that stands for `node` other parameters, for later
// launches.
[[nodiscard]] CUresult setExecParams(Host& host, CUgraphExec exec, CUgraphNode node,
                                     SharedParams params);

// Return early with an error of CUDA.
#define FARWARP_GRAPH_TRY(expression)                                                  \
  do {                                                                                 \
    if (CUresult try_result = (expression); try_result != CUDA_SUCCESS) [[unlikely]] { \
      return try_result;                                                               \
    }                                                                                  \
  } while (false)

}  // namespace farwarp::graph
