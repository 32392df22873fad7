// What calls of several chapters do the same way with and without a green context.
#pragma once

#include <cuda.h>

#include <memory>

#include "gpud/device/cpu/context.h"
#include "gpud/device/cpu/green_context.h"

namespace farwarp::cpu::calls {

// Makes a stream of the context, or of `green` if that is not null (stream.cc).
[[nodiscard]] CUresult createStream(const std::shared_ptr<Context>& context,
                                    const std::shared_ptr<GreenContext>& green, unsigned flags,
                                    CUstream* stream);
// The green context of a stream, or of the current context for a default stream; null for none.
[[nodiscard]] CUresult greenOfStream(CUstream stream, std::shared_ptr<GreenContext>& green);

// Records all work of the context, or of `green` alone; what is queued there later waits for the
// event (event.cc).
[[nodiscard]] CUresult recordAll(Context& context, GreenContext* green, CUevent event);
[[nodiscard]] CUresult holdAll(Context& context, GreenContext* green, CUevent event);

}  // namespace farwarp::cpu::calls
