// mov and cvt.
#include "gpud/device/cpu/ptx/decode_shared.h"

namespace farwarp::ptx {

using ast::Operand;

namespace {

Type bitsOf(uint32_t bytes) {
  return bytes == 1   ? Type::b8
         : bytes == 2 ? Type::b16
         : bytes == 4 ? Type::b32
         : bytes == 8 ? Type::b64
                      : Type::b128;
}

void movPack(FunctionDecoder& d, Type type) {
  const Operand& list = d.operand(1);
  uint32_t parts = static_cast<uint32_t>(list.items.size());
  if (parts != 2 && parts != 4) d.invalid("'mov' packs 2 or 4 registers.");
  uint32_t bytes = sizeOf(type) / parts;
  Ref refs[4] = {};
  for (uint32_t k = 0; k < parts; ++k) refs[k] = d.source(list.items[k], bitsOf(bytes));
  Ref dst = d.destination(d.operand(0), type);
  Inst& inst = d.emit(op::pack);
  inst.dst = dst;
  inst.a = refs[0];
  inst.b = refs[1];
  inst.c = refs[2];
  inst.d = refs[3];
  inst.x = static_cast<uint8_t>(bytes);
  inst.aux = static_cast<uint16_t>(parts);
}

void movUnpack(FunctionDecoder& d, Type type) {
  const Operand& list = d.operand(0);
  uint32_t parts = static_cast<uint32_t>(list.items.size());
  if (parts != 2 && parts != 4) d.invalid("'mov' unpacks into 2 or 4 registers.");
  uint32_t bytes = sizeOf(type) / parts;
  Ref a = d.source(d.operand(1), type), refs[4] = {};
  for (uint32_t k = 0; k < parts; ++k) refs[k] = d.destination(list.items[k], bitsOf(bytes));
  Inst& inst = d.emit(op::unpack);
  inst.a = a;
  inst.dst = refs[0];
  inst.b = refs[1];
  inst.c = refs[2];
  inst.d = refs[3];
  inst.x = static_cast<uint8_t>(bytes);
  inst.aux = static_cast<uint16_t>(parts);
}

// Element by element, through temporaries: the same register may be on both sides.
void movVector(FunctionDecoder& d, Type type, size_t count) {
  const std::vector<Operand>&to = d.operand(0).items, &from = d.operand(1).items;
  if (to.size() != count || from.size() != count) {
    d.invalid("A vector has the wrong number of elements.");
  }
  Ref copies[4];
  for (bool in : {true, false}) {
    for (size_t k = 0; k < count; ++k) {
      Ref a = in ? d.source(from[k], type) : copies[k];
      Ref dst = in ? copies[k] = d.temporary(sizeOf(type)) : d.destination(to[k], type);
      Inst& inst = d.emit(d.executors().integer(IntOp::mov, type));
      inst.dst = dst;
      inst.a = a;
    }
  }
}

void decodeMov(FunctionDecoder& d, Modifiers& m) {
  int vector = m.takeOneOf({"v2", "v4"});
  Type type = m.needType();
  d.needOperands(2, 2);
  if (vector >= 0) return movVector(d, type, vector == 0 ? 2 : 4);
  if (type == Type::pred) {
    Ref a = d.sourcePredicate(d.operand(1)), dst = d.destinationPredicate(d.operand(0));
    Inst& inst = d.emit(op::predicateLogic);
    inst.dst = dst;
    inst.a = inst.b = a;
    inst.x = d.operand(1).negated;
    inst.aux = 3;
    return;
  }
  if (d.operand(1).kind == Operand::Kind::vector) return movPack(d, type);
  if (d.operand(0).kind == Operand::Kind::vector) return movUnpack(d, type);
  emitUnary(d, d.executors().integer(IntOp::mov, type), type, type);
}

// A source register may be wider than the type: its low part is used.
Ref convertSource(FunctionDecoder& d, const Operand& operand, Type type) {
  uint32_t have = sizeOf(d.registerType(operand));
  if (have <= sizeOf(type)) return d.source(operand, type);
  Ref wide = d.source(operand, d.registerType(operand));
  Ref narrow = d.temporary(sizeOf(type));
  constexpr Type kUnsigned[] = {Type::u8, Type::u16, Type::u32, Type::u64};
  auto ofSize = [&](uint32_t bytes) {
    return bytes == 1   ? kUnsigned[0]
           : bytes == 2 ? kUnsigned[1]
           : bytes == 4 ? kUnsigned[2]
                        : kUnsigned[3];
  };
  d.emitConvert(narrow, ofSize(sizeOf(type)), wide, ofSize(have));
  return narrow;
}

struct Conversion {
  FloatFlags flags;
  bool integral = false;
  bool satfinite = false;
};

Inst& emitOne(FunctionDecoder& d, Type to, Type from, const Conversion& c, Ref dst, Ref a) {
  Inst& inst = d.emit(d.executors().convert(to, from, c.flags, c.integral));
  inst.dst = dst;
  inst.a = a;
  inst.y = static_cast<uint8_t>(c.flags.rounding);
  inst.aux =
      static_cast<uint16_t>((c.flags.ftz ? 1 : 0) | (c.flags.sat ? 2 : 0) | (c.flags.relu ? 4 : 0));
  inst.x = to == Type::f16 ? 5 : 8;
  inst.d = to == Type::bf16 ? 7 : 10;
  return inst;
}

// From any to any single type, by way of f32 or f64 where there is no direct conversion.
void emitConversion(FunctionDecoder& d, Type to, Type from, const Conversion& c, Ref dst, Ref a) {
  bool from_half = from == Type::f16 || from == Type::bf16,
       to_half = to == Type::f16 || to == Type::bf16;
  if (from_half && to != Type::f32) {  // every half is a float
    if (from == to && !c.integral && !c.flags.relu && !c.flags.sat) {
      Inst& inst = d.emit(d.executors().integer(IntOp::mov, Type::b16));
      inst.dst = dst;
      inst.a = a;
      return;
    }
    Ref single = d.temporary(4);
    emitOne(d, Type::f32, from, {}, single, a);
    if (!to_half || !c.integral) {
      Conversion rest = c;
      if (!to_half && to != Type::f64) rest.flags.ftz = false;
      emitOne(d, to, Type::f32, rest, dst, single);
      return;
    }
    Ref rounded = d.temporary(4);
    emitOne(d, Type::f32, Type::f32, c, rounded, single);
    emitOne(d, to, Type::f32, {}, dst, rounded);
    return;
  }
  if (to_half && !isFloat(from)) {  // integers up to 64 bits
    Ref wide = d.temporary(8);
    Conversion odd = c;
    odd.flags.rounding = sizeOf(from) == 8 ? Rounding::odd : Rounding::rn;
    odd.flags.sat = false;
    emitOne(d, Type::f64, from, odd, wide, a);
    emitOne(d, to, Type::f64, c, dst, wide);
    return;
  }
  emitOne(d, to, from, c, dst, a);
}

// Clamps an f32 to the largest finite value of `to`; NaN stays.
Ref clampFinite(FunctionDecoder& d, Type to, Ref a) {
  uint64_t most = to == Type::f16 ? 0x477fe000 : to == Type::bf16 ? 0x7f7f0000 : 0x7f7fe000;
  for (bool upper : {true, false}) {
    FloatOp op = upper ? FloatOp::min_nan : FloatOp::max_nan;
    Inst& inst = d.emit(d.executors().floating(op, Type::f32, {}));
    inst.a = a;
    inst.b = d.context().constants.value(upper ? most : most | 0x80000000, 4);
    a = inst.dst = d.temporary(4);
  }
  return a;
}

// cvt.rn.f16x2.f32 d, a, b: a becomes the upper half.
void convertPacked(FunctionDecoder& d, Type to, Type from, const Conversion& c) {
  d.needOperands(3, 3);
  Type half = to == Type::f16x2 ? Type::f16 : Type::bf16;
  Ref a = d.source(d.operand(1), from), b = d.source(d.operand(2), from);
  Ref dst = d.destination(d.operand(0), Type::b32);
  Ref high = d.temporary(2), low = d.temporary(2);
  if (c.satfinite) {
    a = clampFinite(d, half, a);
    b = clampFinite(d, half, b);
  }
  emitOne(d, half, from, c, high, a);
  emitOne(d, half, from, c, low, b);
  Inst& inst = d.emit(op::pack);
  inst.dst = dst;
  inst.a = low;
  inst.b = high;
  inst.x = 2;
  inst.aux = 2;
}

// Conversions that have packed floats of 8, 6 or 4 bits on one side. False when it is none.
bool takeSmallConversion(FunctionDecoder& d, Modifiers& m, const Conversion& c) {
  std::initializer_list<std::string_view> names = {"e4m3x2", "e5m2x2", "e2m3x2",
                                                   "e3m2x2", "e2m1x2", "ue8m0x2"};
  bool from_wide = m.in().modifiers.empty() || typeFromName(m.in().modifiers.back()) == Type::f32 ||
                   typeFromName(m.in().modifiers.back()) == Type::f16x2 ||
                   typeFromName(m.in().modifiers.back()) == Type::bf16x2;
  int format = m.takeOneOf(names);
  if (format < 0) return false;
  uint16_t aux = c.flags.relu ? 4 : 0;
  Type wide = m.needType();
  if (!from_wide) {
    d.needOperands(2, 2);
    if (wide != Type::f16x2 && wide != Type::bf16x2) d.unsupported("these types do not convert.");
    uint32_t bytes = format == 4 ? 1 : 2;
    Ref a = convertSource(d, d.operand(1), bytes == 1 ? Type::u8 : Type::u16);
    Ref dst = d.destination(d.operand(0), Type::b32);
    Inst& inst = d.emit(op::unpackSmall);
    inst.dst = dst;
    inst.a = a;
    inst.x = static_cast<uint8_t>(format);
    inst.y = wide == Type::bf16x2;
    inst.d = bytes;
    inst.aux = aux;
    return true;
  }
  Ref high, low;
  if (wide == Type::f32) {
    d.needOperands(3, 3);
    high = d.source(d.operand(1), Type::f32);
    low = d.source(d.operand(2), Type::f32);
  } else {
    d.needOperands(2, 2);
    Ref halves[2] = {d.temporary(2), d.temporary(2)};
    Ref a = d.source(d.operand(1), wide);
    Inst& apart = d.emit(op::unpack);
    apart.a = a;
    apart.dst = halves[0];
    apart.b = halves[1];
    apart.x = 2;
    apart.aux = 2;
    Type half = wide == Type::f16x2 ? Type::f16 : Type::bf16;
    low = d.temporary(4);
    high = d.temporary(4);
    emitOne(d, Type::f32, half, {}, low, halves[0]);
    emitOne(d, Type::f32, half, {}, high, halves[1]);
  }
  uint32_t bytes = sizeOf(d.registerType(d.operand(0)));
  if (bytes == 0 || bytes > 4) d.invalid("The destination has the wrong size.");
  Ref dst = d.destination(d.operand(0), bitsOf(bytes));
  Inst& inst = d.emit(op::packSmall);
  inst.dst = dst;
  inst.a = high;
  inst.b = low;
  inst.c = c.flags.rounding == Rounding::rp;
  inst.x = static_cast<uint8_t>(format);
  inst.y = static_cast<uint8_t>(bytes);
  inst.aux = aux;
  return true;
}

// cvt.rs: to two halves or four smaller floats, rounded by random bits.
void convertStochastic(FunctionDecoder& d, Modifiers& m, const Conversion& c) {
  const int format =
      m.takeOneOf({"e4m3x4", "e5m2x4", "e2m3x4", "e3m2x4", "e2m1x4", "f16x2", "bf16x2"});
  if (format < 0 || m.needType() != Type::f32) d.invalid("'cvt.rs' does not have these types.");
  const bool four = format < 5;
  if (four && !c.satfinite) d.invalid("This conversion needs .satfinite.");
  const size_t operands = four ? 3 : 4;
  d.needOperands(operands, operands);
  std::vector<Operand> list;
  if (four) {
    list = d.operand(1).items;
  } else {
    list = {d.operand(1), d.operand(2)};
  }
  if (list.size() != (four ? 4 : 2)) d.invalid("Four values in braces are needed.");
  Ref refs[4] = {};
  for (size_t k = 0; k < list.size(); ++k) refs[k] = d.source(list[k], Type::f32);
  const Ref random = d.source(d.operand(operands - 1), Type::b32);
  const Ref dst = d.destination(d.operand(0), format == 4 ? Type::b16 : Type::b32);
  Inst& inst = d.emit(op::packStochastic);
  inst.dst = dst;
  inst.a = refs[0];
  inst.b = refs[1];
  inst.c = refs[2];
  inst.d = refs[3];
  inst.e = random;
  inst.x = static_cast<uint8_t>(format);
  inst.aux = static_cast<uint16_t>((c.flags.relu ? 4 : 0) | (c.satfinite ? 8 : 0));
}

// cvt.pack: two integers become narrower, saturated, and lie below the low bits of a third.
void convertPack(FunctionDecoder& d, Modifiers& m) {
  constexpr uint8_t kBits[] = {16, 16, 8, 8, 4, 4, 2, 2};
  const int type = m.takeOneOf({"u16", "s16", "u8", "s8", "u4", "s4", "u2", "s2"});
  if (type < 0 || !m.take("s32")) d.invalid("'cvt.pack' does not have these types.");
  const bool third = m.take("b32");
  if (third == (type < 2)) d.invalid("The type of the third operand does not fit.");
  d.needOperands(third ? 4 : 3, third ? 4 : 3);
  const Ref a = d.source(d.operand(1), Type::s32), b = d.source(d.operand(2), Type::s32);
  const Ref c = third ? d.source(d.operand(3), Type::b32) : a;
  const Ref dst = d.destination(d.operand(0), Type::b32);
  Inst& inst = d.emit(op::packIntegers);
  inst.dst = dst;
  inst.a = a;
  inst.b = b;
  inst.c = c;
  inst.x = kBits[type];
  inst.y = type % 2;
}

void decodeCvt(FunctionDecoder& d, Modifiers& m) {
  Conversion c;
  int integral = m.takeOneOf({"rni", "rzi", "rmi", "rpi"});
  c.integral = integral >= 0;
  if (c.integral) c.flags.rounding = static_cast<Rounding>(integral);
  int rounding = m.takeOneOf({"rn", "rz", "rm", "rp", "rna"});
  if (rounding >= 0) c.flags.rounding = static_cast<Rounding>(rounding);
  c.flags.ftz = m.take("ftz");
  c.flags.sat = m.take("sat");
  c.satfinite = m.take("satfinite");
  c.flags.relu = m.take("relu");
  if (m.take("rs")) return convertStochastic(d, m, c);
  if (c.flags.sat && m.take("pack")) return convertPack(d, m);
  if (takeSmallConversion(d, m, c)) return;
  Type to = m.needType(), from = m.needType();
  if (to == Type::f16x2 || to == Type::bf16x2) {
    if (from != Type::f32) d.unsupported("packed conversions are supported from f32 only.");
    return convertPacked(d, to, from, c);
  }
  d.needOperands(2, 2);
  if (!isFloat(to) && isFloat(from) && !c.integral && rounding < 0) {
    d.invalid("'cvt' from a floating-point to an integer type needs .rni, .rzi, .rmi or .rpi.");
  }
  if (isFloat(to) && isFloat(from) && sizeOf(to) == sizeOf(from) && !c.integral && rounding < 0) {
    c.flags.rounding = Rounding::rn;
  }
  Ref a = convertSource(d, d.operand(1), from);
  if (c.satfinite) {
    if (from != Type::f32 || (to != Type::f16 && to != Type::bf16 && to != Type::tf32)) {
      d.unsupported(".satfinite is not supported for these types.");
    }
    a = clampFinite(d, to, a);
  }
  Type held = to == Type::tf32 ? Type::b32 : to;
  uint32_t have = sizeOf(d.registerType(d.operand(0)));
  if (have <= sizeOf(to)) {
    return emitConversion(d, to, from, c, d.destination(d.operand(0), held), a);
  }
  Ref narrow = d.temporary(sizeOf(to));
  emitConversion(d, to, from, c, narrow, a);
  constexpr Type kSigned[] = {Type::s8, Type::s16, Type::s32, Type::s64};
  constexpr Type kUnsigned[] = {Type::u8, Type::u16, Type::u32, Type::u64};
  auto index = [](uint32_t bytes) { return bytes == 1 ? 0 : bytes == 2 ? 1 : bytes == 4 ? 2 : 3; };
  Type extended = isSigned(to) ? kSigned[index(sizeOf(to))] : kUnsigned[index(sizeOf(to))];
  Ref dst = d.destination(d.operand(0), d.registerType(d.operand(0)));
  d.emitConvert(dst, kUnsigned[index(have)], narrow, extended);
}

constexpr DecodeEntry kEntries[] = {{"mov", decodeMov}, {"cvt", decodeCvt}};

}  // namespace

std::span<const DecodeEntry> moveDecoders() {
  return kEntries;
}

}  // namespace farwarp::ptx
