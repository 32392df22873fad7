// Memory management: copies and memsets.
#include <cstring>
#include <string>

#include "cpu_calls_gen.h"
#include "gpud/device/cpu/calls/enter.h"

namespace farwarp::cpu::calls {
namespace {

// How the caller may go on.
enum class Wait : uint8_t {
  no,   // the copy is queued; its end is seen by waiting for the stream
  yes,  // the call returns when the bytes are there
};

// Bytes of a pageable source that are kept until the copy's turn comes; larger ones make the call
// wait.
constexpr size_t kStagedMax = 64 * 1024;

enum class Side : uint8_t { device, host, either };

// What is known of one end of a copy.
struct End {
  uint64_t address;
  Side side;
  bool pinned = false;  // page-locked host memory or device memory
};

// CUDA_ERROR_INVALID_VALUE when the range is not, or not wholly, in memory of its side. Nothing can
// be said of pageable host memory; the program's own fault there is the program's own signal.
CUresult checkEnd(const AddressSpace& memory, End& end, size_t bytes) {
  Allocation found;
  if (memory.find(end.address, found)) {
    if (bytes > found.end() - end.address) return CUDA_ERROR_INVALID_VALUE;
    end.pinned = true;
    return CUDA_SUCCESS;
  }
  const bool known_bad = end.side == Side::device || end.address == 0 ||
                         memory.reserved(end.address) || memory.reserved(end.address + bytes - 1);
  return known_bad ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
}

void* pointer(uint64_t address) {
  return reinterpret_cast<void*>(address);
}

struct Copy {
  End to;
  End from;
  size_t bytes;
  Wait wait;
};

CUresult copy(Copy request, CUstream stream, uint16_t record_flags) {
  StreamUse use;
  if (CUresult r = enterStream(stream, record_flags, use); r != CUDA_SUCCESS) return r;
  if (request.bytes == 0) return CUDA_SUCCESS;
  Driver& driver = Driver::get();
  if (CUresult r = checkEnd(driver.memory(), request.to, request.bytes); r != CUDA_SUCCESS)
    return r;
  if (CUresult r = checkEnd(driver.memory(), request.from, request.bytes); r != CUDA_SUCCESS) {
    return r;
  }
  const auto context = use.context;
  const auto move = [context, request] {
    if (context->error() != CUDA_SUCCESS) return;
    std::memmove(pointer(request.to.address), pointer(request.from.address), request.bytes);
  };
  if (request.wait == Wait::no && request.to.pinned && request.from.pinned) {
    driver.scheduler().submit(use.stream, move);
    return CUDA_SUCCESS;
  }
  if (request.wait == Wait::no && request.to.pinned && request.bytes <= kStagedMax) {
    std::string staged(static_cast<const char*>(pointer(request.from.address)), request.bytes);
    driver.scheduler().submit(use.stream, [context, request, staged = std::move(staged)] {
      if (context->error() != CUDA_SUCCESS) return;
      std::memcpy(pointer(request.to.address), staged.data(), staged.size());
    });
    return CUDA_SUCCESS;
  }
  driver.scheduler().run(use.stream, move);
  return context->error();
}

uint64_t addressOf(const void* p) {
  return reinterpret_cast<uint64_t>(p);
}

// Rows of equal elements. A one-dimensional memset has one row.
struct Fill {
  uint64_t address;
  size_t pitch;  // bytes from row to row
  uint32_t value;
  size_t element_bytes;  // 1, 2 or 4
  size_t width;          // elements in a row
  size_t height;

  void run() const {
    for (size_t row = 0; row < height; ++row) {
      auto* at = static_cast<std::byte*>(pointer(address + row * pitch));
      switch (element_bytes) {
        case 1:
          std::memset(at, static_cast<int>(value), width);
          break;
        case 2:
          std::fill_n(reinterpret_cast<uint16_t*>(at), width, static_cast<uint16_t>(value));
          break;
        default:
          std::fill_n(reinterpret_cast<uint32_t*>(at), width, value);
          break;
      }
    }
  }
};

CUresult fill(const Fill& request, Wait wait, CUstream stream, uint16_t record_flags) {
  StreamUse use;
  if (CUresult r = enterStream(stream, record_flags, use); r != CUDA_SUCCESS) return r;
  if (request.width == 0 || request.height == 0) return CUDA_SUCCESS;
  size_t row_bytes = 0, before_last = 0, bytes = 0;
  if (__builtin_mul_overflow(request.width, request.element_bytes, &row_bytes) ||
      __builtin_mul_overflow(request.pitch, request.height - 1, &before_last) ||
      __builtin_add_overflow(before_last, row_bytes, &bytes)) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  if (request.height > 1 && request.pitch < row_bytes) return CUDA_ERROR_INVALID_VALUE;
  if (request.address % request.element_bytes != 0 ||
      (request.height > 1 && request.pitch % request.element_bytes != 0)) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  AddressSpace& memory = Driver::get().memory();
  Allocation found;
  if (!memory.find(request.address, found) || bytes > found.end() - request.address) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  const auto context = use.context;
  const auto work = [context, request] {
    if (context->error() == CUDA_SUCCESS) request.run();
  };
  // The synchronous forms wait only when the host could see the memory change.
  const bool host_sees = found.kind == MemoryKind::host || found.kind == MemoryKind::registered ||
                         found.kind == MemoryKind::managed;
  if (wait == Wait::yes && host_sees) {
    Driver::get().scheduler().run(use.stream, work);
    return context->error();
  }
  Driver::get().scheduler().submit(use.stream, work);
  return CUDA_SUCCESS;
}

}  // namespace

CUresult cuMemcpy(CUdeviceptr dst, CUdeviceptr src, size_t bytes, uint16_t flags) {
  return copy({{dst, Side::either}, {src, Side::either}, bytes, Wait::yes}, nullptr, flags);
}

CUresult cuMemcpyAsync(CUdeviceptr dst, CUdeviceptr src, size_t bytes, CUstream stream,
                       uint16_t flags) {
  return copy({{dst, Side::either}, {src, Side::either}, bytes, Wait::no}, stream, flags);
}

CUresult cuMemcpyHtoD_v2(CUdeviceptr dst, const void* src, size_t bytes, uint16_t flags) {
  return copy({{dst, Side::device}, {addressOf(src), Side::host}, bytes, Wait::yes}, nullptr,
              flags);
}

CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr dst, const void* src, size_t bytes, CUstream stream,
                              uint16_t flags) {
  return copy({{dst, Side::device}, {addressOf(src), Side::host}, bytes, Wait::no}, stream, flags);
}

