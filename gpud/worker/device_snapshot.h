// What the client learns about the devices when its session opens, so that it never has to ask.
#pragma once

#include <string>

#include "gpud/device/driver_table.h"
#include "protocol/hello.h"

namespace farwarp::worker {

// Fills in the driver version and the devices. `contexts_are_cheap`: values that only a context can
// tell (limits, stream priorities) are asked from one; a GPU would spend memory and time on it, so
// there they stay unknown (no limits, priorities 0). False with a sentence in `refusal` when the
// driver fails.
[[nodiscard]] bool takeSnapshot(const DriverTable& driver, bool contexts_are_cheap,
                                wire::ServerHello& server, std::string& refusal);

}  // namespace farwarp::worker
