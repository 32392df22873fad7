// How the parser and decoder report what they refuse. Caught in Program::compile.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>

#include "gpud/device/cpu/ptx/engine.h"

namespace farwarp::ptx {

class CompileError : public std::runtime_error {
 public:
  CompileError(CompileStatus status, uint32_t line, const std::string& text)
      : std::runtime_error(text), status(status), line(line) {}
  CompileStatus status;
  uint32_t line;
};

[[noreturn]] inline void failInvalid(uint32_t line, const std::string& text) {
  throw CompileError(CompileStatus::invalid_ptx, line, text);
}
[[noreturn]] inline void failUnsupported(uint32_t line, const std::string& text) {
  throw CompileError(CompileStatus::unsupported, line, text);
}

}  // namespace farwarp::ptx
