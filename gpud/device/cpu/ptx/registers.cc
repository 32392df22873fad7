// Places registers in the frame: registers of one size whose lifetimes do not overlap share a
// place. Sharing is safe across diverged lanes because a place always has lanes of one size and
// every write is limited to the active lanes.
#include <algorithm>
#include <queue>
#include <string_view>

#include "gpud/device/cpu/ptx/cfg.h"
#include "gpud/device/cpu/ptx/code.h"

namespace farwarp::ptx {

using ast::Function;
using ast::Instruction;
using ast::Operand;

namespace {

constexpr uint64_t kLivenessBitsMax = uint64_t{1} << 31;

constexpr std::string_view kNoResult[] = {
    "st",         "red",           "bra",
    "brx",        "bar",           "barrier",
    "membar",     "fence",         "prefetch",
    "prefetchu",  "exit",          "ret",
    "trap",       "call",          "nanosleep",
    "sust",       "sured",         "stmatrix",
    "discard",    "applypriority", "griddepcontrol",
    "setmaxnreg", "stackrestore",  "brkpt",
    "pmevent",
};

// Does the first operand only receive a result?
bool hasResult(const Instruction& in) {
  bool none =
      std::find(std::begin(kNoResult), std::end(kNoResult), in.opcode) != std::end(kNoResult);
  if (!none) return true;
  if (in.opcode != "bar" && in.opcode != "barrier") return false;
  return std::find(in.modifiers.begin(), in.modifiers.end(), "red") != in.modifiers.end();
}

template <class F>
void visitOperand(const Operand& operand, const Instruction& in, bool is_result, F&& visit) {
  if (operand.kind == Operand::Kind::reg) visit(operand.index, is_result);
  bool inside = is_result && operand.kind == Operand::Kind::vector;
  for (const Operand& item : operand.items) visitOperand(item, in, inside, visit);
  if (operand.pair >= 0) visitOperand(in.pairs[operand.pair], in, is_result, visit);
}

// Calls visit(register, is_written) for each; a guarded write counts as a read too.
template <class F>
void visitRegisters(const Instruction& in, F&& visit) {
  if (in.guard >= 0) visit(static_cast<uint32_t>(in.guard), false);
  bool result = hasResult(in);
  for (size_t k = in.operands.size(); k-- > 0;) {
    bool is_result = k == 0 && result && in.operands[k].kind != Operand::Kind::address;
    visitOperand(in.operands[k], in, is_result, [&](uint32_t reg, bool written) {
      if (written && in.guard >= 0) visit(reg, false);
      visit(reg, written);
    });
  }
}

struct Interval {
  uint32_t start = ~0u;
  uint32_t end = 0;
  void extend(uint32_t position) {
    start = std::min(start, position);
    end = std::max(end, position);
  }
};

// Lifetimes as one interval of instruction positions each.
std::vector<Interval> lifetimes(const Function& function, const ControlFlow& flow) {
  size_t registers = function.registers.size(), words = (registers + 63) / 64;
  size_t blocks = flow.blocks.size();
  std::vector<Interval> intervals(registers);
  if (blocks * words * 64 > kLivenessBitsMax) {  // too large to analyse: everything lives always
    uint32_t last = static_cast<uint32_t>(function.instructions.size());
    for (Interval& interval : intervals) interval = {0, last};
    return intervals;
  }
  std::vector<uint64_t> live_in(blocks * words), killed(blocks * words), live(words);
  for (size_t b = 0; b < blocks; ++b) {
    uint64_t* in_bits = live_in.data() + b * words;
    uint64_t* kill_bits = killed.data() + b * words;
    for (uint32_t i = flow.blocks[b].first; i < flow.blocks[b].end; ++i) {
      // Reads first: they happen before the instruction's own writes.
      for (bool writes : {false, true}) {
        visitRegisters(function.instructions[i], [&](uint32_t reg, bool written) {
          intervals[reg].extend(i);
          uint64_t bit = uint64_t{1} << (reg & 63);
          if (written != writes) return;
          if (written)
            kill_bits[reg / 64] |= bit;
          else if ((kill_bits[reg / 64] & bit) == 0)
            in_bits[reg / 64] |= bit;
        });
      }
    }
  }
  for (bool changed = true; changed;) {
    changed = false;
    for (size_t b = blocks; b-- > 0;) {
      std::fill(live.begin(), live.end(), 0);
      for (uint32_t s : flow.blocks[b].successors) {
        if (s >= blocks) continue;
        for (size_t k = 0; k < words; ++k) live[k] |= live_in[s * words + k];
      }
      for (size_t k = 0; k < words; ++k) {
        uint64_t now = live_in[b * words + k] | (live[k] & ~killed[b * words + k]);
        changed |= now != live_in[b * words + k];
        live_in[b * words + k] = now;
      }
    }
  }
  for (size_t b = 0; b < blocks; ++b) {
    for (size_t k = 0; k < words; ++k) {
      uint64_t in_word = live_in[b * words + k], out = 0;
      for (uint32_t s : flow.blocks[b].successors) {
        if (s < blocks) out |= live_in[s * words + k];
      }
      for (uint64_t bits = in_word; bits != 0; bits &= bits - 1) {
        intervals[k * 64 + __builtin_ctzll(bits)].extend(flow.blocks[b].first);
      }
      for (uint64_t bits = out; bits != 0; bits &= bits - 1) {
        intervals[k * 64 + __builtin_ctzll(bits)].extend(flow.blocks[b].end - 1);
      }
    }
  }
  return intervals;
}

uint32_t placeBytes(Type type) {
  return type == Type::pred ? 4 : kLanes * sizeOf(type);
}

// Registers that are written in divergent code keep lanes of earlier values only when live, so an
// interval's end frees its place for the instructions after it.
uint32_t assignPlaces(const std::vector<uint32_t>& ids, const std::vector<Interval>& intervals,
                      std::vector<uint32_t>& place) {
  std::vector<uint32_t> sorted(ids);
  std::sort(sorted.begin(), sorted.end(), [&](uint32_t a, uint32_t b) {
    return intervals[a].start != intervals[b].start ? intervals[a].start < intervals[b].start
                                                    : a < b;
  });
  using Use = std::pair<uint32_t, uint32_t>;  // end, place
  std::priority_queue<Use, std::vector<Use>, std::greater<>> active;
  std::vector<uint32_t> free;
  uint32_t count = 0;
  for (uint32_t id : sorted) {
    while (!active.empty() && active.top().first < intervals[id].start) {
      free.push_back(active.top().second);
      active.pop();
    }
    if (free.empty()) {
      place[id] = count++;
    } else {
      place[id] = free.back();
      free.pop_back();
    }
    active.emplace(intervals[id].end, place[id]);
  }
  return count;
}

}  // namespace

std::vector<uint8_t> countWrites(const Function& function) {
  std::vector<uint8_t> writes(function.registers.size(), 0);
  for (const Instruction& in : function.instructions) {
    visitRegisters(in, [&](uint32_t reg, bool written) {
      if (written && writes[reg] < 2) ++writes[reg];
    });
    if (in.opcode != "call") continue;
    for (const Operand& operand : in.operands) {  // results or arguments
      for (const Operand& item : operand.items) {
        if (item.kind == Operand::Kind::reg) writes[item.index] = 2;
      }
    }
  }
  return writes;
}

std::vector<uint32_t> writtenRegisters(const Instruction& in) {
  std::vector<uint32_t> written;
  visitRegisters(in, [&](uint32_t reg, bool is_written) {
    if (is_written) written.push_back(reg);
  });
  return written;
}

std::vector<uint32_t> countReads(const Function& function) {
  std::vector<uint32_t> reads(function.registers.size(), 0);
  for (const Instruction& in : function.instructions) {
    visitRegisters(in, [&](uint32_t reg, bool written) { reads[reg] += written ? 0 : 1; });
  }
  return reads;
}

std::vector<uint32_t> findDefinitions(const Function& function) {
  std::vector<uint8_t> writes = countWrites(function);
  std::vector<uint32_t> definitions(function.registers.size(), kNoBlock);
  for (uint32_t k = 0; k < function.instructions.size(); ++k) {
    visitRegisters(function.instructions[k], [&](uint32_t reg, bool written) {
      if (written && writes[reg] == 1) definitions[reg] = k;
    });
  }
  return definitions;
}

RegisterLayout allocateRegisters(const Function& function, const ControlFlow& flow) {
  RegisterLayout layout;
  std::vector<Interval> intervals = lifetimes(function, flow);
  layout.offsets.resize(function.registers.size());
  std::vector<uint32_t> place(function.registers.size());
  for (uint32_t bytes : {4u, 32u, 64u, 128u, 256u, 512u}) {
    std::vector<uint32_t> ids;
    for (uint32_t r = 0; r < function.registers.size(); ++r) {
      if (placeBytes(function.registers[r]) == bytes && intervals[r].start != ~0u) ids.push_back(r);
    }
    layout.frame_bytes = (layout.frame_bytes + 63) & ~63u;
    uint32_t count = assignPlaces(ids, intervals, place);
    for (uint32_t r : ids) layout.offsets[r] = layout.frame_bytes + place[r] * bytes;
    layout.frame_bytes += count * bytes;
    if (bytes >= 64) layout.estimate += count * std::max(bytes / 128, 1u);
  }
  layout.frame_bytes = (layout.frame_bytes + 63) & ~63u;
  return layout;
}

}  // namespace farwarp::ptx
