// Tiles of matrices between shared memory and the registers of a warp: each lane of some gives the
// address of 16 bytes, a row or, transposed, a column.
#include <cstring>

#include "gpud/device/cpu/ptx/control.h"
#include "gpud/device/cpu/ptx/machine.h"

namespace farwarp::ptx::op {
namespace {

using Form = TileSite::Form;
using Line = uint8_t[16];

const TileSite& siteOf(const Inst* i) {
  return *reinterpret_cast<const TileSite*>(i->imm);
}

// All lanes of the warp take part.
bool isComplete(const Warp& w) {
  return (w.live & ~w.mask) == 0;
}

// The lanes that give addresses, as many as there are lines; their addresses are in w.address.
uint32_t resolveLines(Warp& w, const Inst* i, const TileSite& site) {
  uint32_t lines = site.count * (site.form == Form::bytes_16x16 ? 16u : 8u);
  uint32_t mask = (lines >= 32 ? ~0u : (1u << lines) - 1) & w.live;
  w.block->launch->executors->resolve(w, i - 1, mask, 16);
  w.pc = i;
  return mask;
}

uint32_t halfAt(const Line& line, uint32_t k) {
  return line[2 * k] | static_cast<uint32_t>(line[2 * k + 1]) << 8;
}

// 16 elements that lie one after the other without gaps, each into a byte.
void unpackElements(Line& line, uint32_t bits) {
  Line packed;
  std::memcpy(packed, line, sizeof packed);
  for (uint32_t e = 0; e < 16; ++e) {
    uint32_t at = e * bits, pair = packed[at / 8] | static_cast<uint32_t>(packed[at / 8 + 1]) << 8;
    line[e] = static_cast<uint8_t>(pair >> (at % 8) & ((1u << bits) - 1));
  }
}

// What lane `l` takes into register `r`.
uint32_t wordOf(const TileSite& site, const Line* lines, uint32_t l, uint32_t r) {
  uint32_t group = l / 4, four = l % 4, word = 0;
  switch (site.form) {
    case Form::halves_8x8:
      if (site.transposed) {
        return halfAt(lines[8 * r + 2 * four], group) | halfAt(lines[8 * r + 2 * four + 1], group)
                                                            << 16;
      }
      return halfAt(lines[8 * r + group], 2 * four) | halfAt(lines[8 * r + group], 2 * four + 1)
                                                          << 16;
    case Form::bytes_16x16:
      for (uint32_t k = 0; k < 4; ++k) {
        word |= static_cast<uint32_t>(lines[r / 2 * 16 + 4 * four + k][group + r % 2 * 8])
                << (8 * k);
      }
      return word;
    default:
      std::memcpy(&word, &lines[8 * r + group][4 * four], 4);
      return word;
  }
}

// Puts register `r` of lane `l` into the lines of its tile.
void spreadWord(const TileSite& site, uint32_t word, uint32_t l, Line* tile) {
  uint32_t group = l / 4, four = l % 4;
  if (site.form == Form::bytes_16x8) {
    for (uint32_t k = 0; k < 4; ++k) {
      tile[2 * four + k % 2][group + k / 2 * 8] = static_cast<uint8_t>(word >> (8 * k));
    }
    return;
  }
  for (uint32_t k = 0; k < 2; ++k) {
    uint32_t along = 2 * four + k, half = word >> (16 * k) & 0xffff;
    uint8_t* to = site.transposed ? &tile[along][2 * group] : &tile[group][2 * along];
    to[0] = static_cast<uint8_t>(half);
    to[1] = static_cast<uint8_t>(half >> 8);
  }
}

}  // namespace

const Inst* tileLoad(Warp& w, const Inst* i) {
  if (!isComplete(w)) return w.waitForLanes(i, w.live);
  const TileSite& site = siteOf(i);
  const uint32_t mask = resolveLines(w, i, site);
  Line lines[kLanes] = {};
  for (uint32_t l = 0; l < kLanes; ++l) {
    if ((mask >> l & 1) == 0) continue;
    std::memcpy(lines[l], reinterpret_cast<const void*>(w.address[l]), sizeof(Line));
    if (site.element_bits != 8) unpackElements(lines[l], site.element_bits);
  }
  const uint32_t registers = site.count * (site.form == Form::bytes_16x16 ? 2u : 1u);
  for (uint32_t r = 0; r < registers; ++r) {
    uint32_t* dst = lanes<uint32_t>(w, site.refs[r]);
    for (uint32_t l = 0; l < kLanes; ++l) {
      if ((w.mask >> l & 1) != 0) dst[l] = wordOf(site, lines, l, r);
    }
  }
  return i + 1;
}

const Inst* tileStore(Warp& w, const Inst* i) {
  if (!isComplete(w)) return w.waitForLanes(i, w.live);
  const TileSite& site = siteOf(i);
  const uint32_t mask = resolveLines(w, i, site);
  for (uint32_t t = 0; t < site.count; ++t) {
    const uint32_t* source = lanes<uint32_t>(w, site.refs[t]);
    Line tile[8];
    for (uint32_t l = 0; l < kLanes; ++l) spreadWord(site, source[l], l, tile);
    for (uint32_t line = 0; line < 8; ++line) {
      const uint32_t l = 8 * t + line;
      if ((mask >> l & 1) == 0) continue;
      std::memcpy(reinterpret_cast<void*>(w.address[l]), tile[line], sizeof(Line));
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
