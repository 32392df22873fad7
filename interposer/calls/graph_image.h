// An executable graph as gpud gets it, and the client's memory that its copies use.
//
// A copy in a graph reads or writes host memory when the graph runs. gpud keeps room for every
// stretch of host memory that the graph's copies touch, called the image, and the copies use that:
// before a launch the client's bytes go into it, after it what was written comes back. Two copies
// that touch the same host memory touch the same place of the image, in the order of the graph.
#pragma once

#include <cuda.h>

#include <vector>

#include "driver/copy_shape.h"
#include "driver/graph/host.h"
#include "interposer/calls/body.h"
#include "protocol/graph_nodes.h"

namespace farwarp::client {

// An operation on a value as it crosses the wire.
[[nodiscard]] wire::NodeOperation describeOperation(const CUstreamBatchMemOpParams& operation);

class GraphImage {
 public:
  // A stretch of host memory.
  struct Stretch {
    uint64_t begin = 0;
    uint64_t end = 0;
    bool read = false;
    uint64_t offset = 0;  // in the image
  };

  // Lays the image out and describes the nodes. CUDA_ERROR_INVALID_HANDLE and so on when a node
  // names something that is gone; CUDA_ERROR_NOT_SUPPORTED for kinds of nodes that do not cross.
  [[nodiscard]] CUresult describe(CallScope& scope, const graph::Graph& graph,
                                  std::vector<wire::GraphNode>& nodes);
  // True when the layout is the same, so that a copy that did not change still fits it.
  bool operator==(const GraphImage& other) const;

  uint64_t bytes() const { return bytes_; }
  // The part that is sent before each launch: the image's first bytes.
  uint64_t readBytes() const { return read_bytes_; }
  const std::vector<Stretch>& stretches() const { return stretches_; }
  const std::vector<CopyRequest>& written() const { return written_; }

 private:
  // `certain`: the graph's nodes run with every launch.
  [[nodiscard]] CUresult collect(CallScope& scope, const graph::Graph& graph, bool certain);
  void layOut();
  [[nodiscard]] CUresult encode(CallScope& scope, const graph::Graph& graph,
                                std::vector<wire::GraphNode>& nodes);
  [[nodiscard]] CUresult encode(CallScope& scope, const graph::Node& node, wire::GraphNode& to);
  [[nodiscard]] CUresult encodeCopy(CallScope& scope, const graph::CopyParams& copy,
                                    wire::GraphNode& to);
  wire::NodeCopyEnd encodeEnd(CallScope& scope, const CopyEnd& end) const;
  uint64_t place(uint64_t address) const;

  std::vector<Stretch> stretches_;    // by address
  std::vector<CopyRequest> written_;  // in the order of the nodes
  uint64_t bytes_ = 0;
  uint64_t read_bytes_ = 0;
};

}  // namespace farwarp::client
