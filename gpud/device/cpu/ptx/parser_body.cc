// The parts of the parser for initialisers, statements and operands.
#include <bit>
#include <cstring>

#include "gpud/device/cpu/ptx/parser.h"

namespace farwarp::ptx {

using ast::Function;
using ast::Instruction;
using ast::Operand;
using ast::Symbol;
using ast::SymbolKind;

namespace {

constexpr int kNestingMax = 64;

int precedence(std::string_view op) {
  if (op == "*" || op == "/" || op == "%") return 6;
  if (op == "+" || op == "-") return 5;
  if (op == "<" || op == ">") return 4;  // only as << and >>
  if (op == "&") return 3;
  if (op == "^") return 2;
  if (op == "|") return 1;
  return 0;
}

int64_t wrap(uint64_t value) {
  return static_cast<int64_t>(value);
}

}  // namespace

int64_t Parser::parsePrimary(int depth) {
  if (depth > kNestingMax) fail("An expression is nested too deeply.");
  if (accept('-')) return wrap(-static_cast<uint64_t>(parsePrimary(depth + 1)));
  if (accept('+')) return parsePrimary(depth + 1);
  if (accept('~')) return ~parsePrimary(depth + 1);
  if (accept('!')) return parsePrimary(depth + 1) == 0;
  if (accept('(')) {
    if (token_.kind == TokenKind::directive) {  // a cast, (.s64) or (.u64)
      advance();
      expect(')');
      return parsePrimary(depth + 1);
    }
    int64_t value = parseExpression(depth + 1);
    expect(')');
    return value;
  }
  return expectInteger();
}

// Constant expressions of 64-bit integers, by precedence climbing with an explicit operator stack.
int64_t Parser::parseExpression(int depth) {
  std::vector<int64_t> values{parsePrimary(depth)};
  std::vector<char> operators;
  auto reduce = [&] {
    int64_t right = values.back();
    values.pop_back();
    uint64_t a = static_cast<uint64_t>(values.back()), b = static_cast<uint64_t>(right);
    switch (operators.back()) {
      case '*':
        a *= b;
        break;
      case '/':
      case '%': {
        if (right == 0) fail("A constant expression divides by zero.");
        bool by_minus_one = right == -1;
        int64_t left = values.back();
        if (operators.back() == '/')
          a = by_minus_one ? -a : static_cast<uint64_t>(left / right);
        else
          a = by_minus_one ? 0 : static_cast<uint64_t>(left % right);
        break;
      }
      case '+':
        a += b;
        break;
      case '-':
        a -= b;
        break;
      case '<':
        a = b > 63 ? 0 : a << b;
        break;
      case '>':
        a = static_cast<uint64_t>(values.back() >> (b > 63 ? 63 : b));
        break;
      case '&':
        a &= b;
        break;
      case '^':
        a ^= b;
        break;
      default:
        a |= b;
        break;
    }
    values.back() = wrap(a);
    operators.pop_back();
  };
  while (token_.kind == TokenKind::punctuation && precedence(token_.text) > 0) {
    char op = token_.text[0];
    int level = precedence(token_.text);
    advance();
    if (op == '<' || op == '>') expect(op);
    while (!operators.empty() && precedence({&operators.back(), 1}) >= level) reduce();
    operators.push_back(op);
    values.push_back(parsePrimary(depth));
  }
  while (!operators.empty()) reduce();
  return values.back();
}

void Parser::parseInitializer(Symbol& symbol) {
  uint64_t offset = 0;
  if (token_.is('{')) {
    advance();
    parseInitializerList(symbol, offset, symbol.bytes, 0);
  } else if (token_.kind == TokenKind::string) {
    for (char c : token_.text) symbol.initial.push_back(static_cast<std::byte>(c));
    advance();
  } else {
    parseInitialValue(symbol, offset);
  }
  if (symbol.initial.size() > symbol.bytes) {
    fail("The initial value of '" + std::string(symbol.name) + "' has " +
         std::to_string(symbol.initial.size()) + " bytes; the variable has " +
         std::to_string(symbol.bytes) + ".");
  }
}

void Parser::parseInitializerList(Symbol& symbol, uint64_t& offset, uint64_t end, int depth) {
  if (depth > 8) fail("An initialiser is nested too deeply.");
  while (!token_.is('}')) {
    if (accept('{')) {
      parseInitializerList(symbol, offset, end, depth + 1);
    } else {
      parseInitialValue(symbol, offset);
    }
    if (offset > end) fail("An initialiser has more values than its variable has room for.");
    if (!accept(',')) break;
  }
  expect('}');
}

void Parser::parseInitialValue(Symbol& symbol, uint64_t& offset) {
  uint32_t size = sizeOf(symbol.type);
  uint64_t bits = 0;
  ast::InitialAddress address;
  address.line = token_.line;
  uint64_t mask = 0;
  if (token_.kind == TokenKind::integer && token_.value > 0xff) {
    // 0xFF00(symbol): one byte of an address.
    mask = token_.value;
    advance();
    if (!token_.is('(')) {
      // Not a mask after all: an expression that starts with this number.
      bits = mask;
      mask = 0;
      while (token_.kind == TokenKind::punctuation && precedence(token_.text) > 0) {
        char op = token_.text[0];
        advance();
        int64_t right = parsePrimary(0);
        bits = op == '+'   ? bits + right
               : op == '-' ? bits - right
               : op == '*' ? bits * right
                           : bits;
      }
    }
  } else if (token_.kind == TokenKind::integer && token_.value == 0xff) {
    advance();
    if (token_.is('('))
      mask = 0xff;
    else
      bits = 0xff;
  } else if (token_.kind == TokenKind::identifier) {
    mask = ~uint64_t{0};
  } else {
    Operand literal;
    if (token_.kind == TokenKind::real || token_.is('-')) {
      literal = parseLiteral();
    } else {
      literal.value = parseExpression();
    }
    bits = static_cast<uint64_t>(literal.value);
    if (literal.kind == Operand::Kind::real && symbol.type == Type::f32 && literal.is_double) {
      bits = std::bit_cast<uint32_t>(static_cast<float>(std::bit_cast<double>(bits)));
    }
    if (literal.kind == Operand::Kind::real && symbol.type == Type::f64 && !literal.is_double) {
      bits = std::bit_cast<uint64_t>(double{std::bit_cast<float>(static_cast<uint32_t>(bits))});
    }
  }
  if (mask != 0) {
    int parentheses = accept('(') ? 1 : 0;
    address.symbol = expectName();
    if (address.symbol == "generic") {
      expect('(');
      ++parentheses;
      address.symbol = expectName();
    }
    while (parentheses > 0 || token_.is('+') || token_.is('-')) {
      if (accept('+'))
        address.addend =
            wrap(static_cast<uint64_t>(address.addend) + static_cast<uint64_t>(parsePrimary(0)));
      else if (accept('-'))
        address.addend =
            wrap(static_cast<uint64_t>(address.addend) - static_cast<uint64_t>(parsePrimary(0)));
      else if (parentheses-- > 0)
        expect(')');
    }
    address.offset = offset;
    address.size = size;
    if (mask != ~uint64_t{0}) {
      while ((mask & 1) == 0) mask >>= 1, ++address.shift;
    }
    symbol.addresses.push_back(address);
  }
  if (offset + size > (uint64_t{1} << 30)) fail("An initialiser is larger than 1 GiB.");
  symbol.initial.resize(offset + size);
  std::memcpy(&symbol.initial[offset], &bits, std::min<uint32_t>(size, 8));
  offset += size;
}

void Parser::parseBody(Function& function) {
  expect('{');
  while (!scopes_.empty()) {
    if (token_.kind == TokenKind::end) {
      fail("The body of '" + std::string(function.name) + "' is not closed.");
    }
    if (token_.is('{')) {
      if (scopes_.size() > kNestingMax) fail("Scopes are nested too deeply.");
      function.scope_parents.push_back(scope_ids_.back());
      scope_ids_.push_back(static_cast<int>(function.scope_parents.size()) - 1);
      scopes_.emplace_back();
      advance();
    } else if (token_.is('}')) {
      scopes_.pop_back();
      scope_ids_.pop_back();
      advance();
    } else {
      parseStatement(function);
    }
  }
}

void Parser::parseStatement(Function& function) {
  if (accept(';')) return;
  if (token_.kind == TokenKind::directive) {
    std::string_view name = token_.text;
    if (name == "loc" || name == "file") return skipLine();
    if (name == "pragma") {
      while (token_.kind != TokenKind::end && !token_.is(';')) advance();
      return expect(';');
    }
    Linkage linkage = parseLinkage();
    name = token_.text;
    advance();
    if (name == "reg") return parseRegisters(function);
    if (name == "local") return parseVariables(SymbolKind::local, {}, false, function_);
    if (name == "param") return parseVariables(SymbolKind::param, {}, false, function_);
    if (name == "shared") {
      return parseVariables(SymbolKind::shared, linkage, false, linkage.is_extern ? -1 : function_);
    }
    if (name == "global" || name == "const") {
      return parseVariables(SymbolKind::variable, linkage, name == "const", function_);
    }
    fail("Unknown directive '." + std::string(name) + "' in a function.");
  }
  parseInstruction(function);
}

void Parser::parseLabelDirective(Function& function, std::string_view name, uint32_t line) {
  ast::Label label;
  label.name = name;
  label.scope = static_cast<uint32_t>(scope_ids_.back());
  label.instruction = static_cast<uint32_t>(function.instructions.size());
  if (token_.isDirective("branchtargets") || token_.isDirective("calltargets")) {
    advance();
    label.is_targets = true;
    do {
      label.targets.push_back(expectName());
    } while (accept(','));
    expect(';');
  } else if (token_.isDirective("callprototype")) {
    advance();
    label.is_prototype = true;
    if (token_.is('(')) label.prototype_returns = parseParameters(function_);
    expectName();
    if (token_.is('(')) label.prototype_params = parseParameters(function_);
    while (token_.kind == TokenKind::directive) parseFunctionDirective(function);
    expect(';');
  } else {
    for (const ast::Label& other : function.labels) {
      if (other.instruction + 4096 < label.instruction) continue;
      if (other.name == name && other.scope == label.scope) {
        failInvalid(line, "Label '" + std::string(name) + "' is defined twice.");
      }
    }
  }
  function.labels.push_back(std::move(label));
}

void Parser::parseInstruction(Function& function) {
  Instruction instruction;
  instruction.line = token_.line;
  instruction.scope = static_cast<uint32_t>(scope_ids_.back());
  if (accept('@')) {
    instruction.guard_negated = accept('!');
    std::string_view name = token_.text;
    int symbol = -1;
    uint32_t index = 0;
    expectName();
    if (!resolve(name, symbol, index) || module_.symbols[symbol].kind != SymbolKind::reg ||
        module_.symbols[symbol].type != Type::pred) {
      fail("The guard '" + std::string(name) + "' is not a predicate register.");
    }
    instruction.guard = static_cast<int>(module_.symbols[symbol].first_register + index);
  }
  instruction.line = token_.line;
  std::string_view name = expectName();
  if (instruction.guard < 0 && token_.is(':')) {
    advance();
    return parseLabelDirective(function, name, instruction.line);
  }
  instruction.opcode = name;
  while (token_.kind == TokenKind::directive) {
    instruction.modifiers.push_back(token_.text);
    advance();
  }
  if (!token_.is(';')) {
    do {
      instruction.operands.push_back(parseOperand(instruction));
      if (instruction.operands.size() > 64) fail("An instruction has more than 64 operands.");
    } while (accept(','));
  }
  expect(';');
  function.instructions.push_back(std::move(instruction));
}

Operand Parser::parseLiteral(bool negative) {
  Operand operand;
  while (token_.is('-')) {
    negative = !negative;
    advance();
  }
  if (token_.kind == TokenKind::real) {
    operand.kind = Operand::Kind::real;
    operand.is_double = token_.is_double;
    operand.is_decimal = token_.is_decimal;
    operand.value = static_cast<int64_t>(token_.value);
    if (negative) operand.value ^= token_.is_double ? INT64_MIN : int64_t{0x80000000};
    advance();
    return operand;
  }
  operand.kind = Operand::Kind::integer;
  operand.value = parseExpression();
  if (negative) operand.value = wrap(-static_cast<uint64_t>(operand.value));
  return operand;
}

Operand Parser::parseAddress(Instruction& instruction, int depth) {
  Operand operand;
  operand.kind = Operand::Kind::address;
  do {
    operand.items.push_back(parseOperand(instruction, depth + 1));
  } while (accept(','));
  expect(']');
  if (token_.isDirective("unified")) advance();  // says that all lanes have the same address
  Operand& base = operand.items[0];
  if (base.kind == Operand::Kind::reg || base.kind == Operand::Kind::symbol ||
      base.kind == Operand::Kind::name) {
    operand.value = base.value;
    base.value = 0;
  }
  return operand;
}

Operand Parser::parseNamed(Instruction& instruction, int depth) {
  Operand operand;
  if (token_.kind != TokenKind::identifier)
    fail("Expected a name, found " + describe(token_) + ".");
  operand.name = token_.text;
  if (operand.name == "_") {
    advance();
    operand.kind = Operand::Kind::sink;
  } else if (resolve(operand.name, operand.symbol, operand.index)) {
    advance();
    const Symbol& symbol = module_.symbols[operand.symbol];
    bool is_reg = symbol.kind == SymbolKind::reg;
    operand.kind = is_reg ? Operand::Kind::reg : Operand::Kind::symbol;
    if (is_reg && symbol.function != function_) fail("A register belongs to another function.");
    if (is_reg) operand.index = symbol.first_register + operand.index * symbol.vector;
    if (is_reg && symbol.vector > 1 && token_.kind == TokenKind::directive) {
      size_t component = std::string_view("xyzw").find(token_.text);
      if (component >= symbol.vector) fail("A vector register has no such component.");
      operand.index += static_cast<uint32_t>(component);
      advance();
    } else if (is_reg && symbol.vector > 1) {
      Operand all;
      all.kind = Operand::Kind::vector;
      for (uint32_t k = 0; k < symbol.vector; ++k) {
        all.items.push_back(operand);
        all.items.back().index += k;
      }
      return all;
    } else if (is_reg && token_.kind == TokenKind::directive && token_.text.size() > 1 &&
               (token_.text[0] == 'b' || token_.text[0] == 'h')) {
      operand.selector = token_.text;
      advance();
    }
  } else if (operand.name[0] == '%') {
    advance();
    operand.kind = Operand::Kind::special;
    if (token_.kind == TokenKind::directive && token_.text.size() == 1) {
      operand.component = token_.text[0];
      advance();
    }
    return operand;
  } else {
    advance();
    operand.kind = Operand::Kind::name;
  }
  while (depth < kNestingMax && (token_.is('+') || token_.is('-'))) {
    bool minus = token_.is('-');
    advance();
    int64_t value = parsePrimary(0);
    operand.value = wrap(static_cast<uint64_t>(operand.value) +
                         (minus ? -static_cast<uint64_t>(value) : static_cast<uint64_t>(value)));
  }
  if (accept('|')) {
    Operand pair = parseNamed(instruction, depth + 1);
    instruction.pairs.push_back(pair);
    operand.pair = static_cast<int>(instruction.pairs.size()) - 1;
  }
  return operand;
}

Operand Parser::parseOperand(Instruction& instruction, int depth) {
  if (depth > 8) fail("An operand is nested too deeply.");
  if (accept('[')) return parseAddress(instruction, depth);
  bool braces = token_.is('{');
  if (braces || (token_.is('(') && depth == 0)) {
    advance();
    Operand operand;
    operand.kind = braces ? Operand::Kind::vector : Operand::Kind::group;
    char close = braces ? '}' : ')';
    if (accept(close)) return operand;
    do {
      operand.items.push_back(parseOperand(instruction, depth + 1));
    } while (accept(','));
    expect(close);
    if (braces && accept('|')) {
      instruction.pairs.push_back(parseNamed(instruction, depth + 1));
      operand.pair = static_cast<int>(instruction.pairs.size()) - 1;
    }
    return operand;
  }
  if (token_.is('!')) {
    advance();
    if (token_.kind == TokenKind::identifier) {
      Operand operand = parseNamed(instruction, depth);
      operand.negated = true;
      return operand;
    }
    Operand operand = parseLiteral();
    operand.value = operand.value == 0;
    return operand;
  }
  if (token_.kind == TokenKind::identifier) return parseNamed(instruction, depth);
  bool minus = false;
  for (; token_.is('-'); advance()) minus = !minus;
  if (token_.kind == TokenKind::identifier) {
    Operand operand = parseNamed(instruction, depth);
    if (operand.kind != Operand::Kind::reg) fail("Only registers and literals can be negated.");
    operand.minus = minus;
    return operand;
  }
  return parseLiteral(minus);
}

}  // namespace farwarp::ptx
