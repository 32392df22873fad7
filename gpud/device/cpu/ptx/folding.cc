// What is known of addresses before a kernel runs.
//
// Addresses of array elements: where a load or store names a register that is a parameter plus an
// index times a constant, it takes the index itself. The instructions that only computed such
// addresses are left out. Compilers write nearly every access to an array this way.
//
// Memos: how the lanes' values of a register lie need not be found out again by the next access of
// the basic block that uses the same value.
#include <algorithm>
#include <optional>

#include "gpud/device/cpu/ptx/decoder.h"

namespace farwarp::ptx {

using ast::Instruction;
using ast::Operand;

namespace {

constexpr int64_t kScaleMax = 65535;

bool isPlainRegister(const Operand& operand) {
  return operand.kind == Operand::Kind::reg && operand.value == 0 && operand.pair < 0;
}

bool isAccess(const Instruction& in) {
  bool load = in.opcode == "ld" || in.opcode == "ldu";
  if ((!load && in.opcode != "st") || in.operands.size() != 2) return false;
  return std::none_of(in.modifiers.begin(), in.modifiers.end(), [](std::string_view m) {
    return m.starts_with("shared") || m.starts_with("local") || m.starts_with("param");
  });
}

bool isUnguarded(const Instruction& in, std::string_view opcode, size_t modifiers) {
  return in.guard < 0 && in.opcode == opcode && in.modifiers.size() == modifiers &&
         in.operands.size() == 3 && isPlainRegister(in.operands[0]);
}

// An index and what it is multiplied with.
struct Scaled {
  const Operand* index;
  Type type;
  int64_t scale;
};

std::optional<Scaled> scaledBy(const Instruction& in) {
  if (in.operands.size() != 3 || in.operands[2].kind != Operand::Kind::integer) return {};
  const Operand& index = in.operands[1];
  int64_t factor = in.operands[2].value;
  if (!isPlainRegister(index)) return {};
  if (isUnguarded(in, "mul", 2) && in.modifiers[0] == "wide") {
    if (in.modifiers[1] == "s32") return Scaled{&index, Type::s32, factor};
    if (in.modifiers[1] == "u32") return Scaled{&index, Type::u32, factor};
  }
  if (isUnguarded(in, "shl", 1) && in.modifiers[0] == "b64" && factor >= 0 && factor < 16) {
    return Scaled{&index, Type::b64, int64_t{1} << factor};
  }
  return {};
}

}  // namespace

// A register that one instruction alone writes has, wherever that instruction precedes on every
// path, the value that it got from operands of the same kind: the operands can stand for it.
void FunctionDecoder::foldAddresses() {
  std::vector<uint32_t> definitions = findDefinitions(function_);
  std::vector<uint32_t> reads = countReads(function_);
  std::optional<Dominance> dominance;
  std::vector<uint32_t> sums, products;
  auto definitionOf = [&](const Operand& operand, uint32_t user) -> const Instruction* {
    if (!isPlainRegister(operand)) return nullptr;
    uint32_t at = definitions[operand.index];
    if (at == kNoBlock || left_out_[at] || function_.instructions[at].guard >= 0) return nullptr;
    if (!dominance) dominance.emplace(flow_);
    return dominance->precedes(at, user) ? &function_.instructions[at] : nullptr;
  };
  for (uint32_t k = 0; k < function_.instructions.size(); ++k) {
    Instruction& in = function_.instructions[k];
    if (!isAccess(in)) continue;
    Operand& address = in.operands[in.opcode == "st" ? 0 : 1];
    if (address.kind != Operand::Kind::address || address.items.size() != 1) continue;
    const Operand target = address.items[0];
    if (!isPlainRegister(target) || sizeOf(function_.registers[target.index]) != 8) continue;
    if (aliases_[target.index] != kNone) continue;
    const Instruction* sum = definitionOf(target, k);
    if (sum == nullptr || !isUnguarded(*sum, "add", 1)) continue;
    if (sum->modifiers[0] != "s64" && sum->modifiers[0] != "u64") continue;
    uint32_t sum_at = definitions[target.index];
    for (size_t side : {1, 2}) {
      const Operand &base = sum->operands[side], &product = sum->operands[3 - side];
      // What has a place of its own and 64 bits is the same for all lanes.
      if (!isPlainRegister(base) || aliases_[base.index] == kNone) continue;
      if (sizeOf(function_.registers[base.index]) != 8) continue;
      const Instruction* scaling = definitionOf(product, sum_at);
      std::optional<Scaled> scaled = scaling != nullptr ? scaledBy(*scaling) : std::nullopt;
      if (!scaled || scaled->scale < 1 || scaled->scale > kScaleMax) continue;
      uint32_t index = scaled->index->index, scaling_at = definitions[product.index];
      if (sizeOf(function_.registers[index]) != sizeOf(scaled->type)) continue;
      if (aliases_[index] == kNone && definitionOf(*scaled->index, scaling_at) == nullptr) continue;
      address.items = {base, *scaled->index};
      address.scale = static_cast<uint16_t>(scaled->scale);
      address.index_type = scaled->type;
      --reads[target.index];
      ++reads[index];
      sums.push_back(sum_at);
      products.push_back(scaling_at);
      break;
    }
  }
  // Products come after the sums that read them.
  sums.insert(sums.end(), products.begin(), products.end());
  for (uint32_t at : sums) {
    Instruction& in = function_.instructions[at];
    if (left_out_[at] || reads[in.operands[0].index] != 0) continue;
    for (size_t k = 1; k < in.operands.size(); ++k) {
      if (in.operands[k].kind == Operand::Kind::reg) --reads[in.operands[k].index];
    }
    left_out_[at] = true;
    in.operands.clear();
  }
}

uint8_t FunctionDecoder::memoOf(const Operand& address, uint32_t bytes) {
  const Operand& base = address.items.back();
  if (address.kind != Operand::Kind::address || base.kind != Operand::Kind::reg) return 0;
  // Values of an index are signed or not: each has memos of its own.
  uint32_t step = address.scale != 0 ? 256 + static_cast<uint32_t>(address.index_type) : bytes;
  for (uint32_t k = 1; k < kMemos; ++k) {
    if (memos_[k].reg == base.index && memos_[k].step == step) {
      return static_cast<uint8_t>(k) | kMemoReuse;
    }
  }
  if (in_->guard >= 0) return 0;  // it may hold for no lane, and nothing would be found out
  uint32_t taken = next_memo_;
  next_memo_ = taken + 1 == kMemos ? 1 : taken + 1;
  memos_[taken] = {base.index, step};
  return static_cast<uint8_t>(taken);
}

// After `in`: memos about registers that it writes are out of date, and so are all when other lanes
// of the warp may have run meanwhile.
void FunctionDecoder::forgetMemos(const Instruction& in) {
  constexpr std::string_view kUninterrupted[] = {
      "abs",      "add",  "addc", "and",   "bfe",   "bfi",  "bfind", "brev", "clz",   "cnot",
      "copysign", "cos",  "cvt",  "cvta",  "div",   "dp2a", "dp4a",  "ex2",  "fma",   "ld",
      "ldu",      "lg2",  "lop3", "mad",   "mad24", "madc", "max",   "min",  "mov",   "mul",
      "mul24",    "neg",  "not",  "or",    "popc",  "prmt", "rcp",   "rem",  "rsqrt", "sad",
      "selp",     "set",  "setp", "shf",   "shl",   "shr",  "sin",   "slct", "sqrt",  "st",
      "sub",      "subc", "tanh", "testp", "xor",
  };
  bool uninterrupted =
      std::binary_search(std::begin(kUninterrupted), std::end(kUninterrupted), in.opcode);
  for (uint32_t reg : writtenRegisters(in)) {
    for (Memo& memo : memos_) {
      if (memo.reg == reg) memo = {};
    }
  }
  if (!uninterrupted) std::fill(std::begin(memos_), std::end(memos_), Memo{});
}

}  // namespace farwarp::ptx
