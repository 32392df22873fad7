#include "gpud/device/cpu/ptx/cfg.h"

#include <algorithm>
#include <string>

#include "gpud/device/cpu/ptx/error.h"

namespace farwarp::ptx {

using ast::Function;
using ast::Instruction;
using ast::Label;
using ast::Operand;

const Label* findLabel(const Function& function, std::string_view name, int scope) {
  for (; scope >= 0; scope = function.scope_parents[scope]) {
    for (const Label& label : function.labels) {
      if (label.name == name && static_cast<int>(label.scope) == scope) return &label;
    }
  }
  return nullptr;
}

const Label* findBranchTargets(const Function& function, const Instruction& branch) {
  if (branch.operands.size() != 2 || branch.operands[1].kind != Operand::Kind::name) return nullptr;
  const Label* list = findLabel(function, branch.operands[1].name, static_cast<int>(branch.scope));
  return list != nullptr && list->is_targets ? list : nullptr;
}

namespace {

// Label lookups by name alone, for the common case of unique names.
class Labels {
 public:
  explicit Labels(const Function& function) : function_(function) {
    for (const Label& label : function.labels) by_name_.emplace_back(label.name, &label);
    std::stable_sort(by_name_.begin(), by_name_.end(),
                     [](const auto& a, const auto& b) { return a.first < b.first; });
  }
  uint32_t instruction(std::string_view name, const Instruction& from) const {
    auto first = std::lower_bound(by_name_.begin(), by_name_.end(), name,
                                  [](const auto& a, std::string_view b) { return a.first < b; });
    for (int scope = static_cast<int>(from.scope); scope >= 0;
         scope = function_.scope_parents[scope]) {
      for (auto it = first; it != by_name_.end() && it->first == name; ++it) {
        if (static_cast<int>(it->second->scope) == scope) return it->second->instruction;
      }
    }
    failInvalid(from.line, "Label '" + std::string(name) + "' is not defined.");
  }

