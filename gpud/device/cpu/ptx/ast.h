// PTX text as the parser sees it. Names are views into the text, which must outlive the module.
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "gpud/device/cpu/ptx/types.h"

namespace farwarp::ptx::ast {

enum class SymbolKind : uint8_t {
  reg,
  local,
  shared,
  param,     // formal parameter of a kernel or function, or a .param variable inside a body
  variable,  // .global or .const
  function,  // .entry or .func
};

// What an initialiser puts at one place of a variable.
struct InitialAddress {
  uint64_t offset = 0;  // bytes from the variable's start
  uint32_t size = 8;
  uint32_t shift = 0;
  int64_t addend = 0;
  std::string_view symbol;
  uint32_t line = 0;
};

struct Symbol {
  SymbolKind kind = SymbolKind::reg;
  std::string_view name;
  uint32_t line = 0;
  Type type = Type::none;
  uint32_t vector = 1;  // elements of a vector type
  uint32_t align = 1;
  uint64_t bytes = 0;  // of a variable; 0 for an unsized .extern array
  bool is_array = false;
  bool is_range = false;        // reg: name<count>
  uint32_t count = 1;           // reg: how many
  uint32_t first_register = 0;  // reg: index in its function
  int function = -1;            // owner, or the function itself for kind function; -1 = module
  uint32_t unit = 0;            // of a name at module level
  bool is_extern = false;
  bool is_visible = false;
  bool is_weak = false;    // .weak or .common
  bool is_common = false;  // .common: several definitions are one, of the largest size
  bool is_const = false;   // .const
  bool managed = false;
  std::vector<std::byte> initial;
  std::vector<InitialAddress> addresses;
};

struct Operand {
  enum class Kind : uint8_t {
    reg,      // symbol + index
    symbol,   // a variable, parameter or function, plus value
    name,     // not declared before: a label or a function declared later
    special,  // %tid and friends: name, component
    integer,  // value
    real,     // bits of an f32 or f64 literal (value), is_double
    vector,   // { items }
    address,  // [ items[0] + value ] or [ a, b ] of texture instructions; with a scale:
              // [ items[0] + items[1] * scale + value ]
    group,    // ( items )
    sink,     // _
  };
  Kind kind = Kind::integer;
  bool negated = false;     // !p
  bool minus = false;       // -r, of a register
  bool is_double = false;   // real: written as a 64-bit value
  bool is_decimal = false;  // real: written in decimal, converts to the type of the instruction
  char component = 0;       // x, y, z, w of a special or vector register
  int symbol = -1;
  uint32_t index = 0;
  int64_t value = 0;
  std::string_view name;
  std::string_view selector;  // parts of a register in video instructions: "b0", "h10"
  std::vector<Operand> items;
  uint16_t scale = 0;            // address: not 0 where the decoder found an index
  Type index_type = Type::none;  // of that index: s32, u32 or b64
  int pair = -1;                 // p|q: index in Instruction::pairs, -1 = none
};

struct Instruction {
  uint32_t line = 0;
  uint32_t scope = 0;
  std::string_view opcode;                  // "ld"
  std::vector<std::string_view> modifiers;  // "global", "L1::no_allocate", "v4", "f32"
  int guard = -1;                           // register index in the function, -1 = none
  bool guard_negated = false;
  std::vector<Operand> operands;
  std::vector<Operand> pairs;
};

struct Label {
  std::string_view name;
  uint32_t scope = 0;
  uint32_t instruction = 0;               // index of the one that follows
  std::vector<std::string_view> targets;  // of .branchtargets
  bool is_prototype = false;
  bool is_targets = false;
  std::vector<int> prototype_returns;  // symbols, of .callprototype
  std::vector<int> prototype_params;
};

struct Function {
  std::string_view name;
  uint32_t unit = 0;  // index in Module::units
  uint32_t line = 0;
  bool is_entry = false;
  bool is_weak = false;
  bool is_defined = false;
  bool no_return = false;
  int symbol = -1;
  std::vector<int> returns;  // symbols
  std::vector<int> params;
  std::vector<int> locals;  // .local variables and .param variables inside the body
  std::vector<Type> registers;
  std::vector<Instruction> instructions;
  std::vector<Label> labels;
  std::vector<int> scope_parents;  // scope -> enclosing scope, -1 for the body itself
  uint32_t max_threads[3] = {0, 0, 0};
  uint32_t required_threads[3] = {0, 0, 0};
  uint32_t required_cluster[3] = {0, 0, 0};
  uint32_t min_blocks_per_sm = 0;
  uint32_t registers_max = 0;  // .maxnreg
};

// One text. What it declares without .visible, .weak or .common is its own; other texts may have
// the same names for something else.
struct Unit {
  std::string_view name;                              // for messages
  std::unordered_map<std::string_view, int> globals;  // name -> symbol
  std::vector<std::pair<std::string_view, std::string_view>> aliases;
  std::vector<std::string_view> visible_aliases;  // that other texts may name
};

struct Module {
  std::vector<Unit> units;
  std::deque<Symbol> symbols;
  std::vector<Function> functions;
  std::vector<int> variables;  // symbols of kind variable or module-level shared, in order
  uint32_t version = 0;        // 10 * major + minor
  uint32_t target = 0;         // the number of sm_NN
};

}  // namespace farwarp::ptx::ast
