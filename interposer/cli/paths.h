// Where the parts of an installation lie, seen from the farwarp command.
#pragma once

#include <string>

namespace farwarp::cli {

struct Installation {
  std::string stub;   // libfarwarp.so, the library to preload
  std::string links;  // folder with libcuda.so and libcuda.so.1, links to the stub
};

// Looks in ../lib and ../lib/farwarp beside the command's own file. On failure gives a sentence in
// `why` and returns false.
[[nodiscard]] bool findInstallation(Installation& out, std::string& why);

// The file that execvp would run for `program`; empty when there is none, with a sentence in `why`.
std::string findProgram(const std::string& program, std::string& why);

}  // namespace farwarp::cli
