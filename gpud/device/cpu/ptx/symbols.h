// Which names a PTX text defines for others and which it wants from others: what a linker asks.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "gpud/device/cpu/ptx/engine.h"

namespace farwarp::ptx {

struct TextSymbols {
  std::vector<std::string> strong;  // visible, and no other text may define it
  std::vector<std::string> weak;    // .weak and .common
  // Declared and not defined. Functions that the device runtime provides are among them.
  std::vector<std::string> wanted;
};

// Reads the declarations; function bodies are parsed and not decoded. False, with the reason in
// `log`, when the text is not PTX.
[[nodiscard]] bool readSymbols(std::string_view text, TextSymbols& symbols, CompileLog& log);

}  // namespace farwarp::ptx
