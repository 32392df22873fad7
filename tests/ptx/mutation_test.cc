// Goal: damaged PTX is refused or taken, but never crashes the process. Method: PTX as nvcc writes
// it, and one instruction of every known form, are damaged a few thousand times (bytes, tokens,
// lines; the seed is fixed and printed), then parsed and decoded. Under the sanitizers this also
// finds reads out of bounds.
#include <gtest/gtest.h>

#include <fstream>
#include <random>
#include <sstream>

#include "gpud/device/cpu/ptx/check.h"
#include "gpud/device/cpu/ptx/tool/forms.h"

namespace farwarp::ptx {
namespace {

using Random = std::mt19937;

size_t below(Random& random, size_t limit) {
  return limit == 0 ? 0 : random() % limit;
}

std::string damageBytes(std::string text, Random& random) {
  static constexpr char kBytes[] = "{}[]()<>.,;:%@!|+-=_\"0x9\n \0\xff";
  for (size_t n = 1 + below(random, 4); n > 0; --n) {
    size_t at = below(random, text.size());
    switch (below(random, 3)) {
      case 0:
        text[at] = kBytes[below(random, sizeof(kBytes) - 1)];
        break;
      case 1:
        text.erase(at, 1 + below(random, 8));
        break;
      default:
        text.insert(at, 1, kBytes[below(random, sizeof(kBytes) - 1)]);
        break;
    }
    if (text.empty()) text = " ";
  }
  return text;
}

// A word, with what separates it from the next, goes to another place or is replaced.
std::string damageTokens(std::string text, Random& random) {
  static const char* const kWords[] = {
      ".u64", ".f16x2", ".v4", ".sat", "99999999999999999999", "-1", "0xffffffffffffffff", "{", "}",
      "%r1",  "ld",     "bra", ".wide"};
  constexpr std::string_view kBreaks = " \t\n,;.[]{}()";
  for (size_t n = 1 + below(random, 3); n > 0; --n) {
    size_t from = text.find_first_of(kBreaks, below(random, text.size()));
    if (from == std::string::npos) continue;
    size_t until = text.find_first_of(kBreaks, from + 1);
    if (until == std::string::npos) continue;
    std::string token = text.substr(from, until - from);
    if (below(random, 2) == 0) {
      text.replace(from, until - from, kWords[below(random, std::size(kWords))]);
    } else {
      text.insert(text.find_first_of(kBreaks, below(random, text.size()) / 2), token);
    }
  }
  return text;
}

std::string damageLines(const std::string& text, Random& random) {
  std::vector<std::string> lines;
  std::stringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  for (size_t n = 1 + below(random, 4); n > 0 && lines.size() > 1; --n) {
    size_t at = below(random, lines.size()), other = below(random, lines.size());
    switch (below(random, 3)) {
      case 0:
        lines.erase(lines.begin() + static_cast<ptrdiff_t>(at));
        break;
      case 1:
        std::swap(lines[at], lines[other]);
        break;
      default:
        lines.insert(lines.begin() + static_cast<ptrdiff_t>(at), lines[other]);
        break;
    }
  }
  std::string out;
  for (const std::string& line : lines) out += line + "\n";
  return out;
}

std::string damage(const std::string& text, Random& random) {
  switch (below(random, 4)) {
    case 0:
      return text.substr(0, below(random, text.size()));
    case 1:
      return damageBytes(text, random);
    case 2:
      return damageTokens(text, random);
    default:
      return damageLines(text, random);
  }
}

// Every text either loads or says why not, with a sentence.
void expectVerdict(const std::string& text) {
  TextCheck check = checkText(text);
  ASSERT_EQ(check.log.status == CompileStatus::ok, check.log.text.empty());
  for (const FunctionCheck& function : check.functions) {
    ASSERT_EQ(function.status == CompileStatus::ok, function.reason.empty());
  }
}

constexpr unsigned kSeed = 20250611;

TEST(Mutation, OfEveryKnownForm) {
  SCOPED_TRACE("seed " + std::to_string(kSeed));
  Random random(kSeed);
  for (const InstructionForms& row : instructionForms()) {
    std::vector<std::string> list = expandForms(row.pattern);
    for (int n = 0; n < 60; ++n) {
      std::string text = moduleOf(list[below(random, list.size())]);
      expectVerdict(n < 20 ? damageTokens(text, random) : damage(text, random));
    }
  }
}

#ifdef FARWARP_KERNELS_PTX
TEST(Mutation, OfWhatNvccWrites) {
  SCOPED_TRACE("seed " + std::to_string(kSeed));
  std::ifstream file(FARWARP_KERNELS_PTX);
  std::stringstream stream;
  stream << file.rdbuf();
  std::string text = stream.str();
  ASSERT_GT(text.size(), 1000u);
  Random random(kSeed);
  // Pieces of the text keep a run short; its beginning declares what they use.
  std::vector<std::string> pieces;
  size_t head = text.find("\n.visible .entry");
  for (size_t at = head; at != std::string::npos;) {
    size_t next = text.find("\n.visible .entry", at + 1);
    pieces.push_back(text.substr(0, head) + text.substr(at, next - at));
    at = next;
  }
  ASSERT_GT(pieces.size(), 10u);
  for (const std::string& piece : pieces) expectVerdict(piece);
  for (int n = 0; n < 8000; ++n) {
    expectVerdict(damage(pieces[below(random, pieces.size())], random));
  }
}
#endif

}  // namespace
}  // namespace farwarp::ptx
