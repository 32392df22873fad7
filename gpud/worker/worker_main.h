// The process that serves one session.
#pragma once

#include "gpud/options.h"
#include "gpud/worker/output_capture.h"

namespace farwarp::worker {

// Serves the session on the descriptors that the supervisor passed (supervisor/channel.h) and does
// not return: the process ends at once, so that whatever the driver holds goes with it. `streams`:
// replaced, if kernels' output is to reach the client.
int runWorker(const Options& options, const StandardStreams& streams);

}  // namespace farwarp::worker
