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
  if (d.in().opcode == "ret" && d.savedStack() != kNone) {
    Inst& restore = d.emit(op::restoreStack);
    restore.a = d.savedStack();
    restore.aux = 8;
  }
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

// Which part of the caller's frame holds an argument or result. One that is a register or a literal
// gets a place there; `formal` is the type of the callee's parameter, where that is known.
struct CallItem {
  const Operand* operand = nullptr;
  Type type = Type::none;  // of a value that has to be moved; none when it is in its place
  FormalParam place;
};

CallItem callItem(FunctionDecoder& d, const Operand& item, Type formal) {
  uint32_t offset = 0;
  if (item.kind == Operand::Kind::symbol && d.localOffset(item.symbol, offset)) {
    uint64_t bytes = d.context().module.symbols[item.symbol].bytes;
    return {&item, Type::none, {offset, static_cast<uint32_t>(bytes)}};
  }
  Type type = d.registerType(item) != Type::none ? d.registerType(item) : formal;
  if (sizeOf(type) == 0) d.unsupported("this argument or result of a call has no known type.");
  uint32_t bytes = sizeOf(type);
  return {&item, type, {d.reserveLocal(bytes), bytes}};
}

void moveCallItem(FunctionDecoder& d, const CallItem& item, bool load) {
  if (item.type == Type::none) return;
  uint32_t bytes = sizeOf(item.type);
  Ref value = load ? d.destination(*item.operand, item.type) : d.source(*item.operand, item.type);
  LoadShape shape{bytes, bytes, false};
  Inst& inst = d.emit(load ? d.executors().load(shape, 1) : d.executors().store(shape, 1));
  inst.dst = inst.b = inst.c = inst.d = value;
  inst.imm = item.place.offset;
  inst.x = static_cast<uint8_t>(Resolver::frame0);
}

// The types of a callee's parameters or results.
std::vector<Type> formalTypes(FunctionDecoder& d, const std::vector<int>& symbols) {
  std::vector<Type> types;
  for (int id : symbols) types.push_back(d.context().module.symbols[id].type);
  return types;
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
  size_t target_at = d.operand(0).kind == Operand::Kind::group ? 1 : 0;
  std::vector<Type> formal_returns, formal_params;
  if (int known = d.functionOf(d.operand(target_at).name); known >= 0) {
    const ast::Function& callee = d.context().module.functions[known];
    formal_returns = formalTypes(d, callee.returns);
    formal_params = formalTypes(d, callee.params);
  }
  std::vector<CallItem> results, arguments;
  auto collect = [&](const Operand& group, std::vector<CallItem>& items,
                     const std::vector<Type>& formals, std::vector<FormalParam>& places) {
    for (const Operand& item : group.items) {
      Type formal = items.size() < formals.size() ? formals[items.size()] : Type::none;
      items.push_back(callItem(d, item, formal));
      places.push_back(items.back().place);
    }
  };
  if (target_at == 1) {
    collect(d.operand(0), results, formal_returns, site.returns);
    at = 1;
  }
  const Operand& target = d.operand(at++);
  if (at < d.in().operands.size() && d.operand(at).kind == Operand::Kind::group) {
    collect(d.operand(at), arguments, formal_params, site.args);
  }
  site.caller_local_bytes = d.code().local_bytes;
  Handler handler = op::call;
  Ref handle = 0;
  if (target.kind == Operand::Kind::reg) {
    handle = d.source(target, Type::b64);
    d.code().calls_indirectly = true;
  } else {
    int found = d.functionOf(target.name);
    if (found < 0) d.invalid("Function '" + std::string(target.name) + "' is not declared.");
    FunctionCode& callee = d.context().code.functions[static_cast<size_t>(found)];
    // The engine's own functions for launching grids replace those of libcudadevrt.
    bool provided = target.name.starts_with("__cudaCDP2") && op::systemCall(target.name) != nullptr;
    if (provided || !d.context().module.functions[static_cast<size_t>(found)].is_defined) {
      handler = op::systemCall(target.name);
      if (handler == nullptr) {
        d.needDefinition("Function", target.name);
        handler = op::trap;  // of a text that is only checked
      }
    } else {
      checkMatch(d, site.args, callee.params, "arguments");
      checkMatch(d, site.returns, callee.returns, "results");
      site.callee = &callee;
      d.code().callees.push_back(callee.index);
    }
  }
  CallSite& kept = d.context().code.call_sites.emplace_back(std::move(site));
  for (const CallItem& item : arguments) moveCallItem(d, item, false);
  d.enterGuard();
  Inst& inst = d.emit(handler);
  inst.imm = reinterpret_cast<int64_t>(&kept);
  inst.a = handle;
  d.leaveGuard();
  for (const CallItem& item : results) moveCallItem(d, item, true);
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
