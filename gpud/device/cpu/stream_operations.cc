#include "gpud/device/cpu/stream_operations.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include "gpud/device/cpu/calls/enter.h"

namespace farwarp::cpu {
namespace {

template <typename T>
std::atomic_ref<T> at(CUdeviceptr address) {
  return std::atomic_ref<T>(*reinterpret_cast<T*>(address));
}

template <typename T>
bool met(CUdeviceptr address, uint64_t wanted, unsigned flags) {
  const T found = at<T>(address).load(std::memory_order_acquire);
  const T value = static_cast<T>(wanted);
  switch (flags & 3u) {
    case CU_STREAM_WAIT_VALUE_GEQ:
      return static_cast<std::make_signed_t<T>>(found - value) >= 0;  // cyclic, as CUDA says
    case CU_STREAM_WAIT_VALUE_EQ:
      return found == value;
    case CU_STREAM_WAIT_VALUE_AND:
      return (found & value) != 0;
    default:
      return static_cast<T>(~(found | value)) != 0;
  }
}

// Kernels, copies and the program's own stores may all write the value, so the memory is looked at
// again and again, less often as time goes by. On a GPU such a stream waits for ever if nobody
// writes; here it also ends with its context's first error.
template <typename T>
void waitFor(Context& context, CUdeviceptr address, uint64_t value, unsigned flags) {
  auto pause = std::chrono::microseconds(1);
  while (context.error() == CUDA_SUCCESS && !met<T>(address, value, flags)) {
    std::this_thread::sleep_for(pause);
    pause = std::min(2 * pause, std::chrono::microseconds(500));
  }
}

void run(Context& context, const CUstreamBatchMemOpParams& operation) {
  const auto& wait = operation.waitValue;
  const auto& write = operation.writeValue;
  switch (operation.operation) {
    case CU_STREAM_MEM_OP_WAIT_VALUE_32:
      return waitFor<uint32_t>(context, wait.address, wait.value, wait.flags);
    case CU_STREAM_MEM_OP_WAIT_VALUE_64:
      return waitFor<uint64_t>(context, wait.address, wait.value64, wait.flags);
    case CU_STREAM_MEM_OP_WRITE_VALUE_32:
      return at<uint32_t>(write.address).store(write.value, std::memory_order_release);
    case CU_STREAM_MEM_OP_WRITE_VALUE_64:
      return at<uint64_t>(write.address).store(write.value64, std::memory_order_release);
    default:
      std::atomic_thread_fence(std::memory_order_seq_cst);
  }
}

}  // namespace

CUresult queueOperations(std::span<const CUstreamBatchMemOpParams> operations, CUstream stream,
                         uint16_t record_flags) {
  StreamUse use;
  if (CUresult r = enterStream(stream, record_flags, use); r != CUDA_SUCCESS) return r;
  const auto work = [context = use.context, copied = std::vector<CUstreamBatchMemOpParams>(
                                                operations.begin(), operations.end())] {
    for (const CUstreamBatchMemOpParams& operation : copied) {
      if (context->error() == CUDA_SUCCESS) run(*context, operation);
    }
  };
  Driver::get().scheduler().submit(use.stream, work);
  return CUDA_SUCCESS;
}

}  // namespace farwarp::cpu
