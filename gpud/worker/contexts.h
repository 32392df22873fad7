// The contexts of a session: which one is current on the issuing thread, the default streams of the
// client's threads in each, and the order that synchronous copies ask for.
#pragma once

#include <cuda.h>

#include <cstdint>
#include <functional>
#include <map>
#include <unordered_map>
#include <vector>

#include "driver_calls_gen.h"
#include "gpud/worker/handle_table.h"
#include "gpud/worker/waits.h"
#include "protocol/record.h"

namespace farwarp::worker {

inline constexpr size_t kThreadStreamsMax = 4096;  // per-thread default streams of a session

class Contexts {
 public:
  Contexts(const DriverTable& driver, const HandleTable& handles, Waits& waits)
      : driver_(driver), handles_(handles), waits_(waits) {}

  // Makes the context with this index current, or none when there is no such context: the driver
  // then answers CUDA_ERROR_INVALID_CONTEXT where one is needed.
  void makeCurrent(uint32_t index);
  // The same for one that is known by its handle, outside of a record.
  void use(CUcontext context);

  CUcontext current() const { return current_; }
  uint64_t currentId() const { return current_id_; }  // 0 when none is current
  CUdevice currentDevice();

  // The context that owns what is made while the current one is: itself, or the primary context if
  // it came from a green one.
  uint64_t homeId() const {
    const auto found = homes_.find(current_id_);
    return found == homes_.end() ? current_id_ : found->second;
  }
  CUcontext home() const {
    const uint64_t id = homeId();
    return id == current_id_ ? current_
                             : static_cast<CUcontext>(handles_.find(wire::HandleType::context, id));
  }
  void setHome(uint64_t id, uint64_t home_id) { homes_[id] = home_id; }
  void forgetHome(uint64_t id) { homes_.erase(id); }

  // The default stream of one of the client's threads in the current context, made on first use.
  [[nodiscard]] CUresult threadStream(uint32_t thread, CUstream* out);

  // A synchronous copy to the device was issued to `stream`, and the client will not wait for it:
  // what it issues next, to whatever stream, must see the bytes.
  void copyIssued(CUstream stream);
  // Makes `stream` wait for such copies. Called for every stream that a call uses.
  void orderAfterCopies(CUstream stream);

  // A driver call changed the current context.
  void currentIsUnknown() { known_ = false, current_ = nullptr; }

  // Called with a context that is idle and about to go, before its objects die.
  using Listener = std::function<void(uint64_t id, CUcontext context)>;
  void onEnd(Listener listener) { listeners_.push_back(std::move(listener)); }
  // Waits for the context's work and tells the listeners. The handle itself stays bound.
  void announceEnd(uint64_t id, CUcontext context);

  // How often the session holds each device's primary context, and under which id.
  struct Primary {
    uint64_t id = 0;
    uint32_t retained = 0;
  };
  Primary& primary(CUdevice device) { return primaries_[device]; }

 private:
  struct Copy {
    Marker marker;
    CUstream stream;
    std::vector<CUstream> ordered;  // streams that wait for it already
  };

  const DriverTable& driver_;
  const HandleTable& handles_;
  Waits& waits_;
  bool known_ = false;
  CUcontext current_ = nullptr;
  uint64_t current_id_ = 0;
  std::unordered_map<CUcontext, CUdevice> devices_;
  CUcontext asked_context_ = nullptr;  // whose device currentDevice() gave last
  CUdevice asked_device_ = 0;
  std::unordered_map<uint64_t, uint64_t> homes_;  // of contexts from green ones: primary ones
  std::map<std::pair<CUcontext, uint32_t>, CUstream> thread_streams_;
  std::vector<Copy> copies_;  // not known to be done; at most one per stream
  std::vector<Listener> listeners_;
  std::map<CUdevice, Primary> primaries_;
};

}  // namespace farwarp::worker
