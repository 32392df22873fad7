#include "gpud/worker/image.h"

#include <algorithm>
#include <cstring>

namespace farwarp::worker {
namespace {

constexpr uint32_t kWrapperMagic = 0x466243B1;
constexpr uint32_t kFatbinMagic = 0xBA55ED50;
constexpr size_t kFatbinHeadBytes = 16;
constexpr size_t kPadding = 16;

template <typename T>
T read(const std::byte* at) {
  T value;
  std::memcpy(&value, at, sizeof(value));
  return value;
}

// What the value of an option is.
enum class JitValue {
  number,
  info_log,
  info_log_bytes,
  error_log,
  error_log_bytes,
  pointer,
  unknown
};

JitValue valueOf(uint32_t option) {
  switch (option) {
    case CU_JIT_INFO_LOG_BUFFER:
      return JitValue::info_log;
    case CU_JIT_INFO_LOG_BUFFER_SIZE_BYTES:
      return JitValue::info_log_bytes;
    case CU_JIT_ERROR_LOG_BUFFER:
      return JitValue::error_log;
    case CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES:
      return JitValue::error_log_bytes;
    case CU_JIT_GLOBAL_SYMBOL_NAMES:
    case CU_JIT_GLOBAL_SYMBOL_ADDRESSES:
    case CU_JIT_REFERENCED_KERNEL_NAMES:
    case CU_JIT_REFERENCED_VARIABLE_NAMES:
      return JitValue::pointer;
    default:
      return option < CU_JIT_NUM_OPTIONS ? JitValue::number : JitValue::unknown;
  }
}

}  // namespace

Uploads::Progress Image::gather(Uploads& uploads, uint64_t transfer, uint64_t bytes,
                                std::span<const std::byte> inline_bytes) {
  if (bytes == 0 || bytes > kImageBytesMax) return Uploads::Progress::malformed;
  if (transfer == 0 && inline_bytes.size() != bytes) return Uploads::Progress::malformed;
  if (transfer != 0 && uploads.transfers() == 0) return Uploads::Progress::waiting;
  bytes_ = std::make_unique<std::byte[]>(bytes + kPadding);
  size_ = bytes;
  if (transfer != 0) return uploads.takeWhole(transfer, bytes, {bytes_.get(), bytes});
  std::memcpy(bytes_.get(), inline_bytes.data(), bytes);
  return Uploads::Progress::complete;
}

CUresult Image::check() const {
  if (size_ < sizeof(uint32_t)) return CUDA_SUCCESS;  // too short for anything but text
  const auto magic = read<uint32_t>(bytes_.get());
  if (magic == kWrapperMagic) return CUDA_ERROR_INVALID_IMAGE;
  if (magic != kFatbinMagic) return CUDA_SUCCESS;
  if (size_ < kFatbinHeadBytes) return CUDA_ERROR_INVALID_IMAGE;
  const auto claimed = read<uint64_t>(bytes_.get() + 8);
  return claimed <= size_ - kFatbinHeadBytes ? CUDA_SUCCESS : CUDA_ERROR_INVALID_IMAGE;
}

CUresult JitOptions::set(std::span<const uint32_t> options, std::span<const uint64_t> values) {
  if (options.size() != values.size() || options.size() > kJitOptionsMax) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  for (size_t i = 0; i < options.size(); ++i) {
    const uint64_t log_bytes = std::min(values[i], kJitLogBytesMax);
    switch (valueOf(options[i])) {
      case JitValue::info_log_bytes:
        info_log_.resize(log_bytes);
        continue;
      case JitValue::error_log_bytes:
        error_log_.resize(log_bytes);
        continue;
      case JitValue::info_log:
      case JitValue::error_log:
        continue;  // the client's pointers mean nothing here
      case JitValue::pointer:
        return CUDA_ERROR_NOT_SUPPORTED;
      case JitValue::unknown:
        return CUDA_ERROR_INVALID_VALUE;
      case JitValue::number:
        break;
    }
    options_.push_back(static_cast<CUjit_option>(options[i]));
    values_.push_back(reinterpret_cast<void*>(values[i]));
  }
  const auto addLog = [this](std::vector<char>& log, CUjit_option buffer, CUjit_option bytes) {
    if (log.empty()) return;
    options_.push_back(buffer);
    values_.push_back(log.data());
    options_.push_back(bytes);
    values_.push_back(reinterpret_cast<void*>(log.size()));
  };
  addLog(info_log_, CU_JIT_INFO_LOG_BUFFER, CU_JIT_INFO_LOG_BUFFER_SIZE_BYTES);
  addLog(error_log_, CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES);
  return CUDA_SUCCESS;
}

std::string_view JitOptions::text(const std::vector<char>& log) {
  if (log.empty()) return {};
  return {log.data(), strnlen(log.data(), log.size())};
}

}  // namespace farwarp::worker
