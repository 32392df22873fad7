// cuMemset*: what CUDA refuses at the call is refused here; the rest is an asynchronous record.
#include <limits>

#include "interposer/calls/copies.h"

namespace farwarp::client::calls {
namespace {

// The bytes from the first to the last of a region of `rows` rows; nothing when they cannot exist.
std::optional<size_t> regionBytes(size_t pitch, size_t row_bytes, size_t rows) {
  size_t bytes = 0;
  if (__builtin_mul_overflow(pitch, rows - 1, &bytes) ||
      __builtin_add_overflow(bytes, row_bytes, &bytes)) {
    return std::nullopt;
  }
  return bytes;
}

// Sends `args` if elements of `size` bytes can be set there: `width` of them in each of `rows` rows
// that are `pitch` bytes apart. For memory that the client does not know it waits for gpud's word.
template <typename Reply, typename Args>
CUresult setMemory(CallScope& scope, const Args& args, CUdeviceptr to, size_t size, size_t width,
                   size_t pitch, size_t rows) {
  if (width == 0 || rows == 0) return CUDA_SUCCESS;
  if (to == 0 || to % size != 0 || width > std::numeric_limits<size_t>::max() / size) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  if (rows > 1 && (pitch % size != 0 || pitch < width * size)) return CUDA_ERROR_INVALID_VALUE;
  const std::optional<size_t> bytes = regionBytes(pitch, width * size, rows);
  if (!bytes) return CUDA_ERROR_INVALID_VALUE;
  const Place place = placeOf(scope.client(), to, *bytes);
  if (place == Place::outside) return CUDA_ERROR_INVALID_VALUE;
  if (place == Place::inside) return scope.submit(args);
  Reply reply;
  return scope.call(args, reply);
}

CUresult enter(CallScope& scope) {
  return scope.enter(kNeedsInit | kNeedsContext);
}

}  // namespace

// One row on the calling thread's default stream, and on `stream`.
#define FARWARP_SET_ROW(bits, name, type)                                                         \
  CUresult cuMemsetD##bits##_v2(CUdeviceptr to, type value, size_t count, uint16_t flags) {       \
    CallScope scope(CallId::cuMemsetD##bits##_v2, flags);                                         \
    FARWARP_TRY(enter(scope));                                                                    \
    wire::Args_cuMemsetD##bits##_v2 args;                                                         \
    args.dstDevice = to, args.name = value, args.N = count;                                       \
    return setMemory<wire::Reply_cuMemsetD##bits##_v2>(scope, args, to, (bits) / 8, count, 0, 1); \
  }                                                                                               \
  CUresult cuMemsetD##bits##Async(CUdeviceptr to, type value, size_t count, CUstream stream,      \
                                  uint16_t flags) {                                               \
    CallScope scope(CallId::cuMemsetD##bits##Async, flags);                                       \
    FARWARP_TRY(enter(scope));                                                                    \
    wire::Args_cuMemsetD##bits##Async args;                                                       \
    FARWARP_TRY(scope.use(wire::HandleType::stream, stream, args.hStream, true));                 \
    args.dstDevice = to, args.name = value, args.N = count;                                       \
    return setMemory<wire::Reply_cuMemsetD##bits##Async>(scope, args, to, (bits) / 8, count, 0,   \
                                                         1);                                      \
  }

// The same for a region of `height` rows.
#define FARWARP_SET_ROWS(bits, name, type)                                                     \
  CUresult cuMemsetD2D##bits##_v2(CUdeviceptr to, size_t pitch, type value, size_t width,      \
                                  size_t height, uint16_t flags) {                             \
    CallScope scope(CallId::cuMemsetD2D##bits##_v2, flags);                                    \
    FARWARP_TRY(enter(scope));                                                                 \
    wire::Args_cuMemsetD2D##bits##_v2 args;                                                    \
    args.dstDevice = to, args.dstPitch = pitch, args.name = value;                             \
    args.Width = width, args.Height = height;                                                  \
    return setMemory<wire::Reply_cuMemsetD2D##bits##_v2>(scope, args, to, (bits) / 8, width,   \
                                                         pitch, height);                       \
  }                                                                                            \
  CUresult cuMemsetD2D##bits##Async(CUdeviceptr to, size_t pitch, type value, size_t width,    \
                                    size_t height, CUstream stream, uint16_t flags) {          \
    CallScope scope(CallId::cuMemsetD2D##bits##Async, flags);                                  \
    FARWARP_TRY(enter(scope));                                                                 \
    wire::Args_cuMemsetD2D##bits##Async args;                                                  \
    FARWARP_TRY(scope.use(wire::HandleType::stream, stream, args.hStream, true));              \
    args.dstDevice = to, args.dstPitch = pitch, args.name = value;                             \
    args.Width = width, args.Height = height;                                                  \
    return setMemory<wire::Reply_cuMemsetD2D##bits##Async>(scope, args, to, (bits) / 8, width, \
                                                           pitch, height);                     \
  }

FARWARP_SET_ROW(8, uc, unsigned char)
FARWARP_SET_ROW(16, us, unsigned short)
FARWARP_SET_ROW(32, ui, unsigned int)
FARWARP_SET_ROWS(8, uc, unsigned char)
FARWARP_SET_ROWS(16, us, unsigned short)
FARWARP_SET_ROWS(32, ui, unsigned int)

#undef FARWARP_SET_ROW
#undef FARWARP_SET_ROWS

}  // namespace farwarp::client::calls
