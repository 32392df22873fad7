// The forms of PTX instructions, as patterns.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace farwarp::ptx {

// `pattern` is an instruction without the semicolon. <a|b|c> stands for each of its parts, one of
// which may be empty; registers of sizes are named %p (predicate), %x (8 bits), %h (16), %r (32),
// %d (64), %q (128), with a number from 0 to 9. In a pattern, $0 to $9 are registers of the size of
// the last type named in <>.
struct InstructionForms {
  std::string_view family;
  std::string_view pattern;
};
std::span<const InstructionForms> instructionForms();

// The instructions a pattern stands for.
std::vector<std::string> expandForms(std::string_view pattern);
// A module with one kernel that holds the instruction. For all but control flow.
std::string moduleOf(std::string_view instruction);

// The table of docs/ptx.md, in Markdown.
std::string formsTable();

}  // namespace farwarp::ptx