 private:
  const Function& function_;
  std::vector<std::pair<std::string_view, const Label*>> by_name_;
};

bool endsThread(const Instruction& in) {
  return in.opcode == "ret" || in.opcode == "exit";
}
bool isBranch(const Instruction& in) {
  return in.opcode == "bra" || in.opcode == "brx";
}

std::vector<uint32_t> branchTargets(const Function& function, const Labels& labels,
                                    const Instruction& in) {
  std::vector<uint32_t> targets;
  if (in.opcode == "bra") {
    if (in.operands.size() != 1 || in.operands[0].name.empty()) {
      failInvalid(in.line, "'bra' needs a label.");
    }
    targets.push_back(labels.instruction(in.operands[0].name, in));
  } else if (in.opcode == "brx") {
    const Label* list = findBranchTargets(function, in);
    if (list == nullptr) failInvalid(in.line, "'brx.idx' needs a list of branch targets.");
    for (std::string_view name : list->targets) targets.push_back(labels.instruction(name, in));
  }
  return targets;
}

using Edges = std::vector<std::vector<uint32_t>>;

// Immediate dominators of the nodes that `root` reaches along `forward`, by the algorithm of
// Cooper, Harvey and Kennedy; `backward` are the same edges the other way round. The root's is
// itself, that of a node that is not reached kNoBlock.
std::vector<uint32_t> immediateDominators(uint32_t root, const Edges& forward,
                                          const Edges& backward) {
  size_t count = forward.size();
  std::vector<uint32_t> order, number(count, kNoBlock);
  std::vector<std::pair<uint32_t, size_t>> stack{{root, 0}};
  std::vector<bool> seen(count, false);
  seen[root] = true;
  while (!stack.empty()) {
    auto& [node, next] = stack.back();
    if (next < forward[node].size()) {
      uint32_t n = forward[node][next++];
      if (!seen[n]) {
        seen[n] = true;
        stack.emplace_back(n, 0);
      }
    } else {
      number[node] = static_cast<uint32_t>(order.size());
      order.push_back(node);
      stack.pop_back();
    }
  }
  std::vector<uint32_t> dominator(count, kNoBlock);
  dominator[root] = root;
  auto intersect = [&](uint32_t a, uint32_t b) {
    while (a != b) {
      while (number[a] < number[b]) a = dominator[a];
      while (number[b] < number[a]) b = dominator[b];
    }
    return a;
  };
  for (bool changed = true; changed;) {
    changed = false;
    for (auto node = order.rbegin(); node != order.rend(); ++node) {
      if (*node == root) continue;
      uint32_t best = kNoBlock;
      for (uint32_t p : backward[*node]) {
        if (number[p] == kNoBlock || dominator[p] == kNoBlock) continue;
        best = best == kNoBlock ? p : intersect(best, p);
      }
      if (best != dominator[*node]) {
        dominator[*node] = best;
        changed = true;
      }
    }
  }
  return dominator;
}

// The edges between blocks, the exit included, and the same edges reversed.
std::pair<Edges, Edges> edgesOf(const std::vector<BasicBlock>& blocks) {
  Edges forward(blocks.size() + 1), backward(blocks.size() + 1);
  for (uint32_t b = 0; b < blocks.size(); ++b) {
    forward[b] = blocks[b].successors;
    for (uint32_t s : blocks[b].successors) backward[s].push_back(b);
  }
  return {std::move(forward), std::move(backward)};
}

// Lanes that a branch parts meet at its immediate post-dominator.
void findMeets(std::vector<BasicBlock>& blocks) {
  uint32_t exit = static_cast<uint32_t>(blocks.size());
  auto [forward, backward] = edgesOf(blocks);
  std::vector<uint32_t> dominator = immediateDominators(exit, backward, forward);
  for (uint32_t b = 0; b < exit; ++b) {
    blocks[b].meet = dominator[b] == exit ? kNoBlock : dominator[b];
  }
}

}  // namespace

ControlFlow analyse(const Function& function) {
  uint32_t count = static_cast<uint32_t>(function.instructions.size());
  Labels labels(function);
  std::vector<bool> leader(count + 1, false);
  std::vector<std::vector<uint32_t>> targets(count);
  leader[0] = true;
  for (uint32_t i = 0; i < count; ++i) {
    const Instruction& in = function.instructions[i];
    if (!isBranch(in) && !endsThread(in)) continue;
    targets[i] = branchTargets(function, labels, in);
    for (uint32_t target : targets[i]) leader[target] = true;
    leader[i + 1] = true;
  }
  ControlFlow flow;
  flow.block_of.resize(count);
  for (uint32_t i = 0; i < count; ++i) {
    if (leader[i]) flow.blocks.emplace_back().first = i;
    flow.blocks.back().end = i + 1;
    flow.block_of[i] = static_cast<uint32_t>(flow.blocks.size()) - 1;
  }
  uint32_t exit = static_cast<uint32_t>(flow.blocks.size());
  for (uint32_t b = 0; b < exit; ++b) {
    BasicBlock& block = flow.blocks[b];
    const Instruction& last = function.instructions[block.end - 1];
    bool jumps = isBranch(last) || endsThread(last);
    if (endsThread(last)) block.successors.push_back(exit);
    for (uint32_t target : targets[block.end - 1]) {
      block.successors.push_back(target < count ? flow.block_of[target] : exit);
    }
    if (!jumps || last.guard >= 0) block.successors.push_back(b + 1);
    std::sort(block.successors.begin(), block.successors.end());
    block.successors.erase(std::unique(block.successors.begin(), block.successors.end()),
                           block.successors.end());
  }
  findMeets(flow.blocks);
  for (const BasicBlock& block : flow.blocks) {
    if (block.successors.size() > 1 && block.meet != kNoBlock) {
      flow.blocks[block.meet].is_meet = true;
    }
  }
  return flow;
}

Dominance::Dominance(const ControlFlow& flow) : flow_(flow) {
  size_t count = flow.blocks.size();
  enter_.assign(count + 1, kNoBlock);
  leave_.assign(count + 1, 0);
  if (count == 0) return;
  auto [forward, backward] = edgesOf(flow.blocks);
  std::vector<uint32_t> dominator = immediateDominators(0, forward, backward);
  Edges children(count + 1);
  for (uint32_t b = 1; b <= count; ++b) {
    if (dominator[b] != kNoBlock) children[dominator[b]].push_back(b);
  }
  uint32_t clock = 0;
  std::vector<std::pair<uint32_t, size_t>> stack{{0, 0}};
  enter_[0] = clock++;
  while (!stack.empty()) {
    auto& [block, next] = stack.back();
    if (next < children[block].size()) {
      uint32_t child = children[block][next++];
      enter_[child] = clock++;
      stack.emplace_back(child, 0);
    } else {
      leave_[block] = clock++;
      stack.pop_back();
    }
  }
}

bool Dominance::precedes(uint32_t before, uint32_t at) const {
  uint32_t a = flow_.block_of[before], b = flow_.block_of[at];
  if (enter_[a] == kNoBlock || enter_[b] == kNoBlock) return false;
  if (a == b) return before < at;
  return enter_[a] <= enter_[b] && leave_[b] <= leave_[a];
}

}  // namespace farwarp::ptx
