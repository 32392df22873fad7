// Texture and surface instructions. The texture is a 64-bit value in a register, as nvcc passes
// texture objects, or the address of a variable that is a reference.
#include "gpud/device/cpu/ptx/decode_shared.h"

namespace farwarp::ptx {
namespace {

using ast::Operand;

struct Geometry {
  uint8_t dimensions;
  bool layered, cube;
};

Geometry takeGeometry(FunctionDecoder& d, Modifiers& m, bool surface) {
  constexpr Geometry kGeometries[] = {{1, false, false}, {2, false, false}, {3, false, false},
                                      {1, true, false},  {2, true, false},  {2, false, true},
                                      {2, true, true}};
  const int k = m.takeOneOf({"1d", "2d", "3d", "a1d", "a2d", "cube", "acube"});
  if (k < 0 && m.takeOneOf({"2dms", "a2dms"}) >= 0) {
    d.unsupported("textures with several samples are not supported.");
  }
  if (k < 0 || (surface && k > 4)) d.invalid("The geometry of the texture is missing.");
  return kGeometries[k];
}

// The texture or surface that [a, ...] names; `reference` is the type of a variable that may.
Ref textureOf(FunctionDecoder& d, const Operand& operand, Type reference) {
  if (operand.kind != Operand::Kind::address || operand.items.empty()) {
    d.invalid("A texture in brackets is needed.");
  }
  Operand name = operand.items[0];
  if (name.kind == Operand::Kind::symbol) {
    const ast::Symbol& symbol = d.context().module.symbols[name.symbol];
    if (symbol.kind == ast::SymbolKind::param) {
      d.unsupported("references to textures in parameters are not supported.");
    }
    if (symbol.type != reference) {
      d.invalid("'" + std::string(symbol.name) + "' is not a variable of type ." +
                typeName(reference) + ".");
    }
    name.value = operand.value;
  } else if (name.kind != Operand::Kind::reg) {
    d.invalid("A texture or surface is named by a register or a variable.");
  }
  return d.source(name, Type::b64);
}

// The elements of a vector operand, or the one of a scalar.
std::vector<Operand> elementsOf(FunctionDecoder& d, const Operand& operand, size_t least) {
  std::vector<Operand> list;
  if (operand.kind == Operand::Kind::vector) {
    list = operand.items;
  } else {
    list.push_back(operand);
  }
  if (list.size() < least || list.size() > 4)
    d.invalid("A vector has the wrong number of elements.");
  return list;
}

const Operand& coordinatesOf(FunctionDecoder& d, const Operand& operand) {
  if (operand.items.size() == 3) {
    d.unsupported("a sampler apart from the texture is not supported.");
  }
  if (operand.items.size() != 2) d.invalid("The coordinates are missing.");
  return operand.items[1];
}

template <class Site>
void takeCoordinates(FunctionDecoder& d, const Operand& operand, Site& site, uint32_t count,
                     Type type) {
  const uint32_t first = site.layered ? 1 : 0;
  const auto list = elementsOf(d, operand, first + count);
  if (site.layered) site.layer = d.source(list[0], Type::b32);
  for (uint32_t k = 0; k < count; ++k) site.at[k] = d.source(list[first + k], type);
}

void takeVector(FunctionDecoder& d, const Operand& operand, Ref (&refs)[3], uint32_t count,
                Type type) {
  const auto list = elementsOf(d, operand, count);
  for (uint32_t k = 0; k < count; ++k) refs[k] = d.source(list[k], type);
}

// .v4 or .v2 and the types of the result and of the coordinates.
void takeResult(FunctionDecoder& d, Modifiers& m, TextureSite& site) {
  const int vector = m.takeOneOf({"v4", "v2"});
  const Type result = m.needType(), coordinates = m.needType();
  site.by_index = coordinates == Type::s32;
  if (coordinates != Type::s32 && coordinates != Type::f32) {
    d.invalid("Coordinates have type .s32 or .f32.");
  }
  const bool packed = result == Type::f16x2;
  if (vector != (packed ? 1 : 0)) d.invalid("A fetch gives .v4, or .v2 of .f16x2.");
  Type reg = Type::b32;
  if (packed) {
    site.result = TextureSite::Result::packed_halves;
  } else if (result == Type::f16) {
    site.result = TextureSite::Result::halves;
    reg = Type::b16;
  } else if (result != Type::f32 && result != Type::u32 && result != Type::s32) {
    d.invalid("A fetch gives .u32, .s32, .f32 or .f16.");
  }
  site.out_count = packed ? 2 : 4;
  const Operand& target = d.operand(0);
  const auto list = elementsOf(d, target, site.out_count);
  for (uint32_t k = 0; k < site.out_count; ++k) site.out[k] = d.destination(list[k], reg);
  if (target.pair >= 0) {  // is the texel there? Always: no array is sparse
    site.wants_residency = true;
    site.residency = d.destinationPredicate(d.pairOf(target));
  }
}

void emitFetch(FunctionDecoder& d, TextureSite site, Ref texture) {
  Inst& inst = d.emit(op::fetch);
  inst.a = texture;
  inst.imm = reinterpret_cast<int64_t>(&d.context().code.texture_sites.emplace_back(site));
}

void decodeTex(FunctionDecoder& d, Modifiers& m) {
  TextureSite site;
  const int level = m.takeOneOf({"base", "level", "grad"});
  site.level_kind = level == 1   ? TextureSite::Level::given
                    : level == 2 ? TextureSite::Level::gradient
                                 : TextureSite::Level::base;
  const Geometry geometry = takeGeometry(d, m, false);
  site.dimensions = geometry.dimensions;
  site.layered = geometry.layered;
  site.cube = geometry.cube;
  takeResult(d, m, site);
  const size_t fixed = 2 + static_cast<size_t>(level > 0 ? level : 0);
  d.needOperands(fixed, fixed + 1);
  const Type type = site.by_index ? Type::s32 : Type::f32;
  const Operand& source = d.operand(1);
  const Ref texture = textureOf(d, source, Type::texref);
  const uint32_t axes = site.cube ? 3 : site.dimensions;
  takeCoordinates(d, coordinatesOf(d, source), site, axes, type);
  if (level == 1) site.level = d.source(d.operand(2), type);
  if (level == 2) {
    takeVector(d, d.operand(2), site.dx, axes, Type::f32);
    takeVector(d, d.operand(3), site.dy, axes, Type::f32);
  }
  if (d.in().operands.size() > fixed) {
    const Operand& last = d.operand(fixed);
    if (site.cube || d.registerType(last) == Type::f32) {
      d.unsupported("depth comparison is not supported.");
    }
    takeVector(d, last, site.offset, site.dimensions, Type::s32);
    site.has_offset = true;
  }
  emitFetch(d, site, texture);
}

void decodeTld4(FunctionDecoder& d, Modifiers& m) {
  TextureSite site;
  const int component = m.takeOneOf({"r", "g", "b", "a"});
  if (component < 0) d.invalid("'tld4' needs a component.");
  site.gathered = static_cast<uint8_t>(component);
  const Geometry geometry = takeGeometry(d, m, false);
  if (geometry.dimensions != 2) d.invalid("'tld4' reads textures of two dimensions.");
  site.layered = geometry.layered;
  site.cube = geometry.cube;
  takeResult(d, m, site);
  if (site.by_index) d.invalid("The coordinates of 'tld4' have type .f32.");
  d.needOperands(2, 3);
  const Ref texture = textureOf(d, d.operand(1), Type::texref);
  takeCoordinates(d, coordinatesOf(d, d.operand(1)), site, site.cube ? 3 : 2, Type::f32);
  if (d.in().operands.size() > 2) {
    const Operand& last = d.operand(2);
    if (site.cube || d.registerType(last) == Type::f32) {
      d.unsupported("depth comparison is not supported.");
    }
    takeVector(d, last, site.offset, 2, Type::s32);
    site.has_offset = true;
  }
  emitFetch(d, site, texture);
}

void takeSurface(FunctionDecoder& d, Modifiers& m, SurfaceSite& site) {
  const Geometry geometry = takeGeometry(d, m, true);
  site.dimensions = geometry.dimensions;
  site.layered = geometry.layered;
  const int boundary = m.takeOneOf({"trap", "clamp", "zero"});
  if (boundary >= 0) site.boundary = static_cast<SurfaceSite::Boundary>(boundary);
}

void emitSurface(FunctionDecoder& d, SurfaceSite site, const Operand& operand) {
  const Ref surface = textureOf(d, operand, Type::surfref);
  takeCoordinates(d, coordinatesOf(d, operand), site, site.dimensions, Type::b32);
  Inst& inst = d.emit(op::accessSurface);
  inst.a = surface;
  inst.imm = reinterpret_cast<int64_t>(&d.context().code.surface_sites.emplace_back(site));
}

// The registers that are read or written.
void takeValues(FunctionDecoder& d, SurfaceSite& site, const Operand& operand, bool written) {
  const auto list = elementsOf(d, operand, site.elements);
  if (list.size() != site.elements) d.invalid("A vector has the wrong number of elements.");
  site.reg_bytes = site.bytes == 1 ? 2 : site.bytes;
  for (const Operand& item : list) {
    const uint32_t bytes = sizeOf(d.registerType(item));
    if (bytes > site.reg_bytes) site.reg_bytes = static_cast<uint8_t>(bytes);
  }
  const Type type = site.reg_bytes == 8 ? Type::b64 : site.reg_bytes == 4 ? Type::b32 : Type::b16;
  for (uint32_t k = 0; k < site.elements; ++k) {
    site.values[k] = written ? d.destination(list[k], type) : d.source(list[k], type);
  }
}

uint8_t takeElements(Modifiers& m) {
  const int vector = m.takeOneOf({"v2", "v4"});
  return vector < 0 ? 1 : vector == 0 ? 2 : 4;
}

void decodeSuld(FunctionDecoder& d, Modifiers& m) {
  SurfaceSite site;
  if (!m.take("b")) d.unsupported("formatted loads are not supported.");
  takeSurface(d, m, site);
  m.takeCacheHints();
  site.elements = takeElements(m);
  site.bytes = static_cast<uint8_t>(sizeOf(m.needType()));
  if (site.bytes == 0 || site.bytes > 8 || site.bytes * site.elements > 16) {
    d.invalid("An access to a surface has up to 16 bytes.");
  }
  d.needOperands(2, 2);
  takeValues(d, site, d.operand(0), true);
  emitSurface(d, site, d.operand(1));
}

void decodeSust(FunctionDecoder& d, Modifiers& m) {
  SurfaceSite site;
  const bool formatted = m.take("p");
  if (!formatted && !m.take("b")) d.invalid("'sust' needs .b or .p.");
  site.access = formatted ? SurfaceSite::Access::formatted_store : SurfaceSite::Access::store;
  site.counts_texels = formatted;
  takeSurface(d, m, site);
  m.takeCacheHints();
  site.elements = takeElements(m);
  const Type type = m.needType();
  site.bytes = static_cast<uint8_t>(sizeOf(type));
  site.floats = type == Type::f32;
  if (site.bytes == 0 || site.bytes > 8 || site.bytes * site.elements > 16 ||
      (formatted && site.bytes != 4)) {
    d.invalid("An access to a surface has up to 16 bytes, a formatted one 4 for each component.");
  }
  d.needOperands(2, 2);
  takeValues(d, site, d.operand(1), false);
  emitSurface(d, site, d.operand(0));
}

void decodeSured(FunctionDecoder& d, Modifiers& m) {
  SurfaceSite site;
  site.counts_texels = m.take("p");
  if (!site.counts_texels && !m.take("b")) d.invalid("'sured' needs .b or .p.");
  site.access = SurfaceSite::Access::reduce;
  constexpr op::AtomicOp kOps[] = {op::AtomicOp::add, op::AtomicOp::min, op::AtomicOp::max,
                                   op::AtomicOp::and_, op::AtomicOp::or_};
  const int which = m.takeOneOf({"add", "min", "max", "and", "or"});
  if (which < 0) d.invalid("'sured' needs an operation.");
  takeSurface(d, m, site);
  site.type = m.needType();
  // .b32 is the type of 32-bit words whose operation does not care for a sign.
  if (site.type == Type::b32 && which < 3) site.type = Type::u32;
  if (site.type == Type::b64 && which < 3) site.type = Type::u64;
  if ((site.type == Type::u32 || site.type == Type::s32) && which >= 3) site.type = Type::b32;
  if (!op::canApply(kOps[which], site.type)) d.unsupported("this reduction is not supported.");
  site.reduction = static_cast<uint8_t>(kOps[which]);
  site.bytes = static_cast<uint8_t>(sizeOf(site.type));
  d.needOperands(2, 2);
  takeValues(d, site, d.operand(1), false);
  emitSurface(d, site, d.operand(0));
}

// txq and suq.
void decodeQuery(FunctionDecoder& d, Modifiers& m) {
  const bool has_level = m.take("level");
  const int what =
      m.takeOneOf({"width", "height", "depth", "channel_data_type", "channel_order",
                   "normalized_coords", "array_size", "num_mipmap_levels", "num_samples",
                   "filter_mode", "addr_mode_0", "addr_mode_1", "addr_mode_2", "memory_layout"});
  if (what < 0) d.unsupported("this query is not supported.");
  m.take("b32");
  d.needOperands(has_level ? 3 : 2, has_level ? 3 : 2);
  const Ref texture =
      textureOf(d, d.operand(1), d.in().opcode == "suq" ? Type::surfref : Type::texref);
  const Ref level = has_level ? d.source(d.operand(2), Type::b32) : texture;
  const Ref dst = d.destination(d.operand(0), Type::b32);
  Inst& inst = d.emit(op::queryTexture);
  inst.dst = dst;
  inst.a = texture;
  inst.b = level;
  inst.x = has_level;
  inst.aux = static_cast<uint16_t>(what);
}

constexpr DecodeEntry kEntries[] = {
    {"tex", decodeTex},     {"tld4", decodeTld4}, {"suld", decodeSuld}, {"sust", decodeSust},
    {"sured", decodeSured}, {"txq", decodeQuery}, {"suq", decodeQuery},
};

}  // namespace

std::span<const DecodeEntry> textureDecoders() {
  return kEntries;
}

}  // namespace farwarp::ptx
