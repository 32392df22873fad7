#include "interposer/calls/image_load.h"

#include <algorithm>
#include <cstring>
#include <fstream>

#include "driver/linked_image.h"
#include "interposer/calls/body.h"
#include "protocol/content_digest.h"

namespace farwarp::client {
namespace {

// What a device that runs PTX links itself: the PTX of each part, as one image. Empty when the
// device links nothing, or no part has PTX for it. A part without is not missed until a symbol is.
std::vector<std::byte> packParts(const ModuleImage& image, const ImageTarget& target) {
  if (target.takes_cubin) return {};
  std::vector<std::vector<std::byte>> parts;
  for (const auto& entries : image.relocatable) {
    const ImageEntry* entry = chooseEntry(entries, target);
    if (entry != nullptr) parts.push_back(packEntry(*entry));
  }
  if (parts.empty()) return {};
  return packLinked(parts, target.sm, image.registers_max);
}

// Asks whether gpud has the bytes already; then they are the transfer.
CUresult offer(Client& client, const UploadImage& upload, bool& here) {
  if (!client.connection().server().keeps_content) return CUDA_SUCCESS;
  CallScope scope(CallId::offerContent);
  FARWARP_TRY(scope.enter(kNeedsInit));
  const wire::ContentDigest digest = wire::digestOf(upload.bytes);
  wire::Args_offerContent args;
  args.transfer = upload.transfer;
  args.bytes = upload.bytes.size();
  args.digest = std::as_bytes(std::span(digest));
  wire::Reply_offerContent reply;
  FARWARP_TRY(scope.call(args, reply));
  here = reply.here != 0;
  if (here) client.known_bytes.fetch_add(upload.bytes.size(), std::memory_order_relaxed);
  return CUDA_SUCCESS;
}

CUresult chooseAndPack(CallScope& scope, const ModuleImage& image, const Device& device,
                       UploadImage& upload) {
  ImageTarget target;
  target.sm = device.sm();
  target.takes_cubin = !scope.client().devices.takesOnlyPtx();
  if (const ImageEntry* entry = chooseEntry(image.entries, target); entry != nullptr) {
    upload.bytes = packEntry(*entry);
  } else {
    upload.bytes = packParts(image, target);
  }
  if (upload.bytes.empty()) {
    scope.client().events.write("The image holds nothing that device \"" + device.snapshot().name +
                                "\" can use" +
                                (target.takes_cubin ? "." : "; it executes PTX only."));
    return CUDA_ERROR_NO_BINARY_FOR_GPU;
  }
  if (upload.bytes.size() > wire::kInlineDataMax) {
    upload.transfer = scope.client().transfers.nextNumber();
    bool here = false;
    FARWARP_TRY(offer(scope.client(), upload, here));
    if (!here) scope.upload(upload.transfer, upload.bytes);
  }
  return CUDA_SUCCESS;
}

}  // namespace

bool readImageFile(const char* path, std::vector<std::byte>& bytes) {
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  if (!file) return false;
  const std::streamoff size = file.tellg();
  if (size < 0 || static_cast<uint64_t>(size) > kImageBytesMax) return false;
  bytes.resize(static_cast<size_t>(size));
  file.seekg(0);
  return static_cast<bool>(file.read(reinterpret_cast<char*>(bytes.data()), size));
}

CUresult JitOptions::read(unsigned int count, const CUjit_option* options, void** values) {
  if (count == 0) return CUDA_SUCCESS;
  if (options == nullptr || values == nullptr) return CUDA_ERROR_INVALID_VALUE;
  for (unsigned int i = 0; i < count; ++i) {
    const auto value = reinterpret_cast<uint64_t>(values[i]);
    switch (options[i]) {
      case CU_JIT_WALL_TIME:
        wall_time_ = &values[i];
        break;
      case CU_JIT_INFO_LOG_BUFFER:
        info_.text = static_cast<char*>(values[i]);
        break;
      case CU_JIT_INFO_LOG_BUFFER_SIZE_BYTES:
        info_.bytes = static_cast<unsigned int>(value);
        info_.size_value = &values[i];
        break;
      case CU_JIT_ERROR_LOG_BUFFER:
        error_.text = static_cast<char*>(values[i]);
        break;
      case CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES:
        error_.bytes = static_cast<unsigned int>(value);
        error_.size_value = &values[i];
        break;
      case CU_JIT_GLOBAL_SYMBOL_NAMES:
      case CU_JIT_GLOBAL_SYMBOL_ADDRESSES:
      case CU_JIT_GLOBAL_SYMBOL_COUNT:
      case CU_JIT_REFERENCED_KERNEL_NAMES:
      case CU_JIT_REFERENCED_KERNEL_COUNT:
      case CU_JIT_REFERENCED_VARIABLE_NAMES:
      case CU_JIT_REFERENCED_VARIABLE_COUNT:
        return CUDA_ERROR_NOT_SUPPORTED;
      default:
        options_.push_back(static_cast<uint32_t>(options[i]));
        values_.push_back(value);
        break;
    }
  }
  // gpud's driver is told how much to write, and not where.
  const auto wantLog = [this](const LogBuffer& log, CUjit_option size) {
    if (log.text == nullptr || log.bytes == 0) return;
    options_.push_back(static_cast<uint32_t>(size));
    values_.push_back(log.bytes);
  };
  wantLog(info_, CU_JIT_INFO_LOG_BUFFER_SIZE_BYTES);
  wantLog(error_, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES);
  return CUDA_SUCCESS;
}

void JitOptions::give(const LogBuffer& buffer, std::string_view log) {
  size_t used = 0;
  if (buffer.text != nullptr && buffer.bytes > 0) {
    used = std::min(log.size(), buffer.bytes - 1);
    std::memcpy(buffer.text, log.data(), used);
    buffer.text[used] = '\0';
  }
  if (buffer.size_value != nullptr) *buffer.size_value = reinterpret_cast<void*>(used);
}

void JitOptions::giveLogs(std::string_view info, std::string_view error) const {
  give(info_, info);
  give(error_, error);
  if (wall_time_ != nullptr) {
    // The time that gpud's compiler took is not told; zero is what a driver says for a cached
    // image.
    const float none = 0;
    std::memcpy(wall_time_, &none, sizeof(none));
  }
}

CUresult prepareUpload(CallScope& scope, const void* image, const Device& device,
                       UploadImage& upload) {
  ModuleImage found;
  std::string why;
  if (CUresult result = readImage(image, found, &why); result != CUDA_SUCCESS) {
    scope.client().events.write(why);
    return result;
  }
  return chooseAndPack(scope, found, device, upload);
}

CUresult prepareUploadOfFile(CallScope& scope, const char* path, const Device& device,
                             UploadImage& upload) {
  if (path == nullptr) return CUDA_ERROR_INVALID_VALUE;
  std::vector<std::byte> bytes;
  if (!readImageFile(path, bytes)) return CUDA_ERROR_FILE_NOT_FOUND;
  ModuleImage found;
  std::string why;
  if (CUresult result = readImage(bytes, found, &why); result != CUDA_SUCCESS) {
    scope.client().events.write(why);
    return result;
  }
  return chooseAndPack(scope, found, device, upload);
}

}  // namespace farwarp::client
