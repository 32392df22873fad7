// Video instructions on one value, on two halves and on four bytes.
#include <algorithm>

#include "tests/ptx/scalar_oracle.h"

namespace farwarp::ptx {
namespace {

using Signed = __int128;

uint64_t u(const Row& row, size_t n) {
  return static_cast<uint64_t>(row.sources[n]);
}

Signed extended(uint64_t bits, int width, bool is_signed) {
  return is_signed ? Signed{signExtended(bits, width)}
                   : Signed{static_cast<Signed>(lowBits(bits, width))};
}

// A source, or the byte or half of it that its selector names.
Signed partOf(const Instruction& in, const Row& row, size_t source, bool is_signed) {
  const std::string& selector = in.sources[source].selector;
  if (selector.empty()) return extended(u(row, source), 32, is_signed);
  int width = selector[1] == 'b' ? 8 : 16;
  return extended(u(row, source) >> ((selector[2] - '0') * width), width, is_signed);
}

Signed clampTo(Signed v, int bits, bool is_signed) {
  Signed most = (Signed{1} << (bits - (is_signed ? 1 : 0))) - 1;
  return std::clamp(v, is_signed ? -most - 1 : Signed{0}, most);
}

Signed combined(std::string_view op, Signed a, Signed b) {
  Signed sum = a + b;
  if (op == "vadd") return sum;
  if (op == "vsub") return a - b;
  if (op == "vabsdiff") return a < b ? b - a : a - b;
  if (op == "vmin") return std::min(a, b);
  if (op == "vmax") return std::max(a, b);
  return (sum >= 0 ? sum + 1 : sum) >> 1;  // vavrg
}

bool compared(const Instruction& in, Signed a, Signed b) {
  return in.has("eq")   ? a == b
         : in.has("ne") ? a != b
         : in.has("lt") ? a < b
         : in.has("le") ? a <= b
         : in.has("gt") ? a > b
                        : a >= b;
}

Answer give(Signed v) {
  Answer answer;
  answer.destinations[0] = lowBits(static_cast<uint64_t>(v), 32);
  return answer;
}

Answer scalar(const Instruction& in, const Row& row) {
  bool d_signed = in.mod(0) == "s32", a_signed = in.mod(1) == "s32", b_signed = in.mod(2) == "s32";
  Signed v = combined(in.name, partOf(in, row, 0, a_signed), partOf(in, row, 1, b_signed));
  return give(in.has("sat") ? clampTo(v, 32, d_signed) : v);
}

Answer shifted(const Instruction& in, const Row& row) {
  uint64_t count = in.has("wrap") ? u(row, 1) & 31 : std::min<uint64_t>(u(row, 1), 32);
  // The type of a says what comes in from above.
  Signed a = partOf(in, row, 0, in.mod(1) == "s32");
  return give(in.name == "vshl" ? static_cast<Signed>(static_cast<Wide>(a) << count) : a >> count);
}

Answer multiplyAdd(const Instruction& in, const Row& row) {
  bool a_signed = in.mod(1) == "s32", b_signed = in.mod(2) == "s32";
  bool minus_product = in.sources[0].minus != in.sources[1].minus, minus_c = in.sources[2].minus;
  bool is_signed = a_signed || b_signed || minus_product || minus_c;
  Signed product = partOf(in, row, 0, a_signed) * partOf(in, row, 1, b_signed);
  Signed c = extended(u(row, 2), 32, is_signed);
  Signed v = (minus_product ? -product : product) + (minus_c ? -c : c) + (in.has("po") ? 1 : 0);
  if (in.has("shr7")) v >>= 7;
  if (in.has("shr15")) v >>= 15;
  // The sum has 128 bits, and what is clamped 64 of them.
  v = extended(static_cast<uint64_t>(v), 64, is_signed);
  return give(in.has("sat") ? clampTo(v, 32, is_signed) : v);
}

Answer set(const Instruction& in, const Row& row) {
  bool holds =
      compared(in, partOf(in, row, 0, in.mod(0) == "s32"), partOf(in, row, 1, in.mod(1) == "s32"));
  return give(holds ? 1 : 0);
}

// Two halves or four bytes of both, in the order in which they lie.
Answer lanes(const Instruction& in, const Row& row) {
  int count = in.name.back() - '0', width = 32 / count;
  std::string_view op = std::string_view(in.name).substr(0, in.name.size() - 1);
  bool is_set = op == "vset";
  bool d_signed = in.mod(0) == "s32";
  bool a_signed = in.mod(is_set ? 0 : 1) == "s32", b_signed = in.mod(is_set ? 1 : 2) == "s32";
  Signed sum = static_cast<Signed>(u(row, 2));
  uint64_t packed = 0;
  for (int k = 0; k < count; ++k) {
    Signed a = extended(u(row, 0) >> (k * width), width, a_signed);
    Signed b = extended(u(row, 1) >> (k * width), width, b_signed);
    Signed v = is_set ? Signed{compared(in, a, b)} : combined(op, a, b);
    if (in.has("sat")) v = clampTo(v, width, d_signed);
    sum += v;
    packed |= lowBits(static_cast<uint64_t>(v), width) << (k * width);
  }
  return give(in.has("add") ? sum : static_cast<Signed>(packed));
}

}  // namespace

Oracle videoOracle(const Instruction& in) {
  if (in.name.size() < 4 || in.name[0] != 'v' || in.name == "vote") return nullptr;
  if (in.name.back() == '2' || in.name.back() == '4') return lanes;
  if (in.name == "vshl" || in.name == "vshr") return shifted;
  if (in.name == "vmad") return multiplyAdd;
  if (in.name == "vset") return set;
  return scalar;
}

}  // namespace farwarp::ptx
