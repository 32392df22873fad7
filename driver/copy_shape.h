// What the copies of two and three dimensions move: a box of rows at each end, worked out from
// CUDA_MEMCPY2D, CUDA_MEMCPY3D and CUDA_MEMCPY3D_PEER with every offset and stride checked.
#pragma once

#include <cuda.h>

#include <cstddef>
#include <cstdint>

namespace farwarp {

// CU_DEVICE_ATTRIBUTE_MAX_PITCH of every device there is, in bytes.
inline constexpr uint64_t kPitchMax = 0x7fffffff;

// `depth` slices of `height` rows of `width` bytes.
struct CopyBox {
  uint64_t width = 0;
  uint64_t height = 1;
  uint64_t depth = 1;

  bool empty() const { return width == 0 || height == 0 || depth == 0; }
  // Without what lies between the rows. Only for a box that was checked.
  uint64_t bytes() const { return width * height * depth; }
};

// Where the rows of a box lie.
struct Rows {
  uint64_t address = 0;     // of the first byte of the first row
  uint64_t pitch = 0;       // bytes from row to row
  uint64_t slice_rows = 0;  // rows from slice to slice

  uint64_t at(uint64_t row, uint64_t slice) const {
    return address + (slice * slice_rows + row) * pitch;
  }
};

// True when the box, not empty, is one run of bytes in `rows`.
[[nodiscard]] bool isLinear(const Rows& rows, const CopyBox& box);

// Bytes from the first byte of a box to behind its last. False when the rows or slices overlap each
// other, a pitch is over kPitchMax, or something does not fit in 64 bits.
[[nodiscard]] bool spanOf(const Rows& rows, const CopyBox& box, uint64_t& bytes);

// Copies a box in this process's memory; what lies between the rows is not touched. The ends may
// overlap only when both are the same rows.
void copyRows(const Rows& to, const Rows& from, const CopyBox& box);

// One end of a copy as the program describes it.
struct CopyEnd {
  CUmemorytype type = CU_MEMORYTYPE_HOST;  // host, device, array or unified
  Rows rows;                               // not for an array
  uint64_t span = 0;                       // bytes from the first to behind the last
  CUarray array = nullptr;                 // with the place of the box in it
  uint64_t x_bytes = 0;
  uint64_t y = 0;
  uint64_t z = 0;
  CUcontext context = nullptr;  // of a copy between contexts
};

struct CopyRequest {
  CopyEnd to;
  CopyEnd from;
  CopyBox box;
};

// CUDA_ERROR_INVALID_VALUE for an unknown kind of memory, a null address, a pitch or height that is
// too small for the box, a pitch over kPitchMax, or numbers that wrap around. A pitch of 0 means
// rows without gaps. An empty box is a success, whatever the addresses are.
[[nodiscard]] CUresult describeCopy(const CUDA_MEMCPY2D& parameters, CopyRequest& request);
[[nodiscard]] CUresult describeCopy(const CUDA_MEMCPY3D& parameters, CopyRequest& request);
[[nodiscard]] CUresult describeCopy(const CUDA_MEMCPY3D_PEER& parameters, CopyRequest& request);

}  // namespace farwarp
