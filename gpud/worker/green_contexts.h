// The green contexts of a session.
#pragma once

#include <cuda.h>

#include <cstdint>
#include <map>

#include "gpud/worker/device_resources.h"

namespace farwarp::worker {

class Session;

class GreenContexts {
 public:
  static constexpr size_t kMost = 4096;

  struct Green {
    CUdevice device;
    uint64_t context_id;  // of the CUcontext that cuCtxFromGreenCtx gives
  };

  DeviceResources& resources() { return resources_; }
  void add(uint64_t id, Green green) { all_[id] = green; }
  bool full() const { return all_.size() >= kMost; }

  // Waits for the green context's work and ends it with all that is bound below its id.
  // CUDA_ERROR_INVALID_CONTEXT when there is none.
  CUresult destroy(Session& session, uint64_t id);
  // The device's primary context is about to end.
  void primaryEnds(Session& session, CUdevice device);

 private:
  DeviceResources resources_;
  std::map<uint64_t, Green> all_;  // by id
};

}  // namespace farwarp::worker
