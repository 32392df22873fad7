// Asks the decoder for each form and writes down what it says.
#include <map>

#include "gpud/device/cpu/ptx/check.h"
#include "gpud/device/cpu/ptx/tool/forms.h"
#include "gpud/device/cpu/ptx/types.h"

namespace farwarp::ptx {
namespace {

// The register class of a type that a part of a pattern names; 0 when it names none.
char registerClass(std::string_view part) {
  while (!part.empty() && part.front() == '.') part.remove_prefix(1);
  Type type = typeFromName(part);
  if (type == Type::pred) return 'p';
  switch (sizeOf(type)) {
    case 1:
      return 'r';
    case 2:
      return 'h';
    case 4:
      return 'r';
    case 8:
      return 'd';
    case 16:
      return 'q';
    default:
      return 0;
  }
}

void expandInto(std::string done, std::string_view rest, char last, std::vector<std::string>& out) {
  size_t open = rest.find_first_of("<$");
  if (open == std::string_view::npos) {
    out.push_back(done + std::string(rest));
    return;
  }
  done += rest.substr(0, open);
  if (rest[open] == '$') {
    done += std::string("%") + last;
    return expandInto(std::move(done), rest.substr(open + 1), last, out);
  }
  size_t close = rest.find('>', open);
  std::string_view parts = rest.substr(open + 1, close - open - 1);
  for (bool more = true; more;) {
    size_t bar = parts.find('|');
    std::string_view part = parts.substr(0, bar);
    more = bar != std::string_view::npos;
    if (more) parts.remove_prefix(bar + 1);
    char named = registerClass(part);
    expandInto(done + std::string(part), rest.substr(close + 1), named != 0 ? named : last, out);
  }
}

std::string inCell(std::string_view text) {
  std::string cell;
  for (char c : text) {
    if (c == '|') cell += '\\';
    cell += c;
  }
  return cell;
}

constexpr std::string_view kIntroduction =
    R"(# PTX on the CPU device

The CPU device compiles PTX text into decoded operations and runs each for the 32 lanes of a warp at
once. This page is printed by `farwarp-ptx table`, which gives one instruction of every form below to
the decoder; a test keeps it current. Whether results are right is what `tests/ptx` tests: most
variants run over edge and random values on every instruction set of the host, and an interpreter that shares
nothing with the engine computes each result again, in exact integers and MPFR (`forms_test.cc`, which names
the tests of the others: memory of their own, barriers, matrices, textures).
`farwarp-ptx check FILE...` says the same of the kernels in PTX files, fatbins and programs.

What is different from hardware, and allowed:

- Asynchronous copies are done where they are issued; waiting for them has nothing to do.
- mma and wmma round once: the products and the sum are computed in double precision (f64: a chain of
  fused multiply-adds in the order of k). The hardware's order is not specified.
- The layout of wmma fragments is not specified; sums of 16 x 16 lie as those of two mma.
- All memory orders and scopes get the strongest one. Vector atomics update one element at a time.
- Approximations (`.approx`, `.full`) are rounded from double precision.
- `cvt.rs` takes the random bits as a fraction of the last bit that is kept. Which of them the hardware
  uses for which of four values, and how it aligns them with more dropped bits, is documented in part.

- Textures are filtered with weights in steps of 1/256, as CUDA documents, and sums in double precision.
  Gradients choose a level without anisotropy. A layer that is none is the nearest one.

- Grids that a kernel launches run when the kernel's own grid has ended, one after the other. A kernel
  cannot wait for them (CUDA 12 took that away), and so cannot tell. Streams and events of kernels order
  nothing more.

A texture or surface reference (`.texref`, `.surfref`) has the address of its variable as its value: what
a driver binds to it lies under that address in the table of a launch.

Refused with words: textures with several samples, depth comparison, samplers apart from their textures,
copies of tensors in the modes im2col::w, launches that are cancelled, fma.oob, multimem, wgmma, tcgen05.

What keeps it from crashing: `tests/ptx/fuzz/run` damages PTX (of nvcc, and of every form below), gives it to
the parser and the decoder, and runs what still compiles, under ASan and UBSan. A first run of 53 minutes took
623,229 texts and ended with a sum of two offsets that did not fit into 64 bits. A second one of 34 minutes took
191,975 texts and found a tree of calls that the watchdog did not end; a third one found, after 92,906 texts, a
predicate in memory with an initial value. All are fixed, with tests. A fourth one took 196,237 texts in 95
minutes and found nothing (2026-11-20, before sparse and scaled products and references were added). A few
thousand texts are damaged with every run of the tests.

What keeps it from being right by luck: the tests of the engine and the sample programs run
with blocks, warps and diverged lanes in other orders and on other numbers of threads, and must give the same.
CUB's scans are not among them: a block waits for those before it, and hangs when they were not started first.

What programs bring: of 65 programs of HeCBench and 88 of cuda-samples, built by nvcc 13.0 for compute_90,
`farwarp-ptx check` takes all 846 kernels (2026-11-20).

## Forms

In a form, `<a|b>` stands for one of its parts, one of which may be empty. Registers of a class may
have any type of that size, so a form with bits also stands for the others of its size.

)";

struct Outcome {
  size_t taken = 0;
  // Instruction without operands and reason, of those refused.
  std::vector<std::pair<std::string, std::string>> refused;
};

Outcome probe(const std::vector<std::string>& instructions) {
  Outcome outcome;
  for (const std::string& instruction : instructions) {
    TextCheck check = checkText(moduleOf(instruction));
    std::string reason = check.log.text;
    for (const FunctionCheck& function : check.functions) {
      if (function.status != CompileStatus::ok) reason = function.reason;
    }
    if (reason.empty())
      ++outcome.taken;
    else
      outcome.refused.emplace_back(instruction.substr(0, instruction.find(' ')), reason);
  }
  return outcome;
}

}  // namespace

