// How a call becomes a node of the graph that its stream captures.
#pragma once

#include "driver/graph/host.h"

namespace farwarp::graph {

// The stream of a call that is to be recorded.
struct Recording {
  StreamKey key;
  std::shared_ptr<Sequence> sequence;
};

// False: the stream does not capture, and the call goes on. True with a result that is no success:
// it ends here. True with success: it is to be recorded.
[[nodiscard]] bool startRecording(Host& host, CUresult& result, CUstream stream, uint16_t flags,
                                  Recording& recording);
// A node behind all that the stream has recorded.
[[nodiscard]] CUresult addNode(Host& host, const Recording& recording, SharedParams params);

// Records what `make(Recording, SharedParams&)` makes; nothing when it makes nothing.
template <typename Make>
bool record(Host& host, CUresult& result, CUstream stream, uint16_t flags, Make make) {
  Recording recording;
  if (!startRecording(host, result, stream, flags, recording)) return false;
  if (result != CUDA_SUCCESS) return true;
  SharedParams params;
  result = make(recording, params);
  if (result == CUDA_SUCCESS && params != nullptr) {
    result = addNode(host, recording, std::move(params));
  }
  return true;
}

}  // namespace farwarp::graph
