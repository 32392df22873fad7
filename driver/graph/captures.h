// Streams that capture: which belong together, what the next node of each depends on, and when CUDA
// says that a capture is over because of what somebody did.
//
// Everything here is guarded by State::mutex.
#pragma once

#include <cuda.h>

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <tuple>
#include <unordered_map>
#include <vector>

#include "driver/graph/capturing.h"
#include "driver/graph/graph.h"

namespace farwarp::graph {

// One stream of the process. A default stream is named by its context, and the thread's own by its
// thread.
struct StreamKey {
  uint64_t stream = 0;  // 1: the legacy default stream; 2: a thread's; else the handle
  CUcontext context = nullptr;
  uint64_t thread = 0;  // of a thread's default stream

  bool legacy() const { return stream == 1; }
  bool operator<(const StreamKey& other) const {
    return std::tie(stream, context, thread) < std::tie(other.stream, other.context, other.thread);
  }
  bool operator==(const StreamKey&) const = default;
};

// A stream that captures.
struct CapturedStream {
  std::vector<Dependency> tips;  // what the next node will depend on
  bool blocking = false;
  // What cuStreamGetCaptureInfo gave out; stays until the next call on the stream.
  std::vector<CUgraphNode> shown_nodes;
  std::vector<CUgraphEdgeData> shown_edges;
};

// One capture with all the streams that joined it.
struct Sequence {
  uint64_t id = 0;
  CUstreamCaptureMode mode = CU_STREAM_CAPTURE_MODE_GLOBAL;
  uint64_t thread = 0;
  StreamKey origin;
  std::shared_ptr<Graph> graph;
  bool into_existing = false;  // the graph is the program's
  bool invalidated = false;
  bool over = false;
  std::map<StreamKey, CapturedStream> streams;
};

class Captures {
 public:
  // The capture that a stream takes part in; null when it does not capture.
  std::shared_ptr<Sequence> find(const StreamKey& stream) const;

  // The stream is not capturing.
  void begin(std::shared_ptr<Sequence> sequence, const StreamKey& stream, CapturedStream first);
  void join(const std::shared_ptr<Sequence>& sequence, const StreamKey& stream,
            CapturedStream first);
  void end(const std::shared_ptr<Sequence>& sequence);

  // An event that was last recorded in a capturing stream.
  struct Event {
    std::shared_ptr<Sequence> sequence;
    std::vector<Dependency> tips;
  };
  const Event* find(CUevent event) const;
  void record(CUevent event, Event captured);
  void forget(CUevent event);

  // CUDA's rules for calls that a capture does not like. Each ends the captures that it disturbs.
  //
  // The stream is used by a call that cannot be recorded.
  [[nodiscard]] CUresult use(const StreamKey& stream);
  // The legacy stream of a context is used: no blocking stream of it may capture. With `only_ask`
  // nothing ends.
  [[nodiscard]] CUresult useLegacy(CUcontext context, bool only_ask = false);
  // A potentially unsafe call of `thread`, whose mode is `mode`.
  [[nodiscard]] CUresult useUnsafe(uint64_t thread, CUstreamCaptureMode mode);
  // The context is synchronized.
  [[nodiscard]] CUresult useContext(CUcontext context);

  uint64_t nextId() { return ++ids_; }

  // There is memory of graphs, so that frees have to be looked at although nothing captures.
  void watchMemory(bool on) {
    watch_memory_ = on;
    count();
  }

 private:
  void count() const;

  uint64_t ids_ = 0;
  bool watch_memory_ = false;
  std::map<StreamKey, std::shared_ptr<Sequence>> streams_;
  std::vector<std::shared_ptr<Sequence>> sequences_;
  std::unordered_map<CUevent, Event> events_;
};

}  // namespace farwarp::graph
