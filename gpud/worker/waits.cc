#include "gpud/worker/waits.h"

#include <utility>

namespace farwarp::worker {

CUresult Waits::mark(CUcontext context, CUstream stream, Marker& marker) {
  marker.context = context;
  std::vector<CUevent>& free = free_[context];
  if (!free.empty()) {
    marker.event = free.back();
    free.pop_back();
  } else if (CUresult r = driver_.cuEventCreate(&marker.event, CU_EVENT_DISABLE_TIMING);
             r != CUDA_SUCCESS) {
    return r;
  }
  const CUresult recorded = driver_.cuEventRecord(marker.event, stream);
  if (recorded != CUDA_SUCCESS) release(marker);
  return recorded;
}

bool Waits::reached(const Marker& marker, CUresult& result) const {
  result = driver_.cuEventQuery(marker.event);
  return result != CUDA_ERROR_NOT_READY;
}

void Waits::release(const Marker& marker) {
  if (marker.event != nullptr) free_[marker.context].push_back(marker.event);
}

void Waits::whenReached(const Marker& marker, Then then) {
  whenReached(marker.context, marker.event, std::move(then));
}

void Waits::whenReached(CUcontext context, CUevent event, Then then) {
  if (const CUresult now = driver_.cuEventQuery(event); now != CUDA_ERROR_NOT_READY) {
    return then(now);
  }
  whenReturned(
      context, [this, event] { return driver_.cuEventSynchronize(event); }, std::move(then));
}

void Waits::whenReturned(CUcontext context, std::function<CUresult()> wait, Then then) {
  pool_.run([this, context, wait = std::move(wait), then = std::move(then)]() mutable {
    // A waiting thread keeps its context: most of a session's waits are in one.
    thread_local CUcontext current = nullptr;
    CUresult result = CUDA_SUCCESS;
    if (context != current) result = driver_.cuCtxSetCurrent(context);
    if (result == CUDA_SUCCESS) {
      current = context;
      result = wait();
    }
    port_.post([result, then = std::move(then)] { then(result); });
  });
}

}  // namespace farwarp::worker
