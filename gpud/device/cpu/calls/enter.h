// What the calls begin with: is there a driver, a context, a stream of this handle.
#pragma once

#include <cuda.h>

#include <memory>

#include "gpud/device/cpu/driver.h"

namespace farwarp::cpu {

// CUDA_ERROR_NOT_INITIALIZED before cuInit and after fork.
[[nodiscard]] inline CUresult enter() {
  return Driver::get().check();
}

// Also finds the calling thread's context: CUDA_ERROR_NOT_PERMITTED in a host function, which may
// not use the device, CUDA_ERROR_INVALID_CONTEXT when there is none,
// CUDA_ERROR_CONTEXT_IS_DESTROYED when it is over, and the error that work of the context met.
[[nodiscard]] CUresult enter(std::shared_ptr<Context>& context);
// The same, whatever the context's work has met.
[[nodiscard]] CUresult enterEvenFailed(std::shared_ptr<Context>& context);
// `handle`, or the current context when it is null.
[[nodiscard]] CUresult findContext(CUcontext handle, std::shared_ptr<Context>& context);
// The same, and the green context that it came from; null for none.
[[nodiscard]] CUresult findContextAndGreen(CUcontext handle, std::shared_ptr<Context>& context,
                                           std::shared_ptr<GreenContext>& green);

struct StreamUse {
  std::shared_ptr<Context> context;
  std::shared_ptr<Stream> stream;
  std::shared_ptr<GreenContext> green = nullptr;  // that the stream is of
};

// What a stream argument means: 0 is the legacy default stream, or with kPerThreadForm the
// thread's; 1 and 2 are always these. CUDA_ERROR_INVALID_HANDLE for what is no stream,
// CUDA_ERROR_CONTEXT_IS_DESTROYED for one whose context is over, and the error of its context.
[[nodiscard]] CUresult useStream(CUstream stream, uint16_t record_flags, Context& current,
                                 StreamUse& use);
// Finds the current context as well.
[[nodiscard]] CUresult enterStream(CUstream stream, uint16_t record_flags, StreamUse& use);

}  // namespace farwarp::cpu
