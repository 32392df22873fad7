// Compiling: parse, link, lay out, decode.
#include <algorithm>
#include <cstring>
#include <optional>

#include "gpud/device/cpu/ptx/check.h"
#include "gpud/device/cpu/ptx/decoder.h"
#include "gpud/device/cpu/ptx/link.h"
#include "gpud/device/cpu/ptx/parser.h"
#include "gpud/device/cpu/ptx/system_call.h"

namespace farwarp::ptx {

using ast::Symbol;
using ast::SymbolKind;

// FARWARP_BEST_LEVEL is the highest level that was built.
const Executors& executors(int level) {
#if FARWARP_BEST_LEVEL == 2
  return level2::kExecutors;
#else
  if (level == 0) {
    __builtin_cpu_init();
    bool v3 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
              __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2");
    bool v4 = v3 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
              __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
              __builtin_cpu_supports("avx512cd");
    level = v4 ? 4 : v3 ? 3 : 2;
  }
  return level >= 4 ? level4::kExecutors : level == 3 ? level3::kExecutors : level2::kExecutors;
#endif
}

namespace {

// Everything compile() builds on its way.
struct Builder {
  ProgramCode& code;
  std::vector<Kernel>& kernels;
  std::vector<Kernel>& helpers;
  std::vector<VariableInfo>& variables;
  std::span<const LinkInput> inputs;
  const CompileOptions& options;
  ast::Module module = {};
  ConstantPool constants{code};
  std::optional<LinkedNames> names = {};
  std::optional<ProgramContext> context = {};
  std::deque<FunctionDecoder> decoders = {};
  uint32_t unit = 0;                  // being read or decoded
  uint32_t helper_unit = UINT32_MAX;  // has the engine's own kernels

