// The parts of farwarp trace.
#pragma once

#include <string>

#include "interposer/cli/trace_reader.h"

namespace farwarp::cli {

// Prints what the session did, or only its calls that are not supported. See readTrace.
TraceState printTraceSummary(const std::string& path, bool unsupported_only, std::string& why);

// Writes `out`, which Chrome's and Perfetto's viewers read: lanes for the program's threads, for
// the messages of each, and for kernels. False with a sentence in `why` when it cannot be written;
// otherwise `state` is that of the trace.
[[nodiscard]] bool writeChromeTrace(const std::string& path, const std::string& out,
                                    TraceState& state, std::string& why);

}  // namespace farwarp::cli
