// Branches, calls, ends, traps.
#include "gpud/device/cpu/ptx/decode_shared.h"

namespace farwarp::ptx {

using ast::Operand;

namespace {

void decodeBra(FunctionDecoder& d, Modifiers& m) {
  m.take("uni");
  d.needOperands(1, 1);
  uint32_t target = d.blockOfLabel(d.operand(0).name);
  uint32_t index = static_cast<uint32_t>(d.code().code.size());
  d.emit(op::branch);
  d.fixes.push_back({index, target, d.flow().blocks[d.block].meet});
}

void decodeBrx(FunctionDecoder& d, Modifiers& m) {
  m.take("idx");
  m.take("uni");
  d.needOperands(2, 2);
  const ast::Label* list = findBranchTargets(d.function(), d.in());
  FunctionDecoder::TableFix fix;
  for (std::string_view name : list->targets) fix.blocks.push_back(d.blockOfLabel(name));
  fix.meet_block = d.flow().blocks[d.block].meet;
  Ref index = d.source(d.operand(0), Type::u32);
  auto& owned = d.context().code.branch_tables.emplace_back(fix.blocks.size());
  d.context().code.branch_heads.push_back(
      {owned.data(), static_cast<uint32_t>(owned.size()), nullptr});
  fix.table = &d.context().code.branch_heads.back();
  d.enterGuard();
  Inst& inst = d.emit(op::branchIndexed);
  inst.a = index;
  inst.imm = reinterpret_cast<int64_t>(fix.table);
  d.leaveGuard();
  d.table_fixes.push_back(std::move(fix));
}

void decodeRet(FunctionDecoder& d, Modifiers& m) {
  m.take("uni");
  d.emit(d.in().opcode == "ret" ? op::ret : op::exit);
}

void decodeTrap(FunctionDecoder& d, Modifiers&) {
  d.emit(op::trap).aux = static_cast<uint16_t>(LaunchStatus::trap);
}

void decodeNanosleep(FunctionDecoder& d, Modifiers& m) {
  m.needType();
  d.emit(op::nanosleep);
}

void decodeNothing(FunctionDecoder& d, Modifiers& m) {
  while (m.takeOneOf(
             {"launch_dependents", "wait", "inc", "dec", "sync", "aligned", "u32", "mask"}) >= 0) {
  }
  d.emit(op::nothing);
}

// Which part of the caller's frame holds an argument or result.
FormalParam callPlace(FunctionDecoder& d, const Operand& item) {
  uint32_t offset = 0;
  if (item.kind != Operand::Kind::symbol || !d.localOffset(item.symbol, offset)) {
    d.unsupported("arguments and results of calls must be .param variables.");
  }
  return {offset, static_cast<uint32_t>(d.context().module.symbols[item.symbol].bytes)};
}

void checkMatch(FunctionDecoder& d, const std::vector<FormalParam>& have,
                const std::vector<FormalParam>& want, const char* what) {
  if (have.size() != want.size()) {
    d.invalid("The call has " + std::to_string(have.size()) + " " + what + "; the function has " +
              std::to_string(want.size()) + ".");
  }
  for (size_t k = 0; k < have.size(); ++k) {
    if (have[k].size < want[k].size)
      d.invalid(std::string("One of the call's ") + what + " is too small.");
  }
}

void decodeCall(FunctionDecoder& d, Modifiers& m) {
  m.take("uni");
  size_t at = 0;
  CallSite site;
  if (d.operand(0).kind == Operand::Kind::group) {
    for (const Operand& item : d.operand(0).items) site.returns.push_back(callPlace(d, item));
    at = 1;
  }
  const Operand& target = d.operand(at++);
  if (at < d.in().operands.size() && d.operand(at).kind == Operand::Kind::group) {
    for (const Operand& item : d.operand(at).items) site.args.push_back(callPlace(d, item));
  }
  site.caller_local_bytes = d.code().local_bytes;
  Handler handler = op::call;
  Ref handle = 0;
  if (target.kind == Operand::Kind::reg) {
    handle = d.source(target, Type::b64);
    d.code().calls_indirectly = true;
  } else {
    auto found = d.context().function_of.find(target.name);
    if (found == d.context().function_of.end()) {
      d.invalid("Function '" + std::string(target.name) + "' is not declared.");
    }
    FunctionCode& callee = d.context().code.functions[found->second];
    if (!d.context().module.functions[found->second].is_defined) {
      handler = op::systemCall(target.name);
      if (handler == nullptr) {
        throw CompileError(CompileStatus::unresolved, d.in().line,
                           "Function '" + std::string(target.name) + "' has no definition.");
      }
    } else {
      checkMatch(d, site.args, callee.params, "arguments");
      checkMatch(d, site.returns, callee.returns, "results");
      site.callee = &callee;
      d.code().callees.push_back(callee.index);
    }
  }
  CallSite& kept = d.context().code.call_sites.emplace_back(std::move(site));
  d.enterGuard();
  Inst& inst = d.emit(handler);
  inst.imm = reinterpret_cast<int64_t>(&kept);
  inst.a = handle;
  d.leaveGuard();
}

constexpr DecodeEntry kEntries[] = {
    {"bra", decodeBra},
    {"brx", decodeBrx},
    {"ret", decodeRet},
    {"exit", decodeRet},
    {"trap", decodeTrap},
    {"brkpt", decodeTrap},
    {"call", decodeCall},
    {"nanosleep", decodeNanosleep},
    {"griddepcontrol", decodeNothing},
    {"setmaxnreg", decodeNothing},
    {"pmevent", decodeNothing},
};

}  // namespace

std::span<const DecodeEntry> controlDecoders() {
  return kEntries;
}

}  // namespace farwarp::ptx
