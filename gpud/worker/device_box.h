// A box of rows in device memory, or of an array, read and written by ranges of its packed bytes:
// the rows one after another, without what lies between them. That is how such copies cross the
// wire.
#pragma once

#include <cuda.h>

#include <span>

#include "driver/copy_shape.h"
#include "driver_calls_gen.h"

namespace farwarp::worker {

class DeviceBox {
 public:
  DeviceBox() = default;
  // One run of bytes.
  DeviceBox(CUdeviceptr address, uint64_t bytes)
      : rows_{address, bytes, 1}, box_{bytes, 1, 1}, bytes_(bytes) {}

  // Takes what a client sent. False when it describes nothing that could be copied: an empty box,
  // rows or slices that overlap, or numbers that wrap around.
  [[nodiscard]] bool assign(const Rows& rows, const CopyBox& box);

  // The same for a box in an array, whose bounds the driver checks.
  [[nodiscard]] bool assign(CUarray array, uint64_t x_bytes, uint64_t y, uint64_t z,
                            const CopyBox& box);

  // The box as one end of a copy on the device.
  void putDestination(CUDA_MEMCPY3D& parameters) const {
    putDestination(parameters, {0, 0, 0, box_});
  }
  void putSource(CUDA_MEMCPY3D& parameters) const { putSource(parameters, {0, 0, 0, box_}); }

  // Packed bytes in all.
  uint64_t bytes() const { return bytes_; }

  // `begun`: the driver took some of the bytes, so that `data` is in use until the stream has
  // passed.
  struct Outcome {
    CUresult result = CUDA_SUCCESS;
    bool begun = false;
  };
  // Copy packed bytes [offset, offset + data.size()), which lie in the box, in `stream`. `data`
  // must stay as the driver's asynchronous copies ask for.
  [[nodiscard]] Outcome write(const DriverTable& driver, uint64_t offset,
                              std::span<const std::byte> data, CUstream stream) const;
  [[nodiscard]] Outcome read(const DriverTable& driver, uint64_t offset, std::span<std::byte> data,
                             CUstream stream) const;

 private:
  // A range of packed bytes is at most five of these: the end of a row, rows of a slice, slices,
  // and as much at the other end.
  struct Piece {
    uint64_t x_bytes, row, slice;  // within the box
    CopyBox box;

    bool oneRow() const { return box.height == 1 && box.depth == 1; }
  };
  Piece pieceAt(uint64_t offset, uint64_t bytes) const;

  uint64_t addressOf(const Piece& piece) const {
    return rows_.at(piece.row, piece.slice) + piece.x_bytes;
  }
  void putDestination(CUDA_MEMCPY3D& parameters, const Piece& piece) const;
  void putSource(CUDA_MEMCPY3D& parameters, const Piece& piece) const;

  CUarray array_ = nullptr;  // null: rows_ says where the box is
  uint64_t x_bytes_ = 0;
  uint64_t y_ = 0;
  uint64_t z_ = 0;
  Rows rows_;
  CopyBox box_;
  uint64_t bytes_ = 0;
};

}  // namespace farwarp::worker
