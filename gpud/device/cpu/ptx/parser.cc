#include "gpud/device/cpu/ptx/parser.h"

#include <algorithm>
#include <charconv>
#include <cstring>

namespace farwarp::ptx {

using ast::Function;
using ast::Symbol;
using ast::SymbolKind;

namespace {
constexpr uint64_t kVariableBytesMax = uint64_t{1} << 36;
constexpr uint64_t kInitialBytesMax = uint64_t{1} << 30;
constexpr uint32_t kRegisterCountMax = 1u << 22;
constexpr uint64_t kLocalBytesMax = uint64_t{1} << 30;
}  // namespace

Parser::Parser(std::string_view text, ast::Module& module)
    : lexer_(text), module_(module), globals_(module.units.back().globals) {}

void Parser::advance() {
  token_ = lexer_.next();
}

void Parser::fail(const std::string& text) const {
  failInvalid(token_.line, text);
}

std::string Parser::describe(const Token& token) const {
  if (token.kind == TokenKind::end) return "the end of the text";
  std::string dot = token.kind == TokenKind::directive ? "." : "";
  return "'" + dot + std::string(token.text.substr(0, 80)) + "'";
}

bool Parser::accept(char c) {
  if (!token_.is(c)) return false;
  advance();
  return true;
}

void Parser::expect(char c) {
  if (!accept(c)) fail(std::string("Expected '") + c + "', found " + describe(token_) + ".");
}

std::string_view Parser::expectName() {
  if (token_.kind != TokenKind::identifier) {
    fail("Expected a name, found " + describe(token_) + ".");
  }
  std::string_view name = token_.text;
  advance();
  return name;
}

int64_t Parser::expectInteger() {
  if (token_.kind != TokenKind::integer) {
    fail("Expected an integer, found " + describe(token_) + ".");
  }
  int64_t value = static_cast<int64_t>(token_.value);
  advance();
  return value;
}

void Parser::skipLine() {
  uint32_t line = token_.line;
  while (token_.kind != TokenKind::end && token_.line == line) advance();
}

void Parser::skipBraces() {
  expect('{');
  for (int depth = 1; depth > 0; advance()) {
    if (token_.kind == TokenKind::end) fail("A '{' is not closed.");
    if (token_.is('{')) ++depth;
    if (token_.is('}')) --depth;
  }
}

void Parser::parse() {
  advance();
  while (token_.kind != TokenKind::end) parseTopLevel();
  if (module_.version == 0) fail("The text has no .version directive.");
}

Parser::Linkage Parser::parseLinkage() {
  Linkage linkage;
  for (;; advance()) {
    if (token_.isDirective("extern"))
      linkage.is_extern = true;
    else if (token_.isDirective("visible"))
      linkage.is_visible = true;
    else if (token_.isDirective("weak"))
      linkage.is_weak = true;
    else if (token_.isDirective("common"))
      linkage.is_common = true;
    else
      return linkage;
  }
}

void Parser::parseTopLevel() {
  if (accept(';')) return;
  if (token_.is('@')) return skipLine();  // @@DWARF of old compilers
  if (token_.kind != TokenKind::directive) {
    fail("Expected a directive, found " + describe(token_) + ".");
  }
  Linkage linkage = parseLinkage();
  std::string_view name = token_.text;
  if (token_.kind != TokenKind::directive) {
    fail("Expected a directive, found " + describe(token_) + ".");
  }
  if (name == "version") {
    advance();
    std::string text;
    while (token_.kind == TokenKind::real || token_.kind == TokenKind::integer || token_.is('.')) {
      text += token_.text;
      advance();
    }
    unsigned major = 0, minor = 0;
    auto end = std::from_chars(text.data(), text.data() + text.size(), major).ptr;
    if (end < text.data() + text.size()) std::from_chars(end + 1, text.data() + text.size(), minor);
    if (major < 1 || major > 99) fail("The PTX version '" + text + "' is malformed.");
    module_.version = std::max(module_.version, 10 * major + minor);
  } else if (name == "target") {
    advance();
    do {
      std::string_view target = expectName();
      if (target.starts_with("sm_") || target.starts_with("compute_")) {
        std::string_view number = target.substr(target.find('_') + 1);
        std::from_chars(number.data(), number.data() + number.size(), module_.target);
      }
    } while (accept(','));
  } else if (name == "address_size") {
    advance();
    if (int64_t size = expectInteger(); size != 64) {
      failUnsupported(token_.line,
                      "Address size " + std::to_string(size) + " is not supported; only 64 is.");
    }
  } else if (name == "entry" || name == "func") {
    advance();
    parseFunction(linkage, name == "entry");
  } else if (name == "global" || name == "const") {
    advance();
    parseVariables(SymbolKind::variable, linkage, name == "const", -1);
  } else if (name == "shared") {
    advance();
    parseVariables(SymbolKind::shared, linkage, false, -1);
  } else if (name == "alias") {
    advance();
    std::string_view alias = expectName();
    expect(',');
    std::string_view target = expectName();
    expect(';');
    module_.units.back().aliases.emplace_back(alias, target);
  } else if (name == "section") {
    advance();
    if (token_.kind == TokenKind::directive || token_.kind == TokenKind::identifier) advance();
    skipBraces();
  } else if (name == "pragma") {
    while (token_.kind != TokenKind::end && !token_.is(';')) advance();
    expect(';');
  } else if (name == "file" || name == "loc") {
    skipLine();
  } else {
    fail("Unknown directive '." + std::string(name) + "' at module level.");
  }
}

void Parser::parseExtent(uint32_t (&extent)[3]) {
  for (uint32_t& part : extent) part = 1;
  for (int i = 0; i < 3; ++i) {
    int64_t value = expectInteger();
    if (value < 0 || value > 1 << 20)
      fail("The extent " + std::to_string(value) + " is too large.");
    extent[i] = static_cast<uint32_t>(value);
    if (i == 2 || !accept(',')) break;
  }
}

void Parser::parseFunctionDirective(Function& function) {
  std::string_view name = token_.text;
  advance();
  if (name == "maxntid") {
    parseExtent(function.max_threads);
  } else if (name == "reqntid") {
    parseExtent(function.required_threads);
  } else if (name == "reqnctapercluster") {
    parseExtent(function.required_cluster);
  } else if (name == "minnctapersm") {
    function.min_blocks_per_sm = static_cast<uint32_t>(expectInteger());
  } else if (name == "maxnreg") {
    function.registers_max = static_cast<uint32_t>(expectInteger());
  } else if (name == "maxnctapersm" || name == "maxclusterrank" || name == "abi_preserve" ||
             name == "abi_preserve_control") {
    expectInteger();
  } else if (name == "noreturn") {
    function.no_return = true;
  } else if (name == "pragma") {
    while (token_.kind != TokenKind::end && !token_.is(';')) advance();
    expect(';');
  } else if (name == "explicitcluster" || name == "blocksareclusters") {
  } else {
    fail("Unknown directive '." + std::string(name) + "' of a function.");
  }
}

std::vector<int> Parser::parseParameters(int function) {
  std::vector<int> symbols;
  expect('(');
  if (accept(')')) return symbols;
  do {
    bool is_register = token_.isDirective("reg");
    if (!is_register && !token_.isDirective("param")) {
      fail("Expected .param, found " + describe(token_) + ".");
    }
    advance();
    Symbol symbol = parseDeclarationHead(SymbolKind::param);
    symbol.name = expectName();
    symbol.function = function;
    parseDimensions(symbol);
    if (is_register) failUnsupported(token_.line, "Parameters in registers are not supported.");
    module_.symbols.push_back(symbol);
    int id = static_cast<int>(module_.symbols.size()) - 1;
    symbols.push_back(id);
    if (symbol.name != "_") scopes_.back()[symbol.name] = id;
  } while (accept(','));
  expect(')');
  return symbols;
}

void Parser::parseFunction(const Linkage& linkage, bool is_entry) {
  Function function;
  function.line = token_.line;
  function.unit = static_cast<uint32_t>(module_.units.size()) - 1;
  function.is_entry = is_entry;
  function.is_weak = linkage.is_weak;
  int index = static_cast<int>(module_.functions.size());
  scopes_.assign(1, {});
  scope_ids_.assign(1, 0);
  function.scope_parents.push_back(-1);
  while (token_.isDirective("attribute")) {
    Symbol ignored;
    parseAttribute(ignored);
  }
  if (token_.is('(')) function.returns = parseParameters(index);
  function.name = expectName();
  if (token_.is('(')) function.params = parseParameters(index);
  while (token_.kind == TokenKind::directive) parseFunctionDirective(function);
  Symbol symbol;
  symbol.kind = SymbolKind::function;
  symbol.name = function.name;
  symbol.line = function.line;
  symbol.function = index;
  symbol.is_extern = true;
  if (token_.is('{')) {
    symbol.is_extern = false;
    function.is_defined = true;
  } else {
    expect(';');
  }
  function.symbol = declareGlobal(symbol, linkage);
  module_.functions.push_back(std::move(function));
  if (!module_.functions.back().is_defined) return;
  function_ = index;
  parseBody(module_.functions.back());
  function_ = -1;
  scopes_.clear();
}

// A module-level name may be declared several times (extern, forward) and defined once.
int Parser::declareGlobal(Symbol symbol, const Linkage& linkage) {
  symbol.is_visible = linkage.is_visible || linkage.is_weak || linkage.is_common;
  symbol.is_weak = linkage.is_weak || linkage.is_common;
  symbol.is_common = linkage.is_common;
  symbol.unit = static_cast<uint32_t>(module_.units.size()) - 1;
  auto found = globals_.find(symbol.name);
  if (found == globals_.end()) {
    module_.symbols.push_back(symbol);
    int id = static_cast<int>(module_.symbols.size()) - 1;
    globals_[symbol.name] = id;
    return id;
  }
  Symbol& old = module_.symbols[found->second];
  if (old.kind != symbol.kind) {
    fail("'" + std::string(symbol.name) + "' was declared before, on line " +
         std::to_string(old.line) + ", as something else.");
  }
  if (symbol.is_extern) return found->second;
  if (!old.is_extern && !old.is_weak && !symbol.is_weak) {
    fail("'" + std::string(symbol.name) + "' is defined twice; the first is on line " +
         std::to_string(old.line) + ".");
  }
  if (!old.is_extern && symbol.is_weak) return found->second;  // the first definition stays
  old = symbol;
  return found->second;
}

void Parser::parseAttribute(Symbol& symbol) {
  advance();
  expect('(');
  do {
    if (token_.isDirective("managed"))
      symbol.managed = true;
    else if (token_.isDirective("unified")) {
    } else
      fail("Unknown attribute " + describe(token_) + ".");
    advance();
    if (accept('(')) {
      while (!token_.is(')') && token_.kind != TokenKind::end) advance();
      expect(')');
    }
  } while (accept(','));
  expect(')');
}

Symbol Parser::parseDeclarationHead(SymbolKind kind) {
  Symbol symbol;
  symbol.kind = kind;
  symbol.line = token_.line;
  uint64_t align = 0;
  while (token_.kind == TokenKind::directive) {
    std::string_view name = token_.text;
    if (name == "align") {
      advance();
      align = static_cast<uint64_t>(expectInteger());
      if (align == 0 || align > 4096 || (align & (align - 1)) != 0) {
        fail("Alignment " + std::to_string(align) + " is not a power of two up to 4096.");
      }
      continue;
    }
    if (name == "attribute") {
      parseAttribute(symbol);
      continue;
    }
    if (name == "v2" || name == "v4" || name == "v8") {
      symbol.vector = static_cast<uint32_t>(name[1] - '0');
    } else if (name == "ptr") {
      // .ptr .space .align N after the type says what a pointer points to.
      advance();
      if (token_.kind == TokenKind::directive && token_.text != "align") advance();
      if (token_.isDirective("align")) {
        advance();
        expectInteger();
      }
      continue;
    } else if (Type type = typeFromName(name); type != Type::none && symbol.type == Type::none) {
      symbol.type = type;
    } else {
      fail("Unexpected '." + std::string(name) + "' in a declaration.");
    }
    advance();
  }
  if (symbol.type == Type::none) fail("A declaration has no type.");
  if (symbol.type == Type::pred && kind != SymbolKind::reg) {
    fail("Predicates are held in registers only.");
  }
  symbol.bytes = uint64_t{sizeOf(symbol.type)} * symbol.vector;
  symbol.align =
      static_cast<uint32_t>(std::max<uint64_t>(align, std::max<uint64_t>(symbol.bytes, 1)));
  if (align != 0) symbol.align = static_cast<uint32_t>(align);
  return symbol;
}

void Parser::parseDimensions(Symbol& symbol) {
  while (accept('[')) {
    symbol.is_array = true;
    if (accept(']')) {
      symbol.bytes = 0;
      continue;
    }
    int64_t count = parseExpression();
    if (count < 0) fail("An array dimension is negative.");
    uint64_t n = static_cast<uint64_t>(count);
    if (n != 0 && symbol.bytes > kVariableBytesMax / n) fail("A variable is larger than 64 GiB.");
    symbol.bytes *= n;
    expect(']');
  }
}

int Parser::declare(Symbol symbol, const Linkage& linkage) {
  if (symbol.function < 0) return declareGlobal(std::move(symbol), linkage);
  if (scopes_.back().contains(symbol.name)) {
    fail("'" + std::string(symbol.name) + "' is declared twice in one scope.");
  }
  module_.symbols.push_back(std::move(symbol));
  int id = static_cast<int>(module_.symbols.size()) - 1;
  scopes_.back()[module_.symbols.back().name] = id;
  return id;
}

void Parser::parseVariables(SymbolKind kind, const Linkage& linkage, bool is_const, int function) {
  Symbol head = parseDeclarationHead(kind);
  head.is_const = is_const;
  head.is_extern = linkage.is_extern;
  head.function = function;
  do {
    Symbol symbol = head;
    symbol.name = expectName();
    symbol.line = token_.line;
    if (accept('<')) {  // name<count>: name0 .. name(count-1); rare for variables
      failUnsupported(token_.line, "Numbered variables are not supported outside .reg.");
    }
    bool unsized = false;
    uint64_t element = symbol.bytes;
    parseDimensions(symbol);
    unsized = symbol.is_array && symbol.bytes == 0;
    if (isReference(symbol.type) && kind != SymbolKind::variable && kind != SymbolKind::param) {
      fail("References to textures and surfaces are variables of the space .global.");
    }
    if (accept('=')) {
      if (isReference(symbol.type)) {
        failUnsupported(token_.line, "Initial values of references are not supported.");
      }
      if (unsized) symbol.bytes = kInitialBytesMax;
      parseInitializer(symbol);
      if (unsized) symbol.bytes = std::max<uint64_t>(symbol.initial.size(), element);
    }
    if (kind == SymbolKind::local && symbol.bytes > kLocalBytesMax) {
      fail("A local variable is larger than 1 GiB.");
    }
    int id = declare(std::move(symbol), linkage);
    if (kind == SymbolKind::variable || kind == SymbolKind::shared) {
      if (std::find(module_.variables.begin(), module_.variables.end(), id) ==
          module_.variables.end()) {
        module_.variables.push_back(id);
      }
    } else if (function >= 0) {
      module_.functions[function].locals.push_back(id);
    }
  } while (accept(','));
  expect(';');
}

void Parser::parseRegisters(Function& function) {
  Symbol head = parseDeclarationHead(SymbolKind::reg);
  head.function = function_;
  do {
    Symbol symbol = head;
    symbol.name = expectName();
    if (accept('<')) {
      int64_t count = expectInteger();
      expect('>');
      if (count < 0 || count > kRegisterCountMax) {
        fail("A register range has " + std::to_string(count) + " registers; the limit is " +
             std::to_string(kRegisterCountMax) + ".");
      }
      symbol.is_range = true;
      symbol.count = static_cast<uint32_t>(count);
    }
    symbol.first_register = static_cast<uint32_t>(function.registers.size());
    if (function.registers.size() + size_t{symbol.count} * symbol.vector > kRegisterCountMax) {
      fail("A function has more than " + std::to_string(kRegisterCountMax) + " registers.");
    }
    function.registers.insert(function.registers.end(), size_t{symbol.count} * symbol.vector,
                              symbol.type);
    declare(std::move(symbol), {});
  } while (accept(','));
  expect(';');
}

bool Parser::resolve(std::string_view name, int& symbol, uint32_t& index) const {
  index = 0;
  auto matches = [&](const Scope& scope, std::string_view key) {
    auto found = scope.find(key);
    if (found == scope.end()) return false;
    symbol = found->second;
    return true;
  };
  for (auto scope = scopes_.rbegin(); scope != scopes_.rend(); ++scope) {
    if (matches(*scope, name)) return true;
    // "%r12" is number 12 of the range "%r<N>".
    size_t digits = name.size();
    while (digits > 1 && name[digits - 1] >= '0' && name[digits - 1] <= '9') --digits;
    for (size_t cut = digits; cut < name.size(); ++cut) {
      if (name[cut] == '0' && cut + 1 != name.size()) continue;
      if (name.size() - cut > 9 || !matches(*scope, name.substr(0, cut))) continue;
      const Symbol& range = module_.symbols[symbol];
      uint32_t number = 0;
      std::from_chars(name.data() + cut, name.data() + name.size(), number);
      if (range.is_range && number < range.count) {
        index = number;
        return true;
      }
    }
  }
  return matches(globals_, name);
}

}  // namespace farwarp::ptx
