// Asynchronous copies to shared memory. The copy is done where it is issued, which every program
// that waits for it properly must allow; waiting then has nothing to do.
#include "gpud/device/cpu/ptx/decode_shared.h"

namespace farwarp::ptx {
namespace {

void decodeCp(FunctionDecoder& d, Modifiers& m) {
  if (!m.take("async")) d.unsupported("this form of 'cp' is not supported.");
  if (m.has("bulk") || m.has("mbarrier")) {
    d.unsupported("bulk copies and copies that signal an mbarrier are not supported.");
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
    if (d.registerType(last) == Type::pred)
      d.unsupported("an ignore-src predicate is not supported.");
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

constexpr DecodeEntry kEntries[] = {{"cp", decodeCp}};

}  // namespace

std::span<const DecodeEntry> asyncDecoders() {
  return kEntries;
}

}  // namespace farwarp::ptx
