// Asks the device who it is before gpud listens, in a child process: a driver that hangs or
// crashes, or that would leave threads behind in the supervisor, does it there.
#pragma once

#include <string>

#include "gpud/options.h"

namespace farwarp {

// The library that --device cuda or cpu means. False with a full sentence in `error` when there is
// no such file.
[[nodiscard]] bool findDeviceLibrary(const Options& options, std::string& library,
                                     std::string& error);

// Runs the child and waits for it. True with one line about the driver and its devices in `facts`,
// and with their lines of protocol/status.h in `status`; false with full sentences, about what is
// wrong and what to do, in `error`.
[[nodiscard]] bool probeDevice(const Options& options, std::string& facts, std::string& status,
                               std::string& error);

// The child's side: prints the facts or what is wrong on stdout, and returns its exit status.
int runProbe(const Options& options);

}  // namespace farwarp
