// Goal: every form of instruction that the table of docs/ptx.md names gives what the manual says,
// on every instruction set of the host. Method: a small kernel per variant reads its operands from
// rows of edge and random values and writes all its results; an interpreter that shares nothing
// with the engine (scalar_oracle.h) says what they must be. Variants that it does not know are
// listed with the tests that run them.
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <map>
#include <random>

#include "gpud/device/cpu/ptx/tool/forms.h"
#include "tests/ptx/harness.h"
#include "tests/ptx/scalar_oracle.h"

namespace farwarp::ptx {
namespace {

constexpr size_t kBlock = 128, kRows = 512;
constexpr int kSourceStride = 16, kCellOffset = 96, kCarryOffset = 128;
static_assert(offsetof(Row, cell) == kCellOffset && offsetof(Row, carry) == kCarryOffset);

// What a thread writes.
struct Output {
  std::array<Wide, 8> destinations;
  std::array<uint64_t, kCellWords> cell;
  uint64_t carry;
};

int widthOf(char register_class) {
  switch (register_class) {
    case 'p':
      return 1;
    case 'x':
      return 8;
    case 'h':
      return 16;
    case 'r':
      return 32;
    case 'd':
      return 64;
    default:
      return 128;
  }
}

uint64_t seed() {
  const char* given = std::getenv("FARWARP_SEED");
  return given != nullptr ? std::strtoull(given, nullptr, 0) : std::random_device{}();
}

// Edges of integers and of every float that fits in the width, alone and in pairs.
std::vector<uint64_t> edgesOf(int width) {
  std::vector<uint64_t> list;
  auto add = [&](uint64_t v) { list.push_back(lowBits(v, width)); };
  for (uint64_t v : {0, 1, 2, 3, 7, 8, 15, 16, 31, 32, 33, 63, 64, 65, 127, 128, 255, 256})
    add(v), add(~v);
  for (int bits : {8, 16, 32, 64}) {
    uint64_t sign = uint64_t{1} << (bits - 1);
    for (uint64_t v : {sign, sign - 1, sign + 1}) add(v);
  }
  for (const Number* n : {&kF16, &kBf16, &kF32, &kF64}) {
    if (n->bits() > width) continue;
    uint64_t one = bitsOf(*n, 1), infinity = bitsOf(*n, INFINITY), least = n->leastNormal();
    for (uint64_t v :
         {uint64_t{1}, least / 2, least - 1, least, least + 1, one - 1, one, one + 1, infinity - 1,
          infinity, infinity | least / 2, infinity | 1, bitsOf(*n, 0.5), bitsOf(*n, 1.5),
          bitsOf(*n, 2.5), bitsOf(*n, -3.5), bitsOf(*n, 5), bitsOf(*n, 127.5), bitsOf(*n, 240)}) {
      add(v);
      add(v | n->sign());
      if (2 * n->bits() <= width)
        add(v << n->bits() | (one ^ n->sign())), add(one << n->bits() | v);
    }
    for (double v : {32767.5, 65504.0, 2147483648.0, 4294967296.0, 9.3e18}) {
      if (n->bytes < 4) break;
      uint64_t bits = bitsOf(*n, static_cast<double>(static_cast<float>(v)));
      for (uint64_t k : {bits - 1, bits, bits + 1}) add(k), add(k | n->sign());
    }
  }
  return list;
}

class RowMaker {
 public:
  explicit RowMaker(uint64_t seed) : random_(seed) {
    for (int width : {1, 8, 16, 32, 64}) edges_[width] = edgesOf(width);
  }
  uint64_t value(int width) {
    if (width == 1) return random_() & 1;
    const std::vector<uint64_t>& edges = edges_[width];
    uint64_t choice = random_() % 8;
    if (choice < 5) return edges[random_() % edges.size()];
    return lowBits(choice == 5   ? random_() % 72
                   : choice == 6 ? random_() >> random_() % 64
                                 : random_(),
                   width);
  }
  Wide wideValue(int width) {
    return width == 128 ? Wide{value(64)} << 64 | value(64) : Wide{value(width)};
  }
  Row row(const Instruction& in) {
    Row row{};
    for (size_t k = 0; k < in.sources.size() && k < kSourcesMax; ++k) {
      const OperandText& source = in.sources[k];
      if (source.registerClass() == 0) {
        double real = std::strtod(source.text.c_str(), nullptr);
        row.sources[k] = source.text.find('.') != std::string::npos
                             ? Wide{bitsOf(kF32, real)}
                             : Wide{std::strtoull(source.text.c_str(), nullptr, 0)};
      } else {
        row.sources[k] = wideValue(widthOf(source.registerClass()));
      }
    }
    // Equal operands, and compare-and-swap that succeeds, are rare by chance.
    if (random_() % 8 == 0 && in.sources.size() > 1 && in.sources[1].registerClass() != 0) {
      row.sources[1] = lowBitsOf(row.sources[0], widthOf(in.sources[1].registerClass()));
    }
    for (uint64_t& word : row.cell) word = value(64);
    if (random_() % 4 == 0) std::memcpy(row.cell.data(), &row.sources[1], 16);
    row.carry = random_() & 1;
    return row;
  }

