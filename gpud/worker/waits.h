// Waiting for the device without holding up the loop: a marker in a stream, a thread that waits for
// it, and a callback on the loop's thread when it was reached.
#pragma once

#include <cuda.h>

#include <functional>
#include <unordered_map>
#include <vector>

#include "driver_calls_gen.h"
#include "gpud/worker/wait_pool.h"
#include "protocol/uv_event_port.h"

namespace farwarp::worker {

// A pooled event in a stream: reached when all work issued before it is done.
struct Marker {
  CUcontext context = nullptr;
  CUevent event = nullptr;
};

class Waits {
 public:
  using Then = std::function<void(CUresult)>;

  Waits(const DriverTable& driver, const wire::UvEventPort& port, size_t threads_max)
      : driver_(driver), port_(port), pool_(threads_max) {}

  // Puts a marker behind everything issued to `stream`, which belongs to `context`; `context` is
  // current.
  [[nodiscard]] CUresult mark(CUcontext context, CUstream stream, Marker& marker);
  // True when the marker was reached, or never will be; `result` then is the device's word.
  bool reached(const Marker& marker, CUresult& result) const;
  // The marker may be used again.
  void release(const Marker& marker);

  // Calls `then` on the loop's thread when the marker was reached: at once when it was already.
  // `context` need not be current. The marker stays the caller's.
  void whenReached(const Marker& marker, Then then);
  // The same for an event of the program's.
  void whenReached(CUcontext context, CUevent event, Then then);
  // Runs `wait` with `context` current on a waiting thread, then `then` on the loop's thread.
  void whenReturned(CUcontext context, std::function<CUresult()> wait, Then then);

  // The context is gone, and its events with it.
  void contextEnds(CUcontext context) { free_.erase(context); }

 private:
  const DriverTable& driver_;
  const wire::UvEventPort& port_;
  std::unordered_map<CUcontext, std::vector<CUevent>> free_;
  WaitPool pool_;
};

}  // namespace farwarp::worker
