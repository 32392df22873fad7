// Registers that only ever hold what has a place already: a literal, a special register that does
// not change, a parameter of the kernel, or another such register. Their uses name that place, and
// the instruction that would fill them is left out. Compilers begin every kernel with such moves.
#include <algorithm>

#include "gpud/device/cpu/ptx/decoder.h"

namespace farwarp::ptx {

using ast::Instruction;
using ast::Operand;

namespace {

constexpr size_t kUniformParamsMax = 64;

bool isFixedSpecial(const Operand& operand) {
  constexpr std::string_view kNames[] = {"%tid", "%ntid", "%ctaid", "%nctaid"};
  if (operand.component != 0) {
    return operand.component != 'w' &&
           std::find(std::begin(kNames), std::end(kNames), operand.name) != std::end(kNames);
  }
  return operand.name == "%laneid";
}

}  // namespace

// The value that the instruction moves into its register, if it has a place of its own; else kNone.
Ref FunctionDecoder::placeOfValue(const Instruction& in) {
  const Operand& from = in.operands[1];
  Type type = typeFromName(in.modifiers.back());
  uint32_t bytes = sizeOf(type);
  if ((bytes != 4 && bytes != 8) || sizeOf(registerType(in.operands[0])) != bytes) return kNone;
  bool plain = in.modifiers.size() == 1;
  if (in.opcode == "mov" && plain) {
    if (from.kind == Operand::Kind::special && bytes == 4 && isFixedSpecial(from)) {
      return source(from, type);
    }
    bool literal = from.kind == Operand::Kind::integer || from.kind == Operand::Kind::real;
    if (literal) return source(from, type);
  }
  bool to_global =
      in.modifiers.size() == 3 && in.modifiers[0] == "to" && in.modifiers[1] == "global";
  if ((in.opcode == "mov" && plain) || (in.opcode == "cvta" && to_global && bytes == 8)) {
    bool same = from.kind == Operand::Kind::reg && sizeOf(registerType(from)) == bytes;
    return same && from.value == 0 ? aliases_[from.index] : kNone;
  }
  bool param = in.opcode == "ld" && in.modifiers.size() == 2 && in.modifiers[0] == "param";
  if (!param || !function_.is_entry || from.kind != Operand::Kind::address) return kNone;
  auto found = param_offsets_.find(from.items[0].symbol);
  if (from.items.size() != 1 || from.items[0].kind != Operand::Kind::symbol ||
      found == param_offsets_.end()) {
    return kNone;
  }
  uint64_t size = context_.module.symbols[from.items[0].symbol].bytes;
  uint64_t at = static_cast<uint64_t>(from.value);
  if (at >= size || size - at < bytes || (found->second + at) % bytes != 0) return kNone;
  return uniformParam(static_cast<uint32_t>(found->second + at), bytes);
}

// The place among the block's values where the parameter's bytes are repeated for all lanes.
Ref FunctionDecoder::uniformParam(uint32_t offset, uint32_t bytes) {
  std::vector<FormalParam>& all = code_.uniform_params;
  size_t k = 0;
  while (k < all.size() && (all[k].offset != offset || all[k].size != bytes)) ++k;
  if (k == all.size()) {
    if (k == kUniformParamsMax) return kNone;
    all.push_back({offset, bytes});
  }
  return static_cast<uint32_t>(static_cast<size_t>(BlockValue::count) + k) * kValueBytes |
         kBaseBlock;
}

void FunctionDecoder::findAliases() {
  aliases_.assign(function_.registers.size(), kNone);
  left_out_.assign(function_.instructions.size(), false);
  std::vector<uint8_t> writes = countWrites(function_);
  for (bool changed = true; changed;) {  // a register may be named before it is filled
    changed = false;
    for (size_t k = 0; k < function_.instructions.size(); ++k) {
      const Instruction& in = function_.instructions[k];
      if (left_out_[k] || in.guard >= 0 || in.operands.size() != 2 || in.modifiers.empty())
        continue;
      if (in.opcode != "mov" && in.opcode != "cvta" && in.opcode != "ld") continue;
      const Operand& to = in.operands[0];
      if (to.kind != Operand::Kind::reg || to.pair >= 0 || writes[to.index] != 1) continue;
      in_ = &in;
      Ref place = placeOfValue(in);
      in_ = nullptr;
      if (place == kNone) continue;
      aliases_[to.index] = place;
      left_out_[k] = changed = true;
    }
  }
}

}  // namespace farwarp::ptx
