// farwarp trace: shows what farwarp run --trace recorded.
#include "interposer/cli/trace.h"

#include <cstdio>

#include "interposer/cli/commands.h"

namespace farwarp::cli {

int showTrace(const TraceOptions& options) {
  std::string why;
  TraceState state = TraceState::unreadable;
  if (options.chrome.empty()) {
    state = printTraceSummary(options.file, options.unsupported, why);
  } else if (!writeChromeTrace(options.file, options.chrome, state, why)) {
    state = TraceState::unreadable;
  }
  if (!why.empty()) std::fprintf(stderr, "farwarp: %s\n", why.c_str());
  // A process that was killed leaves a good trace of what it did.
  return state == TraceState::whole || state == TraceState::ends_early ? 0 : 1;
}

}  // namespace farwarp::cli
