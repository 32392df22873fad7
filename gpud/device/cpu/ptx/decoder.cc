#include "gpud/device/cpu/ptx/decoder.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "gpud/device/cpu/ptx/check.h"

namespace farwarp::ptx {

using ast::Instruction;
using ast::Operand;
using ast::Symbol;
using ast::SymbolKind;

bool Modifiers::take(std::string_view name) {
  for (size_t k = 0; k < used_.size(); ++k) {
    if (!used_[k] && in_.modifiers[k] == name) return used_[k] = true;
  }
  return false;
}

bool Modifiers::has(std::string_view name) const {
  return std::find(in_.modifiers.begin(), in_.modifiers.end(), name) != in_.modifiers.end();
}

int Modifiers::takeOneOf(std::initializer_list<std::string_view> names) {
  for (size_t k = 0; k < used_.size(); ++k) {
    if (used_[k]) continue;
    auto found = std::find(names.begin(), names.end(), in_.modifiers[k]);
    if (found == names.end()) continue;
    used_[k] = true;
    return static_cast<int>(found - names.begin());
  }
  return -1;
}

Type Modifiers::takeType() {
  for (size_t k = 0; k < used_.size(); ++k) {
    if (used_[k]) continue;
    Type type = typeFromName(in_.modifiers[k]);
    if (type == Type::none) continue;
    used_[k] = true;
    return type;
  }
  return Type::none;
}

Type Modifiers::needType() {
  Type type = takeType();
  if (type == Type::none) {
    failInvalid(in_.line, "'" + std::string(in_.opcode) + "' needs a type.");
  }
  return type;
}

void Modifiers::takeCacheHints() {
  constexpr std::string_view kHints[] = {"ca", "cg", "cs", "lu", "cv", "wb", "wt", "nc"};
  for (size_t k = 0; k < used_.size(); ++k) {
    std::string_view name = in_.modifiers[k];
    if (name.starts_with("L1::") || name.starts_with("L2::") ||
        std::find(std::begin(kHints), std::end(kHints), name) != std::end(kHints)) {
      used_[k] = true;
    }
  }
}

FloatFlags Modifiers::takeFloatFlags() {
  FloatFlags flags;
  int rounding = takeOneOf({"rn", "rz", "rm", "rp", "rna"});
  if (rounding >= 0) flags.rounding = static_cast<Rounding>(rounding);
  flags.ftz = take("ftz");
  flags.sat = take("sat");
  return flags;
}

void Modifiers::finish() const {
  for (size_t k = 0; k < used_.size(); ++k) {
    if (used_[k]) continue;
    failUnsupported(in_.line, "Modifier '." + std::string(in_.modifiers[k]) + "' of '" +
                                  std::string(in_.opcode) + "' is not supported.");
  }
}

FunctionDecoder::FunctionDecoder(ProgramContext& context, ast::Function& function,
                                 FunctionCode& code)
    : context_(context), function_(function), code_(code) {}

void FunctionDecoder::invalid(const std::string& why) const {
  failInvalid(in_->line, why);
}

void FunctionDecoder::unsupported(const std::string& why) const {
  std::string text(in_->opcode);
  for (std::string_view modifier : in_->modifiers) text += "." + std::string(modifier);
  failUnsupported(in_->line, "'" + text + "': " + why);
}

const Operand& FunctionDecoder::operand(size_t index) const {
  if (index >= in_->operands.size()) {
    invalid("'" + std::string(in_->opcode) + "' has " + std::to_string(in_->operands.size()) +
            " operands; it needs more.");
  }
  return in_->operands[index];
}

void FunctionDecoder::needOperands(size_t least, size_t most) const {
  size_t have = in_->operands.size();
  if (have >= least && have <= most) return;
  invalid("'" + std::string(in_->opcode) + "' has " + std::to_string(have) +
          " operands; it needs " + std::to_string(least) +
          (most != least ? " to " + std::to_string(most) : "") + ".");
}

// The frame of local memory: parameters and results of a device function, then local variables. A
// kernel's parameters are elsewhere.
void FunctionDecoder::layOutFrame() {
  uint64_t offset = 0;
  auto place = [&](int id) {
    const Symbol& symbol = context_.module.symbols[id];
    uint64_t align = std::max(symbol.align, 1u);
    offset = (offset + align - 1) & ~(align - 1);
    uint32_t at = static_cast<uint32_t>(offset);
    local_offsets_[id] = at;
    offset += symbol.bytes;
    if (offset > (uint64_t{1} << 31))
      failInvalid(symbol.line, "A stack frame is larger than 2 GiB.");
    return FormalParam{at, static_cast<uint32_t>(symbol.bytes)};
  };
  if (function_.is_entry) {
    uint64_t at = 0;
    for (int id : function_.params) {
      const Symbol& symbol = context_.module.symbols[id];
      uint64_t align = std::max(symbol.align, 1u);
      at = (at + align - 1) & ~(align - 1);
      param_offsets_[id] = static_cast<uint32_t>(at);
      at += symbol.bytes;
      if (at > 32764) failInvalid(symbol.line, "The parameters take more than 32764 bytes.");
    }
  } else {
    for (int id : function_.returns) code_.returns.push_back(place(id));
    for (int id : function_.params) code_.params.push_back(place(id));
  }
  for (int id : function_.locals) place(id);
  code_.local_bytes = static_cast<uint32_t>((offset + 15) & ~uint64_t{15});
}

bool FunctionDecoder::localOffset(int symbol, uint32_t& offset) const {
  auto found = local_offsets_.find(symbol);
  if (found == local_offsets_.end()) return false;
  offset = found->second;
  return true;
}

// Shared variables that only kernels use get a place per kernel, after those of device functions.
void FunctionDecoder::layOutShared() {
  auto place = [&](const Operand& operand, auto&& self) -> void {
    for (const Operand& item : operand.items) self(item, self);
    if (operand.symbol < 0) return;
    const Symbol& symbol = context_.module.symbols[operand.symbol];
    if (symbol.kind != SymbolKind::shared || context_.common_shared.contains(operand.symbol))
      return;
    if (symbol.is_extern || shared_offsets_.contains(operand.symbol)) return;
    uint64_t align = std::max(symbol.align, 1u);
    uint64_t at = (shared_bytes_ + align - 1) & ~(align - 1);
    if (at + symbol.bytes > (1u << 24)) failInvalid(symbol.line, "Shared memory exceeds 16 MiB.");
    shared_offsets_[operand.symbol] = static_cast<uint32_t>(at);
    shared_bytes_ = static_cast<uint32_t>(at + symbol.bytes);
  };
  shared_bytes_ = context_.code.common_shared_bytes;
  for (const Instruction& in : function_.instructions) {
    for (const Operand& operand : in.operands) place(operand, place);
  }
  for (int id : function_.locals) (void)id;
}

uint32_t FunctionDecoder::blockOfLabel(std::string_view name) const {
  auto found = labels_.find(name);
  for (int scope = static_cast<int>(in_->scope); found != labels_.end() && scope >= 0;
       scope = function_.scope_parents[scope]) {
    for (const ast::Label* label : found->second) {
      if (static_cast<int>(label->scope) == scope) return flow_.blockAt(label->instruction);
    }
  }
  invalid("Label '" + std::string(name) + "' is not defined.");
}

Inst& FunctionDecoder::emit(Handler handler) {
  if (handler == nullptr) unsupported("this combination of modifiers and types is not supported.");
  Inst& inst = code_.code.emplace_back();
  inst.run = handler;
  inst.line = in_ != nullptr ? in_->line : function_.line;
  if (in_ != nullptr && in_->guard >= 0 && !guard_lowered_) {
    inst.guard = layout_.offsets[in_->guard] | kBaseFrame;
    inst.guard_flip = in_->guard_negated ? ~0u : 0;
  }
  return inst;
}

void FunctionDecoder::enterGuard() {
  if (in_->guard < 0) return;
  guard_branch_ = static_cast<uint32_t>(code_.code.size());
  emit(op::branch).guard_flip ^= ~0u;
  guard_lowered_ = true;
}

void FunctionDecoder::leaveGuard() {
  if (in_->guard < 0) return;
  uint32_t distance = static_cast<uint32_t>(code_.code.size()) - guard_branch_;
  code_.code[guard_branch_].imm = distance;
  code_.code[guard_branch_].d = distance;
  emit(op::join);
  guard_lowered_ = false;
}

void FunctionDecoder::emitConvert(Ref to, Type to_type, Ref from, Type from_type) {
  Inst& inst = emit(executors().convert(to_type, from_type, {}, false));
  inst.dst = to;
  inst.a = from;
}

namespace {

const std::unordered_map<std::string_view, DecodeFunction>& allDecoders() {
  static const std::unordered_map<std::string_view, DecodeFunction> kDecoders = [] {
    std::unordered_map<std::string_view, DecodeFunction> all;
    for (auto list : {integerDecoders(), floatDecoders(), memoryDecoders(), controlDecoders(),
                      moveDecoders(), warpDecoders(), asyncDecoders(), matrixDecoders(),
                      tileDecoders(), videoDecoders(), textureDecoders(), tensorDecoders()}) {
      for (const DecodeEntry& entry : list) all.emplace(entry.opcode, entry.decode);
    }
    return all;
  }();
  return kDecoders;
}

}  // namespace

std::vector<std::string> knownOpcodes() {
  std::vector<std::string> names;
  for (const auto& [opcode, decode] : allDecoders()) names.emplace_back(opcode);
  std::sort(names.begin(), names.end());
  return names;
}

void FunctionDecoder::decodeInstruction(const Instruction& in) {
  in_ = &in;
  temporaries_used_ = 0;
  auto found = allDecoders().find(in.opcode);
  if (found == allDecoders().end()) unsupported("this instruction is not known.");
  Modifiers modifiers(in);
  found->second(*this, modifiers);
  modifiers.finish();
  forgetMemos(in);
  in_ = nullptr;
}

uint32_t FunctionDecoder::reserveLocal(uint32_t bytes) {
  uint32_t at = code_.local_bytes;
  if (at > (1u << 30)) invalid("A stack frame is larger than 1 GiB.");
  code_.local_bytes += (bytes + 15) & ~15u;
  return at;
}

// What a function takes by alloca is given back when it returns.
void FunctionDecoder::saveStackAtEntry() {
  for (const Instruction& in : function_.instructions) code_.uses_alloca |= in.opcode == "alloca";
  if (!code_.uses_alloca || function_.is_entry) return;
  saved_stack_ = layout_.frame_bytes | kBaseFrame;
  layout_.frame_bytes += 8 * kLanes;
  Inst& inst = emit(op::saveStack);
  inst.dst = saved_stack_;
  inst.aux = 8;
}

void FunctionDecoder::decode() {
  code_.name = function_.name;
  code_.is_entry = function_.is_entry;
  for (const ast::Label& label : function_.labels) labels_[label.name].push_back(&label);
  flow_ = analyse(function_);
  if (function_.is_entry) layOutShared();
  findAliases();
  foldAddresses();
  layout_ = allocateRegisters(function_, flow_);
  code_.registers = std::clamp(layout_.estimate + 8, 16u, 255u);
  carry_offset_ = layout_.frame_bytes;
  layout_.frame_bytes += 64;
  saveStackAtEntry();
  for (block = 0; block < flow_.blocks.size(); ++block) {
    block_starts_.push_back(static_cast<uint32_t>(code_.code.size()));
    std::fill(std::begin(memos_), std::end(memos_), Memo{});
    const BasicBlock& b = flow_.blocks[block];
    if (b.is_meet) emit(op::join).line = function_.instructions[b.first].line;
    for (uint32_t k = b.first; k < b.end; ++k) {
      if (!left_out_[k]) decodeInstruction(function_.instructions[k]);
    }
  }
  block_starts_.push_back(static_cast<uint32_t>(code_.code.size()));
  if (saved_stack_ != kNone) {
    Inst& restore = emit(op::restoreStack);
    restore.a = saved_stack_;
    restore.aux = 8;
  }
  emit(op::ret);
  code_.code.shrink_to_fit();  // before anything points into it
  patch();
  code_.frame_bytes = layout_.frame_bytes + temporaries_max_;
}

void FunctionDecoder::patch() {
  auto start = [&](uint32_t b) { return block_starts_[std::min<size_t>(b, flow_.blocks.size())]; };
  for (const Fix& fix : fixes) {
    Inst& inst = code_.code[fix.inst];
    inst.imm = int64_t{start(fix.target_block)} - fix.inst;
    inst.d = fix.meet_block == kNoBlock ? 0 : start(fix.meet_block) - fix.inst;
  }
  for (TableFix& fix : table_fixes) {
    for (size_t k = 0; k < fix.blocks.size(); ++k) {
      fix.table->targets[k] = &code_.code[start(fix.blocks[k])];
    }
    fix.table->meet = fix.meet_block == kNoBlock ? nullptr : &code_.code[start(fix.meet_block)];
  }
}

}  // namespace farwarp::ptx
