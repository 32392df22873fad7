// Queues the nodes of an executable graph, one after the other, in streams of their own.
#pragma once

#include <cuda.h>

#include <map>
#include <memory>

#include "driver/graph/host.h"
#include "gpud/device/cpu/scheduler.h"

namespace farwarp::cpu {

// Queues nodes on one thread: the context of each is current while it is queued, and host memory is
// what it says it is until the node runs.
class QueueScope {
 public:
  QueueScope();
  ~QueueScope();
  QueueScope(const QueueScope&) = delete;
  QueueScope& operator=(const QueueScope&) = delete;

 private:
  const int depth_;
  const CUcontext before_;
};

// A stream in each context that the nodes are in. Used by one thread at a time, in a QueueScope.
class GraphSequence {
 public:
  // `context`: of nodes that name none.
  explicit GraphSequence(CUcontext context) : context_(context) {}
  ~GraphSequence();
  GraphSequence(const GraphSequence&) = delete;
  GraphSequence& operator=(const GraphSequence&) = delete;

  // What is queued next waits for what is in this stream, or for nothing when it is null.
  void follow(std::shared_ptr<Stream> stream) { last_ = std::move(stream); }
  // Where the node before was queued.
  const std::shared_ptr<Stream>& last() const { return last_; }

  // The stream for a node in `context`, behind the node before it. The context becomes current.
  [[nodiscard]] CUresult enterContext(CUcontext context, CUstream& stream);
  // Queues `graph`, which belongs to `exec`. An error leaves the nodes before it queued.
  [[nodiscard]] CUresult queue(const graph::Graph& graph, const std::shared_ptr<graph::Exec>& exec);
  // Gives the conditions of `graph` their default values in the order of the stream.
  [[nodiscard]] CUresult queueDefaults(const graph::Graph& graph);

 private:
  CUresult queue(const graph::Node& node, const std::shared_ptr<graph::Exec>& exec);
  CUresult queueConditional(const graph::SharedParams& params,
                            const std::shared_ptr<graph::Exec>& exec);

  const CUcontext context_;
  std::map<CUcontext, CUstream> streams_;
  std::shared_ptr<Stream> last_;
};

}  // namespace farwarp::cpu
