#include "gpud/device/cpu/ptx/symbols.h"

#include "gpud/device/cpu/ptx/error.h"
#include "gpud/device/cpu/ptx/parser.h"

namespace farwarp::ptx {

bool readSymbols(std::string_view text, TextSymbols& symbols, CompileLog& log) {
  symbols = {};
  while (!text.empty() && text.back() == '\0') text.remove_suffix(1);
  ast::Module module;
  module.units.emplace_back();
  try {
    Parser(text, module).parse();
  } catch (const CompileError& error) {
    log.status = error.status;
    log.line = error.line;
    log.text = "ptx line " + std::to_string(error.line) + "; error: " + error.what() + "\n";
    return false;
  }
  for (const auto& [name, id] : module.units.back().globals) {
    const ast::Symbol& symbol = module.symbols[id];
    // An .extern shared array is the launch's dynamic shared memory; nobody defines it.
    if (symbol.kind != ast::SymbolKind::function && symbol.kind != ast::SymbolKind::variable)
      continue;
    if (symbol.is_extern) {
      symbols.wanted.emplace_back(name);
    } else if (symbol.is_weak) {
      symbols.weak.emplace_back(name);
    } else if (symbol.is_visible) {
      symbols.strong.emplace_back(name);
    }
  }
  return true;
}

}  // namespace farwarp::ptx
