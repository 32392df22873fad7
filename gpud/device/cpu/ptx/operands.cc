// Operands of decoded instructions: registers, constants, special registers, addresses.
#include <bit>
#include <cstring>

#include "gpud/device/cpu/ptx/decoder.h"

namespace farwarp::ptx {

using ast::Operand;
using ast::Symbol;
using ast::SymbolKind;

namespace {

struct Special {
  std::string_view name;
  Ref ref;
  uint32_t bytes = 4;
};

constexpr Ref at(BlockValue first, uint32_t k) {
  return refOf(static_cast<BlockValue>(static_cast<uint32_t>(first) + k));
}

// Special registers with components x, y, z.
constexpr std::pair<std::string_view, BlockValue> kVectors[] = {
    {"%ctaid", BlockValue::ctaid_x},
    {"%nctaid", BlockValue::nctaid_x},
    {"%ntid", BlockValue::ntid_x},
    {"%clusterid", BlockValue::clusterid_x},
    {"%nclusterid", BlockValue::nclusterid_x},
    {"%cluster_ctaid", BlockValue::cluster_ctaid_x},
    {"%cluster_nctaid", BlockValue::cluster_nctaid_x},
};
constexpr Special kScalars[] = {
    {"%warpid", refOf(WarpValue::warpid)},
    {"%nwarpid", refOf(BlockValue::nwarpid)},
    {"%smid", refOf(BlockValue::smid)},
    {"%nsmid", refOf(BlockValue::nsmid)},
    {"%gridid", refOf(BlockValue::gridid), 8},
    {"%envreg1", refOf(BlockValue::envreg1)},
    {"%envreg2", refOf(BlockValue::envreg2)},
    {"%dynamic_smem_size", refOf(BlockValue::dynamic_smem_size)},
    {"%total_smem_size", refOf(BlockValue::total_smem_size)},
    {"%aggr_smem_size", refOf(BlockValue::total_smem_size)},
    {"%cluster_ctarank", refOf(BlockValue::cluster_ctarank)},
    {"%cluster_nctarank", refOf(BlockValue::cluster_nctarank)},
    {"%current_graph_exec", refOf(BlockValue::zero), 8},
};
constexpr std::string_view kLaneValues[] = {"%laneid",      "%lanemask_eq", "%lanemask_le",
                                            "%lanemask_lt", "%lanemask_ge", "%lanemask_gt"};

uint64_t literalBits(const Operand& operand, Type type) {
  uint64_t bits = static_cast<uint64_t>(operand.value);
  if (operand.kind == Operand::Kind::integer) return bits;
  if (operand.is_double && sizeOf(type) == 4) {
    return std::bit_cast<uint32_t>(static_cast<float>(std::bit_cast<double>(bits)));
  }
  if (!operand.is_double && sizeOf(type) == 8 && type == Type::f64) {
    return std::bit_cast<uint64_t>(double{std::bit_cast<float>(static_cast<uint32_t>(bits))});
  }
  return bits;
}

Type unsignedOf(uint32_t bytes) {
  return bytes == 1 ? Type::u8 : bytes == 2 ? Type::u16 : bytes == 4 ? Type::u32 : Type::u64;
}

}  // namespace

ConstantPool::ConstantPool(ProgramCode& code) : code_(code) {
  uint32_t first = allocate(64);  // the mask of kTrueRef, at 0
  std::memset(&code_.constants[first], 0xff, 4);
  false_ = first + 32;
  lane_values_ = allocate(6 * 128);
  uint32_t* lanes = reinterpret_cast<uint32_t*>(&code_.constants[lane_values_]);
  for (uint32_t l = 0; l < kLanes; ++l) {
    uint32_t bit = 1u << l, below = bit - 1;
    const uint32_t values[6] = {l, bit, below | bit, below, ~below, ~(below | bit)};
    for (uint32_t k = 0; k < 6; ++k) lanes[k * kLanes + l] = values[k];
  }
}

uint32_t ConstantPool::allocate(uint32_t bytes) {
  size_t at = code_.constants.size();
  if (at + bytes > (size_t{1} << 31)) failInvalid(0, "The program has too many constants.");
  code_.constants.resize(at + ((bytes + 63) & ~63u));
  return static_cast<uint32_t>(at);
}

Ref ConstantPool::value(uint64_t bits, uint32_t bytes) {
  if (bytes < 8) bits &= (uint64_t{1} << (bytes * 8)) - 1;
  auto [found, fresh] = values_.try_emplace({bits, bytes}, 0);
  if (fresh) {
    uint32_t at = allocate(bytes * kLanes);
    for (uint32_t l = 0; l < kLanes; ++l) {
      std::memcpy(&code_.constants[at + l * bytes], &bits, std::min(bytes, 8u));
    }
    found->second = at | kBaseConstants;
  }
  return found->second;
}

Ref ConstantPool::predicate(bool value) {
  return (value ? 0 : false_) | kBaseConstants;
}

Ref ConstantPool::address(int variable, int64_t addend, uint32_t bytes) {
  auto [found, fresh] = addresses_.try_emplace({variable, addend, bytes}, 0);
  if (fresh) {
    uint32_t at = allocate(bytes * kLanes);
    code_.constant_addresses.push_back({at, bytes, variable, addend});
    found->second = at | kBaseConstants;
  }
  return found->second;
}

Ref FunctionDecoder::temporary(uint32_t bytes) {
  uint32_t offset = layout_.frame_bytes + temporaries_used_;
  temporaries_used_ += (bytes * kLanes + 63) & ~63u;
  temporaries_max_ = std::max(temporaries_max_, temporaries_used_);
  return offset | kBaseFrame;
}
Ref FunctionDecoder::temporaryPredicate() {
  return temporary(2);
}
Ref FunctionDecoder::carry() {
  return carry_offset_ | kBaseFrame;
}

Type FunctionDecoder::registerType(const Operand& operand) const {
  return operand.kind == Operand::Kind::reg ? function_.registers[operand.index] : Type::none;
}

Ref FunctionDecoder::source(const Operand& operand, Type type) {
  uint32_t bytes = sizeOf(type);
  switch (operand.kind) {
    case Operand::Kind::reg: {
      Type have = function_.registers[operand.index];
      if (operand.value != 0) invalid("A register operand has an offset outside of an address.");
      if (operand.negated || operand.minus) {
        invalid("An operand is negated, which '" + std::string(in_->opcode) + "' does not allow.");
      }
      if (sizeOf(have) != bytes || have == Type::pred) {
        invalid("A register of type ." + std::string(typeName(have)) + " is used where ." +
                typeName(type) + " is needed.");
      }
      if (aliases_[operand.index] != kNone) return aliases_[operand.index];
      return layout_.offsets[operand.index] | kBaseFrame;
    }
    case Operand::Kind::integer:
    case Operand::Kind::real:
      return context_.constants.value(literalBits(operand, type), bytes);
    case Operand::Kind::special:
      return sourceSpecial(operand, type);
    case Operand::Kind::symbol:
    case Operand::Kind::name:
      return sourceSymbol(operand, type);
    case Operand::Kind::sink:
      return context_.constants.value(0, bytes);
    default:
      invalid("An operand of '" + std::string(in_->opcode) + "' has the wrong form.");
  }
}

Ref FunctionDecoder::sourceSpecial(const Operand& operand, Type type) {
  std::string_view name = operand.name;
  uint32_t component = 0, bytes = sizeOf(type);
  if (operand.component != 0) {
    size_t k = std::string_view("xyzw").find(operand.component);
    if (k == std::string_view::npos) invalid("A special register has no such component.");
    component = static_cast<uint32_t>(k);
  }
  Special special{name, kNone, 4};
  if (name == "%tid" && component < 3) special.ref = component * kValueBytes | kBaseWarp;
  for (const auto& [vector, first] : kVectors) {
    if (vector == name)
      special.ref = component < 3 ? at(first, component) : refOf(BlockValue::zero);
  }
  for (const Special& scalar : kScalars) {
    if (scalar.name == name) special = scalar;
  }
  for (uint32_t k = 0; k < std::size(kLaneValues); ++k) {
    if (kLaneValues[k] == name) special.ref = context_.constants.laneValue(k);
  }
  if (name.starts_with("%envreg") && special.ref == kNone) special.ref = refOf(BlockValue::zero);
  if (name.starts_with("%pm") || name.starts_with("%reserved_smem_offset")) {
    special.ref = refOf(BlockValue::zero);
    special.bytes = bytes;
  }
  if (special.ref == kNone && (name.starts_with("%clock") || name.starts_with("%globaltimer"))) {
    bool wide = name == "%clock64" || name == "%globaltimer";
    Inst& inst = emit(op::clock);
    special.bytes = wide ? 8 : 4;
    special.ref = inst.dst = temporary(special.bytes);
    inst.aux = static_cast<uint16_t>(special.bytes);
    inst.x = name.ends_with("_hi") ? 2 : name.starts_with("%globaltimer") ? 1 : 0;
  }
  if (special.ref == kNone) {
    invalid("'" + std::string(name) +
            "' is neither declared nor a special register that is supported.");
  }
  if (special.bytes == bytes) return special.ref;
  Ref converted = temporary(bytes);
  emitConvert(converted, unsignedOf(bytes), special.ref, unsignedOf(special.bytes));
  return converted;
}

Ref FunctionDecoder::withOffset(Ref base, int64_t offset, uint32_t bytes) {
  if (offset == 0) return base;
  Inst& inst = emit(executors().integer(IntOp::add, unsignedOf(bytes)));
  inst.a = base;
  inst.b = context_.constants.value(static_cast<uint64_t>(offset), bytes);
  inst.dst = temporary(bytes);
  return inst.dst;
}

int FunctionDecoder::variableOf(const Operand& operand) const {
  auto found = context_.variable_of.find(operand.symbol);
  if (found != context_.variable_of.end()) return found->second;
  needDefinition("Variable", operand.name);
  return 0;
}

void FunctionDecoder::needDefinition(const char* what, std::string_view name) const {
  if (context_.may_be_unresolved) return;
  std::string_view unit = context_.module.units[function_.unit].name;
  throw CompileError(
      CompileStatus::unresolved, in_->line,
      unit.empty()
          ? std::string(what) + " '" + std::string(name) + "' has no definition."
          : "Undefined reference to '" + std::string(name) + "' in '" + std::string(unit) + "'.");
}

// The address of a symbol in its own space, as mov gives it.
Ref FunctionDecoder::sourceSymbol(const Operand& operand, Type type) {
  uint32_t bytes = sizeOf(type);
  if (bytes != 4 && bytes != 8)
    invalid("An address does not fit in ." + std::string(typeName(type)) + ".");
  bool is_name = operand.kind == Operand::Kind::name;
  if (is_name || context_.module.symbols[operand.symbol].kind == SymbolKind::function) {
    int function = functionOf(operand.name);
    if (function < 0) invalid("'" + std::string(operand.name) + "' is not declared.");
    if (!context_.module.functions[function].is_defined) needDefinition("Function", operand.name);
    return context_.constants.value(functionHandle(static_cast<uint32_t>(function)), bytes);
  }
  const Symbol& symbol = context_.module.symbols[operand.symbol];
  if (symbol.kind == SymbolKind::variable) {
    return context_.constants.address(variableOf(operand), operand.value, bytes);
  }
  if (symbol.kind == SymbolKind::shared) {
    if (symbol.is_extern) {
      code_.uses_dynamic_shared = true;
      Ref base = refOf(BlockValue::dynamic_shared);
      if (bytes == 4) {
        Ref narrow = temporary(4);
        emitConvert(narrow, Type::u32, base, Type::u64);
        base = narrow;
      }
      return withOffset(base, operand.value, bytes);
    }
    auto common = context_.common_shared.find(operand.symbol);
    uint64_t offset = common != context_.common_shared.end() ? common->second
                                                             : shared_offsets_.at(operand.symbol);
    return context_.constants.value(offset + static_cast<uint64_t>(operand.value), bytes);
  }
  uint32_t offset = 0;
  if (localOffset(operand.symbol, offset)) {
    Inst& inst = emit(op::frameAddress);
    inst.dst = temporary(bytes);
    inst.imm = wrappingSum(offset, operand.value);
    inst.aux = static_cast<uint16_t>(bytes);
    return inst.dst;
  }
  auto param = param_offsets_.find(operand.symbol);
  if (param == param_offsets_.end() || bytes != 8) {
    invalid("The address of '" + std::string(symbol.name) + "' cannot be taken here.");
  }
  return withOffset(refOf(BlockValue::param_address), wrappingSum(param->second, operand.value), 8);
}

Ref FunctionDecoder::sourcePredicate(const Operand& operand) {
  if (operand.kind == Operand::Kind::integer)
    return context_.constants.predicate(operand.value != 0);
  if (registerType(operand) != Type::pred) invalid("A predicate register is needed.");
  return layout_.offsets[operand.index] | kBaseFrame;
}

Ref FunctionDecoder::destination(const Operand& operand, Type type) {
  if (operand.kind == Operand::Kind::sink) return temporary(sizeOf(type));
  if (operand.kind != Operand::Kind::reg) invalid("The destination is not a register.");
  return source(operand, type);
}

Ref FunctionDecoder::destinationPredicate(const Operand& operand) {
  if (operand.kind == Operand::Kind::sink) return temporaryPredicate();
  if (registerType(operand) != Type::pred) invalid("The destination is not a predicate register.");
  return layout_.offsets[operand.index] | kBaseFrame;
}

AddressOperand FunctionDecoder::address(const Operand& operand, Space space) {
  AddressOperand result;
  result.imm = operand.value;
  if (operand.kind == Operand::Kind::address && operand.scale != 0) {
    result.a = source(operand.items[0], Type::b64);
    result.index = source(operand.items[1], operand.index_type);
    result.scale = operand.scale;
    result.resolver = operand.index_type == Type::s32   ? Resolver::indexed4s
                      : operand.index_type == Type::u32 ? Resolver::indexed4u
                                                        : Resolver::indexed8;
    return result;
  }
  if (operand.kind != Operand::Kind::address || operand.items.size() != 1) {
    invalid("An address in brackets is needed.");
  }
  const Operand& base = operand.items[0];
  bool in_kernel = function_.is_entry;
  if (base.kind == Operand::Kind::reg) {
    uint32_t bytes = sizeOf(registerType(base));
    if (bytes != 4 && bytes != 8) invalid("An address register has neither 32 nor 64 bits.");
    result.a = source(base, registerType(base));
    if (space == Space::shared) {
      result.resolver = bytes == 4 ? Resolver::shared4 : Resolver::shared8;
    } else if (space == Space::local || (space == Space::param && !in_kernel)) {
      result.resolver = bytes == 4 ? Resolver::local4 : Resolver::local8;
    } else if (bytes == 4) {
      Ref wide = temporary(8);
      emitConvert(wide, Type::u64, result.a, Type::u32);
      result.a = wide;
    }
    return result;
  }
  if (base.kind == Operand::Kind::integer) {
    result.imm = wrappingSum(result.imm, base.value);
    result.a = context_.constants.value(0, 8);
    result.resolver = space == Space::shared  ? Resolver::shared0
                      : space == Space::local ? Resolver::local0
                                              : Resolver::absolute0;
    return result;
  }
  if (base.kind != Operand::Kind::symbol) {
    invalid("'" + std::string(base.name) + "' is not declared.");
  }
  const Symbol& symbol = context_.module.symbols[base.symbol];
  uint32_t offset = 0;
  if (symbol.kind == SymbolKind::variable) {
    result.a = context_.constants.address(variableOf(base), 0, 8);
    result.resolver = Resolver::absolute0;
  } else if (symbol.kind == SymbolKind::shared) {
    if (symbol.is_extern) {
      code_.uses_dynamic_shared = true;
      result.a = refOf(BlockValue::dynamic_shared);
      result.resolver = Resolver::shared8;
    } else {
      auto common = context_.common_shared.find(base.symbol);
      result.imm = wrappingSum(result.imm, common != context_.common_shared.end()
                                               ? common->second
                                               : shared_offsets_.at(base.symbol));
      result.resolver = Resolver::shared0;
    }
  } else if (localOffset(base.symbol, offset)) {
    result.imm = wrappingSum(result.imm, offset);
    result.resolver = Resolver::frame0;
  } else if (auto param = param_offsets_.find(base.symbol); param != param_offsets_.end()) {
    result.imm = wrappingSum(result.imm, param->second);
    result.resolver = Resolver::param0;
    if (result.imm < 0 || result.imm > 32764 + 48) invalid("A parameter's offset is out of range.");
    uint64_t end = static_cast<uint64_t>(operand.value);
    if (operand.value < 0 || end >= symbol.bytes)
      invalid("The offset is outside of the parameter.");
  } else {
    invalid("'" + std::string(symbol.name) + "' is no variable.");
  }
  return result;
}

}  // namespace farwarp::ptx
