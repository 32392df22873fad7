#include "gpud/device/cpu/program_image.h"

#include <algorithm>
#include <cstring>
#include <fstream>
#include <iterator>
#include <vector>

#include "driver/fatbin.h"
#include "gpud/device/cpu/driver.h"

namespace farwarp::cpu {
namespace {

// What an image without usable PTX holds, for the person who has to rebuild it.
std::string describe(const std::vector<ImageEntry>& entries, uint32_t architecture) {
  std::string held;
  for (const ImageEntry& entry : entries) {
    held += held.empty() ? "" : ", ";
    held += entry.kind == ImageKind::ptx     ? "PTX for sm_"
            : entry.kind == ImageKind::cubin ? "machine code for sm_"
                                             : "other code for sm_";
    held += std::to_string(entry.sm);
    if (entry.arch_specific) held += 'a';
    if (entry.family_specific) held += 'f';
  }
  return "The image holds no PTX that a device of compute capability " +
         std::to_string(architecture / 10) + "." + std::to_string(architecture % 10) +
         " may run; it holds " + (held.empty() ? "nothing" : held) +
         ". The CPU device runs PTX only: build with -gencode arch=compute_XX,code=compute_XX, or "
         "set "
         "cc=X.Y in FARWARP_CPU_DEVICE.";
}

// Of the PTX ISA: within a major version new instructions are refused one by one, with words.
constexpr uint16_t kPtxMajorMax = 9;

// Unpacks the best PTX of `entries` into `texts`, if there is any.
CUresult addPtx(Driver& driver, const std::vector<ImageEntry>& entries,
                std::vector<std::string>& texts, std::string& why) {
  const ImageTarget target{
      .sm = driver.device(0)->architecture(), .takes_cubin = false, .takes_ptx = true};
  const ImageEntry* entry = chooseEntry(entries, target);
  if (entry == nullptr) return CUDA_SUCCESS;
  if (entry->version_major > kPtxMajorMax) {
    why = "The PTX is of ISA version " + std::to_string(entry->version_major) + "." +
          std::to_string(entry->version_minor) + "; the CPU device takes versions up to " +
          std::to_string(kPtxMajorMax) + ".x.";
    return CUDA_ERROR_UNSUPPORTED_PTX_VERSION;
  }
  return unpackEntry(*entry, texts.emplace_back(), &why);
}

struct Loader {
  Driver& driver;
  JitOptions& jit;

  CUresult fail(CUresult error, const std::string& why) {
    jit.write("", why);
    driver.explain(why);
    return error;
  }

  CUresult load(const ModuleImage& image, std::shared_ptr<const ptx::Program>& program) {
    std::vector<std::string> texts;
    std::string why;
    if (CUresult r = unpackPtx(driver, image, texts, why); r != CUDA_SUCCESS) return fail(r, why);
    std::vector<ptx::LinkInput> inputs;
    for (const std::string& text : texts) inputs.push_back({text, {}});
    ptx::CompileLog log;
    program = driver.programs().link(inputs, {}, log);
    if (program == nullptr) {
      return fail(CUDA_ERROR_INVALID_PTX, "The PTX did not compile. " + log.text);
    }
    jit.limitRegisters(image.registers_max);
    jit.write(log.text, "");
    return CUDA_SUCCESS;
  }
};

}  // namespace

JitOptions::JitOptions(unsigned count, CUjit_option* options, void** values) {
  if (options == nullptr || values == nullptr) return;
  for (unsigned i = 0; i < count; ++i) {
    switch (options[i]) {
      case CU_JIT_MAX_REGISTERS:
        limitRegisters(static_cast<uint32_t>(reinterpret_cast<uintptr_t>(values[i])));
        break;
      case CU_JIT_INFO_LOG_BUFFER:
        info_.text = static_cast<char*>(values[i]);
        break;
      case CU_JIT_ERROR_LOG_BUFFER:
        error_.text = static_cast<char*>(values[i]);
        break;
      case CU_JIT_INFO_LOG_BUFFER_SIZE_BYTES:
        info_.bytes_value = &values[i];
        break;
      case CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES:
        error_.bytes_value = &values[i];
        break;
      default:
        break;
    }
  }
  // Sizes are unsigned int, passed in the place of a pointer.
  for (Buffer* buffer : {&info_, &error_}) {
    if (buffer->bytes_value != nullptr) {
      buffer->bytes = static_cast<uint32_t>(reinterpret_cast<uintptr_t>(*buffer->bytes_value));
    }
  }
}

void JitOptions::limitRegisters(uint32_t most) {
  if (most != 0 && (registers_max_ == 0 || most < registers_max_)) registers_max_ = most;
}

void JitOptions::fill(Buffer& buffer, const std::string& text) {
  size_t length = 0;
  if (buffer.text != nullptr && buffer.bytes != 0) {
    length = std::min(text.size(), buffer.bytes - 1);
    std::memcpy(buffer.text, text.data(), length);
    buffer.text[length] = '\0';
  }
  if (buffer.bytes_value != nullptr) *buffer.bytes_value = reinterpret_cast<void*>(length);
}

void JitOptions::write(const std::string& info, const std::string& error) {
  fill(info_, info);
  fill(error_, error);
}

CUresult unpackPtx(Driver& driver, const ModuleImage& image, std::vector<std::string>& texts,
                   std::string& why) {
  if (CUresult r = addPtx(driver, image.entries, texts, why); r != CUDA_SUCCESS) return r;
  for (const auto& part : image.relocatable) {
    if (CUresult r = addPtx(driver, part, texts, why); r != CUDA_SUCCESS) return r;
  }
  if (!texts.empty()) return CUDA_SUCCESS;
  why = describe(image.entries, driver.device(0)->architecture());
  return CUDA_ERROR_NO_BINARY_FOR_GPU;
}

CUresult loadProgram(Driver& driver, const void* image, JitOptions& jit,
                     std::shared_ptr<const ptx::Program>& program) {
  Loader loader{driver, jit};
  ModuleImage read;
  std::string why;
  if (CUresult r = readImage(image, read, &why); r != CUDA_SUCCESS) return loader.fail(r, why);
  return loader.load(read, program);
}

CUresult loadProgramFile(Driver& driver, const char* path, JitOptions& jit,
                         std::shared_ptr<const ptx::Program>& program) {
  if (path == nullptr) return CUDA_ERROR_INVALID_VALUE;
  std::ifstream file(path, std::ios::binary);
  if (!file.is_open()) return CUDA_ERROR_FILE_NOT_FOUND;
  const std::string content{std::istreambuf_iterator<char>(file), {}};
  if (file.bad()) return CUDA_ERROR_FILE_NOT_FOUND;
  Loader loader{driver, jit};
  ModuleImage read;
  std::string why;
  const auto* bytes = reinterpret_cast<const std::byte*>(content.data());
  if (CUresult r = readImage(std::span(bytes, content.size()), read, &why); r != CUDA_SUCCESS) {
    return loader.fail(r, why);
  }
  return loader.load(read, program);
}

}  // namespace farwarp::cpu
