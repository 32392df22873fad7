// The process that serves one session.
#pragma once

#include "gpud/options.h"

namespace farwarp::worker {

// Serves the session on the descriptors that the supervisor passed (supervisor/channel.h) and does
// not return: the process ends at once, so that whatever the driver holds goes with it.
int runWorker(const Options& options);

}  // namespace farwarp::worker
