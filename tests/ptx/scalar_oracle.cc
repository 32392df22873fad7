#include "tests/ptx/scalar_oracle.h"

#include <algorithm>

namespace farwarp::ptx {
namespace {

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
  return text;
}

// Cuts at separators outside of braces and brackets.
std::vector<std::string> cutAt(std::string_view text, char separator) {
  std::vector<std::string> parts(1);
  int depth = 0;
  for (char c : text) {
    if (c == '{' || c == '[') ++depth;
    if (c == '}' || c == ']') --depth;
    if (c == separator && depth == 0)
      parts.emplace_back();
    else
      parts.back() += c;
  }
  return parts;
}

void addOperands(std::string_view text, bool address, std::vector<OperandText>& to) {
  text = trimmed(text);
  if (text.empty()) return;
  if (text.front() == '{') {
    for (const std::string& part : cutAt(text.substr(1, text.size() - 2), ',')) {
      addOperands(part, address, to);
    }
    return;
  }
  if (text.front() == '[') return addOperands(text.substr(1, text.size() - 2), true, to);
  OperandText operand;
  operand.address = address;
  operand.negated = text.front() == '!';
  operand.minus = text.starts_with("-%");
  if (operand.negated || operand.minus) text.remove_prefix(1);
  size_t dot = text.front() == '%' ? text.find('.') : std::string_view::npos;
  operand.text = text.substr(0, dot);
  if (dot != std::string_view::npos) operand.selector = text.substr(dot);
  to.push_back(operand);
}

bool hasNoDestination(std::string_view name) {
  for (std::string_view n : {"st", "red", "bar", "prefetch", "prefetchu", "stackrestore"}) {
    if (name == n) return true;
  }
  return false;
}

}  // namespace

Instruction::Instruction(std::string_view given) : text(given) {
  size_t space = given.find(' ');
  std::vector<std::string> words = cutAt(given.substr(0, space), '.');
  name = words[0];
  modifiers.assign(words.begin() + 1, words.end());
  if (space == std::string_view::npos) return;
  std::vector<std::string> operands = cutAt(given.substr(space + 1), ',');
  size_t first = 0;
  if (!hasNoDestination(name)) {
    for (const std::string& part : cutAt(operands[0], '|')) addOperands(part, false, destinations);
    first = 1;
  }
  for (size_t k = first; k < operands.size(); ++k) addOperands(operands[k], false, sources);
}

bool Instruction::has(std::string_view modifier) const {
  return std::find(modifiers.begin(), modifiers.end(), modifier) != modifiers.end();
}

std::string_view Instruction::mod(int n) const {
  int at = n < 0 ? static_cast<int>(modifiers.size()) + n : n;
  if (at < 0 || at >= static_cast<int>(modifiers.size())) return {};
  return modifiers[static_cast<size_t>(at)];
}

const Number* numberNamed(std::string_view type) {
  static constexpr Number kBits[] = {{"b8", 1, 0, 0, false},
                                     {"b16", 2, 0, 0, false},
                                     {"b32", 4, 0, 0, false},
                                     {"b64", 8, 0, 0, false}};
  for (const Number* n : {&kF16, &kBf16, &kF32, &kF64}) {
    if (type == n->name) return n;
  }
  for (const Number& n : kIntegers) {
    if (type == n.name) return &n;
  }
  for (const Number& n : kBits) {
    if (type == n.name) return &n;
  }
  return nullptr;
}

int64_t signExtended(uint64_t v, int bits) {
  return static_cast<int64_t>(v << (64 - bits)) >> (64 - bits);
}

Part exactPart(const Number& n, uint64_t bits, int low) {
  Part part;
  part.low = low;
  part.width = n.bits();
  part.bits = bits;
  part.format = &n;
  if (n.nan == 0 && isNan(n, bits)) part.kind = Part::Kind::nan;
  return part;
}

}  // namespace farwarp::ptx
