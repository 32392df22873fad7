// Compiles without wanting to run: which functions of a PTX text the engine would take.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "gpud/device/cpu/ptx/engine.h"

namespace farwarp::ptx {

struct FunctionCheck {
  std::string name;
  bool is_kernel = false;
  CompileStatus status = CompileStatus::ok;
  uint32_t line = 0;   // of what is refused; 0 when the function loads
  std::string reason;  // a full sentence; empty when the function loads
};

struct TextCheck {
  // An error outside of function bodies (syntax, declarations): no function was looked at.
  CompileLog log;
  std::vector<FunctionCheck> functions;  // those with a body, in the order of the text
};

// A kernel that calls a refused function is refused too, with that function's line and reason.
// Never throws for what the text holds.
TextCheck checkText(std::string_view text);

// The opcodes that have a decoder, sorted.
std::vector<std::string> knownOpcodes();

}  // namespace farwarp::ptx
