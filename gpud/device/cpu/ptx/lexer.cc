#include "gpud/device/cpu/ptx/lexer.h"

#include <bit>
#include <charconv>
#include <cstdlib>
#include <string>

namespace farwarp::ptx {
namespace {

bool isDigit(char c) {
  return c >= '0' && c <= '9';
}
bool isWordStart(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == '$' || c == '%';
}
bool isWordPart(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || isDigit(c) || c == '_' || c == '$';
}
bool isHexDigit(char c) {
  return isDigit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

}  // namespace

void Lexer::skipSpace() {
  for (;;) {
    char c = at(position_);
    if (c == '\n') {
      ++line_;
      ++position_;
    } else if (c == ' ' || c == '\t' || c == '\r' || c == '\f' || c == '\v') {
      ++position_;
    } else if (c == '/' && at(position_ + 1) == '/') {
      while (position_ < text_.size() && text_[position_] != '\n') ++position_;
    } else if (c == '/' && at(position_ + 1) == '*') {
      uint32_t start = line_;
      position_ += 2;
      while (position_ < text_.size() && !(at(position_) == '*' && at(position_ + 1) == '/')) {
        if (text_[position_++] == '\n') ++line_;
      }
      if (position_ >= text_.size()) failInvalid(start, "A comment is not closed.");
      position_ += 2;
    } else {
      return;
    }
  }
}

Token Lexer::word(TokenKind kind) {
  Token token;
  token.kind = kind;
  token.line = line_;
  size_t start = position_;
  ++position_;
  for (;;) {
    if (isWordPart(at(position_))) {
      ++position_;
    } else if (kind == TokenKind::directive && at(position_) == ':' && at(position_ + 1) == ':' &&
               isWordPart(at(position_ + 2))) {
      position_ += 2;
    } else {
      break;
    }
  }
  token.text = text_.substr(start, position_ - start);
  return token;
}

Token Lexer::number() {
  Token token;
  token.kind = TokenKind::integer;
  token.line = line_;
  size_t start = position_;
  char second = at(position_ + 1);
  if (at(position_) == '0' && (second == 'f' || second == 'F' || second == 'd' || second == 'D')) {
    bool is_double = second == 'd' || second == 'D';
    size_t digits = is_double ? 16 : 8;
    position_ += 2;
    size_t first = position_;
    while (isHexDigit(at(position_))) ++position_;
    if (position_ - first != digits) {
      failInvalid(line_, "A floating-point literal '" +
                             std::string(text_.substr(start, position_ - start)) + "' has " +
                             std::to_string(position_ - first) + " hexadecimal digits; it needs " +
                             std::to_string(digits) + ".");
    }
    std::from_chars(&text_[first], text_.data() + position_, token.value, 16);
    token.kind = TokenKind::real;
    token.is_double = is_double;
    token.text = text_.substr(start, position_ - start);
    return token;
  }
  int base = 10;
  if (at(position_) == '0' && (second == 'x' || second == 'X')) {
    base = 16;
    position_ += 2;
  } else if (at(position_) == '0' && (second == 'b' || second == 'B')) {
    base = 2;
    position_ += 2;
  }
  size_t first = position_;
  while (base == 16 ? isHexDigit(at(position_)) : isDigit(at(position_))) ++position_;
  bool is_real = false;
  if (base == 10) {
    if (at(position_) == '.' && (isDigit(at(position_ + 1)) || !isWordPart(at(position_ + 1)))) {
      is_real = true;
      ++position_;
      while (isDigit(at(position_))) ++position_;
    }
    char sign = at(position_ + 1);
    if ((at(position_) == 'e' || at(position_) == 'E') &&
        (isDigit(sign) || ((sign == '-' || sign == '+') && isDigit(at(position_ + 2))))) {
      is_real = true;
      position_ += 2;
      while (isDigit(at(position_))) ++position_;
    }
  }
  if (is_real) {
    std::string digits(text_.substr(start, position_ - start));
    token.value = std::bit_cast<uint64_t>(std::strtod(digits.c_str(), nullptr));
    token.kind = TokenKind::real;
    token.is_double = true;
    token.is_decimal = true;
  } else {
    if (base == 10 && at(first) == '0' && position_ - first > 1) base = 8;
    auto [end, error] =
        std::from_chars(text_.data() + first, text_.data() + position_, token.value, base);
    if (error != std::errc() || end != text_.data() + position_) {
      failInvalid(line_, "An integer literal '" +
                             std::string(text_.substr(start, position_ - start)) +
                             "' is malformed or does not fit in 64 bits.");
    }
    if (at(position_) == 'U') ++position_;
  }
  token.text = text_.substr(start, position_ - start);
  return token;
}

Token Lexer::next() {
  size_t before = position_;
  skipSpace();
  bool glued = before == position_;
  Token token;
  token.line = line_;
  if (position_ >= text_.size()) return token;
  char c = text_[position_];
  if (isWordStart(c)) {
    token = word(TokenKind::identifier);
    if (token.text == "WARP_SZ") {  // the one predefined constant of PTX
      token.kind = TokenKind::integer;
      token.value = 32;
    }
  } else if (c == '.' && isWordPart(at(position_ + 1))) {
    token = word(TokenKind::directive);
    token.text.remove_prefix(1);
  } else if (isDigit(c)) {
    token = number();
  } else if (c == '"') {
    size_t start = ++position_;
    while (position_ < text_.size() && text_[position_] != '"' && text_[position_] != '\n') {
      position_ += text_[position_] == '\\' ? 2 : 1;
    }
    if (position_ >= text_.size() || text_[position_] != '"') {
      failInvalid(line_, "A string is not closed.");
    }
    token.kind = TokenKind::string;
    token.text = text_.substr(start, position_ - start);
    ++position_;
  } else if (std::string_view("@{}[]()<>,;:=+-*/!~|&^?%.").find(c) != std::string_view::npos) {
    token.kind = TokenKind::punctuation;
    token.text = text_.substr(position_++, 1);
  } else {
    failInvalid(line_, "Unexpected character with code " +
                           std::to_string(static_cast<unsigned char>(c)) + ".");
  }
  token.glued = glued;
  return token;
}

}  // namespace farwarp::ptx
