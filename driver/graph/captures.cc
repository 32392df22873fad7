#include "driver/graph/captures.h"

#include <algorithm>

namespace farwarp::graph {

constinit std::atomic<uint32_t> g_capturing{0};

void Captures::count() const {
  g_capturing.store(static_cast<uint32_t>(sequences_.size() + events_.size() + watch_memory_),
                    std::memory_order_relaxed);
}

std::shared_ptr<Sequence> Captures::find(const StreamKey& stream) const {
  const auto found = streams_.find(stream);
  return found == streams_.end() ? nullptr : found->second;
}

void Captures::begin(std::shared_ptr<Sequence> sequence, const StreamKey& stream,
                     CapturedStream first) {
  sequences_.push_back(sequence);
  join(sequence, stream, std::move(first));
  count();
}

void Captures::join(const std::shared_ptr<Sequence>& sequence, const StreamKey& stream,
                    CapturedStream first) {
  streams_[stream] = sequence;
  sequence->streams[stream] = std::move(first);
}

void Captures::end(const std::shared_ptr<Sequence>& sequence) {
  for (const auto& [stream, captured] : sequence->streams) streams_.erase(stream);
  sequence->streams.clear();
  sequence->over = true;
  sequence->graph = nullptr;
  std::erase(sequences_, sequence);
  // The events stay captured ones until they are recorded again, but their nodes may end now.
  for (auto& [event, captured] : events_) {
    if (captured.sequence == sequence) captured.tips.clear();
  }
  count();
}

const Captures::Event* Captures::find(CUevent event) const {
  const auto found = events_.find(event);
  return found == events_.end() ? nullptr : &found->second;
}

void Captures::record(CUevent event, Event captured) {
  events_[event] = std::move(captured);
  count();
}

void Captures::forget(CUevent event) {
  if (events_.erase(event) != 0) count();
}

CUresult Captures::use(const StreamKey& stream) {
  if (stream.legacy()) return useLegacy(stream.context);
  const auto sequence = find(stream);
  if (sequence == nullptr) return CUDA_SUCCESS;
  if (sequence->invalidated) return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
  sequence->invalidated = true;
  return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
}

CUresult Captures::useLegacy(CUcontext context, bool only_ask) {
  CUresult result = CUDA_SUCCESS;
  for (const auto& sequence : sequences_) {
    for (const auto& [stream, captured] : sequence->streams) {
      if (!captured.blocking || stream.context != context) continue;
      result = CUDA_ERROR_STREAM_CAPTURE_IMPLICIT;
      if (!only_ask) sequence->invalidated = true;
    }
  }
  return result;
}

CUresult Captures::useUnsafe(uint64_t thread, CUstreamCaptureMode mode) {
  if (mode == CU_STREAM_CAPTURE_MODE_RELAXED) return CUDA_SUCCESS;
  CUresult result = CUDA_SUCCESS;
  for (const auto& sequence : sequences_) {
    const bool own = sequence->thread == thread && sequence->mode != CU_STREAM_CAPTURE_MODE_RELAXED;
    const bool global =
        mode == CU_STREAM_CAPTURE_MODE_GLOBAL && sequence->mode == CU_STREAM_CAPTURE_MODE_GLOBAL;
    if (!own && !global) continue;
    sequence->invalidated = true;
    result = CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
  }
  return result;
}

CUresult Captures::useContext(CUcontext context) {
  CUresult result = CUDA_SUCCESS;
  for (const auto& sequence : sequences_) {
    for (const auto& [stream, captured] : sequence->streams) {
      if (stream.context != context) continue;
      sequence->invalidated = true;
      result = CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    }
  }
  return result;
}

}  // namespace farwarp::graph
