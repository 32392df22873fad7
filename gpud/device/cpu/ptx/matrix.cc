// Products of matrices that the registers of a warp hold, and the loads and stores that fill them.
//
// The order in which the hardware adds up products is not specified. Here the products and sums of
// the floating-point types up to tf32 are computed in double precision and rounded once; f64 is a
// chain of fused multiply-adds in the order of k; integers are exact.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "gpud/device/cpu/ptx/control.h"
#include "gpud/device/cpu/ptx/machine.h"
#include "gpud/device/cpu/ptx/small_float.h"

namespace farwarp::ptx::op {
namespace {

constexpr uint32_t kElementsMax = 4096;  // of the largest matrix, 16 x 256 bits
constexpr uint32_t kSparseMax = 1024;    // of the half of the largest sparse one, 16 x 128

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
    case Element::e2m1_packed:
      return gatherAs(w, f, out, 4,
                      [](uint32_t v) { return double{smallToFloat(v, SmallFormat::e2m1)}; });
    case Element::e2m1:  // in the middle of a byte
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

// Puts the elements of A that a sparse product has where they belong, among zeros.
template <class T>
void spread(const Warp& w, const MatrixSite& site, const T* packed, T* out) {
  const SparseForm& form = site.sparse;
  const uint32_t* metadata = lanes<uint32_t>(w, form.metadata);
  const uint32_t chunk = form.chunk, k = site.k;
  std::fill(out, out + site.m * k, T(0));
  for (uint32_t row = 0; row < site.m; ++row) {
    for (uint32_t c = 0; c < k / chunk; ++c) {
      uint32_t lane = row % 8 * 4 + form.first_lane;
      lane += form.two_rows ? c / 4 : row / 8 + c / 8 * 2;
      uint32_t shift = form.two_rows ? c % 4 * 4 + row / 8 * 16 : c % 8 * 4;
      uint32_t bits = metadata[lane] >> shift;
      const T* from = &packed[row * k / 2 + c * chunk / 2];
      T* to = &out[row * k + c * chunk];
      if (chunk == 2) {
        to[bits >> 1 & 1] = from[0];
        continue;
      }
      for (uint32_t e = 0; e < chunk / 2; ++e) {
        uint32_t unit = chunk / 4, part = bits >> (e / unit * 2) & 3;
        to[part * unit + e % unit] = from[e];
      }
    }
  }
}

// A, all of it.
template <class T>
void gatherFirst(Warp& w, const MatrixSite& site, T* out) {
  if (site.sparse.chunk == 0) return gather(w, site.a, out);
  alignas(64) T packed[kSparseMax];
  gather(w, site.a, packed);
  spread(w, site, packed, out);
}

// Scale number `block` of a row of A or a column of B, whose scales lane `lane` of those that its
// operand chooses has.
double scaleOf(const Warp& w, const MatrixSite& site, const ScaleForm& form, uint32_t lane,
               uint32_t block) {
  uint32_t first = static_cast<uint32_t>(std::countr_zero(w.mask));
  uint32_t byte = (lanes<uint16_t>(w, form.byte)[first] + block) & 3;
  uint32_t bits = lanes<uint32_t>(w, form.data)[lane] >> (8 * byte) & 0xff;
  return double{site.scales_e4m3 ? smallToFloat(bits & 0x7f, SmallFormat::e4m3)
                                 : smallToFloat(bits, SmallFormat::ue8m0)};
}

// The scales of A are in one pair of each four lanes, those of B in one lane.
void scaleFactors(const Warp& w, const MatrixSite& site, double* a, double* b) {
  uint32_t first = static_cast<uint32_t>(std::countr_zero(w.mask));
  uint32_t pair = lanes<uint16_t>(w, site.scale_a.lane)[first] & 1;
  uint32_t single = lanes<uint16_t>(w, site.scale_b.lane)[first] & 3;
  uint32_t length = site.k / site.scales;
  for (uint32_t block = 0; block < site.scales; ++block) {
    for (uint32_t row = 0; row < site.m; ++row) {
      double scale = scaleOf(w, site, site.scale_a, row % 8 * 4 + 2 * pair + row / 8, block);
      for (uint32_t p = 0; p < length; ++p) a[row * site.k + block * length + p] *= scale;
    }
    for (uint32_t col = 0; col < site.n; ++col) {
      double scale = scaleOf(w, site, site.scale_b, col * 4 + single, block);
      for (uint32_t p = 0; p < length; ++p) b[(block * length + p) * site.n + col] *= scale;
    }
  }
}

// One row of the sums: products of a row of A, `count` long, and the lines of B.
void addProducts(const double* a, const double* b, uint32_t count, uint32_t n, double* sum) {
  for (uint32_t p = 0; p < count; ++p) {
    for (uint32_t col = 0; col < n; ++col) sum[col] += a[p] * b[p * n + col];
  }
}
[[gnu::noinline]] void addFused(const double* a, const double* b, uint32_t count, uint32_t n,
                                double* sum) {
  for (uint32_t p = 0; p < count; ++p) {
    for (uint32_t col = 0; col < n; ++col) sum[col] = std::fma(a[p], b[p * n + col], sum[col]);
  }
}

void multiplyDoubles(Warp& w, const MatrixSite& site) {
  alignas(64) double a[2 * kSparseMax], b[1024], c[1024];
  gatherFirst(w, site, a);
  gather(w, site.b, b);
  gather(w, site.c, c);
  if (site.scales != 0) scaleFactors(w, site, a, b);
  uint32_t m = site.m, n = site.n, k = site.k;
  bool fused = site.a.element == Element::f64;
  Rounding rounding = static_cast<Rounding>(site.rounding);
  uint32_t old = common::enterRounding(rounding);
  for (uint32_t q = 0; q < site.batch; ++q) {
    for (uint32_t row = 0; row < m; ++row) {
      const double* left = &a[(q * m + row) * k];
      const double* right = &b[q * k * n];
      double* out = &c[(q * m + row) * n];
      if (fused) {
        addFused(left, right, k, n, out);
        continue;
      }
      double sum[32] = {};
      addProducts(left, right, k, n, sum);
      for (uint32_t col = 0; col < n; ++col) out[col] += sum[col];
    }
  }
  common::leaveRounding(old);
  scatter(w, site.d, c);
}

void multiplyIntegers(Warp& w, const MatrixSite& site) {
  alignas(64) int32_t a[kElementsMax], b[kElementsMax], c[1024];
  gatherFirst(w, site, a);
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

}  // namespace farwarp::ptx::op
