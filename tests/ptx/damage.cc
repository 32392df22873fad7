#include "tests/ptx/damage.h"

#include <sstream>
#include <vector>

namespace farwarp::ptx {
namespace {

bool isWord(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
         c == '%' || c == '$';
}

// The first word of `text` at or after `from`; {npos, npos} when there is none.
std::pair<size_t, size_t> wordAfter(const std::string& text, size_t from) {
  // Not in the middle of a word.
  while (from < text.size() && isWord(text[from])) ++from;
  while (from < text.size() && !isWord(text[from])) ++from;
  size_t until = from;
  while (until < text.size() && isWord(text[until])) ++until;
  if (from == until) return {std::string::npos, std::string::npos};
  return {from, until};
}

std::string otherNumber(Random& random) {
  static const char* const kNumbers[] = {"0",
                                         "1",
                                         "2",
                                         "3",
                                         "4",
                                         "7",
                                         "8",
                                         "15",
                                         "16",
                                         "31",
                                         "32",
                                         "33",
                                         "63",
                                         "64",
                                         "65",
                                         "255",
                                         "256",
                                         "1024",
                                         "4096",
                                         "65535",
                                         "65536",
                                         "16777216",
                                         "2147483647",
                                         "2147483648",
                                         "4294967295",
                                         "4294967296",
                                         "9223372036854775807",
                                         "18446744073709551615",
                                         "0f7F800000",
                                         "0fFFC00000",
                                         "0d7FF0000000000000",
                                         "0f00000001"};
  return kNumbers[below(random, std::size(kNumbers))];
}

// What stands behind a dot.
std::string otherModifier(Random& random) {
  static const char* const kModifiers[] = {
      "u8",       "u16",     "u32",       "u64",      "s8",      "s16",      "s32",     "s64",
      "b8",       "b16",     "b32",       "b64",      "b128",    "f16",      "f16x2",   "bf16",
      "bf16x2",   "tf32",    "f32",       "f64",      "pred",    "e4m3x2",   "e5m2x2",  "v2",
      "v4",       "v8",      "global",    "shared",   "local",   "const",    "param",   "generic",
      "rn",       "rz",      "rm",        "rp",       "rni",     "rzi",      "ftz",     "sat",
      "approx",   "full",    "wide",      "lo",       "hi",      "cc",       "eq",      "ltu",
      "volatile", "relaxed", "acquire",   "release",  "acq_rel", "cta",      "cluster", "gpu",
      "sys",      "sync",    "aligned",   "add",      "min",     "max",      "and",     "or",
      "xor",      "cas",     "exch",      "inc",      "dec",     "up",       "down",    "bfly",
      "idx",      "all",     "any",       "ballot",   "uni",     "x",        "y",       "m16n8k16",
      "m8n8k4",   "row",     "col",       "x4",       "trans",   "clamp",    "wrap",    "trap",
      "1d",       "2d",      "3d",        "a2d",      "cube",    "mbarrier", "arrive",  "expect_tx",
      "relu",     "NaN",     "satfinite", "shiftamt", "noinc",   "L2::128B", "nc",      "red"};
  return kModifiers[below(random, std::size(kModifiers))];
}

}  // namespace

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
      size_t to = text.find_first_of(kBreaks, below(random, text.size()) / 2);
      if (to != std::string::npos) text.insert(to, token);
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

std::string damageInstruction(std::string text, Random& random) {
  for (size_t n = 1 + below(random, 3); n > 0; --n) {
    auto [from, until] = wordAfter(text, below(random, text.size()));
    if (from == std::string::npos) continue;
    std::string word = text.substr(from, until - from), other;
    bool is_number = word[0] >= '0' && word[0] <= '9';
    if (from > 0 && text[from - 1] == '.') {
      other = otherModifier(random);
    } else if (is_number) {
      other = otherNumber(random);
    } else {
      // Another word that stands nearby: a register of this function, an opcode, a label.
      size_t near = from < 400 ? 0 : from - 400;
      auto [begin, end] = wordAfter(text, near + below(random, 800));
      bool is_modifier = begin > 0 && begin < text.size() && text[begin - 1] == '.';
      if (begin == std::string::npos || is_modifier || end - begin > 40) continue;
      other = text.substr(begin, end - begin);
    }
    text.replace(from, until - from, other);
  }
  return text;
}

std::string damage(const std::string& text, Random& random) {
  switch (below(random, 8)) {
    case 0:
      return text.substr(0, below(random, text.size()));
    case 1:
      return damageBytes(text, random);
    case 2:
      return damageTokens(text, random);
    case 3:
    case 4:
      return damageLines(text, random);
    default:
      return damageInstruction(text, random);
  }
}

}  // namespace farwarp::ptx
