// The control flow of a function: basic blocks, where diverged lanes meet again, and where in the
// register frame each register lives.
#pragma once

#include <cstdint>
#include <vector>

#include "gpud/device/cpu/ptx/ast.h"

namespace farwarp::ptx {

inline constexpr uint32_t kNoBlock = ~0u;

struct BasicBlock {
  uint32_t first = 0;  // instruction indices
  uint32_t end = 0;
  std::vector<uint32_t> successors;  // the exit is block number blocks.size()
  uint32_t meet = kNoBlock;  // immediate post-dominator; kNoBlock when it is the exit or none
  bool is_meet = false;      // some branch's lanes meet at its start
};

struct ControlFlow {
  std::vector<BasicBlock> blocks;
  std::vector<uint32_t> block_of;  // of each instruction
  // The block that starts at an instruction; kNoBlock past the end.
  uint32_t blockAt(uint32_t instruction) const {
    return instruction < block_of.size() ? block_of[instruction] : kNoBlock;
  }
};

// The label `name` seen from `scope`; null when there is none.
const ast::Label* findLabel(const ast::Function& function, std::string_view name, int scope);
// The labels a brx.idx may go to.
const ast::Label* findBranchTargets(const ast::Function& function, const ast::Instruction& branch);

// Throws CompileError for labels that do not exist.
ControlFlow analyse(const ast::Function& function);

// Which instructions every path from the function's start to another one contains.
class Dominance {
 public:
  explicit Dominance(const ControlFlow& flow);
  // Is `before` executed whenever `at` is, and earlier? Both are instructions; false where `at` can
  // not be reached.
  bool precedes(uint32_t before, uint32_t at) const;

 private:
  const ControlFlow& flow_;
  // Of each block: when a walk through the tree of dominators enters and leaves it.
  std::vector<uint32_t> enter_, leave_;
};

struct RegisterLayout {
  std::vector<uint32_t> offsets;  // of each register, bytes into the frame
  uint32_t frame_bytes = 0;
  uint32_t estimate = 0;  // 32-bit registers of a thread that are live at once
};
// How many instructions write each register; 2 stands for more, and for all that cannot be told.
std::vector<uint8_t> countWrites(const ast::Function& function);
std::vector<uint32_t> writtenRegisters(const ast::Instruction& in);
// How many operands read each register.
std::vector<uint32_t> countReads(const ast::Function& function);
// The instruction that alone writes each register; kNoBlock where none or several do.
std::vector<uint32_t> findDefinitions(const ast::Function& function);
RegisterLayout allocateRegisters(const ast::Function& function, const ControlFlow& flow);

}  // namespace farwarp::ptx
