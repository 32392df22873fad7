// Host functions in the streams of a session: the driver calls one of ours, which has the client
// run the program's and holds the stream back until that is done.
//
// The driver's thread waits here, never the loop's: it hands the function to the loop, which tells
// the client (ClientCallbacks.hostFunction) and wakes the driver's thread when the answer is there.
#pragma once

#include <cuda.h>
#include <kj/async.h>

#include <functional>
#include <memory>
#include <vector>

#include "driver_calls_gen.h"
#include "protocol/uv_event_port.h"

namespace farwarp::worker {

class HostFunctions {
 public:
  // Called on the loop: has the client run function `number`, and resolves when it has.
  using Due = std::function<kj::Promise<void>(uint64_t number, CUresult status)>;

  HostFunctions(const DriverTable& driver, const wire::UvEventPort& port, Due due);
  // The same as close().
  ~HostFunctions();
  HostFunctions(const HostFunctions&) = delete;
  HostFunctions& operator=(const HostFunctions&) = delete;

  // Puts the client's function `number` into `stream`, which belongs to `context`.
  // CUDA_ERROR_OUT_OF_MEMORY at kHostFunctionsMax.
  [[nodiscard]] CUresult launch(CUcontext context, CUstream stream, uint64_t number);
  // The same as a stream callback, which is told the context's status and runs on a failed context
  // too. When the driver does not take it, it runs at once and is told why: the client's call came
  // before the failure.
  [[nodiscard]] CUresult addCallback(CUcontext context, CUstream stream, uint64_t number);

  // What a host node of a graph calls; it may run any number of times, until forgetNode. Null
  // userData at kHostFunctionsMax.
  CUDA_HOST_NODE_PARAMS node(uint64_t number);
  void forgetNode(const CUDA_HOST_NODE_PARAMS& node);

  // The context is idle: what it has not called it never will.
  void contextEnds(CUcontext context);
  // Nobody is there to run functions any more: streams go on without.
  void close();

 private:
  struct Shared;
  struct Function;
  static void run(Function& function, CUresult status);
  static void onHostFunction(void* user);
  static void onCallback(CUstream stream, CUresult status, void* user);
  static void onNode(void* user);
  Function* add(CUcontext context, uint64_t number);
  CUresult started(Function* function, CUresult result);

  const DriverTable& driver_;
  // Outlives the session: the driver may call in as long as the process lives.
  const std::shared_ptr<Shared> shared_;
};

}  // namespace farwarp::worker
