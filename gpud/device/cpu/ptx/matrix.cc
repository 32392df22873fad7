// Products of matrices that the registers of a warp hold, and the loads and stores that fill them.
//
// The order in which the hardware adds up products is not specified. Here the products and sums of
// the floating-point types up to tf32 are computed in double precision and rounded once; f64 is a
// chain of fused multiply-adds in the order of k; integers are exact.
#include <bit>
#include <cmath>
#include <cstring>

#include "gpud/device/cpu/ptx/control.h"
#include "gpud/device/cpu/ptx/machine.h"
#include "gpud/device/cpu/ptx/small_float.h"

namespace farwarp::ptx::op {
namespace {

constexpr uint32_t kElementsMax = 4096;  // of the largest matrix, 16 x 256 bits

const MatrixSite& siteOf(const Inst* i) {
  return *reinterpret_cast<const MatrixSite*>(i->imm);
}

// All lanes of the warp take part.
bool isComplete(const Warp& w) {
  return (w.live & ~w.mask) == 0;
}

template <class T, class Decode>
inline void gatherAs(Warp& w, const Fragment& f, T* out, uint32_t bits, Decode decode) {
  uint32_t per_register = 32 / bits;
  uint32_t keep = bits == 32 ? ~0u : (1u << bits) - 1;
  for (uint32_t r = 0; r < f.count; ++r) {
    const uint32_t* words = lanes<uint32_t>(w, f.refs[r]);
    for (uint32_t l = 0; l < kLanes; ++l) {
      const uint16_t* place = &f.places[l * f.per_lane + r * per_register];
      for (uint32_t e = 0; e < per_register; ++e) {
        out[place[e]] = decode(words[l] >> (e * bits) & keep);
      }
    }
  }
}

void gather(Warp& w, const Fragment& f, double* out) {
  auto small = [&](SmallFormat format, uint32_t mask) {
    gatherAs(w, f, out, 8, [=](uint32_t v) { return double{smallToFloat(v & mask, format)}; });
  };
  switch (f.element) {
    case Element::f16:
      return gatherAs(w, f, out, 16,
                      [](uint32_t v) { return double{halfToFloat(static_cast<uint16_t>(v))}; });
    case Element::bf16:
      return gatherAs(w, f, out, 16,
                      [](uint32_t v) { return double{bfloatToFloat(static_cast<uint16_t>(v))}; });
    case Element::tf32:
      return gatherAs(w, f, out, 32,
                      [](uint32_t v) { return double{std::bit_cast<float>(v & 0xffffe000)}; });
    case Element::f32:
      return gatherAs(w, f, out, 32, [](uint32_t v) { return double{std::bit_cast<float>(v)}; });
    case Element::e4m3:
      return small(SmallFormat::e4m3, 0xff);
    case Element::e5m2:
      return small(SmallFormat::e5m2, 0xff);
    case Element::e3m2:
      return small(SmallFormat::e3m2, 0x3f);
    case Element::e2m3:
      return small(SmallFormat::e2m3, 0x3f);
    case Element::e2m1:
      return gatherAs(w, f, out, 8, [](uint32_t v) {
        return double{smallToFloat(v >> 2 & 15, SmallFormat::e2m1)};
      });
    default:
      break;
  }
  for (uint32_t r = 0; r < f.count; ++r) {
    const double* values = lanes<double>(w, f.refs[r]);
    for (uint32_t l = 0; l < kLanes; ++l) out[f.places[l * f.per_lane + r]] = values[l];
  }
}

void gather(Warp& w, const Fragment& f, int32_t* out) {
  switch (f.element) {
    case Element::s8:
      return gatherAs(w, f, out, 8, [](uint32_t v) { return int32_t{static_cast<int8_t>(v)}; });
    case Element::u8:
      return gatherAs(w, f, out, 8, [](uint32_t v) { return static_cast<int32_t>(v); });
    case Element::s4:
      return gatherAs(w, f, out, 4, [](uint32_t v) { return static_cast<int32_t>(v << 28) >> 28; });
    case Element::u4:
      return gatherAs(w, f, out, 4, [](uint32_t v) { return static_cast<int32_t>(v); });
    case Element::b1:
      return gatherAs(w, f, out, 1, [](uint32_t v) { return static_cast<int32_t>(v); });
    default:
      return gatherAs(w, f, out, 32, [](uint32_t v) { return static_cast<int32_t>(v); });
  }
}

void scatter(Warp& w, const Fragment& f, const double* values) {
  for (uint32_t r = 0; r < f.count; ++r) {
    for (uint32_t l = 0; l < kLanes; ++l) {
      if ((w.mask >> l & 1) == 0) continue;
      const uint16_t* place = &f.places[l * f.per_lane];
      if (f.element == Element::f64) {
        lanes<double>(w, f.refs[r])[l] = values[place[r]];
      } else if (f.element == Element::f32) {
        float value = static_cast<float>(values[place[r]]);
        if (value != value) value = std::bit_cast<float>(0x7fffffffu);
        lanes<float>(w, f.refs[r])[l] = value;
      } else {
        auto half = [&](uint32_t k) {
          return common::narrow(values[place[k]], 5, 10, Rounding::rn);
        };
        lanes<uint32_t>(w, f.refs[r])[l] = half(2 * r) | half(2 * r + 1) << 16;
      }
    }
  }
}

void multiplyDoubles(Warp& w, const MatrixSite& site) {
  alignas(64) double a[1024], b[1024], c[1024];
  gather(w, site.a, a);
  gather(w, site.b, b);
  gather(w, site.c, c);
  uint32_t m = site.m, n = site.n, k = site.k;
  bool fused = site.a.element == Element::f64;
  for (uint32_t q = 0; q < site.batch; ++q) {
    for (uint32_t row = 0; row < m; ++row) {
      double sum[32] = {};
      double* out = &c[(q * m + row) * n];
      if (fused) std::memcpy(sum, out, n * sizeof(double));
      for (uint32_t p = 0; p < k; ++p) {
        double x = a[(q * m + row) * k + p];
        const double* line = &b[(q * k + p) * n];
        if (fused) {
          for (uint32_t col = 0; col < n; ++col) sum[col] = std::fma(x, line[col], sum[col]);
        } else {
          for (uint32_t col = 0; col < n; ++col) sum[col] += x * line[col];
        }
      }
      for (uint32_t col = 0; col < n; ++col) out[col] = fused ? sum[col] : sum[col] + out[col];
    }
  }
  scatter(w, site.d, c);
}

void multiplyIntegers(Warp& w, const MatrixSite& site) {
  alignas(64) int32_t a[kElementsMax], b[kElementsMax], c[1024];
  gather(w, site.a, a);
  gather(w, site.b, b);
  gather(w, site.c, c);
  bool bits = site.a.element == Element::b1;
  for (uint32_t row = 0; row < site.m; ++row) {
    for (uint32_t col = 0; col < site.n; ++col) {
      int64_t sum = c[row * site.n + col];
      for (uint32_t p = 0; p < site.k; ++p) {
        int32_t x = a[row * site.k + p], y = b[p * site.n + col];
        sum += !bits ? int64_t{x} * y : site.by_and ? x & y : x ^ y;
      }
      if (site.saturates) sum = sum > INT32_MAX ? INT32_MAX : sum < INT32_MIN ? INT32_MIN : sum;
      c[row * site.n + col] = static_cast<int32_t>(sum);
    }
  }
  const Fragment& d = site.d;
  for (uint32_t r = 0; r < d.count; ++r) {
    for (uint32_t l = 0; l < kLanes; ++l) {
      if ((w.mask >> l & 1) != 0) lanes<int32_t>(w, d.refs[r])[l] = c[d.places[l * d.per_lane + r]];
    }
  }
}

// The first byte of the matrix in memory and the elements from line to line.
struct Lines {
  uint64_t start = 0;
  uint32_t stride = 0;
};

Lines linesOf(Warp& w, const Inst* i, const MatrixSite& site, const Inst& address, uint32_t bytes) {
  uint32_t lane = static_cast<uint32_t>(std::countr_zero(w.mask));
  w.block->launch->executors->resolve(w, &address, 1u << lane, bytes);
  w.pc = i;
  w.spacing = kNone;
  return {w.address[lane], lanes<uint32_t>(w, site.stride)[lane]};
}

// The access of the instruction: its address fields are in the Inst that precedes it.
constexpr const Inst* addressOf(const Inst* i) {
  return i - 1;
}

// Both ends of a line are checked; a hole between them is found when it is touched.
void checkLine(Warp& w, const Inst* i, uint64_t address, uint32_t bytes, uint32_t element) {
  uint32_t lane = static_cast<uint32_t>(std::countr_zero(w.mask));
  for (uint64_t at : {address, address + bytes - element}) {
    w.address[lane] = at;
    checkAddresses(w, i, 1u << lane, element, Space::generic);
  }
}

uint32_t bitsOf(Element element) {
  switch (element) {
    case Element::b1:
      return 1;
    case Element::s4:
    case Element::u4:
      return 4;
    case Element::s8:
    case Element::u8:
      return 8;
    case Element::f16:
    case Element::bf16:
      return 16;
    case Element::f64:
      return 64;
    default:
      return 32;
  }
}

// Calls move(byte in memory, bit in it, register, lane, bit in the register's lane) for each
// element.
template <class F>
void forElements(Warp& w, const Inst* i, F move) {
  const MatrixSite& site = siteOf(i);
  const Fragment& f = site.d;
  uint32_t bits = bitsOf(f.element), bytes = bits < 8 ? 1 : bits / 8;
  uint32_t rows = f.elements / f.columns;
  uint32_t lines = site.by_column ? f.columns : rows, length = site.by_column ? rows : f.columns;
  Lines at = linesOf(w, i, site, *addressOf(i), bytes);
  uint64_t stride = uint64_t{at.stride} * bits / 8;
  for (uint32_t line = 0; line < lines; ++line) {
    checkLine(w, i, at.start + line * stride, (length * bits + 7) / 8, bytes);
  }
  uint32_t per_register = bits >= 32 ? 1 : 32 / bits;
  for (uint32_t l = 0; l < kLanes; ++l) {
    if ((w.mask >> l & 1) == 0) continue;
    for (uint32_t k = 0; k < f.per_lane; ++k) {
      uint32_t place = f.places[l * f.per_lane + k];
      uint32_t row = place / f.columns, col = place % f.columns;
      uint32_t line = site.by_column ? col : row, along = site.by_column ? row : col;
      uint64_t bit = uint64_t{along} * bits;
      uint64_t address = at.start + line * stride + bit / 8;
      move(reinterpret_cast<std::byte*>(address), static_cast<uint32_t>(bit & 7),
           f.refs[k / per_register], l, k % per_register * bits, bits);
    }
  }
}

}  // namespace

const Inst* matrixMultiply(Warp& w, const Inst* i) {
  if (!isComplete(w)) return w.waitForLanes(i, w.live);
  const MatrixSite& site = siteOf(i);
  if (site.d.element == Element::s32)
    multiplyIntegers(w, site);
  else
    multiplyDoubles(w, site);
  return i + 1;
}

const Inst* matrixLoad(Warp& w, const Inst* i) {
  if (!isComplete(w)) return w.waitForLanes(i, w.live);
  forElements(w, i,
              [&](const std::byte* from, uint32_t bit, Ref ref, uint32_t lane, uint32_t to_bit,
                  uint32_t bits) {
                if (bits == 64) {
                  std::memcpy(&lanes<uint64_t>(w, ref)[lane], from, 8);
                  return;
                }
                uint32_t value = 0;
                std::memcpy(&value, from, bits < 8 ? 1 : bits / 8);
                uint32_t keep = bits == 32 ? ~0u : (1u << bits) - 1;
                uint32_t& word = lanes<uint32_t>(w, ref)[lane];
                word = (word & ~(keep << to_bit)) | (value >> bit & keep) << to_bit;
              });
  return i + 1;
}

const Inst* matrixStore(Warp& w, const Inst* i) {
  if (!isComplete(w)) return w.waitForLanes(i, w.live);
  forElements(
      w, i, [&](std::byte* to, uint32_t, Ref ref, uint32_t lane, uint32_t from_bit, uint32_t bits) {
        if (bits == 64) {
          std::memcpy(to, &lanes<uint64_t>(w, ref)[lane], 8);
          return;
        }
        uint32_t value = lanes<uint32_t>(w, ref)[lane] >> from_bit;
        std::memcpy(to, &value, bits / 8);
      });
  return i + 1;
}

namespace {

// Row `r` of tile `t` begins at the address that lane 8 t + r gives.
void resolveRows(Warp& w, const Inst* i, uint32_t tiles) {
  uint32_t mask = tiles >= 4 ? ~0u : (1u << (8 * tiles)) - 1;
  w.block->launch->executors->resolve(w, addressOf(i), mask & w.live, 16);
  w.pc = i;
}

}  // namespace

const Inst* tileLoad(Warp& w, const Inst* i) {
  if (!isComplete(w)) return w.waitForLanes(i, w.live);
  const MatrixSite& site = siteOf(i);
  uint32_t tiles = site.d.count;
  resolveRows(w, i, tiles);
  uint16_t tile[64];
  for (uint32_t t = 0; t < tiles; ++t) {
    for (uint32_t r = 0; r < 8; ++r) {
      uint32_t lane = 8 * t + r;
      if ((w.live >> lane & 1) == 0) continue;
      std::memcpy(&tile[8 * r], reinterpret_cast<const void*>(w.address[lane]), 16);
    }
    uint32_t* dst = lanes<uint32_t>(w, site.d.refs[t]);
    for (uint32_t l = 0; l < kLanes; ++l) {
      if ((w.mask >> l & 1) == 0) continue;
      uint32_t row = l / 4, col = l % 4 * 2;
      uint32_t low = site.transposed ? tile[8 * col + row] : tile[8 * row + col];
      uint32_t high = site.transposed ? tile[8 * (col + 1) + row] : tile[8 * row + col + 1];
      dst[l] = low | high << 16;
    }
  }
  return i + 1;
}

const Inst* tileStore(Warp& w, const Inst* i) {
  if (!isComplete(w)) return w.waitForLanes(i, w.live);
  const MatrixSite& site = siteOf(i);
  uint32_t tiles = site.d.count;
  resolveRows(w, i, tiles);
  uint16_t tile[64];
  for (uint32_t t = 0; t < tiles; ++t) {
    const uint32_t* source = lanes<uint32_t>(w, site.d.refs[t]);
    for (uint32_t l = 0; l < kLanes; ++l) {
      uint32_t row = l / 4, col = l % 4 * 2;
      for (uint32_t k = 0; k < 2; ++k) {
        uint32_t at = site.transposed ? 8 * (col + k) + row : 8 * row + col + k;
        tile[at] = static_cast<uint16_t>(source[l] >> (16 * k));
      }
    }
    for (uint32_t r = 0; r < 8; ++r) {
      uint32_t lane = 8 * t + r;
      if ((w.live >> lane & 1) == 0) continue;
      std::memcpy(reinterpret_cast<void*>(w.address[lane]), &tile[8 * r], 16);
    }
  }
  return i + 1;
}

const Inst* tileTranspose(Warp& w, const Inst* i) {
  if (!isComplete(w)) return w.waitForLanes(i, w.live);
  const uint32_t* a = lanes<uint32_t>(w, i->a);
  uint32_t result[kLanes];
  for (uint32_t l = 0; l < kLanes; ++l) {
    result[l] = 0;
    for (uint32_t k = 0; k < 2; ++k) {
      uint32_t row = l % 4 * 2 + k, col = l / 4;  // of the source
      uint32_t value = a[row * 4 + col / 2] >> (16 * (col & 1)) & 0xffff;
      result[l] |= value << (16 * k);
    }
  }
  for (uint32_t l = 0; l < kLanes; ++l) {
    if ((w.mask >> l & 1) != 0) lanes<uint32_t>(w, i->dst)[l] = result[l];
  }
  return i + 1;
}

}  // namespace farwarp::ptx::op
