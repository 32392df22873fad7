#include "gpud/worker/contexts.h"

#include <algorithm>

namespace farwarp::worker {

void Contexts::makeCurrent(uint32_t index) {
  const uint64_t id = index == 0 ? 0 : handles_.idAt(wire::HandleType::context, index);
  if (known_ && id == current_id_) return;
  use(static_cast<CUcontext>(id == 0 ? nullptr : handles_.find(wire::HandleType::context, id)));
  current_id_ = id;
}

void Contexts::use(CUcontext context) {
  if (known_ && context == current_) return;
  known_ = driver_.cuCtxSetCurrent(context) == CUDA_SUCCESS;
  current_ = context;
  current_id_ = ~uint64_t{0};  // looked up again by the next record
}

CUdevice Contexts::currentDevice() {
  if (current_ == asked_context_ && current_ != nullptr) return asked_device_;
  asked_context_ = nullptr;
  const auto it = devices_.find(current_);
  if (it != devices_.end()) {
    asked_context_ = current_;
    asked_device_ = it->second;
    return it->second;
  }
  CUdevice device = 0;
  if (driver_.cuCtxGetDevice(&device) == CUDA_SUCCESS) devices_[current_] = device;
  return device;
}

CUresult Contexts::threadStream(uint32_t thread, CUstream* out) {
  if (current_ == nullptr) return CUDA_ERROR_INVALID_CONTEXT;
  CUstream& stream = thread_streams_[{current_, thread}];
  if (stream == nullptr) {
    if (thread_streams_.size() > kThreadStreamsMax) {
      thread_streams_.erase({current_, thread});
      return CUDA_ERROR_OUT_OF_MEMORY;
    }
    // As CUDA's own per-thread default stream it blocks on the legacy one.
    if (CUresult r = driver_.cuStreamCreate(&stream, CU_STREAM_DEFAULT); r != CUDA_SUCCESS) {
      thread_streams_.erase({current_, thread});
      return r;
    }
  }
  *out = stream;
  return CUDA_SUCCESS;
}

void Contexts::copyIssued(CUstream stream) {
  std::erase_if(copies_, [&](const Copy& copy) {
    CUresult result;
    const bool over = (copy.stream == stream && copy.marker.context == current_) ||
                      waits_.reached(copy.marker, result);
    if (over) waits_.release(copy.marker);
    return over;
  });
  Copy copy{{}, stream, {}};
  if (waits_.mark(current_, stream, copy.marker) != CUDA_SUCCESS) return;
  CUresult result;
  if (waits_.reached(copy.marker, result)) return waits_.release(copy.marker);
  copies_.push_back(std::move(copy));
}

void Contexts::orderAfterCopies(CUstream stream) {
  if (copies_.empty()) return;
  std::erase_if(copies_, [&](Copy& copy) {
    CUresult result;
    if (waits_.reached(copy.marker, result)) {
      waits_.release(copy.marker);
      return true;
    }
    if (copy.stream == stream && copy.marker.context == current_) return false;
    if (std::find(copy.ordered.begin(), copy.ordered.end(), stream) != copy.ordered.end()) {
      return false;
    }
    driver_.cuStreamWaitEvent(stream, copy.marker.event, CU_EVENT_WAIT_DEFAULT);
    if (copy.ordered.size() < 256) copy.ordered.push_back(stream);
    return false;
  });
}

void Contexts::announceEnd(uint64_t id, CUcontext context) {
  const CUcontext before = current_;
  use(context);
  driver_.cuCtxSynchronize();
  for (const Listener& listener : listeners_) listener(id, context);
  std::erase_if(copies_, [context](const Copy& copy) { return copy.marker.context == context; });
  std::erase_if(thread_streams_, [&](const auto& entry) {
    if (entry.first.first != context) return false;
    driver_.cuStreamDestroy_v2(entry.second);
    return true;
  });
  waits_.contextEnds(context);
  devices_.erase(context);
  asked_context_ = nullptr;
  use(before == context ? nullptr : before);
}

}  // namespace farwarp::worker
