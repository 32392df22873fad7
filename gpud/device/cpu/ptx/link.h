// Puts the units of a module together: what a name means that one unit declares .extern and another
// one defines.
#pragma once

#include <string_view>
#include <vector>

#include "gpud/device/cpu/ptx/ast.h"

namespace farwarp::ptx {

class LinkedNames {
 public:
  // Chooses a definition for every name that units share, and lets the operands of all instructions
  // name it. Throws CompileError: `duplicate` for two definitions neither of which is weak,
  // `invalid_ptx` for declarations that do not fit their definition.
  explicit LinkedNames(ast::Module& module);

  // The symbol that `symbol` stands for; itself where there is no other.
  int definition(int symbol) const {
    return definitions_.empty() ? symbol : definitions_[static_cast<size_t>(symbol)];
  }
  // What `name` means in a unit, outside of functions; -1 when it is not declared.
  int symbol(uint32_t unit, std::string_view name) const;
  // The function that it means there, by its index in the module; -1 when it means none.
  int function(uint32_t unit, std::string_view name) const;

 private:
  struct Definition {
    int symbol = -1;
    uint32_t unit = 0;
  };
  void resolveAliases();
  bool isShared(uint32_t unit, std::string_view name, const ast::Symbol& symbol) const;
  void choose(std::string_view name, Definition& chosen, Definition other);
  void checkFits(std::string_view name, const ast::Symbol& declared, uint32_t unit,
                 Definition definition) const;
  void renameOperands();
  std::string inUnit(uint32_t unit) const;

  ast::Module& module_;
  std::vector<int> definitions_;  // by symbol; empty when there is one unit
};

}  // namespace farwarp::ptx