 private:
  std::mt19937_64 random_;
  std::map<int, std::vector<uint64_t>> edges_;
};

std::string number(size_t n) {
  return std::to_string(n);
}

std::string loadOf(const OperandText& operand, size_t offset) {
  std::string at = "[%row+" + number(offset) + "]";
  char c = operand.registerClass();
  if (c == 'p') return "ld.global.b32 %w0, " + at + "; setp.ne.b32 " + operand.text + ", %w0, 0;\n";
  if (c == 'q')
    return "ld.global.v2.b64 {%l0, %l1}, " + at + "; mov.b128 " + operand.text + ", {%l0, %l1};\n";
  return "ld.global.b" + number(static_cast<size_t>(widthOf(c))) + " " + operand.text + ", " + at +
         ";\n";
}

std::string storeOf(const OperandText& operand, size_t offset) {
  std::string at = "[%to+" + number(offset) + "]";
  char c = operand.registerClass();
  if (c == 'p') return "selp.b32 %w0, 1, 0, " + operand.text + "; st.global.b32 " + at + ", %w0;\n";
  if (c == 'q')
    return "mov.b128 {%l0, %l1}, " + operand.text + "; st.global.v2.b64 " + at + ", {%l0, %l1};\n";
  return "st.global.b" + number(static_cast<size_t>(widthOf(c))) + " " + at + ", " + operand.text +
         ";\n";
}

bool subtracts(const Instruction& in) {
  return in.name.starts_with("sub");
}
bool takesCarry(const Instruction& in) {
  return in.name == "addc" || in.name == "subc" || in.name == "madc";
}

// The address of the thread's cell, in memory of the kind that the instruction names.
std::string cellOf(const Instruction& in, std::string& space) {
  if (in.has("shared") || in.has("local")) {
    space = in.has("shared") ? "shared" : "local";
    std::string each =
        in.has("shared") ? "mov.u32 %w0, %tid.x; mad.wide.u32 %cell, %w0, 32, %cell;\n" : "";
    std::string copy;
    for (size_t k = 0; k < kCellWords; ++k) {
      copy += "ld.global.b64 %l0, [%row+" + number(kCellOffset + 8 * k) + "]; st." + space +
              ".b64 [%cell+" + number(8 * k) + "], %l0;\n";
    }
    return "mov.u64 %cell, " + space + "_cells;\n" + each + copy;
  }
  space = "global";
  return "add.u64 %cell, %to, " + number(offsetof(Output, cell)) + ";\n";
}

std::string kernelOf(const Instruction& in, bool of_warp) {
  std::string space;
  std::string text =
      ".version 9.0\n.target sm_120a\n.address_size 64\n.visible .entry k(.param .u64 p_out, "
      ".param .u64 p_in)\n{\n"
      ".reg .pred %p<10>;\n.reg .b8 %x<10>;\n.reg .b16 %h<10>;\n.reg .b32 %r<10>, %w<4>;\n"
      ".reg .b64 %d<10>, %l<4>, %row, %to, %cell;\n.reg .b128 %q<10>;\n"
      ".shared .align 16 .b8 shared_cells[" +
      number(kBlock * 32) +
      "];\n.local .align 16 .b8 local_cells[32];\n"
      "ld.param.u64 %to, [p_out]; ld.param.u64 %row, [p_in];\n"
      "mov.u32 %w0, %ctaid.x; mov.u32 %w1, %tid.x; mad.lo.u32 %w0, %w0, " +
      number(kBlock) +
      ", %w1;\n"
      "mad.wide.u32 %to, %w0, " +
      number(sizeof(Output)) + ", %to; mad.wide.u32 %row, %w0, " + number(sizeof(Row)) +
      ", %row;\n";
  text += cellOf(in, space);
  for (size_t k = 0; k < in.sources.size(); ++k) {
    const OperandText& source = in.sources[k];
    if (source.address)
      text += "mov.b64 " + source.text + ", %cell;\n";
    else if (of_warp && k + 1 == in.sources.size())
      text += "mov.b32 " + source.text + ", -1;\n";  // all threads of the warp
    else if (source.registerClass() != 0)
      text += loadOf(source, static_cast<size_t>(kSourceStride) * k);
  }
  if (takesCarry(in)) {
    text += "ld.global.b32 %w0, [%row+" + number(kCarryOffset) + "];\n";
    text += subtracts(in) ? "sub.cc.u32 %w1, 0, %w0;\n" : "add.cc.u32 %w1, %w0, -1;\n";
  }
  text += in.text + ";\n";
  if (in.has("cc")) {
    text += subtracts(in) ? "subc.u32 %w1, 0, 0; neg.s32 %w1, %w1;\n" : "addc.u32 %w1, 0, 0;\n";
    text += "st.global.b32 [%to+" + number(offsetof(Output, carry)) + "], %w1;\n";
  }
  for (size_t k = 0; k < in.destinations.size(); ++k) text += storeOf(in.destinations[k], 16 * k);
  if (space != "global") {
    for (size_t k = 0; k < kCellWords; ++k) {
      text += "ld." + space + ".b64 %l0, [%cell+" + number(8 * k) + "]; st.global.b64 [%to+" +
              number(offsetof(Output, cell) + 8 * k) + "], %l0;\n";
    }
  }
  return text + "ret;\n}\n";
}

// Bits as numbers that lie in order, so that their difference counts the units between two floats.
double positionOf(const Number& n, uint64_t bits) {
  auto magnitude = static_cast<double>(bits & ~n.sign());
  return (bits & n.sign()) != 0 ? -magnitude : magnitude;
}

bool matches(const Part& part, uint64_t got) {
  const Number* n = part.format;
  switch (part.kind) {
    case Part::Kind::exact:
      return got == part.bits;
    case Part::Kind::nan:
      return isNan(*n, got);
    case Part::Kind::flushed:
      return got == part.bits || (got & ~n->sign()) == 0;
    case Part::Kind::near:
      if (isNan(*n, part.bits) || isNan(*n, got)) return isNan(*n, part.bits) && isNan(*n, got);
      return std::abs(positionOf(*n, got) - positionOf(*n, part.bits)) <= part.units;
    default:
      return true;
  }
}

std::string hex(Wide v) {
  char text[40];
  std::snprintf(text, sizeof(text), "%llx'%016llx", static_cast<unsigned long long>(v >> 64),
                static_cast<unsigned long long>(v));
  return text;
}

// Empty when the thread gave what it must.
std::string difference(const Instruction& in, const Answer& want, const Output& got) {
  if (want.undefined) return "";
  for (size_t k = 0; k < in.destinations.size(); ++k) {
    int width = widthOf(in.destinations[k].registerClass());
    const Result& result = want.destinations[k];
    Wide given = got.destinations[k];
    if (result.parts.empty() && given != lowBitsOf(result.value, width)) {
      return in.destinations[k].text + " is " + hex(given) + ", must be " +
             hex(lowBitsOf(result.value, width));
    }
    for (const Part& part : result.parts) {
      uint64_t bits = lowBits(static_cast<uint64_t>(given >> part.low), part.width);
      if (!matches(part, bits))
        return in.destinations[k].text + " has " + hex(bits) + ", must be " + hex(part.bits);
    }
  }
  if (want.carry && *want.carry != got.carry) return "the carry is " + number(got.carry);
  if (want.cell && *want.cell != got.cell) {
    return "memory holds " + hex(got.cell[0]) + ", must be " + hex((*want.cell)[0]);
  }
  return "";
}

struct Oracles {
  Oracle of_thread = nullptr;
  WarpOracle of_warp = nullptr;
  bool known() const { return of_thread != nullptr || of_warp != nullptr; }
};

Oracles oraclesOf(const Instruction& in) {
  for (auto find : {integerOracle, floatOracle, convertOracle, videoOracle, memoryOracle}) {
    if (Oracle oracle = find(in); oracle != nullptr) return {oracle, nullptr};
  }
  return {nullptr, warpOracle(in)};
}

std::vector<Row> rowsFor(const Instruction& in, bool of_warp, uint64_t start) {
  RowMaker maker(start);
  std::vector<Row> rows;
  for (size_t k = 0; k < kRows; ++k) {
    rows.push_back(maker.row(in));
    // Warps in which all threads, or most, say the same.
    if (of_warp && k % 32 != 0 && (k / 32 % 4 == 0 || (k / 32 % 4 == 1 && k % 32 != 17))) {
      rows[k].sources[0] = rows[k - 1].sources[0];
    }
  }
  return rows;
}

std::vector<Answer> answersOf(const Instruction& in, const Oracles& oracles,
                              const std::vector<Row>& rows) {
  std::vector<Answer> answers(rows.size());
  for (size_t k = 0; k < rows.size(); ++k) {
    if (oracles.of_thread != nullptr) {
      answers[k] = oracles.of_thread(in, rows[k]);
    } else if (k % 32 == 0) {
      oracles.of_warp(in, std::span(rows).subspan(k).first<32>(),
                      std::span(answers).subspan(k).first<32>());
    }
  }
  return answers;
}

void check(TestDevice& device, const Instruction& in, uint64_t start) {
  Oracles oracles = oraclesOf(in);
  std::string text = kernelOf(in, oracles.of_warp != nullptr);
  std::vector<Row> rows = rowsFor(in, oracles.of_warp != nullptr, start);
  std::vector<Answer> answers = answersOf(in, oracles, rows);
  auto* given = device.allocateArray<Row>(kRows);
  auto* out = device.allocateArray<Output>(kRows);
  std::copy(rows.begin(), rows.end(), given);
  // Level 0 is the best of this machine; level 2 runs everywhere.
  for (int level : {0, 2, 3}) {
    SCOPED_TRACE(in.text + ", FARWARP_SEED=" + number(start) + ", level " + std::to_string(level));
    TestModule module(device, text, level);
    ASSERT_TRUE(module);
    std::fill(out, out + kRows, Output{});
    for (size_t k = 0; k < kRows; ++k) out[k].cell = rows[k].cell;
    LaunchResult result = module.launch("k", {kRows / kBlock}, {kBlock}, 0, out, given);
    ASSERT_EQ(result.status, LaunchStatus::ok) << result.detail.message;
    for (size_t k = 0; k < kRows; ++k) {
      std::string wrong = difference(in, answers[k], out[k]);
      if (wrong.empty()) continue;
      std::string sources;
      for (size_t s = 0; s < in.sources.size(); ++s) sources += " " + hex(rows[k].sources[s]);
      FAIL() << wrong << "; sources" << sources << ", cell " << hex(rows[k].cell[0]) << ", carry "
             << rows[k].carry;
    }
  }
}

// Forms that need memory, barriers or matrices of their own, and who tests them.
struct Elsewhere {
  std::string_view start;  // of the instruction
  std::string_view tests;
};
constexpr Elsewhere kElsewhere[] = {
    {"cvt.rs", "SmallFloat"},
    {"cvta", "Memory, Async"},
    {"isspacep", "Memory"},
    {"ld.const", "Memory, Link"},
    {"mapa", "Async"},
    {"getctarank", "Async"},
    {"alloca", "Control, Effects"},
    {"stacksave", "Effects"},
    {"stackrestore", "Effects"},
    {"membar", "Effects"},
    {"fence", "Effects"},
    {"prefetch", "Effects"},
    {"createpolicy", "Effects"},
    {"griddepcontrol", "Effects"},
    {"setmaxnreg", "Effects"},
    {"nanosleep", "Effects, Control"},
    {"pmevent", "Effects"},
    {"tensormap", "Effects"},
    {"st.bulk", "Async"},
    {"clusterlaunchcontrol", "refused"},
    {"st.async", "Effects"},
    {"cp.async.bulk.tensor", "conformance: TensorMap"},
    {"cp.reduce.async.bulk.tensor", "conformance: TensorMap"},
    {"cp.async.bulk.prefetch", "conformance: TensorMap"},
    {"cp.", "Async"},
    {"red.async", "Async"},
    {"mbarrier", "Async, Effects"},
    {"bar", "Control, Async"},
    {"ret", "Control"},
    {"exit", "Control"},
    {"trap", "Errors"},
    {"brkpt", "Effects"},
    {"mma", "Matrix"},
    {"wmma", "Wmma"},
    {"ldmatrix", "Matrix"},
    {"stmatrix", "Matrix"},
    {"movmatrix", "Matrix"},
    {"wgmma", "refused"},
    {"tcgen05", "refused"},
    {"tex.", "TextureForms"},
    {"tld4", "TextureForms"},
    {"txq", "TextureForms"},
    {"su", "TextureForms"},
};

class Forms : public testing::TestWithParam<std::string_view> {};

TEST_P(Forms, GiveWhatTheManualSays) {
  uint64_t start = seed();
  size_t checked = 0;
  for (const InstructionForms& form : instructionForms()) {
    if (form.family != GetParam()) continue;
    TestDevice device;
    for (const std::string& text : expandForms(form.pattern)) {
      Instruction in(text);
      if (!oraclesOf(in).known()) continue;
      check(device, in, start + checked++);
      if (HasFatalFailure() && std::getenv("FARWARP_FORMS_ALL") == nullptr) return;
    }
  }
  RecordProperty("variants", static_cast<int>(checked));
  std::printf("%zu variants\n", checked);
}

INSTANTIATE_TEST_SUITE_P(Ptx, Forms,
                         testing::Values("Integer arithmetic", "Logic, shifts, bit fields",
                                         "Floating point", "Comparison and selection",
                                         "Moves and conversions", "Memory", "Atomics",
                                         "Warps and blocks", "Video"),
                         [](const auto& info) {
                           std::string name;
                           for (char c : info.param) {
                             if (std::isalpha(static_cast<unsigned char>(c)) != 0) name += c;
                           }
                           return name;
                         });

TEST(FormsTable, EveryVariantIsTestedHereOrThere) {
  std::map<std::string, int> unknown;
  for (const InstructionForms& form : instructionForms()) {
    for (const std::string& text : expandForms(form.pattern)) {
      if (oraclesOf(Instruction(text)).known()) continue;
      bool listed = std::any_of(std::begin(kElsewhere), std::end(kElsewhere),
                                [&](const Elsewhere& e) { return text.starts_with(e.start); });
      if (!listed) ++unknown[std::string(form.pattern)];
    }
  }
  for (const auto& [pattern, count] : unknown) ADD_FAILURE() << count << " of " << pattern;
}

}  // namespace
}  // namespace farwarp::ptx