std::vector<std::string> expandForms(std::string_view pattern) {
  std::vector<std::string> out;
  expandInto("", pattern, 'r', out);
  return out;
}

std::string moduleOf(std::string_view instruction) {
  std::string text =
      ".version 9.0\n.target sm_120a\n.address_size 64\n"
      ".global .align 16 .b8 cells[256];\n.global .texref image;\n.global .surfref target;\n"
      ".visible .entry k(.param .u64 p)\n{\n"
      ".reg .pred %p<10>;\n.reg .b8 %x<10>;\n.reg .b16 %h<10>;\n.reg .b32 %r<10>;\n"
      ".reg .b64 %d<10>;\n.reg .b128 %q<10>;\n.shared .align 16 .b8 shared_cells[256];\n";
  text += instruction;
  return text + ";\nret;\n}\n";
}

std::string formsTable() {
  std::string out;
  size_t forms = 0, taken = 0;
  std::string_view family;
  std::string body, gaps;
  for (const InstructionForms& row : instructionForms()) {
    if (row.family != family) {
      family = row.family;
      body += "\n### " + std::string(family) + "\n\n| Form | Variants | Runs |\n|---|---|---|\n";
    }
    std::vector<std::string> list = expandForms(row.pattern);
    Outcome outcome = probe(list);
    forms += list.size();
    taken += outcome.taken;
    std::string_view shown = row.pattern.substr(0, row.pattern.find(' '));
    std::string status = outcome.refused.empty() ? "yes"
                         : outcome.taken == 0    ? "no"
                                                 : std::to_string(outcome.taken);
    body += "| `" + inCell(shown) + "` | " + std::to_string(list.size()) + " | " + status + " |\n";
    for (const auto& [instruction, reason] : outcome.refused) {
      gaps += "| `" + instruction + "` | " + inCell(reason) + " |\n";
    }
  }
  out += kIntroduction;
  out += std::to_string(taken) + " of " + std::to_string(forms) + " variants run.\n" + body;
  out += "\n## Refused\n\n| Variant | Reason given |\n|---|---|\n" + gaps;
  return out;
}

}  // namespace farwarp::ptx
