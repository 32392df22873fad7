// Parses PTX text into the syntax tree of ast.h. Several texts can be parsed into one module, each
// as a unit of its own; link.h puts them together.
#pragma once

#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "gpud/device/cpu/ptx/ast.h"
#include "gpud/device/cpu/ptx/lexer.h"

namespace farwarp::ptx {

class Parser {
 public:
  // Adds to the last unit of `module`. `text` and `module` must outlive the parser; `text` must
  // outlive the module.
  Parser(std::string_view text, ast::Module& module);
  // Throws CompileError.
  void parse();

 private:
  struct Linkage {
    bool is_extern = false, is_visible = false, is_weak = false, is_common = false;
  };
  using Scope = std::unordered_map<std::string_view, int>;

  // Tokens.
  void advance();
  bool accept(char c);
  void expect(char c);
  std::string_view expectName();
  int64_t expectInteger();
  void skipLine();
  void skipBraces();
  [[noreturn]] void fail(const std::string& text) const;
  std::string describe(const Token& token) const;

  // Module level, declarations.
  void parseTopLevel();
  Linkage parseLinkage();
  void parseFunction(const Linkage& linkage, bool is_entry);
  std::vector<int> parseParameters(int function);
  void parseFunctionDirective(ast::Function& function);
  void parseExtent(uint32_t (&extent)[3]);
  void parseAttribute(ast::Symbol& symbol);
  void parseVariables(ast::SymbolKind kind, const Linkage& linkage, bool is_const, int function);
  ast::Symbol parseDeclarationHead(ast::SymbolKind kind);
  void parseDimensions(ast::Symbol& symbol);
  int declare(ast::Symbol symbol, const Linkage& linkage);
  int declareGlobal(ast::Symbol symbol, const Linkage& linkage);

  // Initialisers.
  void parseInitializer(ast::Symbol& symbol);
  void parseInitializerList(ast::Symbol& symbol, uint64_t& offset, uint64_t end, int depth);
  void parseInitialValue(ast::Symbol& symbol, uint64_t& offset);
  int64_t parseExpression(int depth = 0);
  int64_t parsePrimary(int depth);

  // Bodies.
  void parseBody(ast::Function& function);
  void parseStatement(ast::Function& function);
  void parseRegisters(ast::Function& function);
  void parseLabelDirective(ast::Function& function, std::string_view name, uint32_t line);
  void parseInstruction(ast::Function& function);
  ast::Operand parseOperand(ast::Instruction& instruction, int depth = 0);
  ast::Operand parseAddress(ast::Instruction& instruction, int depth);
  ast::Operand parseNamed(ast::Instruction& instruction, int depth);
  ast::Operand parseLiteral(bool negative = false);
  // Finds a declared name; false when there is none in scope.
  bool resolve(std::string_view name, int& symbol, uint32_t& index) const;

  Lexer lexer_;
  Token token_;
  ast::Module& module_;
  std::unordered_map<std::string_view, int>& globals_;
  std::vector<Scope> scopes_;
  std::vector<int> scope_ids_;
  int function_ = -1;
};

}  // namespace farwarp::ptx
