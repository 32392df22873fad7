// Copies between tensors and shared memory, and changes of tensor maps.
#include "gpud/device/cpu/ptx/decode_shared.h"

namespace farwarp::ptx {
namespace {

using ast::Operand;

void setAddress(Inst& inst, const AddressOperand& address) {
  inst.a = address.a;
  inst.imm = address.imm;
  inst.x = static_cast<uint8_t>(address.resolver);
}

// The address of the map in [map, {coordinates}].
AddressOperand mapAddress(FunctionDecoder& d, const Operand& operand) {
  if (operand.kind != Operand::Kind::address || operand.items.size() != 2) {
    d.invalid("A tensor map and coordinates in brackets are needed.");
  }
  Operand map = operand;
  map.items.resize(1);
  return d.address(map, Space::generic);
}

void takeList(FunctionDecoder& d, const Operand& operand, Ref* refs, size_t count, Type type) {
  std::vector<Operand> list;
  if (operand.kind == Operand::Kind::vector) {
    list = operand.items;
  } else {
    list.push_back(operand);
  }
  if (list.size() != count) d.invalid("A vector has the wrong number of elements.");
  for (size_t k = 0; k < count; ++k) {
    if (type != Type::u16) {
      refs[k] = d.source(list[k], type);
      continue;
    }
    refs[k] = d.temporary(4);
    d.emitConvert(refs[k], Type::u32, d.source(list[k], Type::u16), Type::u16);
  }
}

void takeMode(FunctionDecoder& d, Modifiers& m, TensorSite& site, bool loads) {
  const int mode = m.takeOneOf({"tile", "im2col", "im2col_no_offs", "tile::gather4",
                                "tile::scatter4", "im2col::w", "im2col::w::128"});
  if (mode > 4) d.unsupported("this mode of copies of tensors is not supported.");
  site.im2col = mode == 1 || mode == 2;
  site.picks_rows = mode > 2;
  if (site.picks_rows && site.rank != 2) d.invalid("Rows are picked from two dimensions.");
  if (site.picks_rows && (mode == 3) != loads) d.invalid("Loads gather, and stores scatter.");
  if (site.im2col && site.rank < 3) d.invalid("An im2col copy needs at least three dimensions.");
}

int takeReductionOp(FunctionDecoder& d, Modifiers& m) {
  constexpr op::AtomicOp kOps[] = {op::AtomicOp::add, op::AtomicOp::min, op::AtomicOp::max,
                                   op::AtomicOp::inc, op::AtomicOp::dec, op::AtomicOp::and_,
                                   op::AtomicOp::or_, op::AtomicOp::xor_};
  const int which = m.takeOneOf({"add", "min", "max", "inc", "dec", "and", "or", "xor"});
  if (which < 0) d.invalid("'cp.reduce' needs an operation.");
  return static_cast<int>(kOps[which]);
}

// Which operands a copy has, besides the three of a load or the two of a store.
struct Extras {
  bool signals = false, offsets = false, multicasts = false, hinted = false;
};

void emitCopy(FunctionDecoder& d, TensorSite site, Extras extras) {
  const bool loads = site.kind == TensorSite::Kind::load;
  const Operand& tensor = d.operand(loads ? 1 : 0);
  const AddressOperand map = mapAddress(d, tensor);
  takeList(d, tensor.items[1], site.at, site.picks_rows ? 5 : site.rank, Type::b32);
  const AddressOperand shared = d.address(d.operand(loads ? 0 : 1), Space::shared);
  const AddressOperand barrier = extras.signals ? d.address(d.operand(2), Space::shared) : shared;
  size_t next = loads ? 3 : 2;
  if (extras.offsets) {
    takeList(d, d.operand(next++), site.offset, site.rank - 2, Type::u16);
    site.has_offset = true;
  }
  if (extras.multicasts) {
    takeList(d, d.operand(next), &site.targets, 1, Type::u16);
    site.multicasts = true;
  }
  site.signals = extras.signals;
  TensorSite& kept = d.context().code.tensor_sites.emplace_back(site);
  d.enterGuard();
  d.emit(op::nothing).imm = reinterpret_cast<int64_t>(&kept);
  setAddress(d.emit(op::nothing), map);
  setAddress(d.emit(op::nothing), barrier);
  setAddress(d.emit(op::copyTensor), shared);
  d.leaveGuard();
}

}  // namespace

void decodeTensorCopy(FunctionDecoder& d, Modifiers& m, bool reduces) {
  TensorSite site;
  const bool prefetches = m.take("prefetch");
  const int rank = m.takeOneOf({"1d", "2d", "3d", "4d", "5d"});
  if (rank < 0) d.invalid("The number of dimensions is missing.");
  site.rank = static_cast<uint8_t>(rank + 1);
  if (prefetches) {
    takeMode(d, m, site, true);
    m.take("L2");
    m.take("global");
    m.takeCacheHints();
    d.emit(op::nothing);
    return;
  }
  const int first = m.takeOneOf({"shared::cluster", "shared::cta", "global"});
  const int second = m.takeOneOf({"shared::cluster", "shared::cta", "global"});
  if (first < 0 || second < 0 || (first == 2) == (second == 2)) {
    d.invalid("A copy of a tensor needs global and shared memory.");
  }
  takeMode(d, m, site, first != 2);
  if (m.takeOneOf({"cta_group::1", "cta_group::2"}) >= 0) {
    d.unsupported("pairs of blocks are not supported.");
  }
  const bool loads = first != 2;
  Extras extras;
  extras.signals = m.take("mbarrier::complete_tx::bytes");
  extras.offsets = loads && site.im2col;
  extras.multicasts = m.take("multicast::cluster");
  extras.hinted = m.has("L2::cache_hint");
  m.take("bulk_group");
  m.takeCacheHints();
  if (loads != extras.signals || (reduces && loads) || (extras.multicasts && !loads)) {
    d.invalid("This copy of a tensor does not exist.");
  }
  site.kind = loads     ? TensorSite::Kind::load
              : reduces ? TensorSite::Kind::reduce
                        : TensorSite::Kind::store;
  if (reduces) site.reduction = static_cast<uint8_t>(takeReductionOp(d, m));
  const size_t needed = (loads ? 3 : 2) + (extras.offsets ? 1 : 0) + (extras.multicasts ? 1 : 0) +
                        (extras.hinted ? 1 : 0);
  d.needOperands(needed, needed);
  emitCopy(d, site, extras);
}

namespace {

Space takeMapSpace(Modifiers& m) {
  return m.takeOneOf({"global", "shared::cta", "shared"}) >= 1 ? Space::shared : Space::generic;
}

// tensormap.replace and tensormap.cp_fenceproxy.
void decodeTensorMap(FunctionDecoder& d, Modifiers& m) {
  if (m.take("cp_fenceproxy")) {
    m.take("global");
    m.takeOneOf({"shared::cta", "shared"});
    m.take("tensormap::generic");
    m.take("release");
    m.takeOneOf({"cta", "cluster", "gpu", "sys"});
    m.take("sync");
    m.take("aligned");
    d.needOperands(3, 3);
    if (d.operand(2).kind != Operand::Kind::integer || d.operand(2).value != 128) {
      d.invalid("A tensor map has 128 bytes.");
    }
    const AddressOperand to = d.address(d.operand(0), Space::global);
    const AddressOperand from = d.address(d.operand(1), Space::shared);
    d.enterGuard();
    setAddress(d.emit(op::nothing), from);
    setAddress(d.emit(op::copyTensorMap), to);
    d.leaveGuard();
    return;
  }
  if (!m.take("replace")) d.invalid("'tensormap' needs an operation.");
  m.take("tile");
  const int field =
      m.takeOneOf({"global_address", "rank", "box_dim", "global_dim", "global_stride",
                   "element_stride", "elemtype", "interleave_layout", "swizzle_mode", "fill_mode"});
  if (field < 0) d.unsupported("this field of a tensor map is not supported.");
  const Space space = takeMapSpace(m);
  m.take("b1024");
  const Type type = m.needType();
  const bool numbered = field >= 2 && field <= 5;
  d.needOperands(numbered ? 3 : 2, numbered ? 3 : 2);
  const AddressOperand address = d.address(d.operand(0), space);
  uint8_t number = 0;
  if (numbered) {
    const Operand& which = d.operand(1);
    if (which.kind != Operand::Kind::integer || which.value < 0 || which.value > 4) {
      d.invalid("The number of a dimension is a constant from 0 to 4.");
    }
    number = static_cast<uint8_t>(which.value);
  }
  const Ref value = d.source(d.operand(numbered ? 2 : 1), type);
  Inst& inst = d.emit(op::replaceInTensorMap);
  setAddress(inst, address);
  inst.b = value;
  inst.d = sizeOf(type);
  inst.aux = static_cast<uint16_t>(field);
  inst.y = number;
}

constexpr DecodeEntry kEntries[] = {{"tensormap", decodeTensorMap}};

}  // namespace

std::span<const DecodeEntry> tensorDecoders() {
  return kEntries;
}

}  // namespace farwarp::ptx
