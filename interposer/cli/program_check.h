// Can a library be preloaded into this program?
#pragma once

#include <string>

namespace farwarp::cli {

// A sentence that says why LD_PRELOAD has no effect on the executable file `path` (statically
// linked, setuid, file capabilities, other architecture), or empty when it has one. A script is
// judged by its interpreter. What cannot be read is taken as fine: exec will say what is wrong with
// it.
std::string whyNotPreloadable(const std::string& path);

}  // namespace farwarp::cli
