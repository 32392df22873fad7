// Module images from the client: brought together, checked for what a driver takes on trust, and
// loaded with JIT options whose log buffers live here.
#pragma once

#include <cuda.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "gpud/worker/uploads.h"

namespace farwarp::worker {

inline constexpr uint64_t kImageBytesMax = 1u << 30;
inline constexpr uint64_t kJitLogBytesMax = 1u << 20;
inline constexpr size_t kJitOptionsMax = 64;

// An image in memory of our own, followed by zeros: PTX is text that ends with a NUL.
class Image {
 public:
  // Takes the image out of the record (`transfer` 0) or from its upload.
  Uploads::Progress gather(Uploads& uploads, uint64_t transfer, uint64_t bytes,
                           std::span<const std::byte> inline_bytes);

  // CUDA_ERROR_INVALID_IMAGE when a driver would read past the end: a fatbin that claims more bytes
  // than it has, and the wrapper that holds pointers into the client's memory.
  [[nodiscard]] CUresult check() const;

  const void* data() const { return bytes_.get(); }
  uint64_t size() const { return size_; }
  // Without the zeros.
  std::span<const std::byte> bytes() const { return {bytes_.get(), size_}; }

 private:
  std::unique_ptr<std::byte[]> bytes_;
  uint64_t size_ = 0;
};

// JIT options with values that are numbers; logs are collected here.
class JitOptions {
 public:
  // Options that point to other things than logs give CUDA_ERROR_NOT_SUPPORTED, unknown ones
  // CUDA_ERROR_INVALID_VALUE.
  [[nodiscard]] CUresult set(std::span<const uint32_t> options, std::span<const uint64_t> values);

  unsigned count() const { return static_cast<unsigned>(options_.size()); }
  CUjit_option* options() { return options_.data(); }
  void** values() { return values_.data(); }
  std::string_view infoLog() const { return text(info_log_); }
  std::string_view errorLog() const { return text(error_log_); }

 private:
  static std::string_view text(const std::vector<char>& log);

  std::vector<CUjit_option> options_;
  std::vector<void*> values_;
  std::vector<char> info_log_;
  std::vector<char> error_log_;
};

}  // namespace farwarp::worker
