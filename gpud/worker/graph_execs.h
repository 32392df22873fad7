// The executable graphs of a session: the driver's own graphs, made from what the client sent, and
// the room for the client's memory that their copies use.
#pragma once

#include <cuda.h>

#include <array>
#include <memory>
#include <unordered_map>
#include <vector>

#include "gpud/worker/call_context.h"
#include "gpud/worker/device_box.h"
#include "protocol/graph_nodes.h"

namespace farwarp::worker {

class Session;

// The driver's form of operations on values. False for one that is none.
[[nodiscard]] bool toOperations(const std::vector<wire::NodeOperation>& given,
                                std::vector<CUstreamBatchMemOpParams>& operations);

// One executable graph. It belongs to the context that it was made in.
class GraphExec {
 public:
  GraphExec(Session& session, CUcontext context) : session_(session), context_(context) {}
  GraphExec(const GraphExec&) = delete;
  GraphExec& operator=(const GraphExec&) = delete;
  ~GraphExec();

  // Builds and instantiates. `sane` is false when the peer sent nonsense.
  [[nodiscard]] CUresult make(std::vector<wire::GraphNode> nodes, uint64_t image_bytes,
                              uint64_t flags, bool& sane);
  // Changes the nodes that are given, for later launches.
  [[nodiscard]] CUresult update(std::vector<wire::GraphNode> nodes, uint64_t image_bytes,
                                bool& sane);

  CUcontext context() const { return context_; }
  CUgraphExec exec() const { return exec_; }
  CUdeviceptr image() const { return image_; }
  uint64_t imageBytes() const { return image_bytes_; }
  // Copies to the client, in the order of the nodes; each reads the image.
  const std::vector<DeviceBox>& downloads() const { return downloads_; }

  // Makes `stream` wait for the launches before, which may still use the image.
  [[nodiscard]] CUresult orderImage(CUstream stream);
  // A launch and the copies of its image were issued to `stream`.
  [[nodiscard]] CUresult imageUsed(CUstream stream);

 private:
  [[nodiscard]] CUresult makeImage(uint64_t bytes);
  [[nodiscard]] CUresult buildGraph(const std::vector<wire::GraphNode>& nodes, CUgraph graph,
                                    std::vector<CUgraphNode>* made, bool& sane);
  // Fills in what a node does. `child` gets a graph that the caller destroys when it was used.
  [[nodiscard]] CUresult fillParams(const wire::GraphNode& node, CUgraphNodeParams& params,
                                    CUgraph& child, bool& sane);
  [[nodiscard]] CUresult fillKernel(const wire::GraphNode& node, CUgraphNodeParams& params);
  [[nodiscard]] CUresult fillCopy(const wire::GraphNode& node, CUgraphNodeParams& params,
                                  bool& sane);
  [[nodiscard]] CUresult fillBatch(const wire::GraphNode& node, CUgraphNodeParams& params,
                                   bool& sane);
  // Makes the driver's handles for the conditional nodes among `nodes`, and puts them into the
  // parameters of kernels in place of the client's.
  [[nodiscard]] CUresult makeConditions(const std::vector<wire::GraphNode>& nodes, bool& sane);
  void putConditions(std::vector<wire::GraphNode>& nodes) const;
  [[nodiscard]] CUresult contextOf(uint64_t id, CUcontext& context);
  bool collectDownloads(const std::vector<wire::GraphNode>& nodes);

  Session& session_;
  const CUcontext context_;
  CUgraph graph_ = nullptr;
  CUgraphExec exec_ = nullptr;
  std::vector<wire::GraphNode> nodes_;
  std::vector<CUgraphNode> made_;                                      // the driver's, by position
  std::unordered_map<uint64_t, CUgraphConditionalHandle> conditions_;  // by the client's
  std::vector<DeviceBox> downloads_;
  CUdeviceptr image_ = 0;
  uint64_t image_bytes_ = 0;
  std::vector<CUdeviceptr> old_images_;  // earlier launches may still use them
  CUevent image_free_ = nullptr;         // recorded behind every use of the image
  // What the parameters of the node that is being made point to.
  std::array<void*, 5> extra_{};
  size_t param_bytes_ = 0;
  std::vector<CUstreamBatchMemOpParams> operations_;
};

class GraphExecs {
 public:
  // Takes over an executable graph; the session's handle table holds the pointer.
  GraphExec* add(std::unique_ptr<GraphExec> exec) {
    GraphExec* added = exec.get();
    execs_[added] = std::move(exec);
    return added;
  }
  void remove(GraphExec* exec) { execs_.erase(exec); }
  // The context is idle and about to go.
  void contextEnds(CUcontext context) {
    std::erase_if(execs_, [context](const auto& e) { return e.second->context() == context; });
  }

 private:
  std::unordered_map<GraphExec*, std::unique_ptr<GraphExec>> execs_;
};

}  // namespace farwarp::worker
