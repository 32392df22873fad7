// Kernels that read and write host memory in place: mapped memory whose device address is asked
// for, page-locked memory that is passed as it is, and the program's own pages, registered.
//
// usage: zero_copy [SIZE]
#include <cstring>

#include "sample.h"

constexpr int kThreads = 128;
constexpr size_t kPage = 4096;

__global__ void addInPlace(const unsigned* a, const unsigned* b, unsigned* sum, int size) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < size) sum[i] = a[i] + b[i];
}

int main(int argc, char** argv) {
  const int size = sample::argument(argc, argv, 1, "SIZE", 50000, 1, 1 << 27);
  sample::noMoreArguments(argc, argv, 1);
  const size_t bytes = size * sizeof(unsigned);
  const size_t pages = (bytes + kPage - 1) / kPage * kPage;

  unsigned *mapped = nullptr, *on_device = nullptr, *pinned = nullptr;
  CHECK_CUDA(cudaHostAlloc(&mapped, bytes, cudaHostAllocMapped));
  CHECK_CUDA(cudaHostGetDevicePointer(&on_device, mapped, 0));
  CHECK_CUDA(cudaMallocHost(&pinned, bytes));
  auto* own = static_cast<unsigned*>(std::aligned_alloc(kPage, pages));
  if (own == nullptr) return sample::kCudaError;
  std::memset(own, 0, pages);
  CHECK_CUDA(cudaHostRegister(own, pages, cudaHostRegisterMapped));

  const int blocks = (size + kThreads - 1) / kThreads;
  for (int round = 0; round < 3; ++round) {
    for (int i = 0; i < size; ++i) {
      mapped[i] = sample::mixed(i + round);
      pinned[i] = 7 * i;
    }
    addInPlace<<<blocks, kThreads>>>(on_device, pinned, own, size);
    CHECK_CUDA(cudaGetLastError());
    CHECK_CUDA(cudaDeviceSynchronize());
    for (int i = 0; i < size; ++i) {
      const unsigned expected = sample::mixed(i + round) + 7 * i;
      if (own[i] == expected) continue;
      std::printf("zero_copy: number %d of round %d is %u; it must be %u: wrong\n", i, round,
                  own[i], expected);
      return sample::kWrong;
    }
  }
  CHECK_CUDA(cudaHostUnregister(own));
  std::printf("zero_copy: %d numbers, checksum %016llx: right\n", size,
              static_cast<unsigned long long>(sample::checksum(own, bytes)));
  std::free(own);
  CHECK_CUDA(cudaFreeHost(mapped));
  CHECK_CUDA(cudaFreeHost(pinned));
  return sample::kRight;
}
