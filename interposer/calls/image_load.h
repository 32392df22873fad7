// What loading a module and loading a library have in common.
#pragma once

#include <cuda.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "driver/fatbin.h"
#include "interposer/session/call_scope.h"
#include "interposer/session/devices.h"

namespace farwarp::client {

// The program's JIT options, taken apart: what gpud's driver is told, and where the program wants
// the compiler's words.
class JitOptions {
 public:
  // CUDA_ERROR_INVALID_VALUE for null arrays, CUDA_ERROR_NOT_SUPPORTED for options that hold
  // pointers.
  [[nodiscard]] CUresult read(unsigned int count, const CUjit_option* options, void** values);

  std::span<const uint32_t> options() const { return options_; }
  std::span<const uint64_t> values() const { return values_; }

  // Copies gpud's logs into the program's buffers and tells their sizes, as CUDA does.
  void giveLogs(std::string_view info, std::string_view error) const;

 private:
  struct LogBuffer {
    char* text = nullptr;
    size_t bytes = 0;
    void** size_value = nullptr;  // gets the number of bytes used
  };
  static void give(const LogBuffer& buffer, std::string_view log);

  std::vector<uint32_t> options_;
  std::vector<uint64_t> values_;
  LogBuffer info_;
  LogBuffer error_;
  void** wall_time_ = nullptr;
};

// A file of at most kImageBytesMax bytes. False when it cannot be read.
[[nodiscard]] bool readImageFile(const char* path, std::vector<std::byte>& bytes);

// The one part of an image that the device can use, ready to send.
struct UploadImage {
  std::vector<std::byte> bytes;
  uint64_t transfer = 0;  // 0: small enough to travel in the record

  std::span<const std::byte> inlineBytes() const {
    return transfer == 0 ? std::span<const std::byte>(bytes) : std::span<const std::byte>();
  }
};

// Finds that part in the program's memory. CUDA_ERROR_NO_BINARY_FOR_GPU when the image holds none.
[[nodiscard]] CUresult prepareUpload(CallScope& scope, const void* image, const Device& device,
                                     UploadImage& upload);
// The same for a file. CUDA_ERROR_FILE_NOT_FOUND when it cannot be read.
[[nodiscard]] CUresult prepareUploadOfFile(CallScope& scope, const char* path, const Device& device,
                                           UploadImage& upload);

}  // namespace farwarp::client
