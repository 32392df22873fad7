// What a call must know when a graph's launch makes it.
#pragma once

namespace farwarp::cpu {

// True while the calling thread queues the nodes of a graph: host memory of a copy is then read or
// written when the copy's turn comes, wherever it lies.
[[nodiscard]] bool queuesGraph();

}  // namespace farwarp::cpu
