// Turns the syntax tree into decoded operations. One family of instructions per file decode_*.cc.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "gpud/device/cpu/ptx/ast.h"
#include "gpud/device/cpu/ptx/cfg.h"
#include "gpud/device/cpu/ptx/code.h"
#include "gpud/device/cpu/ptx/control.h"
#include "gpud/device/cpu/ptx/error.h"
#include "gpud/device/cpu/ptx/executors.h"
#include "gpud/device/cpu/ptx/link.h"
#include "gpud/device/cpu/ptx/warp.h"

namespace farwarp::ptx {

// Texts may have any offsets: their sums wrap around.
inline int64_t wrappingSum(int64_t a, int64_t b) {
  return static_cast<int64_t>(static_cast<uint64_t>(a) + static_cast<uint64_t>(b));
}

// Constant operands of a program, each as 32 lanes.
class ConstantPool {
 public:
  explicit ConstantPool(ProgramCode& code);
  Ref value(uint64_t bits, uint32_t bytes);
  Ref predicate(bool value);
  // The address of variable number `variable` plus `addend`, 8 or 4 bytes.
  Ref address(int variable, int64_t addend, uint32_t bytes);
  // A value that differs from lane to lane: 0 %laneid, 1..5 %lanemask_eq, le, lt, ge, gt.
  Ref laneValue(uint32_t which) const { return (lane_values_ + which * 128) | kBaseConstants; }

 private:
  uint32_t allocate(uint32_t bytes);
  ProgramCode& code_;
  uint32_t lane_values_ = 0;
  uint32_t false_ = 0;
  std::map<std::pair<uint64_t, uint32_t>, Ref> values_;
  std::map<std::tuple<int, int64_t, uint32_t>, Ref> addresses_;
};

// What the decoders of all functions of a program share.
struct ProgramContext {
  ast::Module& module;
  ProgramCode& code;
  ConstantPool& constants;
  const Executors& executors;
  const LinkedNames& names;
  bool may_be_unresolved = false;                        // other texts may define what is missing
  std::unordered_map<int, int> variable_of = {};         // symbol -> variable index
  std::unordered_map<int, uint32_t> common_shared = {};  // symbol -> offset
};

// The modifiers of an instruction; each must be taken by the decoder that understands it.
class Modifiers {
 public:
  explicit Modifiers(const ast::Instruction& in) : in_(in), used_(in.modifiers.size(), false) {}
  bool take(std::string_view name);
  // Takes whichever of `names` comes first; -1 when none is there.
  int takeOneOf(std::initializer_list<std::string_view> names);
  Type takeType();  // the first type left; none when there is none
  Type needType();  // throws when there is none
  bool has(std::string_view name) const;
  void takeCacheHints();        // .L1::..., .L2::..., cache operators: they change nothing here
  FloatFlags takeFloatFlags();  // .rn .rz .rm .rp .ftz .sat
  void finish() const;          // throws if a modifier was not taken
  const ast::Instruction& in() const { return in_; }

 private:
  const ast::Instruction& in_;
  std::vector<bool> used_;
};

struct AddressOperand {
  Resolver resolver = Resolver::absolute8;
  Ref a = 0;
  int64_t imm = 0;
  Ref index = 0;       // of the indexed resolvers
  uint16_t scale = 0;  // of the index
};

class FunctionDecoder {
 public:
  FunctionDecoder(ProgramContext& context, ast::Function& function, FunctionCode& code);
  // Places of parameters and local variables; done for all functions before any body.
  void layOutFrame();
  void decode();
  uint32_t staticSharedBytes() const { return shared_bytes_; }

  // Operands. `type` gives the size that a register must have and how literals are read.
  Ref source(const ast::Operand& operand, Type type);
  Ref sourcePredicate(const ast::Operand& operand);  // without its negation
  Ref destination(const ast::Operand& operand, Type type);
  Ref destinationPredicate(const ast::Operand& operand);
  Type registerType(const ast::Operand& operand) const;  // none when it is no register
  Ref temporary(uint32_t bytes);  // lanes of that size; lives until the next instruction
  Ref temporaryPredicate();
  AddressOperand address(const ast::Operand& operand, Space space);
  Ref carry();  // the condition code register
  Ref savedStack() const { return saved_stack_; }
  const ast::Operand& operand(size_t index) const;
  const ast::Operand& pairOf(const ast::Operand& operand) const { return in_->pairs[operand.pair]; }
  void needOperands(size_t least, size_t most) const;

