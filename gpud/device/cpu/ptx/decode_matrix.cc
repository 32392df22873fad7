// mma and wmma.
#include <charconv>

#include "gpud/device/cpu/ptx/decode_shared.h"

namespace farwarp::ptx {

using ast::Operand;

namespace {

struct ElementName {
  std::string_view name;
  Element element;
  uint32_t bits;  // in a register
};
constexpr ElementName kElements[] = {
    {"b1", Element::b1, 1},      {"s4", Element::s4, 4},        {"u4", Element::u4, 4},
    {"s8", Element::s8, 8},      {"u8", Element::u8, 8},        {"e2m1", Element::e2m1, 8},
    {"e2m3", Element::e2m3, 8},  {"e3m2", Element::e3m2, 8},    {"e4m3", Element::e4m3, 8},
    {"e5m2", Element::e5m2, 8},  {"f16", Element::f16, 16},     {"bf16", Element::bf16, 16},
    {"tf32", Element::tf32, 32}, {"f32", Element::f32, 32},     {"s32", Element::s32, 32},
    {"f64", Element::f64, 64},   {"", Element::e2m1_packed, 4},
};

uint32_t bitsOf(Element element) {
  for (const ElementName& entry : kElements) {
    if (entry.element == element) return entry.bits;
  }
  return 32;
}

Element takeElement(Modifiers& m) {
  int k = m.takeOneOf({"b1", "s4", "u4", "s8", "u8", "e2m1", "e2m3", "e3m2", "e4m3", "e5m2", "f16",
                       "bf16", "tf32", "f32", "s32", "f64"});
  return k < 0 ? Element::none : kElements[k].element;
}

bool isWhole(Element e) {
  return e == Element::b1 || e == Element::s4 || e == Element::u4 || e == Element::s8 ||
         e == Element::u8;
}
bool isSmallFloat(Element e) {
  return e == Element::e2m1 || e == Element::e2m1_packed || e == Element::e2m3 ||
         e == Element::e3m2 || e == Element::e4m3 || e == Element::e5m2;
}

// A shape that an instruction has for a type of its factors.
struct Shape {
  std::string_view name;
  uint32_t m, n, k;
};
constexpr Shape kShapes[] = {
    {"m8n8k4", 8, 8, 4},       {"m8n8k16", 8, 8, 16},     {"m8n8k32", 8, 8, 32},
    {"m8n8k128", 8, 8, 128},   {"m16n8k4", 16, 8, 4},     {"m16n8k8", 16, 8, 8},
    {"m16n8k16", 16, 8, 16},   {"m16n8k32", 16, 8, 32},   {"m16n8k64", 16, 8, 64},
    {"m16n8k128", 16, 8, 128}, {"m16n8k256", 16, 8, 256}, {"m16n16k8", 16, 16, 8},
    {"m16n16k16", 16, 16, 16}, {"m8n32k16", 8, 32, 16},   {"m32n8k16", 32, 8, 16},
};

const Shape& takeShape(FunctionDecoder& d, Modifiers& m) {
  int k = m.takeOneOf({"m8n8k4", "m8n8k16", "m8n8k32", "m8n8k128", "m16n8k4", "m16n8k8", "m16n8k16",
                       "m16n8k32", "m16n8k64", "m16n8k128", "m16n8k256", "m16n16k8", "m16n16k16",
                       "m8n32k16", "m32n8k16"});
  if (k < 0) d.unsupported("the shape is missing or not supported.");
  return kShapes[k];
}

struct Place {
  uint32_t row, column;
};

// Where element `k` of a lane's part of a factor or sum of mma lies. A register holds elements that
// are next to each other along the k dimension; four lanes share a row of A or a column of B.
Place factorPlace(bool is_a, uint32_t rows, uint32_t bits, uint32_t lane, uint32_t k) {
  uint32_t per_register = bits >= 32 ? 1 : 32 / bits;
  uint32_t reg = k / per_register, within = k % per_register;
  uint32_t blocks = is_a ? rows / 8 : 1;
  uint32_t outer = lane / 4 + 8 * (reg % blocks);
  uint32_t inner = (lane % 4) * per_register + within + 4 * per_register * (reg / blocks);
  return is_a ? Place{outer, inner} : Place{inner, outer};
}
Place sumPlace(uint32_t lane, uint32_t k) {
  return {lane / 4 + 8 * (k / 2), lane % 4 * 2 + k % 2};
}

// mma.m8n8k4 of f16: four products, each of 8 lanes.
Place quadFactorPlace(bool is_a, bool by_row, uint32_t lane, uint32_t k) {
  uint32_t upper = lane < 16 ? 0 : 4, low = lane % 4;
  if (is_a) return by_row ? Place{low + upper, k} : Place{k + upper, low};
  return by_row ? Place{low, k + upper} : Place{k, low + upper};
}
Place quadSumPlace(Element element, uint32_t lane, uint32_t k) {
  uint32_t upper = lane < 16 ? 0 : 4;
  if (element == Element::f16) return {lane % 4 + upper, k};
  return {(lane & 1) + (k & 2) + upper, (k & 4) + (lane & 2) + (k & 1)};
}

// The layout of wmma is the implementation's own. Sums of 16 x 16 lie as those of two mma; the rest
// one row after the other, several times over where there is room.
Place wmmaPlace(uint32_t rows, uint32_t columns, uint32_t per_lane, bool is_sum, uint32_t lane,
                uint32_t k) {
  if (is_sum && rows == 16 && columns == 16 && per_lane == 8) {
    return {lane / 4 + 8 * (k / 2 % 2), lane % 4 * 2 + k % 2 + 8 * (k / 4)};
  }
  uint32_t place = (lane * per_lane + k) % (rows * columns);
  return {place / columns, place % columns};
}

// Fills registers and counts of a fragment. The place of each element is the caller's to say.
template <class F>
void buildFragment(FunctionDecoder& d, Fragment& f, Element element, const Operand& operand,
                   bool written, uint32_t rows, uint32_t columns, uint32_t batch, F place) {
  std::vector<Operand> list{operand};
  if (operand.kind == Operand::Kind::vector) list = operand.items;
  if (list.empty() || list.size() > 8) {
    d.invalid("A matrix operand has " + std::to_string(list.size()) +
              " registers; it must have 1 to 8.");
  }
  uint32_t bits = bitsOf(element), per_register = bits >= 32 ? 1 : 32 / bits;
  f.element = element;
  f.count = static_cast<uint8_t>(list.size());
  f.per_lane = f.count * per_register;
  f.columns = columns;
  f.elements = rows * columns * batch;
  if ((f.per_lane * kLanes) % f.elements != 0) {
    d.invalid("A matrix operand has " + std::to_string(list.size()) + " registers, which hold " +
              std::to_string(f.per_lane * kLanes) + " elements; the matrix has " +
              std::to_string(f.elements) + ".");
  }
  Type type = bits == 64 ? Type::b64 : Type::b32;
  for (size_t k = 0; k < list.size(); ++k) {
    f.refs[k] = written ? d.destination(list[k], type) : d.source(list[k], type);
  }
  f.places.resize(kLanes * f.per_lane);
  for (uint32_t l = 0; l < kLanes; ++l) {
    for (uint32_t k = 0; k < f.per_lane; ++k) {
      Place at = place(l, k);
      uint32_t part = batch > 1 ? l % 16 / 4 : 0;
      uint32_t number = (part * rows + at.row) * columns + at.column;
      if (at.row >= rows || at.column >= columns) {
        d.invalid("A matrix operand has too many registers for its shape.");
      }
      f.places[l * f.per_lane + k] = static_cast<uint16_t>(number);
    }
  }
}

void emitMatrix(FunctionDecoder& d, Handler handler, const MatrixSite& site,
                const AddressOperand* address) {
  MatrixSite& kept = d.context().code.matrix_sites.emplace_back(site);
  d.enterGuard();
  if (address != nullptr) {  // the handler finds the address in the operation before it
    Inst& access = d.emit(op::nothing);
    access.a = address->a;
    access.imm = address->imm;
    access.x = static_cast<uint8_t>(address->resolver);
  }
  d.emit(handler).imm = reinterpret_cast<int64_t>(&kept);
  d.leaveGuard();
}

struct ProductTypes {
  Element d = Element::none, a = Element::none, b = Element::none, c = Element::none;
};

ProductTypes takeProductTypes(FunctionDecoder& d, Modifiers& m) {
  Element list[4] = {};
  size_t count = 0;
  while (count < 4 && (list[count] = takeElement(m)) != Element::none) ++count;
  if (count == 2) return {list[0], Element::f16, Element::f16, list[1]};
  if (count != 4) d.invalid("The types of the four matrices are needed.");
  return {list[0], list[1], list[2], list[3]};
}

void checkProductTypes(FunctionDecoder& d, const ProductTypes& t) {
  bool whole = isWhole(t.a) && isWhole(t.b) && bitsOf(t.a) == bitsOf(t.b);
  bool small = isSmallFloat(t.a) && isSmallFloat(t.b);
  bool same = t.a == t.b && (t.a == Element::f16 || t.a == Element::bf16 || t.a == Element::tf32);
  bool half_sum = t.a == Element::f16 || small;
  auto is_sum = [&](Element e) {
    if (whole) return e == Element::s32;
    return e == Element::f32 || (half_sum && e == Element::f16);
  };
  bool doubles =
      t.a == Element::f64 && t.b == Element::f64 && t.c == Element::f64 && t.d == Element::f64;
  if (doubles || ((whole || small || same) && is_sum(t.c) && is_sum(t.d))) return;
  d.invalid("The types of the matrices do not go together.");
}

void takeProductFlags(FunctionDecoder& d, Modifiers& m, MatrixSite& site, const ProductTypes& t) {
  int bits = m.takeOneOf({"xor", "and"});
  site.by_and = bits == 1;
  if ((t.a == Element::b1) != (bits >= 0)) d.invalid("Products of bits need .xor or .and.");
  m.take("popc");
  site.saturates = m.take("satfinite");
  int rounding = m.takeOneOf({"rn", "rz", "rm", "rp"});
  if (rounding >= 0 && t.a != Element::f64) d.invalid("Only products of f64 say how they round.");
  site.rounding = static_cast<uint8_t>(rounding < 0 ? 0 : rounding);
}

// What .kind and .scale_vec say of the blocks that are scaled.
void takeScaling(FunctionDecoder& d, Modifiers& m, MatrixSite& site, ProductTypes& t) {
  int kind = m.takeOneOf({"kind::f8f6f4", "kind::mxf8f6f4", "kind::mxf4", "kind::mxf4nvf4"});
  bool scaled = m.take("block_scale");
  if (scaled != (kind > 0)) d.invalid("The kind of product and .block_scale do not go together.");
  if (kind >= 0 && (!isSmallFloat(t.a) || !isSmallFloat(t.b))) {
    d.invalid("A kind of product is for factors of 8, 6 and 4 bits.");
  }
  if (kind >= 2) {
    if (t.a != Element::e2m1 || t.b != Element::e2m1) d.invalid("This kind needs factors of e2m1.");
    t.a = t.b = Element::e2m1_packed;
  }
  if (!scaled) return;
  int given = m.takeOneOf({"scale_vec::1X", "scale_vec::2X", "scale_vec::4X"});
  if (given < 0 && kind < 3) given = kind - 1;
  site.scales = given < 0 ? 0 : static_cast<uint8_t>(1u << given);
  int type = m.takeOneOf({"ue8m0", "ue4m3"});
  if (type < 0) d.invalid("The type of the scales is missing.");
  site.scales_e4m3 = type == 1;
  bool fits = kind == 1 ? given == 0 : kind == 2 ? given == 1 : given >= 1;
  if (!fits || (site.scales_e4m3 && (kind != 3 || given != 2))) {
    d.invalid("This kind of product does not have scales of this size and type.");
  }
}

ScaleForm scaleOf(FunctionDecoder& d, size_t first) {
  Operand data = d.operand(first);
  const Operand& selector = d.operand(first + 1);
  if (data.kind == Operand::Kind::vector && data.items.size() == 1) {
    Operand only = data.items[0];
    data = std::move(only);
  }
  if (selector.kind != Operand::Kind::vector || selector.items.size() != 2) {
    d.invalid("A byte and a thread in braces are needed to choose the scales.");
  }
  return {d.source(data, Type::b32), d.source(selector.items[0], Type::b16),
          d.source(selector.items[1], Type::b16)};
}

// A is sparse; its metadata and the selector are operands 4 and 5.
void takeSparseForm(FunctionDecoder& d, MatrixSite& site, Element element) {
  uint32_t bits = bitsOf(element);
  uint32_t chunk = element == Element::tf32 ? 2 : bits == 4 ? 8 : 4;
  if (site.m != 16 || bits > 32 || bits < 4) d.invalid("This product cannot be sparse.");
  // Each four lanes have the bits of two rows.
  uint32_t registers = 2 * (site.k / chunk) * 4 / 32;
  bool two_rows = bits >= 16;
  if (registers == 0 || registers > 4 || (two_rows ? registers > 2 : registers < 2)) {
    d.invalid("Sparse products do not have this shape.");
  }
  const Operand& selector = d.operand(5);
  if (selector.kind != Operand::Kind::integer || selector.value < 0 ||
      selector.value >= 4 / registers) {
    d.invalid("The sparsity selector of this shape is a constant from 0 to " +
              std::to_string(4 / registers - 1) + ".");
  }
  site.sparse.chunk = static_cast<uint8_t>(chunk);
  site.sparse.first_lane = static_cast<uint8_t>(selector.value * registers);
  site.sparse.two_rows = two_rows;
  site.sparse.metadata = d.source(d.operand(4), Type::b32);
}

void decodeMma(FunctionDecoder& d, Modifiers& m) {
  bool sparse = m.takeOneOf({"sp", "sp::ordered_metadata"}) >= 0;
  m.take("sync");
  m.take("aligned");
  const Shape& shape = takeShape(d, m);
  int layout_a = m.takeOneOf({"row", "col"}), layout_b = m.takeOneOf({"row", "col"});
  ProductTypes t = takeProductTypes(d, m);
  checkProductTypes(d, t);
  MatrixSite site;
  site.m = shape.m;
  site.n = shape.n;
  site.k = shape.k;
  takeScaling(d, m, site, t);
  takeProductFlags(d, m, site, t);
  size_t operands = 4 + (sparse ? 2 : 0) + (site.scales != 0 ? 4 : 0);
  d.needOperands(operands, operands);
  bool quads = shape.name == "m8n8k4" && t.a == Element::f16;
  if (shape.n != 8) d.unsupported("this shape is not supported.");
  if (!quads && (layout_a != 0 || layout_b != 1)) d.invalid("The layouts are not .row.col.");
  site.batch = quads ? 4 : 1;
  if (sparse) takeSparseForm(d, site, t.a);
  if (site.scales != 0) {
    site.scale_a = scaleOf(d, sparse ? 6 : 4);
    site.scale_b = scaleOf(d, sparse ? 8 : 6);
  }
  uint32_t k_of_a = sparse ? site.k / 2 : site.k;
  auto a = [&](uint32_t l, uint32_t k) {
    return quads ? quadFactorPlace(true, layout_a == 0, l, k)
                 : factorPlace(true, site.m, bitsOf(t.a), l, k);
  };
  auto b = [&](uint32_t l, uint32_t k) {
    return quads ? quadFactorPlace(false, layout_b == 0, l, k)
                 : factorPlace(false, site.k, bitsOf(t.b), l, k);
  };
  auto sum = [&](Element element) {
    return [quads, element](uint32_t l, uint32_t k) {
      return quads ? quadSumPlace(element, l, k) : sumPlace(l, k);
    };
  };
  buildFragment(d, site.a, t.a, d.operand(1), false, site.m, k_of_a, site.batch, a);
  buildFragment(d, site.b, t.b, d.operand(2), false, site.k, site.n, site.batch, b);
  buildFragment(d, site.c, t.c, d.operand(3), false, site.m, site.n, site.batch, sum(t.c));
  buildFragment(d, site.d, t.d, d.operand(0), true, site.m, site.n, site.batch, sum(t.d));
  emitMatrix(d, op::matrixMultiply, site, nullptr);
}

// The matrix `which` ('a', 'b', 'c' or 'd') of a wmma shape.
void buildWmma(FunctionDecoder& d, Fragment& f, char which, const MatrixSite& site, Element element,
               const Operand& operand, bool written) {
  uint32_t rows = which == 'b' ? site.k : site.m, columns = which == 'a' ? site.k : site.n;
  size_t count = operand.kind == Operand::Kind::vector ? operand.items.size() : 1;
  uint32_t bits = bitsOf(element);
  uint32_t per_lane = static_cast<uint32_t>(count) * (bits >= 32 ? 1 : 32 / bits);
  bool is_sum = which == 'c' || which == 'd';
  buildFragment(d, f, element, operand, written, rows, columns, 1, [&](uint32_t l, uint32_t k) {
    return wmmaPlace(rows, columns, per_lane, is_sum, l, k);
  });
}

void decodeWmma(FunctionDecoder& d, Modifiers& m) {
  int what = m.takeOneOf({"load", "store", "mma"});
  if (what < 0) d.invalid("'wmma' needs .load, .store or .mma.");
  MatrixSite site;
  int which = what == 2 ? -1 : m.takeOneOf({"a", "b", "c", "d"});
  if (what != 2 && which < 0) d.invalid("'wmma' does not say which matrix it moves.");
  m.take("sync");
  m.take("aligned");
  int layout = m.takeOneOf({"row", "col"});
  if (what == 2) m.takeOneOf({"row", "col"});
  const Shape& shape = takeShape(d, m);
  site.m = shape.m;
  site.n = shape.n;
  site.k = shape.k;
  site.by_column = layout == 1;
  if (what == 2) {
    ProductTypes t = takeProductTypes(d, m);
    checkProductTypes(d, t);
    takeProductFlags(d, m, site, t);
    d.needOperands(4, 4);
    buildWmma(d, site.a, 'a', site, t.a, d.operand(1), false);
    buildWmma(d, site.b, 'b', site, t.b, d.operand(2), false);
    buildWmma(d, site.c, 'c', site, t.c, d.operand(3), false);
    buildWmma(d, site.d, 'd', site, t.d, d.operand(0), true);
    return emitMatrix(d, op::matrixMultiply, site, nullptr);
  }
  int space = m.takeOneOf({"global", "shared", "shared::cta", "shared::cluster"});
  Element element = takeElement(m);
  if (element == Element::none) d.invalid("'wmma' needs a type.");
  d.needOperands(2, 3);
  bool load = what == 0;
  AddressOperand address =
      d.address(d.operand(load ? 1 : 0), space <= 0 ? Space::generic : Space::shared);
  buildWmma(d, site.d, "abcd"[which], site, element, d.operand(load ? 0 : 1), load);
  uint32_t rows = site.d.elements / site.d.columns;
  site.stride = d.in().operands.size() > 2
                    ? d.source(d.operand(2), Type::b32)
                    : d.context().constants.value(site.by_column ? rows : site.d.columns, 4);
  emitMatrix(d, load ? op::matrixLoad : op::matrixStore, site, &address);
}

constexpr DecodeEntry kEntries[] = {{"mma", decodeMma}, {"wmma", decodeWmma}};

}  // namespace

std::span<const DecodeEntry> matrixDecoders() {
  return kEntries;
}

}  // namespace farwarp::ptx
