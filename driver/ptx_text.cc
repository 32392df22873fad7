// The one line of PTX text that decides which device takes it.
#include <cctype>
#include <charconv>

#include "driver/fatbin.h"

namespace farwarp {
namespace {

bool isSpace(char c) {
  return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

// Moves `at` past blanks and comments.
void skipBlanks(std::string_view text, size_t& at) {
  while (at < text.size()) {
    if (isSpace(text[at])) {
      ++at;
    } else if (text.substr(at, 2) == "//") {
      at = std::min(text.find('\n', at), text.size());
    } else if (text.substr(at, 2) == "/*") {
      const size_t end = text.find("*/", at + 2);
      at = end == text.npos ? text.size() : end + 2;
    } else {
      return;
    }
  }
}

std::string_view wordAt(std::string_view text, size_t& at) {
  skipBlanks(text, at);
  const size_t start = at;
  while (at < text.size() && !isSpace(text[at]) && text[at] != ',' && text[at] != '/') ++at;
  return text.substr(start, at - start);
}

bool readNumber(std::string_view& text, uint32_t& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{}) return false;
  text.remove_prefix(end - text.data());
  return true;
}

}  // namespace

bool readPtxTarget(std::string_view text, ImageEntry& entry) {
  size_t at = 0;
  // `.version X.Y` comes first and `.target` second, with nothing but comments between them.
  if (wordAt(text, at) != ".version") return false;
  std::string_view version = wordAt(text, at);
  uint32_t major = 0, minor = 0;
  if (!readNumber(version, major) || version.empty() || version[0] != '.') return false;
  version.remove_prefix(1);
  if (!readNumber(version, minor)) return false;
  if (wordAt(text, at) != ".target") return false;
  std::string_view target = wordAt(text, at);
  if (!target.starts_with("sm_")) return false;
  target.remove_prefix(3);
  uint32_t sm = 0;
  if (!readNumber(target, sm)) return false;
  entry.version_major = static_cast<uint16_t>(major);
  entry.version_minor = static_cast<uint16_t>(minor);
  entry.sm = sm;
  entry.arch_specific = target.starts_with("a");
  entry.family_specific = target.starts_with("f");
  return true;
}

}  // namespace farwarp
