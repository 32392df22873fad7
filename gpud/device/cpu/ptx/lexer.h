// Splits PTX text into tokens.
#pragma once

#include <cstdint>
#include <string_view>

#include "gpud/device/cpu/ptx/error.h"

namespace farwarp::ptx {

enum class TokenKind : uint8_t {
  end,
  identifier,   // name, %name, $name, _name
  directive,    // .name, with ::name parts; text without the dot
  integer,      // value
  real,         // value = the bits; is_double
  string,       // text without quotes, escapes not resolved
  punctuation,  // text[0]
};

struct Token {
  TokenKind kind = TokenKind::end;
  bool is_double = false;
  bool is_decimal = false;  // a real in decimal notation
  bool glued = false;       // no space before it
  uint32_t line = 1;
  uint64_t value = 0;
  std::string_view text;

  bool is(char c) const { return kind == TokenKind::punctuation && text[0] == c; }
  bool isDirective(std::string_view name) const {
    return kind == TokenKind::directive && text == name;
  }
  bool isWord(std::string_view name) const { return kind == TokenKind::identifier && text == name; }
};

class Lexer {
 public:
  explicit Lexer(std::string_view text) : text_(text) {}
  // The next token; after the last one, tokens of kind end. Throws SyntaxError.
  Token next();

 private:
  void skipSpace();
  Token number();
  Token word(TokenKind kind);
  char at(size_t index) const { return index < text_.size() ? text_[index] : '\0'; }

  std::string_view text_;
  size_t position_ = 0;
  uint32_t line_ = 1;
};

}  // namespace farwarp::ptx
