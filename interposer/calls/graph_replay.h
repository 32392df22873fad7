// Launches of graphs with host nodes: not one message, but the calls that the nodes stand for, one
// after the other in the stream of the launch.
//
// A host node runs here, in the middle of the graph, and may read what copies before it wrote to
// host memory and write what copies behind it read. Calls in a stream have that already: what was
// copied to the host is there before a function runs, and host memory is read behind it.
#pragma once

#include <cuda.h>

#include "driver/graph/host.h"

namespace farwarp::client {

// Makes the calls of `graph` in `stream`. Waits for the stream before a copy that reads host memory
// behind a host node. CUDA_ERROR_NOT_SUPPORTED when a node is of another context than the current
// one.
[[nodiscard]] CUresult replayGraph(const graph::Graph& graph, graph::Host& host, CUstream stream,
                                   uint16_t record_flags);

}  // namespace farwarp::client
