#include "driver/copy_shape.h"

#include <cstring>

namespace farwarp {
namespace {

// One end in the words of CUDA's structures.
struct End {
  CUmemorytype type;
  uint64_t host;
  CUdeviceptr device;
  CUarray array;
  uint64_t x_bytes, y, z;
  uint64_t pitch;   // 0: rows without gaps
  uint64_t height;  // rows from slice to slice
  CUcontext context;
};

CUresult describeEnd(const End& end, const CopyBox& box, CopyEnd& out) {
  out.type = end.type;
  out.array = end.array;
  out.x_bytes = end.x_bytes;
  out.y = end.y;
  out.z = end.z;
  out.context = end.context;
  if (end.type < CU_MEMORYTYPE_HOST || end.type > CU_MEMORYTYPE_UNIFIED) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  if (end.type == CU_MEMORYTYPE_ARRAY || box.empty()) return CUDA_SUCCESS;

  uint64_t row_end = 0, rows_end = 0;
  if (__builtin_add_overflow(end.x_bytes, box.width, &row_end) ||
      __builtin_add_overflow(end.y, box.height, &rows_end)) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  out.rows.pitch = end.pitch == 0 ? row_end : end.pitch;
  if (out.rows.pitch < row_end) return CUDA_ERROR_INVALID_VALUE;
  out.rows.slice_rows = end.height;
  if (box.depth > 1 && end.height < rows_end) return CUDA_ERROR_INVALID_VALUE;
  if (box.depth == 1 && end.height == 0) out.rows.slice_rows = rows_end;

  uint64_t base = end.type == CU_MEMORYTYPE_HOST ? end.host : end.device;
  uint64_t row = 0, offset = 0;
  if (base == 0 || __builtin_mul_overflow(end.z, end.height, &row) ||
      __builtin_add_overflow(row, end.y, &row) ||
      __builtin_mul_overflow(row, out.rows.pitch, &offset) ||
      __builtin_add_overflow(offset, end.x_bytes, &offset) ||
      __builtin_add_overflow(base, offset, &out.rows.address)) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  uint64_t behind = 0;
  if (!spanOf(out.rows, box, out.span) ||
      __builtin_add_overflow(out.rows.address, out.span, &behind)) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  return CUDA_SUCCESS;
}

CUresult describe(const End& to, const End& from, const CopyBox& box, CopyRequest& request) {
  request = {};
  request.box = box;
  uint64_t bytes = 0;
  if (__builtin_mul_overflow(box.width, box.height, &bytes) ||
      __builtin_mul_overflow(bytes, box.depth, &bytes)) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  if (CUresult r = describeEnd(to, box, request.to); r != CUDA_SUCCESS) return r;
  return describeEnd(from, box, request.from);
}

uint64_t addressOf(const void* pointer) {
  return reinterpret_cast<uint64_t>(pointer);
}

}  // namespace

bool isLinear(const Rows& rows, const CopyBox& box) {
  const bool row_to_row = box.height == 1 || rows.pitch == box.width;
  const bool slice_to_slice = box.depth == 1 ||
                              (rows.pitch == box.width && rows.slice_rows == box.height) ||
                              (box.height == 1 && rows.slice_rows * rows.pitch == box.width);
  return row_to_row && slice_to_slice;
}

bool spanOf(const Rows& rows, const CopyBox& box, uint64_t& bytes) {
  if (box.empty()) return false;
  // Where there is one row, nobody steps from row to row.
  const bool steps = box.height > 1 || box.depth > 1;
  if (steps && (rows.pitch < box.width || rows.pitch > kPitchMax)) return false;
  if (box.depth > 1 && rows.slice_rows < box.height) return false;
  uint64_t last_row = 0, to_last_row = 0;
  return !__builtin_mul_overflow(box.depth - 1, rows.slice_rows, &last_row) &&
         !__builtin_add_overflow(last_row, box.height - 1, &last_row) &&
         !__builtin_mul_overflow(last_row, rows.pitch, &to_last_row) &&
         !__builtin_add_overflow(to_last_row, box.width, &bytes);
}

void copyRows(const Rows& to, const Rows& from, const CopyBox& box) {
  if (box.empty()) return;
  if (isLinear(to, box) && isLinear(from, box)) {
    std::memmove(reinterpret_cast<void*>(to.address), reinterpret_cast<const void*>(from.address),
                 box.bytes());
    return;
  }
  for (uint64_t slice = 0; slice < box.depth; ++slice) {
    for (uint64_t row = 0; row < box.height; ++row) {
      std::memmove(reinterpret_cast<void*>(to.at(row, slice)),
                   reinterpret_cast<const void*>(from.at(row, slice)), box.width);
    }
  }
}

CUresult describeCopy(const CUDA_MEMCPY2D& p, CopyRequest& request) {
  return describe({p.dstMemoryType, addressOf(p.dstHost), p.dstDevice, p.dstArray, p.dstXInBytes,
                   p.dstY, 0, p.dstPitch, 0, nullptr},
                  {p.srcMemoryType, addressOf(p.srcHost), p.srcDevice, p.srcArray, p.srcXInBytes,
                   p.srcY, 0, p.srcPitch, 0, nullptr},
                  {p.WidthInBytes, p.Height, 1}, request);
}

CUresult describeCopy(const CUDA_MEMCPY3D& p, CopyRequest& request) {
  if (p.reserved0 != nullptr || p.reserved1 != nullptr || p.srcLOD != 0 || p.dstLOD != 0) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  return describe({p.dstMemoryType, addressOf(p.dstHost), p.dstDevice, p.dstArray, p.dstXInBytes,
                   p.dstY, p.dstZ, p.dstPitch, p.dstHeight, nullptr},
                  {p.srcMemoryType, addressOf(p.srcHost), p.srcDevice, p.srcArray, p.srcXInBytes,
                   p.srcY, p.srcZ, p.srcPitch, p.srcHeight, nullptr},
                  {p.WidthInBytes, p.Height, p.Depth}, request);
}

CUresult describeCopy(const CUDA_MEMCPY3D_PEER& p, CopyRequest& request) {
  if (p.srcLOD != 0 || p.dstLOD != 0) return CUDA_ERROR_INVALID_VALUE;
  return describe({p.dstMemoryType, addressOf(p.dstHost), p.dstDevice, p.dstArray, p.dstXInBytes,
                   p.dstY, p.dstZ, p.dstPitch, p.dstHeight, p.dstContext},
                  {p.srcMemoryType, addressOf(p.srcHost), p.srcDevice, p.srcArray, p.srcXInBytes,
                   p.srcY, p.srcZ, p.srcPitch, p.srcHeight, p.srcContext},
                  {p.WidthInBytes, p.Height, p.Depth}, request);
}

}  // namespace farwarp
