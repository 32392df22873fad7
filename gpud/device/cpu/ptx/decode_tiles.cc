// ldmatrix, stmatrix, movmatrix.
#include "gpud/device/cpu/ptx/decode_shared.h"

namespace farwarp::ptx {

using ast::Operand;

namespace {

// The shape, the number of tiles, .trans and the type. Sets everything of the site but the
// registers.
void takeForm(FunctionDecoder& d, Modifiers& m, bool load, TileSite& site) {
  using Form = TileSite::Form;
  int shape = m.takeOneOf({"m8n8", "m16n16", "m8n16", "m16n8"});
  int count = m.takeOneOf({"x1", "x2", "x4"});
  bool transposed = m.take("trans");
  if (shape < 0) d.invalid("The shape of the matrices is missing.");
  if (count < 0) d.invalid("The number of matrices is missing.");
  constexpr Form kForms[] = {Form::halves_8x8, Form::bytes_16x16, Form::bytes_8x16,
                             Form::bytes_16x8};
  site.form = kForms[shape];
  site.count = static_cast<uint8_t>(1u << count);
  site.transposed = transposed;
  bool unpacks = m.take("b8x16");
  int packed = unpacks ? m.takeOneOf({"b6x16_p32", "b4x16_p64"}) : -1;
  if (unpacks && packed < 0) d.invalid("The format of the packed elements is missing.");
  if (packed >= 0) site.element_bits = packed == 0 ? 6 : 4;
  int type = unpacks ? 1 : m.takeOneOf({"b16", "b8"});
  bool exists = false;
  switch (site.form) {
    case Form::halves_8x8:
      exists = type == 0;
      break;
    case Form::bytes_16x16:
      exists = load && type == 1 && transposed && site.count <= 2;
      break;
    case Form::bytes_8x16:
      exists = load && unpacks && !transposed;
      break;
    case Form::bytes_16x8:
      exists = !load && type == 1 && !unpacks && transposed;
      break;
  }
  if (!exists) d.invalid("Matrices of this shape, type and order cannot be moved.");
}

void decodeTiles(FunctionDecoder& d, Modifiers& m) {
  bool load = d.in().opcode == "ldmatrix";
  m.take("sync");
  m.take("aligned");
  TileSite site;
  takeForm(d, m, load, site);
  Space space = m.takeOneOf({"shared", "shared::cta"}) >= 0 ? Space::shared : Space::generic;
  d.needOperands(2, 2);
  AddressOperand address = d.address(d.operand(load ? 1 : 0), space);
  const Operand& operand = d.operand(load ? 0 : 1);
  std::vector<Operand> list{operand};
  if (operand.kind == Operand::Kind::vector) list = operand.items;
  uint32_t registers = site.count * (site.form == TileSite::Form::bytes_16x16 ? 2u : 1u);
  if (list.size() != registers) d.invalid("The number of registers does not fit the matrices.");
  for (uint32_t k = 0; k < registers; ++k) {
    site.refs[k] = load ? d.destination(list[k], Type::b32) : d.source(list[k], Type::b32);
  }
  TileSite& kept = d.context().code.tile_sites.emplace_back(site);
  d.enterGuard();
  Inst& access = d.emit(op::nothing);  // the handler finds the address in the operation before it
  access.a = address.a;
  access.imm = address.imm;
  access.x = static_cast<uint8_t>(address.resolver);
  d.emit(load ? op::tileLoad : op::tileStore).imm = reinterpret_cast<int64_t>(&kept);
  d.leaveGuard();
}

void decodeMovmatrix(FunctionDecoder& d, Modifiers& m) {
  m.take("sync");
  m.take("aligned");
  if (!m.take("m8n8") || !m.take("trans") || !m.take("b16")) {
    d.unsupported("only .m8n8.trans.b16 is supported.");
  }
  d.needOperands(2, 2);
  Ref a = d.source(d.operand(1), Type::b32), dst = d.destination(d.operand(0), Type::b32);
  d.enterGuard();
  Inst& inst = d.emit(op::tileTranspose);
  inst.dst = dst;
  inst.a = a;
  d.leaveGuard();
}

constexpr DecodeEntry kEntries[] = {
    {"ldmatrix", decodeTiles}, {"stmatrix", decodeTiles}, {"movmatrix", decodeMovmatrix}};

}  // namespace

std::span<const DecodeEntry> tileDecoders() {
  return kEntries;
}

}  // namespace farwarp::ptx
