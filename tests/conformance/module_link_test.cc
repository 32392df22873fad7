// Goal: a program that links device code at run time gets the same program, the same errors and the
// same logs from a remote GPU as from a local one. Method: small PTX programs that need each other
// are linked from every kind of input that the CPU device takes (text, fatbin, object, library,
// file), and the result is loaded in every way and run; what must fail is refused with its code and
// a log.
#include <ar.h>
#include <elf.h>

#include <cstring>
#include <filesystem>
#include <fstream>

#include "tests/conformance/conformance.h"

namespace farwarp::conformance {
namespace {

const std::string kHead = ".version 8.0\n.target sm_75\n.address_size 64\n";

// out[tid] = twice(tid) + counter
const std::string kKernel = kHead + R"(
.extern .func (.param .b32 r) twice (.param .b32 x);
.extern .global .align 4 .u32 counter;
.visible .entry run(.param .u64 out) {
  .reg .b64 %a; .reg .b64 %o; .reg .b32 %t; .reg .b32 %r; .reg .b32 %c;
  mov.u32 %t, %tid.x;
  { .param .b32 p; .param .b32 q; st.param.b32 [p], %t; call.uni (q), twice, (p); ld.param.b32 %r, [q]; }
  ld.global.u32 %c, [counter];
  add.u32 %r, %r, %c;
  ld.param.u64 %a, [out];
  mul.wide.u32 %o, %t, 4;
  add.u64 %a, %a, %o;
  st.global.u32 [%a], %r;
  ret;
})";

std::string definitions(const std::string& linkage, int factor, int counter) {
  return kHead + linkage + " .func (.param .b32 r) twice (.param .b32 x) {\n" +
         "  .reg .b32 %x; ld.param.b32 %x, [x]; mul.lo.u32 %x, %x, " + std::to_string(factor) +
         "; st.param.b32 [r], %x; ret;\n}\n" + linkage +
         " .global .align 4 .u32 counter = " + std::to_string(counter) + ";\n";
}

const std::string kDefinitions = definitions(".visible", 2, 7);

// A fatbin with one PTX entry, as nvcc -compress-mode=none lays it out.
std::string fatbinOf(const std::string& ptx) {
  const uint64_t payload = (ptx.size() + 8) & ~uint64_t{7};
  std::string out(16 + 64 + payload, '\0');
  const auto put = [&](size_t at, auto value) { std::memcpy(&out[at], &value, sizeof value); };
  put(0, uint32_t{0xba55ed50});
  put(4, uint16_t{1});
  put(6, uint16_t{16});
  put(8, 64 + payload);
  put(16, uint16_t{1});  // PTX
  put(18, uint16_t{0x101});
  put(20, uint32_t{64});
  put(24, payload);
  put(16 + 0x1a, uint16_t{8});
  put(16 + 0x1c, uint32_t{75});
  put(16 + 0x28, uint64_t{0x11});
  std::memcpy(&out[80], ptx.data(), ptx.size());
  return out;
}

// A host object with the fatbin where nvcc -rdc=true puts it.
std::string objectOf(const std::string& fatbin) {
  static const std::string names("\0.shstrtab\0__nv_relfatbin\0", 26);
  const size_t fatbin_at = 128;
  const size_t sections_at = fatbin_at + fatbin.size();
  std::string out(sections_at + 3 * sizeof(Elf64_Shdr), '\0');
  Elf64_Ehdr header{};
  std::memcpy(header.e_ident, ELFMAG, SELFMAG);
  header.e_ident[EI_CLASS] = ELFCLASS64;
  header.e_machine = EM_X86_64;
  header.e_shoff = sections_at;
  header.e_shentsize = sizeof(Elf64_Shdr);
  header.e_shnum = 3;
  header.e_shstrndx = 1;
  Elf64_Shdr sections[3]{};
  sections[1] = {.sh_name = 1, .sh_type = SHT_STRTAB, .sh_offset = 64, .sh_size = names.size()};
  sections[2] = {
      .sh_name = 11, .sh_type = SHT_PROGBITS, .sh_offset = fatbin_at, .sh_size = fatbin.size()};
  std::memcpy(&out[0], &header, sizeof header);
  std::memcpy(&out[64], names.data(), names.size());
  std::memcpy(&out[fatbin_at], fatbin.data(), fatbin.size());
  std::memcpy(&out[sections_at], sections, sizeof sections);
  return out;
}

std::string archiveOf(const std::vector<std::string>& objects) {
  std::string out = ARMAG;
  int number = 0;
  for (const std::string& object : objects) {
    char head[sizeof(ar_hdr) + 1];
    std::snprintf(head, sizeof head, "%-16s%-12d%-6d%-6d%-8d%-10zu`\n",
                  (std::to_string(number++) + ".o/").c_str(), 0, 0, 0, 644, object.size());
    out += head + object;
    if (out.size() % 2 != 0) out += '\n';
  }
  return out;
}

class ModuleLinkTest : public ConformanceTest {
 protected:
  CUresult add(CUjitInputType type, const std::string& data, const char* name = "input") {
    // PTX ends with a NUL that counts.
    const size_t bytes = data.size() + (type == CU_JIT_INPUT_PTX ? 1 : 0);
    return cuLinkAddData_v2(state_, type, const_cast<char*>(data.c_str()), bytes, name, 0, nullptr,
                            nullptr);
  }
  void begin() { ASSERT_OK(cuLinkCreate_v2(0, nullptr, nullptr, &state_)); }
  void end() { EXPECT_OK(cuLinkDestroy(state_)); }