CUresult cuMemcpyDtoH_v2(void* dst, CUdeviceptr src, size_t bytes, uint16_t flags) {
  return copy({{addressOf(dst), Side::host}, {src, Side::device}, bytes, Wait::yes}, nullptr,
              flags);
}

CUresult cuMemcpyDtoHAsync_v2(void* dst, CUdeviceptr src, size_t bytes, CUstream stream,
                              uint16_t flags) {
  return copy({{addressOf(dst), Side::host}, {src, Side::device}, bytes, Wait::no}, stream, flags);
}

// Between two places on the device the host is not made to wait.
CUresult cuMemcpyDtoD_v2(CUdeviceptr dst, CUdeviceptr src, size_t bytes, uint16_t flags) {
  return copy({{dst, Side::device}, {src, Side::device}, bytes, Wait::no}, nullptr, flags);
}

CUresult cuMemcpyDtoDAsync_v2(CUdeviceptr dst, CUdeviceptr src, size_t bytes, CUstream stream,
                              uint16_t flags) {
  return copy({{dst, Side::device}, {src, Side::device}, bytes, Wait::no}, stream, flags);
}

CUresult cuMemsetD8_v2(CUdeviceptr dst, unsigned char value, size_t count, uint16_t flags) {
  return fill({dst, 0, value, 1, count, 1}, Wait::yes, nullptr, flags);
}

CUresult cuMemsetD16_v2(CUdeviceptr dst, unsigned short value, size_t count, uint16_t flags) {
  return fill({dst, 0, value, 2, count, 1}, Wait::yes, nullptr, flags);
}

CUresult cuMemsetD32_v2(CUdeviceptr dst, unsigned int value, size_t count, uint16_t flags) {
  return fill({dst, 0, value, 4, count, 1}, Wait::yes, nullptr, flags);
}

CUresult cuMemsetD8Async(CUdeviceptr dst, unsigned char value, size_t count, CUstream stream,
                         uint16_t flags) {
  return fill({dst, 0, value, 1, count, 1}, Wait::no, stream, flags);
}

CUresult cuMemsetD16Async(CUdeviceptr dst, unsigned short value, size_t count, CUstream stream,
                          uint16_t flags) {
  return fill({dst, 0, value, 2, count, 1}, Wait::no, stream, flags);
}

CUresult cuMemsetD32Async(CUdeviceptr dst, unsigned int value, size_t count, CUstream stream,
                          uint16_t flags) {
  return fill({dst, 0, value, 4, count, 1}, Wait::no, stream, flags);
}

CUresult cuMemsetD2D8_v2(CUdeviceptr dst, size_t pitch, unsigned char value, size_t width,
                         size_t height, uint16_t flags) {
  return fill({dst, pitch, value, 1, width, height}, Wait::yes, nullptr, flags);
}

CUresult cuMemsetD2D16_v2(CUdeviceptr dst, size_t pitch, unsigned short value, size_t width,
                          size_t height, uint16_t flags) {
  return fill({dst, pitch, value, 2, width, height}, Wait::yes, nullptr, flags);
}

CUresult cuMemsetD2D32_v2(CUdeviceptr dst, size_t pitch, unsigned int value, size_t width,
                          size_t height, uint16_t flags) {
  return fill({dst, pitch, value, 4, width, height}, Wait::yes, nullptr, flags);
}

CUresult cuMemsetD2D8Async(CUdeviceptr dst, size_t pitch, unsigned char value, size_t width,
                           size_t height, CUstream stream, uint16_t flags) {
  return fill({dst, pitch, value, 1, width, height}, Wait::no, stream, flags);
}

CUresult cuMemsetD2D16Async(CUdeviceptr dst, size_t pitch, unsigned short value, size_t width,
                            size_t height, CUstream stream, uint16_t flags) {
  return fill({dst, pitch, value, 2, width, height}, Wait::no, stream, flags);
}

CUresult cuMemsetD2D32Async(CUdeviceptr dst, size_t pitch, unsigned int value, size_t width,
                            size_t height, CUstream stream, uint16_t flags) {
  return fill({dst, pitch, value, 4, width, height}, Wait::no, stream, flags);
}

}  // namespace farwarp::cpu::calls
