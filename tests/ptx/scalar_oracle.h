// What instructions give, by the manual: an interpreter of instruction texts on single values, in
// exact arithmetic and MPFR, that shares nothing with the engine.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tests/ptx/number_formats.h"

namespace farwarp::ptx {

using Wide = unsigned __int128;

// A register, an immediate, or an address, as an operand names it.
struct OperandText {
  std::string text;      // "%r1", "0x80"
  std::string selector;  // ".h1" of "%r1.h1"
  bool negated = false;  // !%p1
  bool minus = false;    // -%r1
  bool address = false;  // [%d1]
  char registerClass() const { return text[0] == '%' ? text[1] : 0; }
};

struct Instruction {
  explicit Instruction(std::string_view text);
  bool has(std::string_view modifier) const;
  // The modifier at `n`; counted from the end when negative. Empty when there is none.
  std::string_view mod(int n) const;

  std::string text;
  std::string name;
  std::vector<std::string> modifiers;
  std::vector<OperandText> destinations;
  std::vector<OperandText> sources;
};

// One thread's values: of the sources in their order (predicates 0 or 1), of the carry, and of the
// memory cell that an address names.
inline constexpr size_t kSourcesMax = 6, kCellWords = 4;
struct Row {
  std::array<Wide, kSourcesMax> sources;
  std::array<uint64_t, kCellWords> cell;
  uint64_t carry;
};

// Bits [low, low + width) of a result, and how they must be.
struct Part {
  enum class Kind {
    exact,
    nan,      // any NaN of `format`
    near,     // within `units` units in the last place of `format` from `bits`
    flushed,  // the same, or zero
    undefined,
  };
  int low = 0;
  int width = 0;
  uint64_t bits = 0;
  Kind kind = Kind::exact;
  const Number* format = nullptr;
  double units = 0;
};

// A result: the bits, or the parts where not all bits are certain.
struct Result {
  Result() = default;
  Result(Wide v) : value(v) {}               // NOLINT: results are numbers
  Result(const Part& part) : parts{part} {}  // NOLINT
  Wide value = 0;
  std::vector<Part> parts;
};

struct Answer {
  std::array<Result, 8> destinations;  // in the order in which the instruction names them
  std::optional<std::array<uint64_t, kCellWords>> cell;  // memory afterwards, when it matters
  std::optional<uint64_t> carry;
  bool undefined = false;  // nothing is said about these values
};

using Oracle = Answer (*)(const Instruction&, const Row&);
// What 32 threads of a warp give, all of them taking part.
using WarpOracle = void (*)(const Instruction&, std::span<const Row, 32>, std::span<Answer, 32>);

// Whoever knows the instruction; null when nobody does.
Oracle integerOracle(const Instruction& instruction);
Oracle floatOracle(const Instruction& instruction);
Oracle convertOracle(const Instruction& instruction);
Oracle videoOracle(const Instruction& instruction);
Oracle memoryOracle(const Instruction& instruction);
WarpOracle warpOracle(const Instruction& instruction);

// The format that a type such as "f32" names; null when it names none.
const Number* numberNamed(std::string_view type);
int64_t signExtended(uint64_t v, int bits);
inline uint64_t lowBits(uint64_t v, int bits) {
  return bits >= 64 ? v : v & ((uint64_t{1} << bits) - 1);
}
inline Wide lowBitsOf(Wide v, int bits) {
  return bits >= 128 ? v : v & ((Wide{1} << bits) - 1);
}

// A float that an operation gave: exact, or any NaN where the manual fixes none.
Part exactPart(const Number& n, uint64_t bits, int low = 0);

}  // namespace farwarp::ptx
