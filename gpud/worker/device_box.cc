#include "gpud/worker/device_box.h"

#include <algorithm>

namespace farwarp::worker {

bool DeviceBox::assign(const Rows& rows, const CopyBox& box) {
  uint64_t span = 0, behind = 0, bytes = 0;
  if (box.empty() || !spanOf(rows, box, span) ||
      __builtin_add_overflow(rows.address, span, &behind) ||
      __builtin_mul_overflow(box.width, box.height, &bytes) ||
      __builtin_mul_overflow(bytes, box.depth, &bytes)) {
    return false;
  }
  *this = {};
  bytes_ = bytes;
  rows_ = rows;
  box_ = isLinear(rows, box) ? CopyBox{bytes, 1, 1} : box;
  return true;
}

bool DeviceBox::assign(CUarray array, uint64_t x_bytes, uint64_t y, uint64_t z,
                       const CopyBox& box) {
  // No array is larger; so nothing below wraps around.
  constexpr uint64_t kMost = uint64_t{1} << 40;
  uint64_t bytes = 0;
  if (box.empty() || __builtin_mul_overflow(box.width, box.height, &bytes) ||
      __builtin_mul_overflow(bytes, box.depth, &bytes) || bytes > kMost || x_bytes > kMost ||
      y > kMost || z > kMost) {
    return false;
  }
  *this = {};
  bytes_ = bytes;
  array_ = array;
  x_bytes_ = x_bytes;
  y_ = y;
  z_ = z;
  box_ = box;
  return true;
}

void DeviceBox::putDestination(CUDA_MEMCPY3D& parameters, const Piece& piece) const {
  if (array_ != nullptr) {
    parameters.dstMemoryType = CU_MEMORYTYPE_ARRAY;
    parameters.dstArray = array_;
    parameters.dstXInBytes = x_bytes_ + piece.x_bytes;
    parameters.dstY = y_ + piece.row;
    parameters.dstZ = z_ + piece.slice;
    return;
  }
  parameters.dstMemoryType = CU_MEMORYTYPE_DEVICE;
  parameters.dstDevice = addressOf(piece);
  parameters.dstPitch = rows_.pitch;
  parameters.dstHeight = rows_.slice_rows;
}

void DeviceBox::putSource(CUDA_MEMCPY3D& parameters, const Piece& piece) const {
  if (array_ != nullptr) {
    parameters.srcMemoryType = CU_MEMORYTYPE_ARRAY;
    parameters.srcArray = array_;
    parameters.srcXInBytes = x_bytes_ + piece.x_bytes;
    parameters.srcY = y_ + piece.row;
    parameters.srcZ = z_ + piece.slice;
    return;
  }
  parameters.srcMemoryType = CU_MEMORYTYPE_DEVICE;
  parameters.srcDevice = addressOf(piece);
  parameters.srcPitch = rows_.pitch;
  parameters.srcHeight = rows_.slice_rows;
}

DeviceBox::Piece DeviceBox::pieceAt(uint64_t offset, uint64_t bytes) const {
  const uint64_t slice_bytes = box_.width * box_.height;
  const uint64_t slice = offset / slice_bytes;
  const uint64_t row = offset % slice_bytes / box_.width;
  const uint64_t x = offset % box_.width;
  Piece piece{x, row, slice, {}};
  if (x != 0 || bytes < box_.width) {
    piece.box = {std::min(box_.width - x, bytes), 1, 1};
  } else if (row != 0 || bytes < slice_bytes) {
    piece.box = {box_.width, std::min(box_.height - row, bytes / box_.width), 1};
  } else {
    piece.box = {box_.width, box_.height, bytes / slice_bytes};
  }
  return piece;
}

namespace {

// The copy between a piece, on the device, and its bytes, packed in memory of this process.
CUDA_MEMCPY3D parametersOf(const CopyBox& box) {
  CUDA_MEMCPY3D parameters{};
  parameters.WidthInBytes = box.width;
  parameters.Height = box.height;
  parameters.Depth = box.depth;
  return parameters;
}

}  // namespace

DeviceBox::Outcome DeviceBox::write(const DriverTable& driver, uint64_t offset,
                                    std::span<const std::byte> data, CUstream stream) const {
  bool begun = false;
  while (!data.empty()) {
    const Piece piece = pieceAt(offset, data.size());
    CUresult result = CUDA_SUCCESS;
    if (array_ == nullptr && piece.oneRow()) {
      result = driver.cuMemcpyHtoDAsync_v2(addressOf(piece), data.data(), piece.box.width, stream);
    } else {
      CUDA_MEMCPY3D parameters = parametersOf(piece.box);
      parameters.srcMemoryType = CU_MEMORYTYPE_HOST;
      parameters.srcHost = data.data();
      parameters.srcPitch = piece.box.width;
      parameters.srcHeight = piece.box.height;
      putDestination(parameters, piece);
      result = driver.cuMemcpy3DAsync_v2(&parameters, stream);
    }
    if (result != CUDA_SUCCESS) return {result, begun};
    begun = true;
    offset += piece.box.bytes();
    data = data.subspan(piece.box.bytes());
  }
  return {CUDA_SUCCESS, begun};
}

DeviceBox::Outcome DeviceBox::read(const DriverTable& driver, uint64_t offset,
                                   std::span<std::byte> data, CUstream stream) const {
  bool begun = false;
  while (!data.empty()) {
    const Piece piece = pieceAt(offset, data.size());
    CUresult result = CUDA_SUCCESS;
    if (array_ == nullptr && piece.oneRow()) {
      result = driver.cuMemcpyDtoHAsync_v2(data.data(), addressOf(piece), piece.box.width, stream);
    } else {
      CUDA_MEMCPY3D parameters = parametersOf(piece.box);
      putSource(parameters, piece);
      parameters.dstMemoryType = CU_MEMORYTYPE_HOST;
      parameters.dstHost = data.data();
      parameters.dstPitch = piece.box.width;
      parameters.dstHeight = piece.box.height;
      result = driver.cuMemcpy3DAsync_v2(&parameters, stream);
    }
    if (result != CUDA_SUCCESS) return {result, begun};
    begun = true;
    offset += piece.box.bytes();
    data = data.subspan(piece.box.bytes());
  }
  return {CUDA_SUCCESS, begun};
}

}  // namespace farwarp::worker