  // Code.
  // The memo of an access of `bytes` bytes, for Inst::memo: accesses of a basic block that compute
  // their addresses from the same value of a register share one.
  uint8_t memoOf(const ast::Operand& address, uint32_t bytes);
  Inst& emit(Handler handler);
  void emitConvert(Ref to, Type to_type, Ref from, Type from_type);
  // Between these, guarded lanes that do not take part are led around.
  void enterGuard();
  void leaveGuard();
  bool localOffset(int symbol, uint32_t& offset) const;
  // The function that `name` means here, by its index; -1 when it means none.
  int functionOf(std::string_view name) const {
    return context_.names.function(function_.unit, name);
  }
  // Throws, unless other texts may still define `name`.
  void needDefinition(const char* what, std::string_view name) const;
  // Bytes of the local frame that no variable has; the frame grows.
  uint32_t reserveLocal(uint32_t bytes);
  [[noreturn]] void invalid(const std::string& why) const;
  [[noreturn]] void unsupported(const std::string& why) const;

  const ast::Instruction& in() const { return *in_; }
  const ast::Function& function() const { return function_; }
  ProgramContext& context() { return context_; }
  const Executors& executors() const { return context_.executors; }
  FunctionCode& code() { return code_; }
  const ControlFlow& flow() const { return flow_; }
  uint32_t blockOfLabel(std::string_view name) const;

  struct Fix {
    uint32_t inst;
    uint32_t target_block;
    uint32_t meet_block;
  };
  struct TableFix {
    op::BranchTable* table;
    std::vector<uint32_t> blocks;
    uint32_t meet_block;
  };
  std::vector<Fix> fixes;
  std::vector<TableFix> table_fixes;
  uint32_t block = 0;  // being decoded

 private:
  void decodeInstruction(const ast::Instruction& in);
  Ref sourceSpecial(const ast::Operand& operand, Type type);
  Ref sourceSymbol(const ast::Operand& operand, Type type);
  Ref withOffset(Ref base, int64_t offset, uint32_t bytes);
  void layOutShared();
  void saveStackAtEntry();
  void findAliases();
  void foldAddresses();
  void forgetMemos(const ast::Instruction& in);
  Ref placeOfValue(const ast::Instruction& in);
  Ref uniformParam(uint32_t offset, uint32_t bytes);
  int variableOf(const ast::Operand& operand) const;
  void patch();

  ProgramContext& context_;
  ast::Function& function_;
  FunctionCode& code_;
  ControlFlow flow_;
  RegisterLayout layout_;
  std::unordered_map<int, uint32_t> local_offsets_;
  std::unordered_map<int, uint32_t> param_offsets_;  // of a kernel
  std::unordered_map<int, uint32_t> shared_offsets_;
  std::unordered_map<std::string_view, std::vector<const ast::Label*>> labels_;
  uint32_t shared_bytes_ = 0;
  const ast::Instruction* in_ = nullptr;
  bool guard_lowered_ = false;
  uint32_t guard_branch_ = 0;
  uint32_t temporaries_used_ = 0;
  uint32_t temporaries_max_ = 0;
  uint32_t carry_offset_ = 0;
  std::vector<Ref> aliases_;    // of a register: where its value is anyway; else kNone
  std::vector<bool> left_out_;  // instructions that only fill such registers
  Ref saved_stack_ = kNone;     // where a function that uses alloca keeps the stack of its caller
  std::vector<uint32_t> block_starts_;
  // What the memos of the basic block are about: a register, and how far apart its lanes' values
  // are in a row, or 256 and the type as which it is an index.
  struct Memo {
    uint32_t reg = kNone;
    uint32_t step = 0;
  };
  Memo memos_[kMemos];
  uint32_t next_memo_ = 1;
};

using DecodeFunction = void (*)(FunctionDecoder&, Modifiers&);
struct DecodeEntry {
  std::string_view opcode;
  DecodeFunction decode;
};
std::span<const DecodeEntry> integerDecoders();
std::span<const DecodeEntry> floatDecoders();
std::span<const DecodeEntry> memoryDecoders();
std::span<const DecodeEntry> controlDecoders();
std::span<const DecodeEntry> moveDecoders();
std::span<const DecodeEntry> warpDecoders();
std::span<const DecodeEntry> asyncDecoders();
std::span<const DecodeEntry> matrixDecoders();
std::span<const DecodeEntry> tileDecoders();
std::span<const DecodeEntry> videoDecoders();
std::span<const DecodeEntry> textureDecoders();
std::span<const DecodeEntry> tensorDecoders();

}  // namespace farwarp::ptx