  // Completes the link and returns the image.
  std::string complete() {
    void* image = nullptr;
    size_t bytes = 0;
    EXPECT_OK(cuLinkComplete(state_, &image, &bytes));
    return image == nullptr ? "" : std::string(static_cast<char*>(image), bytes);
  }

  void run(CUmodule module, int factor, int counter) {
    CUfunction function = nullptr;
    ASSERT_OK(cuModuleGetFunction(&function, module, "run"));
    CUdeviceptr out = allocate(32 * 4);
    void* params[] = {&out};
    ASSERT_OK(cuLaunchKernel(function, 1, 1, 1, 32, 1, 1, 0, nullptr, params, nullptr));
    int values[32];
    ASSERT_OK(cuMemcpyDtoH_v2(values, out, sizeof values));
    for (int i = 0; i < 32; ++i) EXPECT_EQ(values[i], factor * i + counter);
    EXPECT_OK(cuMemFree_v2(out));
  }
  void loadAndRun(const std::string& image, int factor = 2, int counter = 7) {
    CUmodule module = nullptr;
    ASSERT_OK(cuModuleLoadData(&module, image.data()));
    run(module, factor, counter);
    EXPECT_OK(cuModuleUnload(module));
  }

  CUlinkState state_ = nullptr;
};

TEST_F(ModuleLinkTest, TextsThatNeedEachOther) {
  begin();
  EXPECT_OK(add(CU_JIT_INPUT_PTX, kKernel));
  EXPECT_OK(add(CU_JIT_INPUT_PTX, kDefinitions));
  const std::string image = complete();
  end();
  loadAndRun(image);
}

TEST_F(ModuleLinkTest, TheImageIsTheStatesAndLoadsInEveryWay) {
  begin();
  EXPECT_OK(add(CU_JIT_INPUT_PTX, kDefinitions));
  EXPECT_OK(add(CU_JIT_INPUT_PTX, kKernel));
  void* first = nullptr;
  void* second = nullptr;
  size_t bytes = 0, again = 0;
  ASSERT_OK(cuLinkComplete(state_, &first, &bytes));
  ASSERT_OK(cuLinkComplete(state_, &second, &again));
  EXPECT_EQ(first, second);
  EXPECT_EQ(bytes, again);
  EXPECT_EQ(std::memcmp(first, ELFMAG, SELFMAG), 0);
  // While the state lives the pointer may be loaded as it is; programs also keep it in files.
  CUmodule module = nullptr;
  ASSERT_OK(cuModuleLoadData(&module, first));
  run(module, 2, 7);
  EXPECT_OK(cuModuleUnload(module));
  const std::filesystem::path path =
      testing::TempDir() + "farwarp-linked-" + std::to_string(getpid()) + ".cubin";
  std::ofstream(path, std::ios::binary)
      .write(static_cast<char*>(first), static_cast<std::streamsize>(bytes));
  const std::string copy(static_cast<char*>(first), bytes);
  end();
  EXPECT_EQ(note("load the file", cuModuleLoad(&module, path.c_str())), "CUDA_SUCCESS");
  run(module, 2, 7);
  EXPECT_OK(cuModuleUnload(module));
  std::filesystem::remove(path);
  CUlibrary library = nullptr;
  ASSERT_OK(cuLibraryLoadData(&library, copy.data(), nullptr, nullptr, 0, nullptr, nullptr, 0));
  ASSERT_OK(cuLibraryGetModule(&module, library));
  run(module, 2, 7);
  EXPECT_OK(cuLibraryUnload(library));
}

// A kernel that has 60 numbers at once.
std::string manyRegisters() {
  std::string text =
      ".version 8.0\n.target sm_75\n.address_size 64\n"
      ".visible .entry many(.param .u64 out) {\n"
      ".reg .u64 %p; .reg .u32 %v<60>;\nld.param.u64 %p, [out];\n";
  for (int i = 0; i < 60; ++i) {
    const std::string number = std::to_string(i);
    text += "ld.volatile.global.u32 %v" + number + ", [%p+" + std::to_string(4 * i) + "];\n";
  }
  for (int i = 59; i >= 0; --i) {
    text += "st.volatile.global.u32 [%p], %v" + std::to_string(i) + ";\n";
  }
  return text + "ret;\n}\n";
}

TEST_F(ModuleLinkTest, KernelsKeepToTheRegistersThatTheyMayUse) {
  const std::string text = manyRegisters();
  CUjit_option option = CU_JIT_MAX_REGISTERS;
  void* most = reinterpret_cast<void*>(uintptr_t{32});
  const auto registersOf = [&](const void* image, unsigned options) {
    CUmodule module = nullptr;
    CUfunction function = nullptr;
    int registers = 0;
    EXPECT_OK(cuModuleLoadDataEx(&module, image, options, &option, &most));
    EXPECT_OK(cuModuleGetFunction(&function, module, "many"));
    EXPECT_OK(cuFuncGetAttribute(&registers, CU_FUNC_ATTRIBUTE_NUM_REGS, function));
    EXPECT_OK(cuModuleUnload(module));
    return registers;
  };
  EXPECT_GT(registersOf(text.c_str(), 0), 60);
  EXPECT_LE(registersOf(text.c_str(), 1), 32);
  ASSERT_OK(cuLinkCreate_v2(1, &option, &most, &state_));
  EXPECT_OK(add(CU_JIT_INPUT_PTX, text));
  const std::string linked = complete();
  end();
  EXPECT_LE(registersOf(linked.data(), 0), 32);
}

TEST_F(ModuleLinkTest, EveryKindOfInput) {
  const std::string fatbin = fatbinOf(kDefinitions);
  const std::string object = objectOf(fatbin);
  const std::string other = objectOf(fatbinOf(definitions(".weak", 9, 9)));
  const struct {
    CUjitInputType type;
    std::string data;
  } kinds[] = {{CU_JIT_INPUT_FATBINARY, fatbin},
               {CU_JIT_INPUT_OBJECT, object},
               {CU_JIT_INPUT_LIBRARY, archiveOf({object, other})}};
  for (const auto& kind : kinds) {
    begin();
    EXPECT_OK(add(CU_JIT_INPUT_PTX, kKernel));
    EXPECT_OK(add(kind.type, kind.data));
    const std::string image = complete();
    end();
    loadAndRun(image);
  }
  // What the CPU device has linked may be an input again; machine code may not.
  if (realDriver()) return;
  begin();
  EXPECT_OK(add(CU_JIT_INPUT_PTX, kKernel));
  EXPECT_OK(add(CU_JIT_INPUT_PTX, kDefinitions));
  const std::string image = complete();
  end();
  begin();
  EXPECT_EQ(note("add an image", add(CU_JIT_INPUT_CUBIN, image)), "CUDA_SUCCESS");
  loadAndRun(complete());
  end();
}

// Nothing in the program wants what the second member defines, although it clashes with the kernel.
TEST_F(ModuleLinkTest, MembersOfLibrariesAreTakenWhenTheyAreWanted) {
  begin();
  EXPECT_OK(add(CU_JIT_INPUT_LIBRARY,
                archiveOf({objectOf(fatbinOf(kDefinitions)), objectOf(fatbinOf(kKernel))})));
  EXPECT_OK(add(CU_JIT_INPUT_PTX, kKernel));
  loadAndRun(complete());
  end();
}

TEST_F(ModuleLinkTest, WeakDefinitionsGiveWay) {
  begin();
  EXPECT_OK(add(CU_JIT_INPUT_PTX, definitions(".weak", 5, 1)));
  EXPECT_OK(add(CU_JIT_INPUT_PTX, kKernel));
  EXPECT_OK(add(CU_JIT_INPUT_PTX, definitions(".visible", 3, 2)));
  loadAndRun(complete(), 3, 2);
  end();
}

TEST_F(ModuleLinkTest, FilesAreReadWhereTheProgramRuns) {
  const std::filesystem::path path =
      testing::TempDir() + "farwarp-link-" + std::to_string(getpid()) + ".ptx";
  std::ofstream(path) << kDefinitions;
  begin();
  EXPECT_OK(add(CU_JIT_INPUT_PTX, kKernel));
  EXPECT_EQ(note("add a file",
                 cuLinkAddFile_v2(state_, CU_JIT_INPUT_PTX, path.c_str(), 0, nullptr, nullptr)),
            "CUDA_SUCCESS");
  loadAndRun(complete());
  std::filesystem::remove(path);
  EXPECT_CUDA(cuLinkAddFile_v2(state_, CU_JIT_INPUT_PTX, "/nonexistent/a.ptx", 0, nullptr, nullptr),
              CUDA_ERROR_FILE_NOT_FOUND);
  EXPECT_CUDA(cuLinkAddFile_v2(state_, CU_JIT_INPUT_PTX, nullptr, 0, nullptr, nullptr),
              CUDA_ERROR_INVALID_VALUE);
  end();
}

// Beyond what one message takes, in both directions.
TEST_F(ModuleLinkTest, LargeInputsAndImages) {
  std::string large = kDefinitions;
  for (int line = 0; large.size() < (9u << 20); ++line) {
    large += "// " + std::string(1000, static_cast<char>('a' + line % 26)) + "\n";
  }
  begin();
  EXPECT_OK(add(CU_JIT_INPUT_PTX, kKernel));
  EXPECT_OK(add(CU_JIT_INPUT_PTX, large));
  const std::string image = complete();
  EXPECT_GT(image.size(), large.size());
  end();
  loadAndRun(image);
}

// Text and its length in the option's value; a buffer that is too small holds what fits.
TEST_F(ModuleLinkTest, ErrorsAreTold) {
  char log[64] = "untouched";
  char info[64] = "untouched";
  CUjit_option options[] = {CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES,
                            CU_JIT_INFO_LOG_BUFFER, CU_JIT_INFO_LOG_BUFFER_SIZE_BYTES,
                            CU_JIT_LOG_VERBOSE};
  void* values[] = {log, reinterpret_cast<void*>(sizeof log), info,
                    reinterpret_cast<void*>(sizeof info), reinterpret_cast<void*>(1)};
  ASSERT_OK(cuLinkCreate_v2(5, options, values, &state_));
  EXPECT_OK(add(CU_JIT_INPUT_PTX, kDefinitions, "first"));
  EXPECT_STREQ(log, "");
  EXPECT_EQ(values[1], nullptr);
  EXPECT_CUDA(add(CU_JIT_INPUT_PTX, kHead + ".visible .entry bad() { nonsense; }", "bad"),
              CUDA_ERROR_INVALID_PTX);
  EXPECT_GT(std::strlen(log), 10u);
  EXPECT_EQ(values[1], reinterpret_cast<void*>(std::strlen(log)));
  note(log, CUDA_SUCCESS);  // the same text both ways
  EXPECT_CUDA(add(CU_JIT_INPUT_PTX, kDefinitions, "second"), CUDA_ERROR_INVALID_SOURCE);
  end();
}

TEST_F(ModuleLinkTest, UndefinedSymbolsFailTheLink) {
  char log[1024] = "";
  CUjit_option options[] = {CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES};
  void* values[] = {log, reinterpret_cast<void*>(sizeof log)};
  ASSERT_OK(cuLinkCreate_v2(2, options, values, &state_));
  EXPECT_OK(add(CU_JIT_INPUT_PTX, kKernel));
  void* image = nullptr;
  size_t bytes = 0;
  EXPECT_CUDA(cuLinkComplete(state_, &image, &bytes), CUDA_ERROR_INVALID_SOURCE);
  EXPECT_NE(std::string(log).find("twice"), std::string::npos) << log;
  end();
  begin();
  EXPECT_CUDA(cuLinkComplete(state_, &image, &bytes), CUDA_ERROR_INVALID_IMAGE);
  end();
}

TEST_F(ModuleLinkTest, WhatIsNoInputIsRefused) {
  const std::string junk(200, 'x');
  begin();
  EXPECT_CUDA(add(CU_JIT_INPUT_PTX, junk), CUDA_ERROR_INVALID_PTX);
  EXPECT_CUDA(add(CU_JIT_INPUT_FATBINARY, junk), CUDA_ERROR_INVALID_IMAGE);
  EXPECT_CUDA(add(CU_JIT_INPUT_OBJECT, junk), CUDA_ERROR_INVALID_IMAGE);
  EXPECT_CUDA(add(CU_JIT_INPUT_LIBRARY, junk), CUDA_ERROR_INVALID_IMAGE);
  EXPECT_CUDA(add(CU_JIT_INPUT_NVVM, junk), CUDA_ERROR_NOT_SUPPORTED);
  EXPECT_CUDA(add(static_cast<CUjitInputType>(77), junk), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuLinkAddData_v2(state_, CU_JIT_INPUT_PTX, nullptr, 10, "", 0, nullptr, nullptr),
              CUDA_ERROR_INVALID_VALUE);
  char text[] = "text";
  EXPECT_CUDA(cuLinkAddData_v2(state_, CU_JIT_INPUT_PTX, text, 0, "", 0, nullptr, nullptr),
              CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuLinkAddData_v2(state_, CU_JIT_INPUT_PTX, text, 5, "", 1, nullptr, nullptr),
              CUDA_ERROR_INVALID_VALUE);
  end();
}

TEST_F(ModuleLinkTest, HandlesAndArguments) {
  EXPECT_CUDA(cuLinkCreate_v2(0, nullptr, nullptr, nullptr), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuLinkCreate_v2(1, nullptr, nullptr, &state_), CUDA_ERROR_INVALID_VALUE);
  begin();
  EXPECT_OK(add(CU_JIT_INPUT_PTX, kDefinitions));
  size_t bytes = 0;
  EXPECT_CUDA(cuLinkComplete(state_, nullptr, &bytes), CUDA_ERROR_INVALID_VALUE);
  // What is linked is closed.
  complete();
  EXPECT_CUDA(add(CU_JIT_INPUT_PTX, kKernel), CUDA_ERROR_INVALID_VALUE);
  end();
}

TEST_F(ModuleLinkTest, HandlesThatAreGone) {
  begin();
  end();
  void* image = nullptr;
  size_t bytes = 0;
  EXPECT_BAD_HANDLE(cuLinkComplete(state_, &image, &bytes), CUDA_ERROR_INVALID_HANDLE);
  EXPECT_BAD_HANDLE(add(CU_JIT_INPUT_PTX, kKernel), CUDA_ERROR_INVALID_HANDLE);
  EXPECT_BAD_HANDLE(cuLinkDestroy(state_), CUDA_ERROR_INVALID_HANDLE);
  EXPECT_BAD_HANDLE(cuLinkDestroy(nullptr), CUDA_ERROR_INVALID_HANDLE);
}

// The compiler's words come back from a module load as well.
TEST_F(ModuleLinkTest, LoadsTellTheirErrorsToo) {
  char log[512] = "";
  CUjit_option options[] = {CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES};
  void* values[] = {log, reinterpret_cast<void*>(sizeof log)};
  CUmodule module = nullptr;
  const std::string bad = kHead + ".visible .entry bad() { nonsense; }";
  EXPECT_CUDA(cuModuleLoadDataEx(&module, bad.c_str(), 2, options, values), CUDA_ERROR_INVALID_PTX);
  EXPECT_GT(std::strlen(log), 10u);
  EXPECT_EQ(values[1], reinterpret_cast<void*>(std::strlen(log)));
  note(log, CUDA_SUCCESS);
}

}  // namespace
}  // namespace farwarp::conformance
