// Runs a table of PTX instructions on edge inputs on the device that a process finds, and writes
// their results down or compares them with what another device wrote: the CPU device against a GPU.
//
//   farwarp_instruction_results --write FILE      runs all and writes the results
//   farwarp_instruction_results --compare FILE    runs all and prints, as JSON, where the results
//   differ
//
// Every form becomes a kernel of its own whose thread i takes the i-th combination of inputs. A
// form that the device's driver refuses has the refusal as its result. Exit status: 0, also when
// results differ; 2 wrong usage; 3 no device or an unusable file.
#include <cuda.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

namespace farwarp {
namespace {

using Json = nlohmann::ordered_json;

// `text` is the instruction with $d for the result and $a, $b, $c for operands; `types` names the
// type of the result and of each operand. Results of a float type may differ by `ulps`.
struct Form {
  std::string text;
  std::vector<std::string> types;
  int ulps = 0;
};

using Forms = std::vector<Form>;

std::vector<std::string> words(const std::string& text) {
  std::istringstream in(text);
  std::vector<std::string> out;
  for (std::string word; in >> word;) out.push_back(word);
  return out;
}

// One form for each of `types`, which stands for T in `text` and in `signature`.
void addEach(Forms& forms, const std::string& text, const std::string& signature,
             const std::string& types, int ulps = 0) {
  const auto filled = [](std::string pattern, const std::string& type) {
    for (size_t at; (at = pattern.find('T')) != std::string::npos;) pattern.replace(at, 1, type);
    return pattern;
  };
  for (const std::string& type : words(types)) {
    forms.push_back({filled(text, type), words(filled(signature, type)), ulps});
  }
}

void addIntegerForms(Forms& forms) {
  const std::string all = "s16 u16 s32 u32 s64 u64";
  for (const char* op : {"add", "sub", "mul.lo", "div", "rem", "min", "max"}) {
    addEach(forms, std::string(op) + ".T $d, $a, $b;", "T T T", all);
  }
  addEach(forms, "mul.hi.T $d, $a, $b;", "T T T", all);
  addEach(forms, "mad.lo.T $d, $a, $b, $c;", "T T T T", all);
  addEach(forms, "mad.hi.T $d, $a, $b, $c;", "T T T T", "s32 u32 s64 u64");
  addEach(forms, "mad.hi.sat.s32 $d, $a, $b, $c;", "T T T T", "s32");
  addEach(forms, "add.sat.s32 $d, $a, $b;", "T T T", "s32");
  addEach(forms, "sub.sat.s32 $d, $a, $b;", "T T T", "s32");
  addEach(forms, "sad.T $d, $a, $b, $c;", "T T T T", all);
  addEach(forms, "abs.T $d, $a;", "T T", "s16 s32 s64");
  addEach(forms, "neg.T $d, $a;", "T T", "s16 s32 s64");
  forms.push_back({"mul.wide.s16 $d, $a, $b;", {"s32", "s16", "s16"}});
  forms.push_back({"mul.wide.u32 $d, $a, $b;", {"u64", "u32", "u32"}});
  forms.push_back({"mad.wide.s32 $d, $a, $b, $c;", {"s64", "s32", "s32", "s64"}});
  for (const char* op : {"mul24.lo", "mul24.hi"}) {
    addEach(forms, std::string(op) + ".T $d, $a, $b;", "T T T", "s32 u32");
  }
  addEach(forms, "mad24.lo.T $d, $a, $b, $c;", "T T T T", "s32 u32");
  for (const char* op : {"and", "or", "xor"}) {
    addEach(forms, std::string(op) + ".T $d, $a, $b;", "T T T", "b16 b32 b64");
  }
  addEach(forms, "not.T $d, $a;", "T T", "b16 b32 b64");
  addEach(forms, "cnot.T $d, $a;", "T T", "b16 b32 b64");
  addEach(forms, "shl.T $d, $a, $b;", "T T u32", "b16 b32 b64");
  addEach(forms, "shr.T $d, $a, $b;", "T T u32", all);
  addEach(forms, "popc.T $d, $a;", "u32 T", "b32 b64");
  addEach(forms, "clz.T $d, $a;", "u32 T", "b32 b64");
  addEach(forms, "brev.T $d, $a;", "T T", "b32 b64");
  addEach(forms, "bfind.T $d, $a;", "u32 T", "s32 u32 s64 u64");
  addEach(forms, "bfind.shiftamt.T $d, $a;", "u32 T", "s32 u32 s64 u64");
  addEach(forms, "fns.b32 $d, $a, $b, $c;", "T T u32 s32", "b32");
  addEach(forms, "bfe.T $d, $a, $b, $c;", "T T u32 u32", "s32 u32 s64 u64");
  addEach(forms, "bfi.T $d, $a, $b, $c, 7;", "T T T u32", "b32 b64");
  addEach(forms, "szext.wrap.T $d, $a, $b;", "T T u32", "s32 u32");
  addEach(forms, "szext.clamp.T $d, $a, $b;", "T T u32", "s32 u32");
  addEach(forms, "bmsk.wrap.b32 $d, $a, $b;", "T u32 u32", "b32");
  addEach(forms, "bmsk.clamp.b32 $d, $a, $b;", "T u32 u32", "b32");
  for (const char* mode : {"", ".f4e", ".b4e", ".rc8", ".ecl", ".ecr", ".rc16"}) {
    addEach(forms, "prmt.b32" + std::string(mode) + " $d, $a, $b, $c;", "T T T T", "b32");
  }
  for (const char* mode : {"l.clamp", "l.wrap", "r.clamp", "r.wrap"}) {
    addEach(forms, "shf." + std::string(mode) + ".b32 $d, $a, $b, $c;", "T T T u32", "b32");
  }
  for (const char* table : {"0x1e", "0xe8", "0xca", "0x96"}) {
    addEach(forms, "lop3.b32 $d, $a, $b, $c, " + std::string(table) + ";", "T T T T", "b32");
  }
  for (const char* pair : {"s32.s32", "u32.u32", "s32.u32", "u32.s32"}) {
    addEach(forms, "dp4a." + std::string(pair) + " $d, $a, $b, $c;", "T T T T", "b32");
    addEach(forms, "dp2a.lo." + std::string(pair) + " $d, $a, $b, $c;", "T T T T", "b32");
    addEach(forms, "dp2a.hi." + std::string(pair) + " $d, $a, $b, $c;", "T T T T", "b32");
  }
  for (const char* op : {"vadd4", "vsub4", "vavrg4", "vabsdiff4", "vmin4", "vmax4", "vadd2",
                         "vsub2", "vavrg2", "vabsdiff2", "vmin2", "vmax2"}) {
    addEach(forms, std::string(op) + ".s32.s32.s32.sat $d, $a, $b, $c;", "T T T T", "b32");
    addEach(forms, std::string(op) + ".u32.u32.u32 $d, $a, $b, $c;", "T T T T", "b32");
  }
}

void addFloatForms(Forms& forms) {
  for (const char* rounding : {"rn", "rz", "rm", "rp"}) {
    const std::string r = rounding;
    for (const char* op : {"add", "sub", "mul", "div"}) {
      addEach(forms, std::string(op) + "." + r + ".T $d, $a, $b;", "T T T", "f32 f64");
      addEach(forms, std::string(op) + "." + r + ".ftz.f32 $d, $a, $b;", "T T T", "f32");
    }
    addEach(forms, "fma." + r + ".T $d, $a, $b, $c;", "T T T T", "f32 f64");
    addEach(forms, "fma." + r + ".ftz.sat.f32 $d, $a, $b, $c;", "T T T T", "f32");
    addEach(forms, "sqrt." + r + ".T $d, $a;", "T T", "f32 f64");
    addEach(forms, "rcp." + r + ".T $d, $a;", "T T", "f32 f64");
  }
  addEach(forms, "add.sat.f32 $d, $a, $b;", "T T T", "f32");
  for (const char* op : {"min", "max"}) {
    const std::string o = op;
    addEach(forms, o + ".T $d, $a, $b;", "T T T", "f32 f64 f16 bf16");
    addEach(forms, o + ".ftz.f32 $d, $a, $b;", "T T T", "f32");
    addEach(forms, o + ".NaN.T $d, $a, $b;", "T T T", "f32 f16 bf16");
    addEach(forms, o + ".xorsign.abs.T $d, $a, $b;", "T T T", "f32 f16 bf16");
  }
  addEach(forms, "abs.T $d, $a;", "T T", "f32 f64 f16 bf16");
  addEach(forms, "neg.T $d, $a;", "T T", "f32 f64 f16 bf16");
  addEach(forms, "copysign.T $d, $a, $b;", "T T T", "f32 f64");
  for (const char* op : {"add", "sub", "mul"}) {
    addEach(forms, std::string(op) + ".rn.T $d, $a, $b;", "T T T", "f16");
    addEach(forms, std::string(op) + ".rn.ftz.T $d, $a, $b;", "T T T", "f16");
    addEach(forms, std::string(op) + ".rn.sat.T $d, $a, $b;", "T T T", "f16");
  }
  addEach(forms, "fma.rn.T $d, $a, $b, $c;", "T T T T", "f16 bf16");
  addEach(forms, "fma.rn.relu.T $d, $a, $b, $c;", "T T T T", "f16 bf16");
  addEach(forms, "fma.rn.f16x2 $d, $a, $b, $c;", "b32 b32 b32 b32", "x");
  // The approximations may differ as far as the PTX manual allows.
  addEach(forms, "rcp.approx.f32 $d, $a;", "T T", "f32", 2);
  addEach(forms, "sqrt.approx.f32 $d, $a;", "T T", "f32", 4);
  addEach(forms, "rsqrt.approx.f32 $d, $a;", "T T", "f32", 4);
  addEach(forms, "div.approx.f32 $d, $a, $b;", "T T T", "f32", 4);
  addEach(forms, "div.full.f32 $d, $a, $b;", "T T T", "f32", 4);
  addEach(forms, "ex2.approx.f32 $d, $a;", "T T", "f32", 4);
  addEach(forms, "rcp.approx.ftz.f64 $d, $a;", "T T", "f64", 1 << 30);
  addEach(forms, "ex2.approx.f16 $d, $a;", "T T", "f16", 2);
  addEach(forms, "tanh.approx.f16 $d, $a;", "T T", "f16", 2);
  for (const char* property :
       {"finite", "infinite", "number", "notanumber", "normal", "subnormal"}) {
    addEach(forms,
            "{ .reg .pred p; testp." + std::string(property) + ".T p, $a; selp.u32 $d, 1, 0, p; }",
            "u32 T", "f32 f64");
  }
}

void addComparisons(Forms& forms) {
  for (const char* compare : {"eq", "ne", "lt", "le", "gt", "ge"}) {
    addEach(forms, "set." + std::string(compare) + ".u32.T $d, $a, $b;", "u32 T T",
            "s16 u16 s32 u32 s64 u64 f32 f64");
  }
  for (const char* compare : {"equ", "neu", "ltu", "leu", "gtu", "geu", "num", "nan"}) {
    addEach(forms, "set." + std::string(compare) + ".f32.T $d, $a, $b;", "f32 T T", "f32 f64");
  }
  for (const char* compare : {"lo", "ls", "hi", "hs"}) {
    addEach(forms, "set." + std::string(compare) + ".u32.T $d, $a, $b;", "u32 T T", "u16 u32 u64");
  }
  addEach(forms, "slct.T.s32 $d, $a, $b, $c;", "T T T s32", "b32 b64 f32 f64");
  addEach(forms, "slct.T.f32 $d, $a, $b, $c;", "T T T f32", "b32 b64");
}

void addConversions(Forms& forms) {
  const auto integers = words("s8 u8 s16 u16 s32 u32 s64 u64");
  const auto add = [&forms](const std::string& how, const std::string& to,
                            const std::string& from) {
    forms.push_back({"cvt" + how + "." + to + "." + from + " $d, $a;", {to, from}});
  };
  for (const auto& to : integers) {
    for (const auto& from : integers) {
      if (to != from) add("", to, from);
      if (to != from) add(".sat", to, from);
    }
    for (const char* from : {"f16", "f32", "f64"}) {
      for (const char* rounding : {".rni", ".rzi", ".rmi", ".rpi"}) add(rounding, to, from);
    }
    for (const char* from : {"f16", "f32", "f64"}) {
      for (const char* rounding : {".rn", ".rz", ".rm", ".rp"}) add(rounding, from, to);
    }
  }
  for (const char* rounding : {".rn", ".rz", ".rm", ".rp"}) {
    add(rounding, "f16", "f32");
    add(rounding, "f16", "f64");
    add(rounding, "f32", "f64");
  }
  add("", "f32", "f16");
  add("", "f64", "f16");
  add("", "f64", "f32");
  add(".ftz", "f64", "f32");
  add(".rn", "bf16", "f32");
  add(".rz", "bf16", "f32");
  add(".rn.relu", "f16", "f32");
  for (const char* type : {"f32", "f64"}) {
    for (const char* rounding : {".rni", ".rzi", ".rmi", ".rpi", ".rni.sat"}) {
      add(rounding, type, type);
    }
  }
  forms.push_back({"cvt.rna.tf32.f32 $d, $a;", {"b32", "f32"}});
  for (const char* to : {"f16x2", "bf16x2"}) {
    forms.push_back({"cvt.rn." + std::string(to) + ".f32 $d, $a, $b;", {"b32", "f32", "f32"}});
  }
  for (const char* to : {"e4m3x2", "e5m2x2"}) {
    forms.push_back(
        {"cvt.rn.satfinite." + std::string(to) + ".f32 $d, $a, $b;", {"b16", "f32", "f32"}});
    forms.push_back({"cvt.rn.f16x2." + std::string(to) + " $d, $a;", {"b32", "b16"}});
  }
}

Forms allForms() {
  Forms forms;
  addIntegerForms(forms);
  addFloatForms(forms);
  addComparisons(forms);
  addConversions(forms);
  return forms;
}

// --- inputs
// ------------------------------------------------------------------------------------------

int bitsOf(const std::string& type) {
  return std::atoi(type.c_str() + type.find_first_of("0123456789"));
}
bool isFloat(const std::string& type) {
  return type[0] == 'f' || type.rfind("bf", 0) == 0;
}

std::vector<uint64_t> edgesOf(const std::string& type) {
  if (type == "f32") {
    return {0x00000000, 0x80000000, 0x3f800000, 0xbf800000, 0x00000001, 0x807fffff,
            0x00800000, 0x7f7fffff, 0xff7fffff, 0x7f800000, 0xff800000, 0x7fc00000,
            0x7f800001, 0x3f800001, 0x40490fdb, 0x3f000000, 0xc0200000, 0x4b000000,
            0x4f000000, 0x5f000000, 0x3eaaaaab, 0xcb7fffff, 0x33800000, 0x42b17218};
  }
  if (type == "f64") {
    std::vector<uint64_t> out;
    for (const double v :
         {0.0, -0.0, 1.0, -1.0, 0.5, 2.5, -2.5, 3.141592653589793, 1e308, -1e-308,
          4503599627370496.5, 2147483648.0, -9.3e18, 65504.0, 1.0 / 3, 3.4e38, 1e-40, 6e-8}) {
      out.push_back(std::bit_cast<uint64_t>(v));
    }
    for (const uint64_t bits : {0x0000000000000001ull, 0x800fffffffffffffull, 0x7fefffffffffffffull,
                                0x7ff0000000000000ull, 0xfff0000000000000ull, 0x7ff8000000000000ull,
                                0x3ff0000000000001ull}) {
      out.push_back(bits);
    }
    return out;
  }
  if (type == "f16" || type == "bf16") {
    return {0x0000, 0x8000, 0x3c00, 0xbc00, 0x0001, 0x83ff, 0x0400, 0x7bff, 0xfbff, 0x7c00, 0xfc00,
            0x7e00, 0x3c01, 0x3800, 0x4248, 0x7f80, 0xff80, 0x7fc0, 0x3f80, 0x7f7f, 0x0080, 0x5555};
  }
  const int bits = bitsOf(type);
  const uint64_t mask = bits == 64 ? ~uint64_t{0} : (uint64_t{1} << bits) - 1;
  std::vector<uint64_t> out;
  for (const uint64_t value :
       {uint64_t{0}, uint64_t{1}, uint64_t{2}, uint64_t{7}, uint64_t{31}, uint64_t{32},
        uint64_t{33}, uint64_t{63}, uint64_t{64}, uint64_t{255}, mask, mask - 1, mask >> 1,
        (mask >> 1) + 1, (mask >> 1) - 1, mask / 3, uint64_t{0x9e3779b97f4a7c15} & mask,
        uint64_t{0x0123456789abcdef} & mask, uint64_t{0x8040201008040201} & mask}) {
    if (std::find(out.begin(), out.end(), value & mask) == out.end()) out.push_back(value & mask);
  }
  return out;
}

// All combinations of edges; of three operands every second edge.
std::vector<uint64_t> inputsOf(const Form& form) {
  const size_t operands = form.types.size() - 1;
  std::vector<std::vector<uint64_t>> edges;
  for (size_t i = 0; i < operands; ++i) {
    std::vector<uint64_t> all = edgesOf(form.types[i + 1]);
    if (operands == 3) {
      std::vector<uint64_t> some;
      for (size_t j = i % 2; j < all.size(); j += 2) some.push_back(all[j]);
      all = some;
    }
    edges.push_back(all);
  }
  std::vector<uint64_t> out;
  std::vector<size_t> at(operands, 0);
  for (;;) {
    for (size_t i = 0; i < operands; ++i) out.push_back(edges[i][at[i]]);
    size_t i = 0;
    while (i < operands && ++at[i] == edges[i].size()) at[i++] = 0;
    if (i == operands) return out;
  }
}

// --- kernels
// -----------------------------------------------------------------------------------------

// Registers have 16, 32 or 64 bits; values of 8 bits lie in 16.
std::string registerOf(const std::string& type) {
  const int bits = bitsOf(type);
  if (type == "f32" || type == "f64") return type;
  return "b" + std::to_string(bits < 16 ? 16 : bits);
}

std::string kernelOf(const Form& form) {
  std::string body = form.text;
  const auto replace = [&body](const std::string& what, const std::string& with) {
    for (size_t at; (at = body.find(what)) != std::string::npos;) {
      body.replace(at, what.size(), with);
    }
  };
  std::string registers = "  .reg ." + registerOf(form.types[0]) + " %d;\n", loads;
  const size_t operands = form.types.size() - 1;
  for (size_t i = 0; i < operands; ++i) {
    const std::string name(1, static_cast<char>('a' + i));
    registers += "  .reg ." + registerOf(form.types[i + 1]) + " %" + name + ";\n";
    loads += "  ld.global." + registerOf(form.types[i + 1]) + " %" + name + ", [%in+" +
             std::to_string(8 * i) + "];\n";
    replace("$" + name, "%" + name);
  }
  replace("$d", "%d");
  return ".version 7.8\n.target sm_80\n.address_size 64\n"
         ".visible .entry form(.param .u64 in_, .param .u64 out_, .param .u32 count_) {\n"
         "  .reg .u64 %in, %out, %far; .reg .u32 %i, %n, %t, %w; .reg .pred %p;\n" +
         registers +
         "  ld.param.u64 %in, [in_]; ld.param.u64 %out, [out_]; ld.param.u32 %n, [count_];\n"
         "  mov.u32 %i, %ctaid.x; mov.u32 %w, %ntid.x; mov.u32 %t, %tid.x;\n"
         "  mad.lo.u32 %i, %i, %w, %t;\n"
         "  setp.ge.u32 %p, %i, %n;\n  @%p ret;\n"
         "  mul.wide.u32 %far, %i, " +
         std::to_string(8 * operands) +
         ";\n  add.u64 %in, %in, %far;\n  mul.wide.u32 %far, %i, 8;\n"
         "  add.u64 %out, %out, %far;\n" +
         loads + "  " + body + "\n  st.global." + registerOf(form.types[0]) +
         " [%out], %d;\n  ret;\n}\n";
}

struct Result {
  std::string refusal;  // empty when it ran
  std::vector<uint64_t> values;
};

std::string codeName(CUresult code) {
  const char* name = nullptr;
  cuGetErrorName(code, &name);
  return name != nullptr ? name : std::to_string(static_cast<int>(code));
}

Result runForm(const Form& form, const std::vector<uint64_t>& inputs) {
  const size_t count = inputs.size() / (form.types.size() - 1);
  Result result;
  CUmodule module = nullptr;
  CUfunction kernel = nullptr;
  CUresult code = cuModuleLoadData(&module, kernelOf(form).c_str());
  if (code == CUDA_SUCCESS) code = cuModuleGetFunction(&kernel, module, "form");
  CUdeviceptr in = 0, out = 0;
  result.values.resize(count);
  if (code == CUDA_SUCCESS) code = cuMemAlloc_v2(&in, inputs.size() * 8);
  if (code == CUDA_SUCCESS) code = cuMemAlloc_v2(&out, count * 8);
  if (code == CUDA_SUCCESS) code = cuMemsetD8_v2(out, 0, count * 8);
  if (code == CUDA_SUCCESS) code = cuMemcpyHtoD_v2(in, inputs.data(), inputs.size() * 8);
  auto n = static_cast<uint32_t>(count);
  void* params[] = {&in, &out, &n};
  if (code == CUDA_SUCCESS) {
    code = cuLaunchKernel(kernel, (n + 127) / 128, 1, 1, 128, 1, 1, 0, nullptr, params, nullptr);
  }
  if (code == CUDA_SUCCESS) code = cuMemcpyDtoH_v2(result.values.data(), out, count * 8);
  if (code != CUDA_SUCCESS) {
    result.refusal = codeName(code);
    result.values.clear();
  }
  cuMemFree_v2(in);
  cuMemFree_v2(out);
  if (module != nullptr) cuModuleUnload(module);
  return result;
}

// --- comparison
// --------------------------------------------------------------------------------------

// How many representable values lie between two floats; a NaN is near to every NaN.
uint64_t ulpsBetween(const std::string& type, uint64_t x, uint64_t y) {
  const int bits = bitsOf(type), mantissa = type == "f64"   ? 52
                                            : type == "f32" ? 23
                                            : type == "f16" ? 10
                                                            : 7;
  const uint64_t sign = uint64_t{1} << (bits - 1), magnitude = sign - 1;
  const uint64_t infinity = magnitude >> mantissa << mantissa;
  const bool x_nan = (x & magnitude) > infinity, y_nan = (y & magnitude) > infinity;
  if (x_nan || y_nan) return x_nan && y_nan ? 0 : ~uint64_t{0};
  const auto ordered = [&](uint64_t v) {
    return (v & sign) != 0 ? sign - (v & magnitude) : sign + (v & magnitude);
  };
  const uint64_t a = ordered(x), b = ordered(y);
  return a > b ? a - b : b - a;
}

bool same(const Form& form, uint64_t x, uint64_t y) {
  if (x == y) return true;
  return form.ulps > 0 && isFloat(form.types[0]) &&
         ulpsBetween(form.types[0], x, y) <= static_cast<uint64_t>(form.ulps);
}

std::string hex(uint64_t value) {
  char text[24];
  std::snprintf(text, sizeof(text), "0x%llx", static_cast<unsigned long long>(value));
  return text;
}

Json difference(const Form& form, const std::vector<uint64_t>& inputs, const Result& here,
                const Result& there) {
  if (here.refusal != there.refusal) {
    return {{"form", form.text},
            {"here", here.refusal.empty() ? "runs" : here.refusal},
            {"there", there.refusal.empty() ? "runs" : there.refusal}};
  }
  const size_t operands = form.types.size() - 1;
  size_t count = 0;
  Json examples = Json::array();
  for (size_t i = 0; i < here.values.size() && i < there.values.size(); ++i) {
    if (same(form, here.values[i], there.values[i])) continue;
    if (++count > 3) continue;
    Json operand_values = Json::array();
    for (size_t j = 0; j < operands; ++j) operand_values.push_back(hex(inputs[i * operands + j]));
    examples.push_back({{"operands", operand_values},
                        {"here", hex(here.values[i])},
                        {"there", hex(there.values[i])}});
  }
  if (count == 0) return nullptr;
  return {{"form", form.text},
          {"inputs", here.values.size()},
          {"differ", count},
          {"examples", examples}};
}

// One line per form: text, tab, refusal, tab, values.
bool writeResults(const char* path, const std::map<std::string, Result>& results) {
  std::ofstream out(path);
  for (const auto& [text, result] : results) {
    out << text << '\t' << result.refusal << '\t';
    for (const uint64_t value : result.values) out << std::hex << value << ' ';
    out << '\n';
  }
  out.close();
  return !out.fail();
}

bool readResults(const char* path, std::map<std::string, Result>& results) {
  std::ifstream in(path);
  for (std::string line; std::getline(in, line);) {
    const size_t first = line.find('\t'), second = line.find('\t', first + 1);
    if (first == std::string::npos || second == std::string::npos) return false;
    Result& result = results[line.substr(0, first)];
    result.refusal = line.substr(first + 1, second - first - 1);
    std::istringstream values(line.substr(second + 1));
    for (uint64_t value; values >> std::hex >> value;) result.values.push_back(value);
  }
  return !results.empty();
}

int run(int argc, char** argv) {
  const std::string mode = argc == 3 ? argv[1] : "";
  if (mode != "--write" && mode != "--compare") {
    std::fprintf(stderr, "usage: %s --write FILE | --compare FILE\n", argv[0]);
    return 2;
  }
  CUcontext context = nullptr;
  CUresult code = cuInit(0);
  if (code == CUDA_SUCCESS) code = cuCtxCreate_v4(&context, nullptr, 0, 0);
  if (code != CUDA_SUCCESS) {
    std::fprintf(stderr, "There is no usable device: %s.\n", codeName(code).c_str());
    return 3;
  }
  std::map<std::string, Result> results, others;
  if (mode == "--compare" && !readResults(argv[2], others)) {
    std::fprintf(stderr, "%s holds no results.\n", argv[2]);
    return 3;
  }
  Json differences = Json::array();
  size_t values = 0;
  const Forms forms = allForms();
  for (const Form& form : forms) {
    const std::vector<uint64_t> inputs = inputsOf(form);
    Result& result = results[form.text] = runForm(form, inputs);
    values += result.values.size();
    const auto other = others.find(form.text);
    if (other == others.end()) continue;
    Json found = difference(form, inputs, result, other->second);
    if (!found.is_null()) differences.push_back(std::move(found));
  }
  cuCtxDestroy_v2(context);
  if (mode == "--write" && !writeResults(argv[2], results)) {
    std::fprintf(stderr, "%s cannot be written.\n", argv[2]);
    return 3;
  }
  size_t refused = 0;
  for (const auto& [text, result] : results) refused += result.refusal.empty() ? 0 : 1;
  const Json summary = {{"forms", forms.size()},
                        {"refused", refused},
                        {"values", values},
                        {"compared", others.size()},
                        {"differences", differences}};
  std::puts(summary.dump(1).c_str());
  return 0;
}

}  // namespace
}  // namespace farwarp

int main(int argc, char** argv) {
  return farwarp::run(argc, argv);
}
