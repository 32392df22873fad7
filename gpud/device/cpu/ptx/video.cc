// Video instructions: 32-bit operations on bytes and halfwords of their operands, one part or all.
#include "gpud/device/cpu/ptx/control.h"
#include "gpud/device/cpu/ptx/executors.h"

namespace farwarp::ptx::op {
namespace {

// A part of `bytes` bytes of a register, extended by its sign or by zero.
int64_t partOf(uint32_t value, uint32_t part, uint32_t bytes, bool is_signed) {
  if (bytes == 4) return is_signed ? int64_t{static_cast<int32_t>(value)} : int64_t{value};
  uint32_t v = value >> (8 * bytes * part);
  if (bytes == 2) return is_signed ? int64_t{static_cast<int16_t>(v)} : int64_t{v & 0xffff};
  return is_signed ? int64_t{static_cast<int8_t>(v)} : int64_t{v & 0xff};
}

uint32_t insert(uint32_t into, int64_t value, uint32_t part, uint32_t bytes) {
  if (bytes == 4) return static_cast<uint32_t>(value);
  uint32_t shift = 8 * bytes * part, keep = ((1u << (8 * bytes)) - 1) << shift;
  return (into & ~keep) | (static_cast<uint32_t>(value) << shift & keep);
}

int64_t clampTo(int64_t value, uint32_t bytes, bool is_signed) {
  int64_t bits = 8 * int64_t{bytes};
  int64_t most = is_signed ? (int64_t{1} << (bits - 1)) - 1 : (int64_t{1} << bits) - 1;
  int64_t least = is_signed ? -most - 1 : 0;
  return value < least ? least : value > most ? most : value;
}

bool compare(uint8_t how, int64_t a, int64_t b) {
  switch (static_cast<Compare>(how)) {
    case Compare::eq:
      return a == b;
    case Compare::ne:
      return a != b;
    case Compare::lt:
      return a < b;
    case Compare::le:
      return a <= b;
    case Compare::gt:
      return a > b;
    default:
      return a >= b;
  }
}

int64_t operate(const VideoForm& f, int64_t a, int64_t b) {
  uint32_t count = static_cast<uint32_t>(b);
  if (f.op == kVideoShiftLeft || f.op == kVideoShiftRight) {
    count = f.wraps ? count & 31 : count > 32 ? 32 : count;
  }
  switch (f.op) {
    case kVideoAdd:
      return a + b;
    case kVideoSub:
      return a - b;
    case kVideoAbsdiff:
      return a > b ? a - b : b - a;
    case kVideoMin:
      return a < b ? a : b;
    case kVideoMax:
      return a > b ? a : b;
    case kVideoAverage:
      return (a + b + (a + b >= 0 ? 1 : 0)) >> 1;
    case kVideoShiftLeft:
      return static_cast<int64_t>(static_cast<uint64_t>(a) << count);
    case kVideoShiftRight:
      return a >> count;
    default:
      return compare(f.compare, a, b) ? 1 : 0;
  }
}

// The product and the sum are signed where an operand is, or is negated.
uint32_t multiplyAdd(const VideoForm& f, int64_t a, int64_t b, uint32_t c) {
  const bool is_signed = f.sign_a || f.sign_b || f.minus_product || f.minus_c;
  __int128 sum = static_cast<__int128>(a) * b;
  if (f.minus_product) sum = -sum;
  const __int128 addend = partOf(c, 0, 4, is_signed);
  sum += f.minus_c ? -addend : addend;
  const int64_t value = static_cast<int64_t>((sum + (f.plus_one ? 1 : 0)) >> f.shift);
  return static_cast<uint32_t>(f.saturates ? clampTo(value, 4, is_signed) : value);
}

uint32_t scalar(const VideoForm& f, uint32_t a, uint32_t b, uint32_t c) {
  uint32_t d_bytes = f.select[0] >> 4, d_part = f.select[0] & 15;
  int64_t x = partOf(a, f.select[1] & 15, f.select[1] >> 4, f.sign_a);
  int64_t y = partOf(b, f.select[2] & 15, f.select[2] >> 4, f.sign_b);
  if (f.op == kVideoMad) return multiplyAdd(f, x, y, c);
  int64_t z = partOf(c, 0, 4, f.sign_d);
  int64_t value = operate(f, x, y);
  if (f.saturates) value = clampTo(value, f.second == kVideoMerge ? d_bytes : 4, f.sign_d);
  uint32_t result = static_cast<uint32_t>(value);
  int64_t now = partOf(result, 0, 4, f.sign_d);
  switch (f.second) {
    case kVideoAccumulate:
      return result + c;
    case kVideoThenMin:
      return now < z ? result : c;
    case kVideoThenMax:
      return now > z ? result : c;
    case kVideoMerge:
      return insert(c, value, d_part, d_bytes);
    default:
      return result;
  }
}

uint32_t packed(const VideoForm& f, uint32_t a, uint32_t b, uint32_t c) {
  uint32_t bytes = 4 / f.parts, result = c;
  int64_t sum = 0;
  auto pick = [&](uint32_t from, bool is_signed) {
    return partOf(from < f.parts ? a : b, from % f.parts, bytes, is_signed);
  };
  for (uint32_t k = 0; k < f.parts; ++k) {
    if ((f.mask >> k & 1) == 0) continue;
    uint32_t digit_a = f.pick_a >> (4 * k) & 15, digit_b = f.pick_b >> (4 * k) & 15;
    int64_t value = operate(f, pick(digit_a, f.sign_a), pick(digit_b, f.sign_b));
    if (f.saturates) value = clampTo(value, bytes, f.sign_d);
    sum += value;
    result = insert(result, value, k, bytes);
  }
  return f.second == kVideoAccumulate ? c + static_cast<uint32_t>(sum) : result;
}

}  // namespace

const Inst* video(Warp& w, const Inst* i) {
  const VideoForm& form = *reinterpret_cast<const VideoForm*>(i->imm);
  uint32_t mask = execMask(w, i);
  const uint32_t* a = lanes<uint32_t>(w, i->a);
  const uint32_t* b = lanes<uint32_t>(w, i->b);
  const uint32_t* c = lanes<uint32_t>(w, i->c);
  uint32_t* dst = lanes<uint32_t>(w, i->dst);
  for (uint32_t l = 0; l < kLanes; ++l) {
    if ((mask >> l & 1) == 0) continue;
    dst[l] = form.parts == 1 ? scalar(form, a[l], b[l], c[l]) : packed(form, a[l], b[l], c[l]);
  }
  return i + 1;
}

}  // namespace farwarp::ptx::op
