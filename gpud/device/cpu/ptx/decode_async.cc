// Asynchronous copies, mbarriers, addresses in a cluster, and alloca. A copy is done where it is
// issued, which every program that waits for it properly must allow; waiting then has nothing to
// do.
#include "gpud/device/cpu/ptx/decode_shared.h"

namespace farwarp::ptx {
namespace {

Space sharedOrGeneric(Modifiers& m) {
  return m.takeOneOf({"shared", "shared::cta", "shared::cluster"}) >= 0 ? Space::shared
                                                                        : Space::generic;
}

void setAddress(Inst& inst, const AddressOperand& address) {
  inst.a = address.a;
  inst.imm = address.imm;
  inst.x = static_cast<uint8_t>(address.resolver);
}

void emitMbarrier(FunctionDecoder& d, op::MbarrierOp what, const AddressOperand& address, Ref b,
                  Ref c) {
  Inst& inst = d.emit(op::mbarrier);
  setAddress(inst, address);
  inst.aux = what;
  inst.b = b;
  inst.c = c;
}

// The reduction of cp.reduce: an operation and a type; aux and e of the operation.
void takeReduction(FunctionDecoder& d, Modifiers& m, uint16_t& aux, uint32_t& type) {
  constexpr op::AtomicOp kOps[] = {op::AtomicOp::add, op::AtomicOp::min, op::AtomicOp::max,
                                   op::AtomicOp::inc, op::AtomicOp::dec, op::AtomicOp::and_,
                                   op::AtomicOp::or_, op::AtomicOp::xor_};
  int which = m.takeOneOf({"add", "min", "max", "inc", "dec", "and", "or", "xor"});
  if (which < 0) d.invalid("'cp.reduce' needs an operation.");
  m.take("noftz");
  Type element = m.needType();
  if (!op::canApply(kOps[which], element)) d.unsupported("this reduction is not supported.");
  aux = static_cast<uint16_t>(static_cast<uint32_t>(kOps[which]) + 1);
  type = static_cast<uint32_t>(element);
}

void decodeBulk(FunctionDecoder& d, Modifiers& m, bool reduces) {
  if (m.takeOneOf({"commit_group", "wait_group"}) >= 0) {
    m.take("read");
    d.emit(op::nothing);
    return;
  }
  if (m.take("tensor")) return decodeTensorCopy(d, m, reduces);
  if (m.take("prefetch")) {
    m.take("L2");
    m.take("global");
    m.takeCacheHints();
    d.emit(op::nothing);
    return;
  }
  int to_space = m.takeOneOf({"shared::cluster", "shared::cta", "global"});
  int from_space = m.takeOneOf({"shared::cluster", "shared::cta", "global"});
  bool signals = m.take("mbarrier::complete_tx::bytes");
  m.take("bulk_group");
  bool hinted = m.has("L2::cache_hint"), multicast = m.take("multicast::cluster");
  bool masked = m.take("cp_mask");
  m.takeCacheHints();
  if (to_space < 0 || from_space < 0) d.invalid("A bulk copy needs the spaces it copies between.");
  uint16_t aux = 0;
  uint32_t type = 0;
  if (reduces) takeReduction(d, m, aux, type);
  if (masked && (to_space != 2 || reduces)) d.invalid("Only copies to global memory have a mask.");
  size_t needed = 3 + (signals ? 1 : 0) + (multicast ? 1 : 0) + (hinted ? 1 : 0) + (masked ? 1 : 0);
  d.needOperands(needed, needed);
  auto space = [](int k) { return k == 2 ? Space::global : Space::shared; };
  AddressOperand to = d.address(d.operand(0), space(to_space));
  AddressOperand from = d.address(d.operand(1), space(from_space));
  AddressOperand barrier = signals ? d.address(d.operand(3), Space::shared) : to;
  Ref size = d.source(d.operand(2), Type::u32), mask = kNone;
  if (multicast) {
    mask = d.temporary(4);
    d.emitConvert(mask, Type::u32, d.source(d.operand(4), Type::u16), Type::u16);
  }
  Ref byte_mask = masked ? d.source(d.operand(needed - 1), Type::b16) : kNone;
  d.enterGuard();
  setAddress(d.emit(op::nothing), from);
  setAddress(d.emit(op::nothing), barrier);
  Inst& inst = d.emit(op::bulkCopy);
  setAddress(inst, to);
  inst.b = byte_mask;
  inst.c = mask;
  inst.d = size;
  inst.y = signals;
  inst.aux = aux;
  inst.e = type;
  d.leaveGuard();
}

// `size`, or 0 in lanes whose predicate says to ignore the source.
Ref sizeUnless(FunctionDecoder& d, const ast::Operand& ignores, Ref size) {
  Inst& inst = d.emit(d.executors().integer(IntOp::select, Type::b32));
  inst.a = d.context().constants.value(0, 4);
  inst.b = size;
  inst.c = d.sourcePredicate(ignores);
  inst.x = ignores.negated;
  return inst.dst = d.temporary(4);
}

void decodeCp(FunctionDecoder& d, Modifiers& m) {
  bool reduces = m.take("reduce");
  if (!m.take("async")) d.unsupported("this form of 'cp' is not supported.");
  if (m.take("bulk")) return decodeBulk(d, m, reduces);
  if (m.take("mbarrier")) {
    m.take("arrive");
    bool counts = m.take("noinc");  // else the arrival is added before it is taken
    Space space = sharedOrGeneric(m);
    m.take("b64");
    d.needOperands(1, 1);
    AddressOperand address = d.address(d.operand(0), space);
    if (!counts) {
      d.emit(op::nothing);
      return;
    }
    auto& constants = d.context().constants;
    return emitMbarrier(d, op::kMbarrierArrive, address, constants.value(1, 4),
                        constants.value(0, 4));
  }
  if (m.takeOneOf({"commit_group", "wait_group", "wait_all"}) >= 0) {
    d.emit(op::nothing);
    return;
  }
  m.takeCacheHints();
  m.takeOneOf({"shared", "shared::cta"});
  m.take("global");
  d.needOperands(3, 5);
  const ast::Operand& size = d.operand(2);
  if (size.kind != ast::Operand::Kind::integer ||
      (size.value != 4 && size.value != 8 && size.value != 16)) {
    d.invalid("The size of 'cp.async' is not 4, 8 or 16.");
  }
  uint32_t bytes = static_cast<uint32_t>(size.value);
  AddressOperand to = d.address(d.operand(0), Space::shared);
  AddressOperand from = d.address(d.operand(1), Space::global);
  Ref given = d.context().constants.value(bytes, 4);
  if (d.in().operands.size() > 3) {
    const ast::Operand& last = d.operand(3);
    if (d.registerType(last) == Type::pred) given = sizeUnless(d, last, given);
    bool is_size = last.kind == ast::Operand::Kind::integer || sizeOf(d.registerType(last)) == 4;
    if (is_size) given = d.source(last, Type::u32);
  }
  Ref data = d.temporary(bytes);
  Inst& load = d.emit(op::copySource);
  load.dst = data;
  load.a = from.a;
  load.imm = from.imm;
  load.b = given;
  load.aux = static_cast<uint16_t>(bytes);
  Inst& store = d.emit(d.executors().store({bytes, bytes, false}, 1));
  store.dst = store.b = store.c = store.d = data;
  store.a = to.a;
  store.imm = to.imm;
  store.x = static_cast<uint8_t>(to.resolver);
}

void takeMbarrierOrder(Modifiers& m) {
  m.takeOneOf({"acquire", "release", "relaxed"});
  m.takeOneOf({"cta", "cluster"});
}

void decodeArrive(FunctionDecoder& d, Modifiers& m, bool drop) {
  bool expects = m.take("expect_tx");
  takeMbarrierOrder(m);
  m.take("noComplete");
  Space space = sharedOrGeneric(m);
  m.take("b64");
  d.needOperands(2, 3);
  AddressOperand address = d.address(d.operand(1), space);
  auto& constants = d.context().constants;
  Ref one = constants.value(1, 4), none = constants.value(0, 4);
  Ref given =
      d.in().operands.size() > 2 ? d.source(d.operand(2), Type::u32) : (expects ? none : one);
  bool wanted = d.operand(0).kind != ast::Operand::Kind::sink;
  Ref state = wanted ? d.destination(d.operand(0), Type::b64) : 0;
  emitMbarrier(d, drop ? op::kMbarrierArriveDrop : op::kMbarrierArrive, address,
               expects ? one : given, expects ? given : none);
  d.code().code.back().dst = state;
  d.code().code.back().d = wanted;
}

void decodeWait(FunctionDecoder& d, Modifiers& m) {
  bool parity = m.take("parity");
  takeMbarrierOrder(m);
  Space space = sharedOrGeneric(m);
  m.take("b64");
  d.needOperands(3, 4);
  AddressOperand address = d.address(d.operand(1), space);
  Ref b = d.source(d.operand(2), parity ? Type::u32 : Type::b64);
  Ref dst = d.destinationPredicate(d.operand(0));
  emitMbarrier(d, parity ? op::kMbarrierTestParity : op::kMbarrierTest, address, b, b);
  d.code().code.back().dst = dst;
}

void decodeMbarrier(FunctionDecoder& d, Modifiers& m) {
  int what = m.takeOneOf({"arrive", "arrive_drop", "test_wait", "try_wait", "pending_count", "init",
                          "inval", "expect_tx", "complete_tx"});
  if (what == 0 || what == 1) return decodeArrive(d, m, what == 1);
  if (what == 2 || what == 3) return decodeWait(d, m);
  if (what < 0) d.invalid("'mbarrier' needs an operation.");
  if (what == 4) {
    m.take("b64");
    d.needOperands(2, 2);
    Ref a = d.source(d.operand(1), Type::b64), dst = d.destination(d.operand(0), Type::u32);
    Inst& inst = d.emit(op::mbarrierPending);
    inst.dst = dst;
    inst.a = a;
    return;
  }
  takeMbarrierOrder(m);
  Space space = sharedOrGeneric(m);
  m.take("b64");
  constexpr op::MbarrierOp kOps[] = {op::kMbarrierInit, op::kMbarrierInvalidate,
                                     op::kMbarrierExpect, op::kMbarrierComplete};
  bool invalidates = what == 6;
  d.needOperands(invalidates ? 1 : 2, invalidates ? 1 : 2);
  AddressOperand address = d.address(d.operand(0), space);
  Ref b = invalidates ? d.context().constants.value(0, 4) : d.source(d.operand(1), Type::u32);
  emitMbarrier(d, kOps[what - 5], address, b, b);
}

void decodeMapa(FunctionDecoder& d, Modifiers& m) {
  bool rank = d.in().opcode == "getctarank";
  bool shared = m.take("shared::cluster");
  Type type = m.needType();
  d.needOperands(rank ? 2 : 3, rank ? 2 : 3);
  // getctarank has a 32-bit result whatever the type of the address is.
  Type address_type = rank && sizeOf(d.registerType(d.operand(1))) == 8 ? Type::u64 : type;
  if (!shared && sizeOf(address_type) != 8) {
    d.unsupported("only 64-bit generic addresses are supported.");
  }
  Ref a = d.source(d.operand(1), address_type);
  Ref b = rank ? a : d.source(d.operand(2), Type::u32);
  Ref dst = d.destination(d.operand(0), rank ? Type::u32 : type), result = dst;
  const bool wide = shared && sizeOf(address_type) == 8;
  if (wide) {  // an address of shared memory has 32 bits, whatever holds it
    Ref narrow = d.temporary(4);
    d.emitConvert(narrow, Type::u32, a, Type::u64);
    a = narrow;
    if (!rank) result = d.temporary(4);
  }
  Inst& inst = d.emit(rank ? op::rankOfAddress : op::mapToRank);
  inst.dst = result;
  inst.a = a;
  inst.b = b;
  inst.aux = shared ? 4 : 8;
  if (result != dst) d.emitConvert(dst, Type::u64, result, Type::u32);
}

void decodeAlloca(FunctionDecoder& d, Modifiers& m) {
  Type type = m.takeType();
  if (type == Type::none) type = d.registerType(d.operand(0));
  uint32_t bytes = sizeOf(type);
  if (bytes != 4 && bytes != 8) d.invalid("An address has 32 or 64 bits.");
  std::string_view name = d.in().opcode;
  if (name == "alloca") {
    d.needOperands(2, 3);
    uint64_t align = 8;
    if (d.in().operands.size() > 2) {
      const ast::Operand& given = d.operand(2);
      align = static_cast<uint64_t>(given.value);
      if (given.kind != ast::Operand::Kind::integer || align == 0 || align > 4096 ||
          (align & (align - 1)) != 0) {
        d.invalid("The alignment is not a power of two up to 4096.");
      }
    }
    Ref size = d.source(d.operand(1), type), dst = d.destination(d.operand(0), type);
    Inst& inst = d.emit(op::allocateStack);
    inst.dst = dst;
    inst.b = size;
    inst.aux = static_cast<uint16_t>(bytes);
    inst.imm = reinterpret_cast<int64_t>(&d.code());
    while ((align >>= 1) != 0) ++inst.x;
    return;
  }
  d.needOperands(1, 1);
  bool save = name == "stacksave";
  Ref state = save ? d.destination(d.operand(0), type) : d.source(d.operand(0), type);
  Inst& inst = d.emit(save ? op::saveStack : op::restoreStack);
  inst.dst = inst.a = state;
  inst.aux = static_cast<uint16_t>(bytes);
}

constexpr DecodeEntry kEntries[] = {
    {"cp", decodeCp},
    {"mbarrier", decodeMbarrier},
    {"mapa", decodeMapa},
    {"getctarank", decodeMapa},
    {"alloca", decodeAlloca},
    {"stacksave", decodeAlloca},
    {"stackrestore", decodeAlloca},
};

}  // namespace

std::span<const DecodeEntry> asyncDecoders() {
  return kEntries;
}

}  // namespace farwarp::ptx
