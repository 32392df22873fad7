// Integer arithmetic, logic, shifts and bit fields. Floating-point types of the shared opcodes go
// to decode_float.cc.
#include "gpud/device/cpu/ptx/decode_shared.h"

namespace farwarp::ptx {

void emitUnary(FunctionDecoder& d, Handler handler, Type to, Type from) {
  d.needOperands(2, 2);
  Ref a = d.source(d.operand(1), from);
  Ref dst = d.destination(d.operand(0), to);
  Inst& inst = d.emit(handler);
  inst.dst = dst;
  inst.a = a;
}

void emitOperation(FunctionDecoder& d, Handler handler, Type to, std::initializer_list<Type> from) {
  d.needOperands(from.size() + 1, from.size() + 1);
  Ref refs[4] = {};
  size_t k = 0;
  for (Type type : from) {
    refs[k] = d.source(d.operand(k + 1), type);
    ++k;
  }
  Ref dst = d.destination(d.operand(0), to);
  Inst& inst = d.emit(handler);
  inst.dst = dst;
  inst.a = refs[0];
  inst.b = refs[1];
  inst.c = refs[2];
  inst.d = refs[3];
}

namespace {

Type widened(Type type) {
  switch (type) {
    case Type::s16:
      return Type::s32;
    case Type::u16:
      return Type::u32;
    case Type::s32:
      return Type::s64;
    case Type::u32:
      return Type::u64;
    default:
      return Type::none;
  }
}

void integer(FunctionDecoder& d, IntOp op, Type type, std::initializer_list<Type> from) {
  emitOperation(d, d.executors().integer(op, type), type, from);
}

void extended(FunctionDecoder& d, IntOp op, Type type, bool product) {
  if (product)
    integer(d, op, type, {type, type, type});
  else
    integer(d, op, type, {type, type});
  d.code().code.back().e = d.carry();
}

// Packed 16-bit integers: both halves on their own.
void packed16(FunctionDecoder& d, IntOp op, Type type, bool relu = false) {
  d.needOperands(3, 3);
  Type half = type == Type::s16x2 ? Type::s16 : Type::u16;
  Ref a = d.source(d.operand(1), type), b = d.source(d.operand(2), type);
  Ref dst = d.destination(d.operand(0), type);
  Ref parts[6];
  for (Ref& part : parts) part = d.temporary(2);
  for (int k = 0; k < 2; ++k) {
    Inst& inst = d.emit(op::unpack);
    inst.a = k == 0 ? a : b;
    inst.dst = parts[2 * k];
    inst.b = parts[2 * k + 1];
    inst.x = 2;
    inst.aux = 2;
  }
  for (int k = 0; k < 2; ++k) {
    Inst& inst = d.emit(d.executors().integer(op, half));
    inst.dst = parts[4 + k];
    inst.a = parts[k];
    inst.b = parts[2 + k];
  }
  for (int k = 0; relu && k < 2; ++k) {
    Inst& inst = d.emit(d.executors().integer(IntOp::max, half));
    inst.dst = inst.a = parts[4 + k];
    inst.b = d.context().constants.value(0, 2);
  }
  Inst& inst = d.emit(op::pack);
  inst.dst = dst;
  inst.a = parts[4];
  inst.b = parts[5];
  inst.x = 2;
  inst.aux = 2;
}

void decodeAddSub(FunctionDecoder& d, Modifiers& m) {
  bool add = d.in().opcode == "add";
  if (m.take("f32x2")) return decodeFloatPair(d, m);
  Type type = m.needType();
  if (isFloat(type) || type == Type::f16x2 || type == Type::bf16x2) {
    return decodeFloatArithmetic(d, m, type);
  }
  if (type == Type::s16x2 || type == Type::u16x2)
    return packed16(d, add ? IntOp::add : IntOp::sub, type);
  if (m.take("cc")) return extended(d, add ? IntOp::add_cc : IntOp::sub_cc, type, false);
  if (m.take("sat")) {
    return integer(d, add ? IntOp::add_sat : IntOp::sub_sat, type, {type, type});
  }
  integer(d, add ? IntOp::add : IntOp::sub, type, {type, type});
}

void decodeAddcSubc(FunctionDecoder& d, Modifiers& m) {
  bool add = d.in().opcode == "addc", cc = m.take("cc");
  Type type = m.needType();
  IntOp op = add ? (cc ? IntOp::addc_cc : IntOp::addc) : (cc ? IntOp::subc_cc : IntOp::subc);
  extended(d, op, type, false);
}

void decodeMul(FunctionDecoder& d, Modifiers& m) {
  if (m.take("f32x2")) return decodeFloatPair(d, m);
  Type type = m.needType();
  if (isFloat(type) || type == Type::f16x2 || type == Type::bf16x2) {
    return decodeFloatArithmetic(d, m, type);
  }
  switch (m.takeOneOf({"lo", "hi", "wide"})) {
    case 0:
      return integer(d, IntOp::mul_lo, type, {type, type});
    case 1:
      return integer(d, IntOp::mul_hi, type, {type, type});
    case 2:
      if (widened(type) == Type::none) d.invalid("'mul.wide' takes 16-bit and 32-bit types.");
      return emitOperation(d, d.executors().integer(IntOp::mul_wide, type), widened(type),
                           {type, type});
    default:
      d.invalid("'mul' of integers needs .lo, .hi or .wide.");
  }
}

void decodeMad(FunctionDecoder& d, Modifiers& m) {
  bool carry_in = d.in().opcode == "madc";
  Type type = m.needType();
  if (isFloat(type) || type == Type::f16x2 || type == Type::bf16x2) {
    return decodeFloatArithmetic(d, m, type);
  }
  bool cc = m.take("cc");
  int part = m.takeOneOf({"lo", "hi", "wide"});
  if (part == 2) {
    Type wide = widened(type);
    if (wide == Type::none) d.invalid("'mad.wide' takes 16-bit and 32-bit types.");
    return emitOperation(d, d.executors().integer(IntOp::mad_wide, type), wide, {type, type, wide});
  }
  if (part < 0) d.invalid("'mad' of integers needs .lo, .hi or .wide.");
  bool hi = part == 1;
  if (carry_in) {
    IntOp op =
        hi ? (cc ? IntOp::madc_hi_cc : IntOp::madc_hi) : (cc ? IntOp::madc_lo_cc : IntOp::madc_lo);
    return extended(d, op, type, true);
  }
  if (cc) return extended(d, hi ? IntOp::mad_hi_cc : IntOp::mad_lo_cc, type, true);
  if (m.take("sat")) return integer(d, IntOp::mad_hi_sat, type, {type, type, type});
  integer(d, hi ? IntOp::mad_hi : IntOp::mad_lo, type, {type, type, type});
}

void decodeMul24(FunctionDecoder& d, Modifiers& m) {
  Type type = m.needType();
  bool hi = m.takeOneOf({"lo", "hi"}) == 1;
  if (d.in().opcode == "mul24") {
    return integer(d, hi ? IntOp::mul24_hi : IntOp::mul24_lo, type, {type, type});
  }
  IntOp op = m.take("sat") ? IntOp::mad24_hi_sat : hi ? IntOp::mad24_hi : IntOp::mad24_lo;
  integer(d, op, type, {type, type, type});
}

void decodeDivRem(FunctionDecoder& d, Modifiers& m) {
  Type type = m.needType();
  if (isFloat(type)) return decodeFloatDivision(d, m, type);
  integer(d, d.in().opcode == "div" ? IntOp::div : IntOp::rem, type, {type, type});
}

void decodeMinMax(FunctionDecoder& d, Modifiers& m) {
  bool min = d.in().opcode == "min";
  Type type = m.needType();
  if (isFloat(type) || type == Type::f16x2 || type == Type::bf16x2)
    return decodeFloatMinMax(d, m, type);
  bool relu = m.take("relu");
  if (type == Type::s16x2 || type == Type::u16x2) {
    return packed16(d, min ? IntOp::min : IntOp::max, type, relu);
  }
  IntOp op = relu ? (min ? IntOp::min_relu : IntOp::max_relu) : (min ? IntOp::min : IntOp::max);
  integer(d, op, type, {type, type});
}

void decodeNegAbs(FunctionDecoder& d, Modifiers& m) {
  Type type = m.needType();
  bool neg = d.in().opcode == "neg";
  if (isFloat(type) || type == Type::f16x2 || type == Type::bf16x2) {
    FloatFlags flags = m.takeFloatFlags();
    return emitFloat(d, neg ? FloatOp::neg : FloatOp::abs, type, flags, 1);
  }
  integer(d, neg ? IntOp::neg : IntOp::abs, type, {type});
}

void decodeSad(FunctionDecoder& d, Modifiers& m) {
  Type type = m.needType();
  integer(d, IntOp::sad, type, {type, type, type});
}

void predicateOperation(FunctionDecoder& d, uint16_t aux, bool invert) {
  bool unary = aux == 3;
  d.needOperands(unary ? 2 : 3, unary ? 2 : 3);
  Ref a = d.sourcePredicate(d.operand(1));
  Ref b = unary ? a : d.sourcePredicate(d.operand(2));
  Ref dst = d.destinationPredicate(d.operand(0));
  Inst& inst = d.emit(op::predicateLogic);
  inst.dst = dst;
  inst.a = a;
  inst.b = b;
  inst.aux = aux;
  inst.x = d.operand(1).negated != invert;
  inst.y = !unary && d.operand(2).negated;
}

void decodeLogic(FunctionDecoder& d, Modifiers& m) {
  Type type = m.needType();
  std::string_view name = d.in().opcode;
  uint16_t which = name == "and" ? 0 : name == "or" ? 1 : 2;
  if (type == Type::pred) return predicateOperation(d, which, false);
  IntOp op = which == 0 ? IntOp::and_ : which == 1 ? IntOp::or_ : IntOp::xor_;
  integer(d, op, type, {type, type});
}

void decodeNot(FunctionDecoder& d, Modifiers& m) {
  Type type = m.needType();
  bool is_not = d.in().opcode == "not";
  if (is_not && type == Type::pred) return predicateOperation(d, 3, true);
  integer(d, is_not ? IntOp::not_ : IntOp::cnot, type, {type});
}

void decodeShift(FunctionDecoder& d, Modifiers& m) {
  Type type = m.needType();
  integer(d, d.in().opcode == "shl" ? IntOp::shl : IntOp::shr, type, {type, Type::u32});
}

void decodeCount(FunctionDecoder& d, Modifiers& m) {
  Type type = m.needType();
  std::string_view name = d.in().opcode;
  IntOp op = name == "popc" ? IntOp::popc : name == "clz" ? IntOp::clz : IntOp::bfind;
  if (op == IntOp::bfind && m.take("shiftamt")) op = IntOp::bfind_shiftamt;
  emitUnary(d, d.executors().integer(op, type), Type::u32, type);
}

void decodeBrev(FunctionDecoder& d, Modifiers& m) {
  Type type = m.needType();
  integer(d, IntOp::brev, type, {type});
}

void decodeBfe(FunctionDecoder& d, Modifiers& m) {
  Type type = m.needType();
  integer(d, IntOp::bfe, type, {type, Type::u32, Type::u32});
}
void decodeBfi(FunctionDecoder& d, Modifiers& m) {
  Type type = m.needType();
  integer(d, IntOp::bfi, type, {type, type, Type::u32, Type::u32});
}
void decodeFns(FunctionDecoder& d, Modifiers& m) {
  Type type = m.needType();
  integer(d, IntOp::fns, type, {Type::b32, Type::b32, Type::s32});
}

void decodeLop3(FunctionDecoder& d, Modifiers& m) {
  Type type = m.needType();
  int boolean = m.takeOneOf({"or", "and"});
  d.needOperands(boolean < 0 ? 5 : 6, boolean < 0 ? 5 : 6);
  const ast::Operand& table = d.operand(4);
  if (table.kind != ast::Operand::Kind::integer || table.value < 0 || table.value > 255) {
    d.invalid("The table of 'lop3' is not an integer from 0 to 255.");
  }
  Ref refs[3];
  for (size_t k = 0; k < 3; ++k) refs[k] = d.source(d.operand(k + 1), type);
  const ast::Operand& target = d.operand(0);
  Ref dst = d.destination(target, type);
  Inst& inst = d.emit(d.executors().integer(IntOp::lop3, type));
  inst.dst = dst;
  inst.a = refs[0];
  inst.b = refs[1];
  inst.c = refs[2];
  inst.imm = table.value;
  if (boolean < 0) return;
  if (target.pair < 0) d.invalid("'lop3' with .and or .or needs a second destination.");
  Ref nonzero = d.temporaryPredicate();
  Inst& compare = d.emit(d.executors().compare(Compare::ne, Type::u32, false));
  compare.dst = nonzero;
  compare.a = dst;
  compare.b = d.context().constants.value(0, 4);
  Ref q = d.sourcePredicate(d.operand(5)), p = d.destinationPredicate(d.pairOf(target));
  Inst& logic = d.emit(op::predicateLogic);
  logic.dst = p;
  logic.a = nonzero;
  logic.b = q;
  logic.y = d.operand(5).negated;
  logic.aux = boolean == 0 ? 1 : 0;
}

void decodePrmt(FunctionDecoder& d, Modifiers& m) {
  Type type = m.needType();
  constexpr IntOp kModes[] = {IntOp::prmt_f4e, IntOp::prmt_b4e, IntOp::prmt_rc8,
                              IntOp::prmt_ecl, IntOp::prmt_ecr, IntOp::prmt_rc16};
  int mode = m.takeOneOf({"f4e", "b4e", "rc8", "ecl", "ecr", "rc16"});
  integer(d, mode < 0 ? IntOp::prmt : kModes[mode], type, {type, type, type});
}

void decodeShf(FunctionDecoder& d, Modifiers& m) {
  Type type = m.needType();
  bool left = m.takeOneOf({"r", "l"}) == 1, clamp = m.takeOneOf({"wrap", "clamp"}) == 1;
  IntOp op = left ? (clamp ? IntOp::shf_l_clamp : IntOp::shf_l_wrap)
                  : (clamp ? IntOp::shf_r_clamp : IntOp::shf_r_wrap);
  integer(d, op, type, {type, type, Type::u32});
}

void decodeBmsk(FunctionDecoder& d, Modifiers& m) {
  Type type = m.needType();
  bool clamp = m.takeOneOf({"wrap", "clamp"}) == 1;
  integer(d, clamp ? IntOp::bmsk_clamp : IntOp::bmsk_wrap, type, {type, type});
}
void decodeSzext(FunctionDecoder& d, Modifiers& m) {
  Type type = m.needType();
  bool clamp = m.takeOneOf({"wrap", "clamp"}) == 1;
  integer(d, clamp ? IntOp::szext_clamp : IntOp::szext_wrap, type, {type, Type::u32});
}

void decodeDotProduct(FunctionDecoder& d, Modifiers& m) {
  Type a = m.needType(), b = m.needType();
  IntOp op = IntOp::dp4a;
  if (d.in().opcode == "dp2a")
    op = m.takeOneOf({"lo", "hi"}) == 1 ? IntOp::dp2a_hi : IntOp::dp2a_lo;
  emitOperation(d, d.executors().integer(op, Type::u32), Type::b32,
                {Type::b32, Type::b32, Type::b32});
  d.code().code.back().aux = static_cast<uint16_t>((isSigned(a) ? 1 : 0) | (isSigned(b) ? 2 : 0));
}

constexpr DecodeEntry kEntries[] = {
    {"add", decodeAddSub},      {"sub", decodeAddSub},  {"addc", decodeAddcSubc},
    {"subc", decodeAddcSubc},   {"mul", decodeMul},     {"mad", decodeMad},
    {"madc", decodeMad},        {"mul24", decodeMul24}, {"mad24", decodeMul24},
    {"div", decodeDivRem},      {"rem", decodeDivRem},  {"min", decodeMinMax},
    {"max", decodeMinMax},      {"neg", decodeNegAbs},  {"abs", decodeNegAbs},
    {"sad", decodeSad},         {"and", decodeLogic},   {"or", decodeLogic},
    {"xor", decodeLogic},       {"not", decodeNot},     {"cnot", decodeNot},
    {"shl", decodeShift},       {"shr", decodeShift},   {"popc", decodeCount},
    {"clz", decodeCount},       {"bfind", decodeCount}, {"brev", decodeBrev},
    {"bfe", decodeBfe},         {"bfi", decodeBfi},     {"fns", decodeFns},
    {"lop3", decodeLop3},       {"prmt", decodePrmt},   {"shf", decodeShf},
    {"bmsk", decodeBmsk},       {"szext", decodeSzext}, {"dp4a", decodeDotProduct},
    {"dp2a", decodeDotProduct},
};

}  // namespace

std::span<const DecodeEntry> integerDecoders() {
  return kEntries;
}

}  // namespace farwarp::ptx
