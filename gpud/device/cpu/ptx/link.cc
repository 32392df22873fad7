#include "gpud/device/cpu/ptx/link.h"

#include <algorithm>
#include <numeric>

#include "gpud/device/cpu/ptx/error.h"

namespace farwarp::ptx {

using ast::Function;
using ast::Symbol;
using ast::SymbolKind;

LinkedNames::LinkedNames(ast::Module& module) : module_(module) {
  resolveAliases();
  if (module.units.size() < 2) return;
  definitions_.resize(module.symbols.size());
  std::iota(definitions_.begin(), definitions_.end(), 0);
  std::unordered_map<std::string_view, Definition> shared;
  for (uint32_t u = 0; u < module.units.size(); ++u) {
    for (const auto& [name, id] : module.units[u].globals) {
      const Symbol& symbol = module.symbols[id];
      if (symbol.is_extern || !isShared(u, name, symbol)) continue;
      auto [found, fresh] = shared.try_emplace(name, Definition{id, u});
      if (!fresh) choose(name, found->second, {id, u});
    }
  }
  for (uint32_t u = 0; u < module.units.size(); ++u) {
    for (const auto& [name, id] : module.units[u].globals) {
      const Symbol& symbol = module.symbols[id];
      if (!symbol.is_extern && !isShared(u, name, symbol)) continue;
      auto found = shared.find(name);
      if (found == shared.end()) continue;
      if (symbol.is_extern) checkFits(name, symbol, u, found->second);
      definitions_[id] = found->second.symbol;
    }
  }
  renameOperands();
}

int LinkedNames::symbol(uint32_t unit, std::string_view name) const {
  const auto& globals = module_.units[unit].globals;
  auto found = globals.find(name);
  return found == globals.end() ? -1 : definition(found->second);
}

int LinkedNames::function(uint32_t unit, std::string_view name) const {
  int id = symbol(unit, name);
  if (id < 0 || module_.symbols[id].kind != SymbolKind::function) return -1;
  return module_.symbols[id].function;
}

// An alias is another name for its target's symbol.
void LinkedNames::resolveAliases() {
  for (ast::Unit& unit : module_.units) {
    for (const auto& [alias, target] : unit.aliases) {
      auto found = unit.globals.find(target);
      if (found == unit.globals.end()) {
        failInvalid(0,
                    "The alias '" + std::string(alias) + "' stands for nothing that is declared.");
      }
      int body = found->second;
      auto own = unit.globals.find(alias);
      if (own != unit.globals.end() && module_.symbols[own->second].is_visible) {
        unit.visible_aliases.push_back(alias);
      }
      unit.globals[alias] = body;
    }
  }
}

// Do other units mean the same by this name? Kernels are found from outside anyway.
bool LinkedNames::isShared(uint32_t unit, std::string_view name, const Symbol& symbol) const {
  const std::vector<std::string_view>& aliases = module_.units[unit].visible_aliases;
  return symbol.is_visible || std::find(aliases.begin(), aliases.end(), name) != aliases.end() ||
         (symbol.kind == SymbolKind::function && module_.functions[symbol.function].is_entry);
}

std::string LinkedNames::inUnit(uint32_t unit) const {
  std::string name(module_.units[unit].name);
  return " in '" + (name.empty() ? "input " + std::to_string(unit + 1) : name) + "'";
}

// A strong definition wins over weak ones, else the first; common variables are as large as the
// largest of them.
void LinkedNames::choose(std::string_view name, Definition& chosen, Definition other) {
  if (chosen.symbol == other.symbol) return;
  Symbol &have = module_.symbols[chosen.symbol], &more = module_.symbols[other.symbol];
  if (have.kind != more.kind || have.is_const != more.is_const) {
    failInvalid(0, "'" + std::string(name) + "'" + inUnit(other.unit) + " is something else than" +
                       inUnit(chosen.unit) + ".");
  }
  if (!have.is_weak && !more.is_weak) {
    throw CompileError(CompileStatus::duplicate, 0,
                       "Multiple definition of '" + std::string(name) + "'" + inUnit(other.unit) +
                           ", first defined" + inUnit(chosen.unit) + ".");
  }
  if (have.is_common && more.is_common) {
    have.bytes = std::max(have.bytes, more.bytes);
    have.align = std::max(have.align, more.align);
  } else if (have.is_weak && !more.is_weak) {
    chosen = other;
  }
}

void LinkedNames::checkFits(std::string_view name, const Symbol& declared, uint32_t unit,
                            Definition definition) const {
  const Symbol& defined = module_.symbols[definition.symbol];
  auto fail = [&](const char* what) {
    failInvalid(0, std::string(what) + " does not match for '" + std::string(name) + "'" +
                       inUnit(unit) + ", first specified" + inUnit(definition.unit) + ".");
  };
  if (declared.kind != defined.kind || declared.is_const != defined.is_const) fail("The kind");
  if (declared.kind != SymbolKind::function) {
    // An .extern array may leave its size open.
    if (declared.bytes != 0 && declared.bytes != defined.bytes) fail("The size");
    return;
  }
  const Function& here = module_.functions[declared.function];
  const Function& there = module_.functions[defined.function];
  auto same = [&](const std::vector<int>& a, const std::vector<int>& b) {
    return std::equal(a.begin(), a.end(), b.begin(), b.end(), [&](int p, int q) {
      return module_.symbols[p].bytes == module_.symbols[q].bytes;
    });
  };
  if (!same(here.params, there.params) || !same(here.returns, there.returns)) {
    fail("The prototype");
  }
}

void LinkedNames::renameOperands() {
  auto rename = [&](ast::Operand& operand, auto&& self) -> void {
    if (operand.symbol >= 0) operand.symbol = definitions_[operand.symbol];
    for (ast::Operand& item : operand.items) self(item, self);
  };
  for (Function& function : module_.functions) {
    for (ast::Instruction& in : function.instructions) {
      for (ast::Operand& operand : in.operands) rename(operand, rename);
    }
  }
}

}  // namespace farwarp::ptx
