// A box of rows in device memory, read and written by ranges of its packed bytes: the rows one
// after another, without what lies between them. That is how such copies cross the wire.
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
    uint64_t address;
    CopyBox box;
  };
  Piece pieceAt(uint64_t offset, uint64_t bytes) const;

  Rows rows_;
  CopyBox box_;
  uint64_t bytes_ = 0;
};

}  // namespace farwarp::worker
