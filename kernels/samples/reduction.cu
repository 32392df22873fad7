// Sum, least and greatest of many numbers: each warp reduces by shuffles, each block by its warps'
// partial results in shared memory, and the blocks meet in global atomics (64-bit add, min, max).
//
// usage: reduction [SIZE]
#include <climits>
#include <vector>

#include "sample.h"

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / 32;
constexpr unsigned kAllLanes = 0xffffffffu;

struct Totals {
  unsigned long long sum;
  unsigned least;
  unsigned greatest;
};

__device__ Totals reduceWarp(Totals t) {
  for (int offset = 16; offset > 0; offset /= 2) {
    t.sum += __shfl_down_sync(kAllLanes, t.sum, offset);
    t.least = min(t.least, __shfl_xor_sync(kAllLanes, t.least, offset));
    t.greatest = max(t.greatest, __shfl_xor_sync(kAllLanes, t.greatest, offset));
  }
  return t;
}

__global__ void reduction(const unsigned* numbers, int size, Totals* totals) {
  __shared__ Totals partial[kWarps];
  Totals mine = {0, UINT_MAX, 0};
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < size; i += gridDim.x * blockDim.x) {
    mine.sum += numbers[i];
    mine.least = min(mine.least, numbers[i]);
    mine.greatest = max(mine.greatest, numbers[i]);
  }
  const int lane = threadIdx.x % 32;
  const int warp = threadIdx.x / 32;
  mine = reduceWarp(mine);
  if (lane == 0) partial[warp] = mine;
  __syncthreads();
  if (warp != 0) return;
  mine = lane < kWarps ? partial[lane] : Totals{0, UINT_MAX, 0};
  mine = reduceWarp(mine);
  if (lane != 0) return;
  atomicAdd(&totals->sum, mine.sum);
  atomicMin(&totals->least, mine.least);
  atomicMax(&totals->greatest, mine.greatest);
}

int main(int argc, char** argv) {
  const int size = sample::argument(argc, argv, 1, "SIZE", 100000, 1, 1 << 26);
  sample::noMoreArguments(argc, argv, 1);

  std::vector<unsigned> numbers(size);
  Totals expected = {0, UINT_MAX, 0};
  for (int i = 0; i < size; ++i) {
    numbers[i] = sample::mixed(i);
    expected.sum += numbers[i];
    if (numbers[i] < expected.least) expected.least = numbers[i];
    if (numbers[i] > expected.greatest) expected.greatest = numbers[i];
  }

  Totals totals = {0, UINT_MAX, 0};
  unsigned* device_numbers;
  Totals* device_totals;
  CHECK_CUDA(cudaMalloc(&device_numbers, size * sizeof(unsigned)));
  CHECK_CUDA(cudaMalloc(&device_totals, sizeof(Totals)));
  CHECK_CUDA(
      cudaMemcpy(device_numbers, numbers.data(), size * sizeof(unsigned), cudaMemcpyHostToDevice));
  CHECK_CUDA(cudaMemcpy(device_totals, &totals, sizeof(totals), cudaMemcpyHostToDevice));

  const int blocks_needed = (size + kThreads - 1) / kThreads;
  const int blocks = blocks_needed < 64 ? blocks_needed : 64;
  reduction<<<blocks, kThreads>>>(device_numbers, size, device_totals);
  CHECK_CUDA(cudaGetLastError());
  CHECK_CUDA(cudaMemcpy(&totals, device_totals, sizeof(totals), cudaMemcpyDeviceToHost));
  CHECK_CUDA(cudaFree(device_numbers));
  CHECK_CUDA(cudaFree(device_totals));

  const bool right = totals.sum == expected.sum && totals.least == expected.least &&
                     totals.greatest == expected.greatest;
  std::printf("reduction: %d numbers, sum %llu, least %u, greatest %u: %s\n", size, totals.sum,
              totals.least, totals.greatest, right ? "right" : "wrong");
  return right ? sample::kRight : sample::kWrong;
}
