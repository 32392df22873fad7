#include "driver/graph/recording.h"

namespace farwarp::graph {

bool startRecording(Host& host, CUresult& result, CUstream stream, uint16_t flags,
                    Recording& recording) {
  result = CUDA_SUCCESS;
  // A bad stream, or no context, is for the call itself to refuse.
  if (host.enter(true) != CUDA_SUCCESS ||
      host.findStream(stream, flags, recording.key) != CUDA_SUCCESS) {
    return false;
  }
  std::lock_guard lock(host.state.mutex);
  recording.sequence = host.state.captures.find(recording.key);
  if (recording.sequence == nullptr) {
    if (!recording.key.legacy()) return false;
    result = host.state.captures.useLegacy(recording.key.context);
    return result != CUDA_SUCCESS;
  }
  if (recording.sequence->invalidated) result = CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
  return true;
}

CUresult addNode(Host& host, const Recording& recording, SharedParams params) {
  std::lock_guard lock(host.state.mutex);
  Sequence& sequence = *recording.sequence;
  const auto stream = sequence.streams.find(recording.key);
  if (sequence.invalidated || stream == sequence.streams.end()) {
    return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
  }
  Node* node = sequence.graph->add(std::move(params), stream->second.tips);
  if (node == nullptr) return CUDA_ERROR_OUT_OF_MEMORY;
  host.state.adopt(node);
  stream->second.tips = {{node, {}}};
  return CUDA_SUCCESS;
}

}  // namespace farwarp::graph
