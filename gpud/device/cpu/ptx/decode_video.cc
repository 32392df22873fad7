// Video instructions, scalar and SIMD.
#include "gpud/device/cpu/ptx/decode_shared.h"

namespace farwarp::ptx {

using ast::Operand;

namespace {

struct VideoName {
  std::string_view name;
  op::VideoOp op;
};
constexpr VideoName kNames[] = {
    {"vadd", op::kVideoAdd},       {"vsub", op::kVideoSub},        {"vabsdiff", op::kVideoAbsdiff},
    {"vmin", op::kVideoMin},       {"vmax", op::kVideoMax},        {"vavrg", op::kVideoAverage},
    {"vshl", op::kVideoShiftLeft}, {"vshr", op::kVideoShiftRight}, {"vmad", op::kVideoMad},
    {"vset", op::kVideoSet},
};

// ".b2" or ".h1" of a scalar operand as bytes << 4 | part.
uint8_t takeSelector(FunctionDecoder& d, const Operand& operand) {
  std::string_view text = operand.selector;
  if (text.empty()) return 4 << 4;
  bool byte = text[0] == 'b';
  uint32_t part = static_cast<uint32_t>(text[1] - '0'), count = byte ? 4 : 2;
  if (text.size() != 2 || part >= count) {
    d.invalid("The part '." + std::string(text) + "' of an operand does not exist.");
  }
  return static_cast<uint8_t>((byte ? 1 : 2) << 4 | part);
}

// The digits of ".b7654" or ".h32", the highest part first, each below `limit`.
uint32_t takeDigits(FunctionDecoder& d, std::string_view text, uint32_t parts, uint32_t usual) {
  if (text.empty()) return usual;
  if (text.size() != parts + 1 || text[0] != (parts == 4 ? 'b' : 'h')) {
    d.invalid("The parts '." + std::string(text) + "' do not fit the instruction.");
  }
  uint32_t digits = 0;
  for (uint32_t k = 0; k < parts; ++k) {
    uint32_t digit = static_cast<uint32_t>(text[k + 1] - '0');
    if (digit >= 2 * parts) d.invalid("A part of an operand does not exist.");
    digits = digits << 4 | digit;
  }
  return digits;
}

uint8_t takeMask(FunctionDecoder& d, std::string_view text, uint32_t parts) {
  if (text.empty()) return static_cast<uint8_t>((1u << parts) - 1);
  uint8_t mask = 0;
  for (char c : text.substr(1)) {
    uint32_t part = static_cast<uint32_t>(c - '0');
    if (part >= parts) d.invalid("A part of the destination does not exist.");
    mask = static_cast<uint8_t>(mask | 1u << part);
  }
  return mask;
}

bool takeSign(FunctionDecoder& d, Modifiers& m) {
  int k = m.takeOneOf({"u32", "s32"});
  if (k < 0) d.invalid("The types .u32 or .s32 of the operands are needed.");
  return k == 1;
}

void takeForm(FunctionDecoder& d, Modifiers& m, op::VideoForm& form) {
  if (form.op == op::kVideoSet) {
    form.sign_a = takeSign(d, m);
    form.sign_b = takeSign(d, m);
    int k = m.takeOneOf({"eq", "ne", "lt", "le", "gt", "ge"});
    if (k < 0) d.invalid("'vset' needs a comparison.");
    form.compare = static_cast<uint8_t>(k);
    return;
  }
  form.sign_d = takeSign(d, m);
  form.sign_a = takeSign(d, m);
  form.sign_b = takeSign(d, m);
  form.saturates = m.take("sat");
  if (form.op == op::kVideoShiftLeft || form.op == op::kVideoShiftRight) {
    form.wraps = m.takeOneOf({"clamp", "wrap"}) == 1;
  }
  if (form.op == op::kVideoMad) {
    form.plus_one = m.take("po");
    form.saturates |= m.take("sat");
    int shift = m.takeOneOf({"shr7", "shr15"});
    form.shift = shift < 0 ? 0 : shift == 0 ? 7 : 15;
  }
}

void decodeVideo(FunctionDecoder& d, Modifiers& m) {
  std::string_view name = d.in().opcode;
  op::VideoForm form;
  if (name.back() == '2' || name.back() == '4') {
    form.parts = static_cast<uint8_t>(name.back() - '0');
    name.remove_suffix(1);
  }
  for (const VideoName& entry : kNames) {
    if (entry.name == name) form.op = entry.op;
  }
  takeForm(d, m, form);
  bool mad = form.op == op::kVideoMad;
  int second = mad ? -1 : m.takeOneOf({"add", "min", "max"});
  bool simd = form.parts > 1;
  if (simd && second > 0) d.invalid("SIMD video instructions accumulate with .add only.");
  const Operand& target = d.operand(0);
  bool merges = !simd && !target.selector.empty();
  bool has_c = simd || mad || second >= 0 || merges;
  d.needOperands(has_c ? 4 : 3, has_c ? 4 : 3);
  form.second = merges        ? op::kVideoMerge
                : second == 0 ? op::kVideoAccumulate
                : second == 1 ? op::kVideoThenMin
                : second == 2 ? op::kVideoThenMax
                              : op::kVideoNone;
  if (simd) {
    bool bytes = form.parts == 4;
    form.mask = takeMask(d, target.selector, form.parts);
    form.pick_a = takeDigits(d, d.operand(1).selector, form.parts, bytes ? 0x3210 : 0x10);
    form.pick_b = takeDigits(d, d.operand(2).selector, form.parts, bytes ? 0x7654 : 0x32);
  } else {
    form.select[0] = takeSelector(d, target);
    form.select[1] = takeSelector(d, d.operand(1));
    form.select[2] = takeSelector(d, d.operand(2));
  }
  Operand operands[3] = {d.operand(1), d.operand(2), has_c ? d.operand(3) : d.operand(1)};
  if (mad) {
    form.minus_product = operands[0].minus != operands[1].minus;
    form.minus_c = operands[2].minus;
    const bool any = operands[0].minus || operands[1].minus || form.minus_c;
    if ((form.minus_product && form.minus_c) || (form.plus_one && any)) {
      d.invalid("'vmad' negates either the product or the third operand, and not with .po.");
    }
    for (Operand& operand : operands) operand.minus = false;
  }
  Ref a = d.source(operands[0], Type::b32), b = d.source(operands[1], Type::b32);
  Ref c = d.source(operands[2], Type::b32);
  Ref dst = d.destination(target, Type::b32);
  op::VideoForm& kept = d.context().code.video_forms.emplace_back(form);
  Inst& inst = d.emit(op::video);
  inst.dst = dst;
  inst.a = a;
  inst.b = b;
  inst.c = c;
  inst.imm = reinterpret_cast<int64_t>(&kept);
}

constexpr DecodeEntry kEntries[] = {
    {"vadd", decodeVideo},      {"vsub", decodeVideo},  {"vabsdiff", decodeVideo},
    {"vmin", decodeVideo},      {"vmax", decodeVideo},  {"vshl", decodeVideo},
    {"vshr", decodeVideo},      {"vmad", decodeVideo},  {"vset", decodeVideo},
    {"vadd2", decodeVideo},     {"vsub2", decodeVideo}, {"vabsdiff2", decodeVideo},
    {"vmin2", decodeVideo},     {"vmax2", decodeVideo}, {"vavrg2", decodeVideo},
    {"vset2", decodeVideo},     {"vadd4", decodeVideo}, {"vsub4", decodeVideo},
    {"vabsdiff4", decodeVideo}, {"vmin4", decodeVideo}, {"vmax4", decodeVideo},
    {"vavrg4", decodeVideo},    {"vset4", decodeVideo},
};

}  // namespace

std::span<const DecodeEntry> videoDecoders() {
  return kEntries;
}

}  // namespace farwarp::ptx
