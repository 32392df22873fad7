// Links PTX programs into one image (cuLink*). What comes out is PTX still, as a linked image
// (driver/linked_image.h): the CPU device compiles when an image is loaded.
#pragma once

#include <cuda.h>

#include <cstddef>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "gpud/device/cpu/program_image.h"
#include "gpud/device/cpu/ptx/symbols.h"

namespace farwarp::cpu {

class Linker {
 public:
  static constexpr size_t kInputBytesMax = size_t{1} << 30;  // of all inputs, unpacked

  // The logs of `jit` are written with every call; their buffers are the program's.
  Linker(Driver& driver, JitOptions jit) : driver_(driver), jit_(jit) {}
  Linker(const Linker&) = delete;
  Linker& operator=(const Linker&) = delete;

  // Takes what it needs out of `data`. `name` is for messages. CUDA_ERROR_INVALID_PTX for what does
  // not compile, CUDA_ERROR_INVALID_IMAGE for what is not of its type, CUDA_ERROR_INVALID_SOURCE
  // for a symbol that an input before it defines, CUDA_ERROR_NO_BINARY_FOR_GPU for machine code,
  // CUDA_ERROR_NOT_SUPPORTED for NVVM, CUDA_ERROR_INVALID_VALUE after complete().
  [[nodiscard]] CUresult add(CUjitInputType type, std::span<const std::byte> data,
                             std::string_view name);
  // `image` stays until the linker ends. CUDA_ERROR_INVALID_SOURCE when a symbol is defined
  // nowhere, CUDA_ERROR_INVALID_IMAGE without any input.
  [[nodiscard]] CUresult complete(void** image, size_t* bytes);

 private:
  struct Text {
    std::string ptx;
    std::string name;
    ptx::TextSymbols symbols;
  };
  // The PTX of one member of a library, which is linked when one of its symbols is wanted.
  struct Member {
    std::vector<Text> texts;
    bool taken = false;
  };

  CUresult fail(CUresult result, const std::string& why);
  CUresult readImageInto(std::span<const std::byte> data, std::string_view name,
                         std::vector<Text>& texts);
  CUresult readObject(std::span<const std::byte> data, std::string_view name,
                      std::vector<Text>& texts);
  CUresult readLibrary(std::span<const std::byte> data, std::string_view name);
  CUresult parse(std::string ptx, std::string_view name, std::vector<Text>& texts);
  CUresult define(Text text);
  CUresult takeMembers();
  CUresult compile();

  Driver& driver_;
  std::mutex mutex_;  // guards the rest
  JitOptions jit_;
  std::string errors_;  // all that was said
  size_t input_bytes_ = 0;
  std::vector<Text> texts_;
  std::vector<Member> members_;
  bool has_runtime_ = false;                         // the device runtime is among the members
  std::unordered_map<std::string, size_t> defined_;  // strong symbols, by the text that has them
  std::vector<std::byte> image_;
};

}  // namespace farwarp::cpu
