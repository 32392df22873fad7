// Loads, stores, atomics, fences and address conversions.
#include "gpud/device/cpu/ptx/decode_shared.h"

namespace farwarp::ptx {

using ast::Operand;

namespace {

Space takeSpace(Modifiers& m) {
  switch (m.takeOneOf({"global", "const", "shared", "shared::cta", "shared::cluster", "local",
                       "param", "param::entry", "param::func"})) {
    case 0:
      return Space::global;
    case 1:
      return Space::constant;
    case 2:
    case 3:
    case 4:
      return Space::shared;
    case 5:
      return Space::local;
    case 6:
    case 7:
    case 8:
      return Space::param;
    default:
      return Space::generic;
  }
}

// Memory order and scope. Ordinary loads and stores of the host are ordered strongly enough for all
// but fences; true when the access is typical of a loop that waits for another thread.
bool takeOrder(Modifiers& m) {
  int order =
      m.takeOneOf({"weak", "volatile", "relaxed", "acquire", "release", "acq_rel", "mmio", "sc"});
  if (order == 6) m.takeOneOf({"relaxed", "release"});
  m.takeOneOf({"cta", "cluster", "gpu", "sys"});
  return order >= 1 && order != 4;
}

uint32_t takeVector(Modifiers& m) {
  constexpr uint32_t kCounts[] = {2, 4, 8};
  int k = m.takeOneOf({"v2", "v4", "v8"});
  return k < 0 ? 1 : kCounts[k];
}

void emitSpinHint(FunctionDecoder& d) {
  d.emit(op::spinHint);
}

// The registers of a scalar or vector operand, as the load or store handler wants them.
struct Elements {
  Ref refs[8] = {};
  uint32_t reg_bytes = 0;
};

Elements elementsOf(FunctionDecoder& d, const Operand& operand, Type type, uint32_t count,
                    bool load) {
  Elements elements;
  std::vector<const Operand*> list;
  if (operand.kind == Operand::Kind::vector) {
    for (const Operand& item : operand.items) list.push_back(&item);
  } else {
    list.push_back(&operand);
  }
  if (list.size() != count) {
    d.invalid("The access has " + std::to_string(count) + " elements, but " +
              std::to_string(list.size()) + " operands.");
  }
  elements.reg_bytes = sizeOf(type);
  for (const Operand* item : list) {
    uint32_t bytes = sizeOf(d.registerType(*item));
    if (bytes != 0) elements.reg_bytes = bytes;
  }
  if (elements.reg_bytes < sizeOf(type)) d.invalid("A register is smaller than the access.");
  constexpr Type kBits[] = {Type::b8, Type::b16, Type::b32, Type::b64, Type::b128};
  Type reg_type = type;
  for (Type bits : kBits) {
    if (sizeOf(bits) == elements.reg_bytes && sizeOf(type) != elements.reg_bytes) reg_type = bits;
  }
  for (size_t k = 0; k < list.size(); ++k) {
    elements.refs[k] = load ? d.destination(*list[k], reg_type) : d.source(*list[k], reg_type);
  }
  return elements;
}

void emitAccess(FunctionDecoder& d, const AddressOperand& address, const Elements& elements,
                Type type, uint32_t first, uint32_t count, bool load, uint8_t memo) {
  LoadShape shape{sizeOf(type), elements.reg_bytes, isSigned(type), address.resolver,
                  (memo & kMemoReuse) != 0};
  Handler handler = load ? d.executors().load(shape, count) : d.executors().store(shape, count);
  Inst& inst = d.emit(handler);
  inst.a = address.a;
  inst.imm = wrappingSum(address.imm, int64_t{first} * sizeOf(type));
  inst.x = static_cast<uint8_t>(address.resolver);
  inst.memo = memo;
  inst.e = address.index;
  inst.aux = address.scale;
  inst.dst = elements.refs[first];
  inst.b = count > 1 ? elements.refs[first + 1] : inst.dst;
  inst.c = count > 2 ? elements.refs[first + 2] : inst.dst;
  inst.d = count > 2 ? elements.refs[first + 3] : inst.dst;
}

// st.async and red.async: `bytes` bytes of the mbarrier that operand 2 names have come.
void emitSignal(FunctionDecoder& d, uint32_t bytes) {
  AddressOperand barrier = d.address(d.operand(2), Space::shared);
  Ref value = d.context().constants.value(bytes, 4);
  Inst& inst = d.emit(op::mbarrier);
  inst.a = barrier.a;
  inst.imm = barrier.imm;
  inst.x = static_cast<uint8_t>(barrier.resolver);
  inst.aux = op::kMbarrierComplete;
  inst.b = inst.c = value;
}

// st.bulk: zeros into shared memory.
void decodeBulkStore(FunctionDecoder& d, Modifiers& m) {
  m.take("weak");
  Space space = m.takeOneOf({"shared", "shared::cta"}) >= 0 ? Space::shared : Space::generic;
  d.needOperands(3, 3);
  if (d.operand(2).kind != Operand::Kind::integer || d.operand(2).value != 0) {
    d.invalid("'st.bulk' stores zeros only.");
  }
  AddressOperand address = d.address(d.operand(0), space);
  Ref size = d.source(d.operand(1), Type::u64);
  Inst& inst = d.emit(op::zeroBulk);
  inst.a = address.a;
  inst.imm = address.imm;
  inst.x = static_cast<uint8_t>(address.resolver);
  inst.b = size;
}

void decodeLoadStore(FunctionDecoder& d, Modifiers& m) {
  bool load = d.in().opcode != "st";
  if (!load && m.take("bulk")) return decodeBulkStore(d, m);
  bool waits = takeOrder(m) && load;
  Space space = takeSpace(m);
  m.takeCacheHints();
  m.take("unified");
  m.take("async");
  uint32_t count = takeVector(m);
  Type type = m.needType();
  bool signals = !load && m.take("mbarrier::complete_tx::bytes");  // st.async
  d.needOperands(signals ? 3 : 2, 3);
  if (waits) emitSpinHint(d);
  AddressOperand address = d.address(d.operand(load ? 1 : 0), space);
  Elements elements = elementsOf(d, d.operand(load ? 0 : 1), type, count, load);
  if (count == 8) {
    emitAccess(d, address, elements, type, 0, 4, load, 0);
    emitAccess(d, address, elements, type, 4, 4, load, 0);
  } else {
    uint8_t memo = d.memoOf(d.operand(load ? 1 : 0), sizeOf(type) * count);
    emitAccess(d, address, elements, type, 0, count, load, memo);
  }
  if (signals) emitSignal(d, sizeOf(type) * count);
}

void decodeAtomic(FunctionDecoder& d, Modifiers& m) {
  bool returns = d.in().opcode == "atom", async = !returns && m.take("async");
  bool signals = async && m.take("mbarrier::complete_tx::bytes");
  takeOrder(m);
  Space space = takeSpace(m);
  m.takeCacheHints();
  constexpr std::pair<std::string_view, op::AtomicOp> kOps[] = {
      {"add", op::AtomicOp::add},   {"min", op::AtomicOp::min},  {"max", op::AtomicOp::max},
      {"inc", op::AtomicOp::inc},   {"dec", op::AtomicOp::dec},  {"cas", op::AtomicOp::cas},
      {"exch", op::AtomicOp::exch}, {"and", op::AtomicOp::and_}, {"or", op::AtomicOp::or_},
      {"xor", op::AtomicOp::xor_},
  };
  const std::pair<std::string_view, op::AtomicOp>* found = nullptr;
  for (const auto& entry : kOps) {
    if (m.take(entry.first)) found = &entry;
  }
  if (found == nullptr) d.invalid("The atomic operation is missing.");
  m.take("noftz");
  uint32_t count = takeVector(m);
  Type type = m.needType();
  bool cas = found->second == op::AtomicOp::cas;
  size_t first = returns ? 1 : 0, needed = first + (cas || signals ? 3 : 2);
  d.needOperands(needed, needed + 1);
  AddressOperand address = d.address(d.operand(first), space);
  bool wants = returns && d.operand(0).kind != Operand::Kind::sink;
  std::vector<Operand> sources{d.operand(first + 1)}, targets{d.operand(0)};
  if (count > 1) {  // one after the other: vectors are not updated as a whole
    sources = d.operand(first + 1).items;
    targets = d.operand(0).items;
    if (cas || sources.size() != count || (wants && targets.size() != count)) {
      d.invalid("A vector has the wrong number of elements.");
    }
  }
  for (uint32_t k = 0; k < count; ++k) {
    Ref b = d.source(sources[k], type), c = cas ? d.source(d.operand(first + 2), type) : b;
    Ref dst = wants ? d.destination(targets[k], type) : 0;
    Inst& inst = d.emit(op::atomicHandler(found->second, type, wants));
    inst.dst = dst;
    inst.a = address.a;
    inst.imm = wrappingSum(address.imm, int64_t{k} * sizeOf(type));
    inst.x = static_cast<uint8_t>(address.resolver);
    inst.b = b;
    inst.c = c;
    inst.y = wants ? 0 : 1;
    inst.aux = space == Space::global ? 1 : space == Space::generic ? 2 : 0;
  }
  if (signals) emitSignal(d, sizeOf(type) * count);
}

void decodeFence(FunctionDecoder& d, Modifiers& m) {
  while (m.takeOneOf({"cta",
                      "gl",
                      "sys",
                      "gpu",
                      "cluster",
                      "sc",
                      "acq_rel",
                      "acquire",
                      "release",
                      "proxy",
                      "alias",
                      "async",
                      "async::generic",
                      "mbarrier_init",
                      "global",
                      "sync_restrict::shared::cta",
                      "sync_restrict::shared::cluster",
                      "async.global",
                      "shared::cta",
                      "shared::cluster",
                      "tensormap::generic",
                      "relaxed"}) >= 0) {
  }
  d.emit(op::fence);
}

void decodePrefetch(FunctionDecoder& d, Modifiers& m) {
  takeSpace(m);
  while (m.takeOneOf({"L1", "L2", "tensormap", "L2::evict_last", "L2::evict_normal", "L2::128B",
                      "L2::cache_hint", "L2::fractional", "range", "L2::evict_first",
                      "L2::evict_unchanged", "b64"}) >= 0) {
  }
  d.emit(op::nothing);
}

void decodeCreatePolicy(FunctionDecoder& d, Modifiers& m) {
  while (m.takeOneOf({"fractional", "range", "cvt", "L2", "L2::evict_last", "L2::evict_normal",
                      "L2::evict_first", "L2::evict_unchanged", "global", "b64"}) >= 0) {
  }
  Ref dst = d.destination(d.operand(0), Type::b64);
  Inst& inst = d.emit(d.executors().integer(IntOp::mov, Type::b64));
  inst.dst = dst;
  inst.a = d.context().constants.value(0, 8);
}

void decodeCvta(FunctionDecoder& d, Modifiers& m) {
  bool to = m.take("to");
  Space space = takeSpace(m);
  Type type = m.needType();
  if (sizeOf(type) != 8) d.unsupported("only 64-bit generic addresses are supported.");
  d.needOperands(2, 2);
  Ref a = d.source(d.operand(1), type), dst = d.destination(d.operand(0), type);
  bool device_param = space == Space::param && !d.function().is_entry;
  bool moves = space != Space::shared && space != Space::local && !device_param;
  Inst& inst = d.emit(moves ? d.executors().integer(IntOp::mov, type) : op::convertAddress);
  inst.dst = dst;
  inst.a = a;
  inst.x = to;
  inst.y = space == Space::shared;
}

void decodeIsspacep(FunctionDecoder& d, Modifiers& m) {
  Space space = takeSpace(m);
  d.needOperands(2, 2);
  Ref a = d.source(d.operand(1), Type::b64), dst = d.destinationPredicate(d.operand(0));
  Inst& inst = d.emit(op::isSpace);
  inst.dst = dst;
  inst.a = a;
  inst.x = static_cast<uint8_t>(space);
}

constexpr DecodeEntry kEntries[] = {
    {"ld", decodeLoadStore},       {"ldu", decodeLoadStore},
    {"st", decodeLoadStore},       {"atom", decodeAtomic},
    {"red", decodeAtomic},         {"membar", decodeFence},
    {"fence", decodeFence},        {"prefetch", decodePrefetch},
    {"prefetchu", decodePrefetch}, {"applypriority", decodePrefetch},
    {"discard", decodePrefetch},   {"createpolicy", decodeCreatePolicy},
    {"cvta", decodeCvta},          {"isspacep", decodeIsspacep},
};

}  // namespace

std::span<const DecodeEntry> memoryDecoders() {
  return kEntries;
}

}  // namespace farwarp::ptx
