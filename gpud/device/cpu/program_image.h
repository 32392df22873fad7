// From the image that a program passes to a compiled PTX program.
#pragma once

#include <cuda.h>

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "driver/fatbin.h"
#include "gpud/device/cpu/ptx/engine.h"

namespace farwarp::cpu {

class Driver;

// The JIT options that the CPU device heeds: the buffers for logs, and the registers that a kernel
// may use. The others tune a code generator that is not there.
class JitOptions {
 public:
  JitOptions() = default;
  // Arrays as cuModuleLoadDataEx and cuLibraryLoadData take them; either may be null when `count`
  // is 0.
  JitOptions(unsigned count, CUjit_option* options, void** values);
  // Writes the logs into the program's buffers and their lengths into the option values.
  void write(const std::string& info, const std::string& error);
  // Registers per thread that kernels may use; 0 when there is no limit.
  uint32_t registersMax() const { return registers_max_; }
  // Makes that at most `most`, if that is not 0.
  void limitRegisters(uint32_t most);

 private:
  struct Buffer {
    char* text = nullptr;
    size_t bytes = 0;
    void** bytes_value = nullptr;  // the option value that tells the size, and gets the length
  };
  static void fill(Buffer& buffer, const std::string& text);
  Buffer info_, error_;
  uint32_t registers_max_ = 0;
};

// Unpacks the PTX of `image` that the driver's devices run, one text for each part that is to be
// linked. CUDA_ERROR_NO_BINARY_FOR_GPU when there is none, CUDA_ERROR_UNSUPPORTED_PTX_VERSION when
// it is of a newer major version; `why` gets a sentence.
[[nodiscard]] CUresult unpackPtx(Driver& driver, const ModuleImage& image,
                                 std::vector<std::string>& texts, std::string& why);

// Finds the PTX for the driver's devices in `image` (memory of the program, of unknown size) and
// compiles it. `jit` learns the limit of registers that a link left in the image.
// CUDA_ERROR_NO_BINARY_FOR_GPU when there is none, CUDA_ERROR_UNSUPPORTED_PTX_VERSION when it is of
// a newer major version, CUDA_ERROR_INVALID_PTX when it does not compile.
[[nodiscard]] CUresult loadProgram(Driver& driver, const void* image, JitOptions& jit,
                                   std::shared_ptr<const ptx::Program>& program);
// The same from a file. CUDA_ERROR_FILE_NOT_FOUND when it cannot be read.
[[nodiscard]] CUresult loadProgramFile(Driver& driver, const char* path, JitOptions& jit,
                                       std::shared_ptr<const ptx::Program>& program);

}  // namespace farwarp::cpu
