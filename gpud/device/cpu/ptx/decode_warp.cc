// Operations of the lanes of a warp together, and barriers.
#include "gpud/device/cpu/ptx/decode_shared.h"

namespace farwarp::ptx {

using ast::Operand;

namespace {

void decodeShfl(FunctionDecoder& d, Modifiers& m) {
  bool sync = m.take("sync");
  int mode = m.takeOneOf({"up", "down", "bfly", "idx"});
  Type type = m.needType();
  if (mode < 0) d.invalid("'shfl' needs a mode.");
  d.needOperands(sync ? 5 : 4, sync ? 5 : 4);
  const Operand& target = d.operand(0);
  Ref a = d.source(d.operand(1), type), b = d.source(d.operand(2), Type::b32);
  Ref c = d.source(d.operand(3), Type::b32);
  Ref members = sync ? d.source(d.operand(4), Type::b32) : d.context().constants.value(0, 4);
  Ref dst = d.destination(target, type);
  Ref p = target.pair >= 0 ? d.destinationPredicate(d.pairOf(target)) : kNone;
  d.enterGuard();
  Inst& inst = d.emit(op::shuffle);
  inst.dst = dst;
  inst.a = a;
  inst.b = b;
  inst.c = c;
  inst.d = members;
  inst.e = p;
  inst.aux = static_cast<uint16_t>(mode);
  d.leaveGuard();
}

void decodeVote(FunctionDecoder& d, Modifiers& m) {
  bool sync = m.take("sync");
  int mode = m.takeOneOf({"all", "any", "uni", "ballot"});
  m.needType();
  if (mode < 0) d.invalid("'vote' needs a mode.");
  if (!sync) d.unsupported("votes without .sync are not supported.");
  d.needOperands(3, 3);
  Ref a = d.sourcePredicate(d.operand(1)), members = d.source(d.operand(2), Type::b32);
  Ref dst =
      mode == 3 ? d.destination(d.operand(0), Type::b32) : d.destinationPredicate(d.operand(0));
  d.enterGuard();
  Inst& inst = d.emit(op::vote);
  inst.dst = dst;
  inst.a = a;
  inst.b = members;
  inst.x = d.operand(1).negated;
  inst.aux = static_cast<uint16_t>(mode);
  d.leaveGuard();
}

void decodeMatch(FunctionDecoder& d, Modifiers& m) {
  bool all = m.takeOneOf({"any", "all"}) == 1;
  m.take("sync");
  Type type = m.needType();
  d.needOperands(3, 3);
  const Operand& target = d.operand(0);
  Ref a = d.source(d.operand(1), type), members = d.source(d.operand(2), Type::b32);
  Ref dst = d.destination(target, Type::b32);
  Ref p = target.pair >= 0 ? d.destinationPredicate(d.pairOf(target)) : kNone;
  d.enterGuard();
  Inst& inst = d.emit(op::match);
  inst.dst = dst;
  inst.a = a;
  inst.b = members;
  inst.e = p;
  inst.aux = static_cast<uint16_t>(sizeOf(type));
  inst.x = all;
  d.leaveGuard();
}

void decodeRedux(FunctionDecoder& d, Modifiers& m) {
  m.take("sync");
  int which = m.takeOneOf({"add", "and", "or", "xor", "min", "max"});
  bool absolute = m.take("abs"), nan = m.take("NaN");
  Type type = m.needType();
  if (which < 0) d.invalid("'redux' needs an operation.");
  uint16_t aux = static_cast<uint16_t>(which);
  if (which >= 4) {
    bool max = which == 5;
    aux = type == Type::f32   ? (max ? op::kReduxMaxF : op::kReduxMinF)
          : type == Type::s32 ? (max ? op::kReduxMaxS : op::kReduxMinS)
                              : (max ? op::kReduxMaxU : op::kReduxMinU);
  }
  d.needOperands(3, 3);
  Ref a = d.source(d.operand(1), type), members = d.source(d.operand(2), Type::b32);
  Ref dst = d.destination(d.operand(0), type);
  d.enterGuard();
  Inst& inst = d.emit(op::redux);
  inst.dst = dst;
  inst.a = a;
  inst.b = members;
  inst.aux = aux;
  inst.x = absolute;
  inst.y = nan;
  d.leaveGuard();
}

void decodeActivemask(FunctionDecoder& d, Modifiers& m) {
  m.needType();
  d.needOperands(1, 1);
  Ref dst = d.destination(d.operand(0), Type::b32);
  d.emit(op::activeMask).dst = dst;
}

void decodeElect(FunctionDecoder& d, Modifiers& m) {
  m.take("sync");
  d.needOperands(2, 2);
  const Operand& target = d.operand(0);
  if (target.pair < 0) d.invalid("'elect' needs two destinations.");
  Ref members = d.source(d.operand(1), Type::b32);
  Ref dst = d.destination(target, Type::b32), p = d.destinationPredicate(d.pairOf(target));
  d.enterGuard();
  Inst& inst = d.emit(op::elect);
  inst.dst = dst;
  inst.b = members;
  inst.e = p;
  d.leaveGuard();
}

void decodeClusterBarrier(FunctionDecoder& d, Modifiers& m) {
  int what = m.takeOneOf({"arrive", "wait"});
  while (m.takeOneOf({"acquire", "release", "relaxed", "aligned"}) >= 0) {
  }
  if (what < 0) d.invalid("'barrier.cluster' needs .arrive or .wait.");
  d.enterGuard();
  d.emit(op::clusterBarrier).aux = static_cast<uint16_t>(what + 1);
  d.leaveGuard();
}

void decodeBarrier(FunctionDecoder& d, Modifiers& m) {
  if (m.take("cluster")) return decodeClusterBarrier(d, m);
  m.take("cta");
  if (m.take("warp")) {
    m.take("sync");
    d.needOperands(1, 1);
    Ref members = d.source(d.operand(0), Type::b32);
    d.enterGuard();
    d.emit(op::warpBarrier).b = members;
    d.leaveGuard();
    return;
  }
  int what = m.takeOneOf({"sync", "arrive", "red"});
  if (what < 0) d.invalid("'" + std::string(d.in().opcode) + "' needs .sync, .arrive or .red.");
  m.take("aligned");
  size_t first = 0, last = d.in().operands.size();
  uint16_t aux = static_cast<uint16_t>(what);
  Ref dst = 0, c = 0;
  bool negated = false;
  if (what == 2) {
    int reduction = m.takeOneOf({"popc", "and", "or"});
    m.needType();
    if (reduction < 0) d.invalid("'bar.red' needs an operation.");
    aux = static_cast<uint16_t>(2 + reduction);
    d.needOperands(3, 4);
    first = 1;
    --last;
    dst = reduction == 0 ? d.destination(d.operand(0), Type::b32)
                         : d.destinationPredicate(d.operand(0));
    c = d.sourcePredicate(d.operand(last));
    negated = d.operand(last).negated;
  }
  Ref id = d.source(d.operand(first), Type::b32);
  bool counted = last > first + 1;
  Ref count = counted ? d.source(d.operand(first + 1), Type::b32) : id;
  d.enterGuard();
  Inst& inst = d.emit(op::barrier);
  inst.dst = dst;
  inst.a = id;
  inst.b = count;
  inst.c = c;
  inst.x = counted;
  inst.y = negated;
  inst.aux = aux;
  d.leaveGuard();
}

constexpr DecodeEntry kEntries[] = {
    {"shfl", decodeShfl},
    {"vote", decodeVote},
    {"match", decodeMatch},
    {"redux", decodeRedux},
    {"activemask", decodeActivemask},
    {"elect", decodeElect},
    {"bar", decodeBarrier},
    {"barrier", decodeBarrier},
};

}  // namespace

std::span<const DecodeEntry> warpDecoders() {
  return kEntries;
}

}  // namespace farwarp::ptx