  void build();
  // Parses and declares everything; the decoders of the functions are ready to run.
  void prepare(bool may_be_unresolved = false);
  void check(std::vector<FunctionCheck>& checks);
  void collectVariables();
  void placeCommonShared();
  void decode(size_t function);
  void addKernel(const ast::Function& function, FunctionDecoder& decoder, uint32_t index);
  uint64_t stackBytes(uint32_t function, std::vector<int>& state, std::vector<uint64_t>& depth,
                      bool& unbounded);
  std::vector<Relocation> relocations(const Symbol& symbol) const;
  // Where the error is, as the first words of a line of the log; nothing for line 0.
  std::string place(uint32_t line) const;
};

uint64_t product(const uint32_t extent[3]) {
  return uint64_t{extent[0]} * extent[1] * extent[2];
}

// Registers that a kernel is said to use: the estimate, but no more than let the blocks run that it
// is made for. ptxas keeps to that too, and spills. Where the kernel names no size, the largest
// block must run: only ptxas could say that it cannot, and this engine has no registers to run out
// of.
uint32_t registersOf(const ast::Function& function, uint32_t estimate) {
  constexpr uint64_t kRegistersPerBlock = 65536, kThreadsMax = 1024;
  uint64_t threads = product(function.required_threads);
  if (threads == 0) threads = product(function.max_threads);
  if (threads == 0 || threads > kThreadsMax) threads = kThreadsMax;
  const uint64_t blocks = std::max(function.min_blocks_per_sm, 1u);
  uint64_t most = kRegistersPerBlock / ((threads + kLanes - 1) / kLanes * kLanes * blocks) / 8 * 8;
  if (function.registers_max != 0) most = std::min<uint64_t>(most, function.registers_max);
  return static_cast<uint32_t>(std::clamp<uint64_t>(most, 16, estimate));
}

ReferenceKind referenceKind(Type type) {
  return type == Type::texref       ? ReferenceKind::texture
         : type == Type::samplerref ? ReferenceKind::sampler
         : type == Type::surfref    ? ReferenceKind::surface
                                    : ReferenceKind::none;
}

std::vector<Relocation> Builder::relocations(const Symbol& symbol) const {
  std::vector<Relocation> list;
  for (const ast::InitialAddress& address : symbol.addresses) {
    int target = names->symbol(symbol.unit, address.symbol);
    if (target < 0) {
      failInvalid(address.line,
                  "'" + std::string(address.symbol) + "' in an initialiser is not declared.");
    }
    Relocation relocation;
    relocation.offset = static_cast<uint32_t>(address.offset);
    relocation.size = address.size;
    relocation.shift = address.shift;
    relocation.addend = static_cast<uint64_t>(address.addend);
    bool defined = false;
    if (module.symbols[target].kind == SymbolKind::function) {
      relocation.function = module.symbols[target].function;
      defined = module.functions[relocation.function].is_defined;
    } else if (auto found = context->variable_of.find(target);
               found != context->variable_of.end()) {
      relocation.variable = found->second;
      defined = true;
    }
    if (!defined && !context->may_be_unresolved) {
      throw CompileError(
          CompileStatus::unresolved, address.line,
          "'" + std::string(address.symbol) + "' in an initialiser has no definition.");
    }
    list.push_back(std::move(relocation));
  }
  return list;
}

void Builder::collectVariables() {
  std::vector<int> symbols;
  for (int id : module.variables) {
    const Symbol& symbol = module.symbols[id];
    if (symbol.kind != SymbolKind::variable || symbol.is_extern) continue;
    if (names->definition(id) != id) continue;
    context->variable_of[id] = static_cast<int>(symbols.size());
    symbols.push_back(id);
  }
  for (int id : symbols) {
    const Symbol& symbol = module.symbols[id];
    unit = symbol.unit;
    VariableInfo info;
    info.name = symbol.name;
    info.size = std::max<uint64_t>(symbol.bytes, 1);
    info.align = std::max(symbol.align, 1u);
    info.space = symbol.is_const ? VariableSpace::constant : VariableSpace::global;
    info.managed = symbol.managed;
    info.reference = referenceKind(symbol.type);
    info.is_visible = symbol.is_visible;
    info.initial = symbol.initial;
    info.relocations = relocations(symbol);
    variables.push_back(std::move(info));
  }
}

// Shared variables that device functions name lie at the same place in every kernel.
void Builder::placeCommonShared() {
  uint64_t at = 0;
  auto place = [&](const ast::Operand& operand, auto&& self) -> void {
    for (const ast::Operand& item : operand.items) self(item, self);
    if (operand.symbol < 0 || context->common_shared.contains(operand.symbol)) return;
    const Symbol& symbol = module.symbols[operand.symbol];
    if (symbol.kind != SymbolKind::shared || symbol.is_extern) return;
    uint64_t align = std::max(symbol.align, 1u);
    at = (at + align - 1) & ~(align - 1);
    context->common_shared[operand.symbol] = static_cast<uint32_t>(at);
    at += symbol.bytes;
    if (at > (1u << 24)) failInvalid(symbol.line, "Shared memory exceeds 16 MiB.");
  };
  for (const ast::Function& function : module.functions) {
    if (function.is_entry) continue;
    for (const ast::Instruction& in : function.instructions) {
      for (const ast::Operand& operand : in.operands) place(operand, place);
    }
  }
  code.common_shared_bytes = static_cast<uint32_t>(at);
}

// Local memory of a call chain from `function` on; recursion and indirect calls make it unbounded.
uint64_t Builder::stackBytes(uint32_t function, std::vector<int>& state,
                             std::vector<uint64_t>& depth, bool& unbounded) {
  std::vector<std::pair<uint32_t, size_t>> path{{function, 0}};
  state[function] = 1;
  while (!path.empty()) {
    auto& [at, next] = path.back();
    const FunctionCode& code_at = code.functions[at];
    unbounded |= code_at.calls_indirectly || code_at.uses_alloca;
    if (next < code_at.callees.size()) {
      uint32_t callee = code_at.callees[next++];
      if (state[callee] == 1) unbounded = true;
      if (state[callee] != 0) continue;
      state[callee] = 1;
      path.emplace_back(callee, 0);
      continue;
    }
    uint64_t deepest = 0;
    for (uint32_t callee : code_at.callees) deepest = std::max(deepest, depth[callee]);
    depth[at] = code_at.local_bytes + deepest;
    state[at] = 2;
    path.pop_back();
  }
  return depth[function];
}

void Builder::addKernel(const ast::Function& function, FunctionDecoder& decoder, uint32_t index) {
  auto kernel = std::make_unique<KernelCode>();
  KernelInfo info;
  info.name = function.name;
  kernel->name = function.name;
  kernel->function = &code.functions[index];
  uint64_t at = 0;
  for (int id : function.params) {
    const Symbol& symbol = module.symbols[id];
    uint64_t align = std::max(symbol.align, 1u);
    at = (at + align - 1) & ~(align - 1);
    info.params.push_back(
        {static_cast<uint32_t>(at), static_cast<uint32_t>(symbol.bytes), symbol.align});
    at += symbol.bytes;
  }
  info.param_bytes = kernel->param_bytes = static_cast<uint32_t>(at);
  info.static_shared_bytes = decoder.staticSharedBytes();
  uint32_t dynamic_align = 16;
  for (const Symbol& symbol : module.symbols) {
    if (symbol.kind == SymbolKind::shared && symbol.is_extern) {
      dynamic_align = std::max(dynamic_align, symbol.align);
    }
  }
  kernel->static_shared_bytes =
      (info.static_shared_bytes + dynamic_align - 1) & ~(dynamic_align - 1);
  std::vector<int> state(code.functions.size(), 0);
  std::vector<uint64_t> depth(code.functions.size(), 0);
  bool unbounded = false;
  uint64_t stack = stackBytes(index, state, depth, unbounded);
  if (stack > UINT32_MAX / 2)
    failInvalid(function.line, "The stack of a kernel is larger than 2 GiB.");
  kernel->stack_bytes = static_cast<uint32_t>(stack);
  kernel->unbounded_stack = unbounded;
  info.local_bytes = code.functions[index].local_bytes;
  for (const VariableInfo& variable : variables) {
    if (variable.space == VariableSpace::constant)
      info.const_bytes += static_cast<uint32_t>(variable.size);
  }
  info.registers = registersOf(function, code.functions[index].registers);
  info.target = code.target;
  std::copy_n(function.max_threads, 3, info.max_threads);
  std::copy_n(function.required_threads, 3, info.required_threads);
  std::copy_n(function.required_cluster, 3, info.required_cluster);
  info.min_blocks_per_sm = function.min_blocks_per_sm;
  info.uses_dynamic_shared = code.functions[index].uses_dynamic_shared;
  (function.unit == helper_unit ? helpers : kernels).emplace_back(std::move(info), kernel.get());
  code.kernels.push_back(std::move(kernel));
}

void Builder::prepare(bool may_be_unresolved) {
  std::string_view helper_text;
  code.executors = &executors(options.host_level);
  for (const LinkInput& input : inputs) {
    std::string_view text = input.text;
    while (!text.empty() && text.back() == '\0') text.remove_suffix(1);
    unit = static_cast<uint32_t>(module.units.size());
    module.units.emplace_back().name = input.name;
    if (text.size() > options.text_bytes_max) {
      failInvalid(0, "The PTX text has " + std::to_string(text.size()) + " bytes; the limit is " +
                         std::to_string(options.text_bytes_max) + ".");
    }
    Parser(text, module).parse();
    code.uses_clusters |= text.find("cluster") != std::string_view::npos;
    if (helper_text.empty()) helper_text = op::deviceRuntimeText(text);
  }
  if (!helper_text.empty()) {
    helper_unit = unit = static_cast<uint32_t>(module.units.size());
    module.units.emplace_back().name = "device runtime";
    Parser(helper_text, module).parse();
  }
  code.target = module.target;
  names.emplace(module);
  context.emplace(ProgramContext{module, code, constants, *code.executors, *names});
  context->may_be_unresolved = may_be_unresolved;
  collectVariables();
  placeCommonShared();
  for (size_t k = 0; k < module.functions.size(); ++k) {
    code.functions.emplace_back().index = static_cast<uint32_t>(k);
  }
  for (size_t k = 0; k < module.functions.size(); ++k) {
    unit = module.functions[k].unit;
    decoders.emplace_back(*context, module.functions[k], code.functions[k]);
    decoders.back().layOutFrame();
  }
}

void Builder::decode(size_t function) {
  unit = module.functions[function].unit;
  decoders[function].decode();
}

std::string Builder::place(uint32_t line) const {
  if (line == 0) return {};
  std::string_view name = unit < module.units.size() ? module.units[unit].name : "";
  return (name.empty() ? "ptx" : std::string(name) + ",") + " line " + std::to_string(line) + "; ";
}

void Builder::check(std::vector<FunctionCheck>& checks) {
  prepare();
  std::vector<FunctionCheck> all(module.functions.size());
  for (size_t k = 0; k < all.size(); ++k) {
    all[k].name = module.functions[k].name;
    all[k].is_kernel = module.functions[k].is_entry;
    if (!module.functions[k].is_defined) continue;
    try {
      decode(k);
    } catch (const CompileError& error) {
      all[k].status = error.status;
      all[k].line = error.line;
      all[k].reason = error.what();
    }
  }
  for (bool changed = true; changed;) {
    changed = false;
    for (size_t k = 0; k < all.size(); ++k) {
      if (all[k].status != CompileStatus::ok) continue;
      for (uint32_t callee : code.functions[k].callees) {
        const FunctionCheck& called = all[callee];
        if (called.status == CompileStatus::ok) continue;
        all[k].status = called.status;
        all[k].line = called.line;
        all[k].reason = called.reason;
        changed = true;
        break;
      }
    }
  }
  for (size_t k = 0; k < all.size(); ++k) {
    bool is_own = module.functions[k].unit == helper_unit;
    if (module.functions[k].is_defined && !is_own) checks.push_back(std::move(all[k]));
  }
}

void Builder::build() {
  prepare();
  for (size_t k = 0; k < module.functions.size(); ++k) {
    if (module.functions[k].is_defined) decode(k);
  }
  for (size_t k = 0; k < module.functions.size(); ++k) {
    const ast::Function& function = module.functions[k];
    bool chosen = names->function(function.unit, function.name) == static_cast<int>(k);
    if (function.is_entry && function.is_defined && chosen) {
      addKernel(function, decoders[k], static_cast<uint32_t>(k));
    }
  }
}

}  // namespace

TextCheck checkText(std::string_view text) {
  TextCheck result;
  ProgramCode code;
  std::vector<Kernel> kernels, helpers;
  std::vector<VariableInfo> variables;
  const LinkInput input{text, {}};
  const CompileOptions options;
  auto builder =
      std::make_unique<Builder>(Builder{code, kernels, helpers, variables, {&input, 1}, options});
  try {
    builder->check(result.functions);
  } catch (const CompileError& error) {
    result.log.status = error.status;
    result.log.line = error.line;
    result.log.text = error.what();
  }
  return result;
}

Program::Program() : code_(std::make_unique<ProgramCode>()) {}
Program::~Program() = default;

namespace {
void note(const CompileError& error, const Builder& builder, CompileLog& log) {
  log.status = error.status;
  log.line = error.line;
  log.text += builder.place(error.line) + "error: " + error.what() + "\n";
}
}  // namespace

std::shared_ptr<const Program> Program::link(std::span<const LinkInput> inputs,
                                             const CompileOptions& options, CompileLog& log) {
  std::shared_ptr<Program> program(new Program());
  auto builder = std::make_unique<Builder>(Builder{
      *program->code_, program->kernels_, program->helpers_, program->variables_, inputs, options});
  try {
    builder->build();
  } catch (const CompileError& error) {
    note(error, *builder, log);
    return nullptr;
  }
  log.status = CompileStatus::ok;
  return program;
}

std::shared_ptr<const Program> Program::compile(std::span<const std::string_view> texts,
                                                const CompileOptions& options, CompileLog& log) {
  std::vector<LinkInput> inputs;
  for (std::string_view text : texts) inputs.push_back({text, {}});
  return link(inputs, options, log);
}

bool Program::checkInput(const LinkInput& input, const CompileOptions& options, CompileLog& log) {
  ProgramCode code;
  std::vector<Kernel> kernels, helpers;
  std::vector<VariableInfo> variables;
  auto builder =
      std::make_unique<Builder>(Builder{code, kernels, helpers, variables, {&input, 1}, options});
  try {
    builder->prepare(true);
    for (size_t k = 0; k < builder->module.functions.size(); ++k) {
      if (builder->module.functions[k].is_defined) builder->decode(k);
    }
  } catch (const CompileError& error) {
    note(error, *builder, log);
    return false;
  }
  log.status = CompileStatus::ok;
  return true;
}

const Kernel* Program::findKernel(std::string_view name) const {
  for (const Kernel& kernel : kernels_) {
    if (kernel.info().name == name) return &kernel;
  }
  return nullptr;
}

// Names of several texts: those that are visible to all come first.
int Program::findVariable(std::string_view name, ReferenceKind kind) const {
  int hidden = -1;
  for (size_t k = 0; k < variables_.size(); ++k) {
    if (variables_[k].name != name || variables_[k].reference != kind) continue;
    if (variables_[k].is_visible) return static_cast<int>(k);
    if (hidden < 0) hidden = static_cast<int>(k);
  }
  return hidden;
}

LoadedProgram::LoadedProgram(std::shared_ptr<const Program> program,
                             std::vector<uint64_t> addresses)
    : program_(std::move(program)), addresses_(std::move(addresses)) {
  const ProgramCode& code = program_->code();
  size_t bytes = code.constants.size();
  storage_ = std::make_unique<std::byte[]>(bytes + 64);
  uint64_t start = (reinterpret_cast<uint64_t>(storage_.get()) + 63) & ~uint64_t{63};
  constants_ = reinterpret_cast<std::byte*>(start);
  std::memcpy(constants_, code.constants.data(), bytes);
  for (const ConstantAddress& address : code.constant_addresses) {
    uint64_t value = addresses_.at(static_cast<size_t>(address.variable)) +
                     static_cast<uint64_t>(address.addend);
    for (uint32_t l = 0; l < kLanes; ++l) {
      std::memcpy(constants_ + address.offset + size_t{l} * address.size, &value, address.size);
    }
  }
}

LoadedProgram::~LoadedProgram() = default;

void LoadedProgram::initialise() {
  std::span<const VariableInfo> variables = program_->variables();
  for (size_t k = 0; k < variables.size(); ++k) {
    const VariableInfo& variable = variables[k];
    if (variable.managed) continue;  // shared by all instances, and with the program
    std::byte* at = reinterpret_cast<std::byte*>(addresses_[k]);
    size_t given = std::min<size_t>(variable.initial.size(), variable.size);
    if (given != 0) std::memcpy(at, variable.initial.data(), given);
    std::memset(at + given, 0, variable.size - given);
    for (const Relocation& relocation : variable.relocations) {
      uint64_t value = relocation.addend;
      value += relocation.function >= 0 ? functionHandle(static_cast<uint32_t>(relocation.function))
                                        : addresses_[static_cast<size_t>(relocation.variable)];
      value >>= relocation.shift;
      std::memcpy(at + relocation.offset, &value, relocation.size);
    }
  }
}

}  // namespace farwarp::ptx
