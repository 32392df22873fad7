// Counts how often each byte value occurs: each block counts in shared memory with shared atomics,
// then adds its counts to the result with global atomics.
//
// usage: histogram [SIZE]
#include <vector>

#include "sample.h"

constexpr int kBins = 256;
constexpr int kThreads = 192;  // not a divisor of the bins, so every loop has a ragged last turn

__global__ void histogram(const unsigned char* bytes, int size, unsigned* bins) {
  __shared__ unsigned block_bins[kBins];
  for (int bin = threadIdx.x; bin < kBins; bin += blockDim.x) block_bins[bin] = 0;
  __syncthreads();
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < size; i += gridDim.x * blockDim.x) {
    atomicAdd(&block_bins[bytes[i]], 1u);
  }
  __syncthreads();
  for (int bin = threadIdx.x; bin < kBins; bin += blockDim.x) {
    if (block_bins[bin] != 0) atomicAdd(&bins[bin], block_bins[bin]);
  }
}

int main(int argc, char** argv) {
  const int size = sample::argument(argc, argv, 1, "SIZE", 100000, 1, 1 << 28);
  sample::noMoreArguments(argc, argv, 1);

  // The lower of two random bytes: low values are common and collide, high values are rare.
  std::vector<unsigned char> bytes(size);
  std::vector<unsigned> expected(kBins, 0);
  for (int i = 0; i < size; ++i) {
    const uint32_t random = sample::mixed(i);
    const unsigned first = random & 0xff, second = random >> 8 & 0xff;
    bytes[i] = static_cast<unsigned char>(first < second ? first : second);
    ++expected[bytes[i]];
  }

  std::vector<unsigned> bins(kBins, 0xffffffffu);
  unsigned char* device_bytes;
  unsigned* device_bins;
  CHECK_CUDA(cudaMalloc(&device_bytes, size));
  CHECK_CUDA(cudaMalloc(&device_bins, kBins * sizeof(unsigned)));
  CHECK_CUDA(cudaMemset(device_bins, 0, kBins * sizeof(unsigned)));
  CHECK_CUDA(cudaMemcpy(device_bytes, bytes.data(), size, cudaMemcpyHostToDevice));
  histogram<<<24, kThreads>>>(device_bytes, size, device_bins);
  CHECK_CUDA(cudaGetLastError());
  CHECK_CUDA(
      cudaMemcpy(bins.data(), device_bins, kBins * sizeof(unsigned), cudaMemcpyDeviceToHost));
  CHECK_CUDA(cudaFree(device_bytes));
  CHECK_CUDA(cudaFree(device_bins));

  int fullest = 0;
  for (int bin = 0; bin < kBins; ++bin) {
    if (bins[bin] != expected[bin]) {
      std::printf("histogram: bin %d of %d bytes holds %u; it must hold %u: wrong\n", bin, size,
                  bins[bin], expected[bin]);
      return sample::kWrong;
    }
    if (bins[bin] > bins[fullest]) fullest = bin;
  }
  std::printf(
      "histogram: %d bytes, fullest bin %d with %u, checksum %016llx: right\n", size, fullest,
      bins[fullest],
      static_cast<unsigned long long>(sample::checksum(bins.data(), kBins * sizeof(unsigned))));
  return sample::kRight;
}
