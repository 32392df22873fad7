// Runs whatever a PTX text holds, as tests do that damage texts: the engine must come back, with a
// result or with an error, and leave the process as it was.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

namespace farwarp::ptx {

struct Exercised {
  size_t compiled = 0;   // 1: the text is a program
  size_t launches = 0;   // that were tried
  size_t completed = 0;  // those that ended without an error of the kernel
  size_t timed_out = 0;
  // What contradicts the engine's own description of itself; empty when nothing does.
  std::string contradiction;
};

// A device with some memory, a few textures, and kernels to run on it. Not for several threads.
class Exerciser {
 public:
  Exerciser();
  ~Exerciser();
  // Parses, checks, compiles, loads, and launches up to a dozen kernels in small grids, of which
  // each ends after `timeout_ms` at the latest. How (shape of the grid, instruction set, order of
  // warps, sizes) follows from the text alone.
  Exercised run(std::string_view text, unsigned timeout_ms = 30);

 private:
  struct Device;
  std::unique_ptr<Device> device_;
};

// A module with one kernel that fills its registers with addresses and small numbers and then
// executes `instruction`, which is written as the patterns of tool/forms.h are.
std::string runnableModuleOf(std::string_view instruction);

}  // namespace farwarp::ptx
