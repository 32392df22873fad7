// Floating-point arithmetic and comparisons.
#include "gpud/device/cpu/ptx/decode_shared.h"

namespace farwarp::ptx {

void emitFloat(FunctionDecoder& d, FloatOp op, Type type, FloatFlags flags, int arity) {
  Handler handler = d.executors().floating(op, type, flags);
  if (arity == 1) emitOperation(d, handler, type, {type});
  if (arity == 2) emitOperation(d, handler, type, {type, type});
  if (arity == 3) emitOperation(d, handler, type, {type, type, type});
  Inst& inst = d.code().code.back();
  inst.y = static_cast<uint8_t>(flags.rounding);
  inst.aux =
      static_cast<uint16_t>((flags.ftz ? 1 : 0) | (flags.sat ? 2 : 0) | (flags.relu ? 4 : 0));
}

namespace {

// add, sub and fma of f32 whose first operand, or two of fma, has 16 bits.
void emitMixedArithmetic(FunctionDecoder& d, FloatOp op, Type half, FloatFlags flags) {
  if (half != Type::f16 && half != Type::bf16) d.invalid("These types do not go together.");
  const size_t halves = op == FloatOp::fma ? 2 : 1;
  d.needOperands(halves + 2, halves + 2);
  Ref refs[3] = {};
  for (size_t k = 0; k <= halves; ++k) {
    refs[k] = d.source(d.operand(k + 1), k < halves ? half : Type::f32);
    if (k == halves) break;
    Inst& widened = d.emit(d.executors().convert(Type::f32, half, {}, false));
    widened.a = refs[k];
    refs[k] = widened.dst = d.temporary(4);
  }
  Ref dst = d.destination(d.operand(0), Type::f32);
  Inst& inst = d.emit(d.executors().floating(op, Type::f32, flags));
  inst.dst = dst;
  inst.a = refs[0];
  inst.b = refs[1];
  inst.c = refs[2];
  inst.y = static_cast<uint8_t>(flags.rounding);
  inst.aux = flags.sat ? 2 : 0;
}

}  // namespace

void decodeFloatArithmetic(FunctionDecoder& d, Modifiers& m, Type type) {
  FloatFlags flags = m.takeFloatFlags();
  std::string_view name = d.in().opcode;
  if (type == Type::f32 && name != "mul") {
    Type half = m.takeType();
    FloatOp op = name == "add" ? FloatOp::add : name == "sub" ? FloatOp::sub : FloatOp::fma;
    if (half != Type::none) return emitMixedArithmetic(d, op, half, flags);
  }
  if (name == "add") return emitFloat(d, FloatOp::add, type, flags, 2);
  if (name == "sub") return emitFloat(d, FloatOp::sub, type, flags, 2);
  if (name == "mul") return emitFloat(d, FloatOp::mul, type, flags, 2);
  flags.relu = m.take("relu");
  emitFloat(d, FloatOp::fma, type, flags, 3);
}

void decodeFloatPair(FunctionDecoder& d, Modifiers& m) {
  FloatFlags flags = m.takeFloatFlags();
  std::string_view name = d.in().opcode;
  FloatOp op = name == "add"   ? FloatOp::add
               : name == "sub" ? FloatOp::sub
               : name == "mul" ? FloatOp::mul
                               : FloatOp::fma;
  size_t sources = op == FloatOp::fma ? 3 : 2;
  d.needOperands(sources + 1, sources + 1);
  Ref refs[3] = {}, parts[3][2] = {}, results[2];
  for (size_t k = 0; k < sources; ++k) refs[k] = d.source(d.operand(k + 1), Type::b64);
  Ref dst = d.destination(d.operand(0), Type::b64);
  for (size_t k = 0; k < sources; ++k) {
    for (Ref& part : parts[k]) part = d.temporary(4);
    Inst& inst = d.emit(op::unpack);
    inst.a = refs[k];
    inst.dst = parts[k][0];
    inst.b = parts[k][1];
    inst.x = 4;
    inst.aux = 2;
  }
  for (size_t half = 0; half < 2; ++half) {
    results[half] = d.temporary(4);
    Inst& inst = d.emit(d.executors().floating(op, Type::f32, flags));
    inst.dst = results[half];
    inst.a = parts[0][half];
    inst.b = parts[1][half];
    inst.c = parts[2][half];
    inst.y = static_cast<uint8_t>(flags.rounding);
    inst.aux = flags.ftz ? 1 : 0;
  }
  Inst& inst = d.emit(op::pack);
  inst.dst = dst;
  inst.a = results[0];
  inst.b = results[1];
  inst.x = 4;
  inst.aux = 2;
}

void decodeFloatDivision(FunctionDecoder& d, Modifiers& m, Type type) {
  bool approximate = m.takeOneOf({"approx", "full"}) >= 0;
  FloatFlags flags = m.takeFloatFlags();
  emitFloat(d, approximate ? FloatOp::div_approx : FloatOp::div, type, flags, 2);
}

namespace {

// `absolute`: of the operands' magnitudes.
void emitMinMaxOfThree(FunctionDecoder& d, FloatOp op, FloatFlags flags, bool absolute) {
  Ref refs[3];
  for (size_t k = 0; k < 3; ++k) {
    refs[k] = d.source(d.operand(k + 1), Type::f32);
    if (!absolute) continue;
    Inst& magnitude = d.emit(d.executors().floating(FloatOp::abs, Type::f32, {}));
    magnitude.a = refs[k];
    refs[k] = magnitude.dst = d.temporary(4);
  }
  Ref dst = d.destination(d.operand(0), Type::f32), both = d.temporary(4);
  for (bool first : {true, false}) {
    Inst& inst = d.emit(d.executors().floating(op, Type::f32, flags));
    inst.dst = first ? both : dst;
    inst.a = first ? refs[0] : both;
    inst.b = first ? refs[1] : refs[2];
    inst.aux = flags.ftz ? 1 : 0;
  }
}

}  // namespace

void decodeFloatMinMax(FunctionDecoder& d, Modifiers& m, Type type) {
  bool min = d.in().opcode == "min", nan = m.take("NaN"), xorsign = m.take("xorsign");
  if (xorsign) m.take("abs");
  bool of_three = d.in().operands.size() == 4 && type == Type::f32 && !xorsign;
  FloatFlags flags = m.takeFloatFlags();
  FloatOp op = min ? FloatOp::min : FloatOp::max;
  if (nan) op = min ? FloatOp::min_nan : FloatOp::max_nan;
  if (xorsign) op = min ? FloatOp::min_xorsign : FloatOp::max_xorsign;
  if (nan && xorsign) op = min ? FloatOp::min_nan_xorsign : FloatOp::max_nan_xorsign;
  if (of_three) return emitMinMaxOfThree(d, op, flags, m.take("abs"));
  emitFloat(d, op, type, flags, 2);
}

namespace {

void decodeFma(FunctionDecoder& d, Modifiers& m) {
  if (m.take("f32x2")) return decodeFloatPair(d, m);
  Type type = m.needType();
  decodeFloatArithmetic(d, m, type);
}

void decodeRcp(FunctionDecoder& d, Modifiers& m) {
  Type type = m.needType();
  bool approximate = m.take("approx");
  FloatFlags flags = m.takeFloatFlags();
  if (approximate) {
    if (type == Type::f64) flags.ftz = false;  // always flushes
    return emitFloat(d, FloatOp::rcp_approx, type, flags, 1);
  }
  d.needOperands(2, 2);
  uint64_t one = type == Type::f64 ? 0x3ff0000000000000 : 0x3f800000;
  Ref b = d.source(d.operand(1), type), dst = d.destination(d.operand(0), type);
  Inst& inst = d.emit(d.executors().floating(FloatOp::div, type, flags));
  inst.dst = dst;
  inst.a = d.context().constants.value(one, sizeOf(type));
  inst.b = b;
  inst.y = static_cast<uint8_t>(flags.rounding);
}

void decodeSqrt(FunctionDecoder& d, Modifiers& m) {
  Type type = m.needType();
  bool approximate = m.take("approx");
  FloatFlags flags = m.takeFloatFlags();
  emitFloat(d, approximate ? FloatOp::sqrt_approx : FloatOp::sqrt, type, flags, 1);
}

void decodeApproximate(FunctionDecoder& d, Modifiers& m) {
  Type type = m.needType();
  m.take("approx");
  FloatFlags flags = m.takeFloatFlags();
  std::string_view name = d.in().opcode;
  FloatOp op = name == "rsqrt" ? FloatOp::rsqrt_approx
               : name == "sin" ? FloatOp::sin_approx
               : name == "cos" ? FloatOp::cos_approx
               : name == "ex2" ? FloatOp::ex2_approx
               : name == "lg2" ? FloatOp::lg2_approx
                               : FloatOp::tanh_approx;
  if (type == Type::f64 && op != FloatOp::rsqrt_approx) flags.ftz = false;
  emitFloat(d, op, type, flags, 1);
}

void decodeCopysign(FunctionDecoder& d, Modifiers& m) {
  Type type = m.needType();
  emitFloat(d, FloatOp::copysign, type, {}, 2);
}

void decodeTestp(FunctionDecoder& d, Modifiers& m) {
  constexpr FloatOp kTests[] = {FloatOp::test_finite, FloatOp::test_infinite,
                                FloatOp::test_number, FloatOp::test_notanumber,
                                FloatOp::test_normal, FloatOp::test_subnormal};
  int test = m.takeOneOf({"finite", "infinite", "number", "notanumber", "normal", "subnormal"});
  Type type = m.needType();
  if (test < 0) d.invalid("'testp' needs the property to test.");
  d.needOperands(2, 2);
  Ref a = d.source(d.operand(1), type), dst = d.destinationPredicate(d.operand(0));
  Inst& inst = d.emit(d.executors().floating(kTests[test], type, {}));
  inst.dst = dst;
  inst.a = a;
}

constexpr std::pair<std::string_view, Compare> kCompares[] = {
    {"eq", Compare::eq},   {"ne", Compare::ne},   {"lt", Compare::lt},   {"le", Compare::le},
    {"gt", Compare::gt},   {"ge", Compare::ge},   {"lo", Compare::lt},   {"ls", Compare::le},
    {"hi", Compare::gt},   {"hs", Compare::ge},   {"equ", Compare::equ}, {"neu", Compare::neu},
    {"ltu", Compare::ltu}, {"leu", Compare::leu}, {"gtu", Compare::gtu}, {"geu", Compare::geu},
    {"num", Compare::num}, {"nan", Compare::nan},
};

Compare takeCompare(FunctionDecoder& d, Modifiers& m) {
  for (const auto& [name, compare] : kCompares) {
    if (m.take(name)) return compare;
  }
  d.invalid("'" + std::string(d.in().opcode) + "' needs a comparison.");
}

// dst = compare, and with the instruction's predicate operand combined.
struct Combination {
  int boolean = -1;  // 0 and, 1 or, 2 xor
  const ast::Operand* with = nullptr;
};

void combine(FunctionDecoder& d, const Combination& combination, Ref dst, Ref compared,
             bool negate) {
  Inst logic;
  logic.a = compared;
  logic.b = compared;
  logic.x = negate;
  logic.aux = 3;
  if (combination.boolean >= 0) {
    logic.b = d.sourcePredicate(*combination.with);
    logic.y = combination.with->negated;
    logic.aux = static_cast<uint16_t>(combination.boolean);
  }
  Inst& inst = d.emit(op::predicateLogic);
  inst.dst = dst;
  inst.a = logic.a;
  inst.b = logic.b;
  inst.x = logic.x;
  inst.y = logic.y;
  inst.aux = logic.aux;
}

void emitPlainCompare(FunctionDecoder& d, Compare compare, Type type, bool ftz, Ref dst, Ref a,
                      Ref b) {
  Inst& inst = d.emit(d.executors().compare(compare, type, ftz));
  inst.dst = dst;
  inst.a = a;
  inst.b = b;
  inst.aux = ftz ? 1 : 0;
}

// Both halves compared: p is the low one's result, q the high one's.
void setpPacked(FunctionDecoder& d, Compare compare, Type type, bool ftz, const Combination& c) {
  const ast::Operand& p = d.operand(0);
  if (p.pair < 0) d.invalid("'setp' of a packed type needs two destinations.");
  Ref refs[2] = {d.source(d.operand(1), type), d.source(d.operand(2), type)}, parts[4];
  for (Ref& part : parts) part = d.temporary(2);
  for (int k = 0; k < 2; ++k) {
    Inst& inst = d.emit(op::unpack);
    inst.a = refs[k];
    inst.dst = parts[2 * k];
    inst.b = parts[2 * k + 1];
    inst.x = 2;
    inst.aux = 2;
  }
  Type half = type == Type::f16x2 ? Type::f16 : Type::bf16;
  Ref results[2] = {d.temporaryPredicate(), d.temporaryPredicate()};
  for (int k = 0; k < 2; ++k)
    emitPlainCompare(d, compare, half, ftz, results[k], parts[k], parts[2 + k]);
  combine(d, c, d.destinationPredicate(p), results[0], false);
  combine(d, c, d.destinationPredicate(d.pairOf(p)), results[1], false);
}

void decodeSetp(FunctionDecoder& d, Modifiers& m) {
  Compare compare = takeCompare(d, m);
  Combination combination;
  combination.boolean = m.takeOneOf({"and", "or", "xor"});
  bool ftz = m.take("ftz");
  Type type = m.needType();
  size_t operands = combination.boolean >= 0 ? 4 : 3;
  d.needOperands(operands, operands);
  if (combination.boolean >= 0) combination.with = &d.operand(3);
  if (type == Type::f16x2 || type == Type::bf16x2)
    return setpPacked(d, compare, type, ftz, combination);
  const ast::Operand& p = d.operand(0);
  Ref a = d.source(d.operand(1), type), b = d.source(d.operand(2), type);
  Ref dst = d.destinationPredicate(p);
  if (combination.boolean < 0 && p.pair < 0) {
    return emitPlainCompare(d, compare, type, ftz, dst, a, b);
  }
  Ref compared = d.temporaryPredicate(), combined = d.temporaryPredicate();
  emitPlainCompare(d, compare, type, ftz, compared, a, b);
  // The second result first: the combination's operand may be the first destination.
  combine(d, combination, combined, compared, false);
  if (p.pair >= 0) combine(d, combination, d.destinationPredicate(d.pairOf(p)), compared, true);
  combine(d, {}, dst, combined, false);
}

// Each half of the result is 1.0, or all ones for integer types, where the halves compare true.
void setPacked(FunctionDecoder& d, Compare compare, Type to, Type from, bool ftz,
               const Combination& c) {
  Ref sources[2] = {d.source(d.operand(1), from), d.source(d.operand(2), from)};
  Ref dst = d.destination(d.operand(0), to), parts[6];
  for (Ref& part : parts) part = d.temporary(2);
  for (int k = 0; k < 2; ++k) {
    Inst& inst = d.emit(op::unpack);
    inst.a = sources[k];
    inst.dst = parts[2 * k];
    inst.b = parts[2 * k + 1];
    inst.x = 2;
    inst.aux = 2;
  }
  uint64_t yes = to == Type::f16x2 ? 0x3c00 : to == Type::bf16x2 ? 0x3f80 : 0xffff;
  Ref compared = d.temporaryPredicate(), combined = d.temporaryPredicate();
  for (int k = 0; k < 2; ++k) {
    Type half = from == Type::f16x2 ? Type::f16 : Type::bf16;
    emitPlainCompare(d, compare, half, ftz, compared, parts[k], parts[2 + k]);
    combine(d, c, combined, compared, false);
    Inst& inst = d.emit(d.executors().integer(IntOp::select, Type::b16));
    inst.dst = parts[4 + k];
    inst.a = d.context().constants.value(yes, 2);
    inst.b = d.context().constants.value(0, 2);
    inst.c = combined;
  }
  Inst& inst = d.emit(op::pack);
  inst.dst = dst;
  inst.a = parts[4];
  inst.b = parts[5];
  inst.x = 2;
  inst.aux = 2;
}

void decodeSet(FunctionDecoder& d, Modifiers& m) {
  Compare compare = takeCompare(d, m);
  Combination combination;
  combination.boolean = m.takeOneOf({"and", "or", "xor"});
  bool ftz = m.take("ftz");
  Type to = m.needType(), from = m.needType();
  size_t operands = combination.boolean >= 0 ? 4 : 3;
  d.needOperands(operands, operands);
  if (combination.boolean >= 0) combination.with = &d.operand(3);
  if (from == Type::f16x2 || from == Type::bf16x2)
    return setPacked(d, compare, to, from, ftz, combination);
  Ref a = d.source(d.operand(1), from), b = d.source(d.operand(2), from);
  Ref dst = d.destination(d.operand(0), to);
  Ref compared = d.temporaryPredicate(), combined = d.temporaryPredicate();
  emitPlainCompare(d, compare, from, ftz, compared, a, b);
  combine(d, combination, combined, compared, false);
  uint64_t yes = to == Type::f32    ? 0x3f800000
                 : to == Type::f16  ? 0x3c00
                 : to == Type::bf16 ? 0x3f80
                                    : ~0ull;
  Inst& inst = d.emit(d.executors().integer(IntOp::select, to));
  inst.dst = dst;
  inst.a = d.context().constants.value(yes, sizeOf(to));
  inst.b = d.context().constants.value(0, sizeOf(to));
  inst.c = combined;
}

void decodeSelp(FunctionDecoder& d, Modifiers& m) {
  Type type = m.needType();
  d.needOperands(4, 4);
  Ref a = d.source(d.operand(1), type), b = d.source(d.operand(2), type);
  Ref c = d.sourcePredicate(d.operand(3)), dst = d.destination(d.operand(0), type);
  Inst& inst = d.emit(d.executors().integer(IntOp::select, type));
  inst.dst = dst;
  inst.a = a;
  inst.b = b;
  inst.c = c;
  inst.x = d.operand(3).negated;
}

void decodeSlct(FunctionDecoder& d, Modifiers& m) {
  bool ftz = m.take("ftz");
  Type type = m.needType(), condition = m.needType();
  d.needOperands(4, 4);
  Ref a = d.source(d.operand(1), type), b = d.source(d.operand(2), type);
  Ref c = d.source(d.operand(3), condition), dst = d.destination(d.operand(0), type);
  Ref compared = d.temporaryPredicate();
  emitPlainCompare(d, Compare::ge, condition, ftz, compared, c, d.context().constants.value(0, 4));
  Inst& inst = d.emit(d.executors().integer(IntOp::select, type));
  inst.dst = dst;
  inst.a = a;
  inst.b = b;
  inst.c = compared;
}

constexpr DecodeEntry kEntries[] = {
    {"fma", decodeFma},           {"rcp", decodeRcp},         {"sqrt", decodeSqrt},
    {"rsqrt", decodeApproximate}, {"sin", decodeApproximate}, {"cos", decodeApproximate},
    {"ex2", decodeApproximate},   {"lg2", decodeApproximate}, {"tanh", decodeApproximate},
    {"copysign", decodeCopysign}, {"testp", decodeTestp},     {"setp", decodeSetp},
    {"set", decodeSet},           {"selp", decodeSelp},       {"slct", decodeSlct},
};

}  // namespace

std::span<const DecodeEntry> floatDecoders() {
  return kEntries;
}

}  // namespace farwarp::ptx
