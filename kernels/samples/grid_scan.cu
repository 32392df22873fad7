// Sums of all numbers up to each, by a grid whose blocks wait for each other (a cooperative
// launch); inside a block, threads meet at a barrier object in shared memory. Every eighth thread
// then enters a critical section that a lock guards, also against the others of its own warp.
//
// usage: gridScan [SIZE]
#include <cooperative_groups.h>
#include <cuda/barrier>

#include <vector>

#include "sample.h"

namespace cg = cooperative_groups;

#pragma nv_diag_suppress static_var_with_dynamic_init  // init() makes the barrier

constexpr int kThreads = 64;
constexpr int kBlocks = 4;
constexpr int kEntering = 8;  // one of so many threads enters the critical section

struct Shared {
  int lock;
  unsigned entered;           // counted without atomics, under the lock
  float added;                // by atomics
  unsigned long long oldest;  // by compare and swap
};

// What comes before each thread's part, of the numbers of its block; `sums` has one for each
// thread.
__device__ uint32_t before(uint32_t mine, uint32_t* sums,
                           cuda::barrier<cuda::thread_scope_block>& barrier) {
  sums[threadIdx.x] = mine;
  barrier.arrive_and_wait();
  for (int step = 1; step < kThreads; step *= 2) {
    const uint32_t other = threadIdx.x >= step ? sums[threadIdx.x - step] : 0;
    barrier.arrive_and_wait();
    sums[threadIdx.x] += other;
    barrier.arrive_and_wait();
  }
  return sums[threadIdx.x] - mine;
}

__global__ void scan(uint32_t* values, int size, uint32_t* block_sums, Shared* shared) {
  __shared__ cuda::barrier<cuda::thread_scope_block> barrier;
  __shared__ uint32_t sums[kThreads];
  if (threadIdx.x == 0) init(&barrier, kThreads);
  __syncthreads();

  const int thread = blockIdx.x * kThreads + threadIdx.x;
  const int part = (size + kBlocks * kThreads - 1) / (kBlocks * kThreads);
  const int begin = min(thread * part, size), end = min(begin + part, size);
  uint32_t mine = 0;
  for (int i = begin; i < end; ++i) mine += values[i];
  uint32_t sum = before(mine, sums, barrier);
  if (threadIdx.x == kThreads - 1) block_sums[blockIdx.x] = sum + mine;
  cg::this_grid().sync();
  for (int block = 0; block < blockIdx.x; ++block) sum += block_sums[block];
  for (int i = begin; i < end; ++i) values[i] = sum += values[i];

  if (thread % kEntering != 0) return;
  while (atomicCAS(&shared->lock, 0, 1) != 0) {
  }
  __threadfence();
  *static_cast<volatile unsigned*>(&shared->entered) += 1;
  __threadfence();
  atomicExch(&shared->lock, 0);
  atomicAdd(&shared->added, 0.5f);
  unsigned long long seen = shared->oldest;
  for (;;) {
    const unsigned long long wanted = seen < thread ? thread : seen;
    const unsigned long long was = atomicCAS(&shared->oldest, seen, wanted);
    if (was == seen) break;
    seen = was;
  }
}

int main(int argc, char** argv) {
  int size = sample::argument(argc, argv, 1, "SIZE", 100000, 1, 1 << 26);
  sample::noMoreArguments(argc, argv, 1);

  std::vector<uint32_t> values(size), expected(size);
  uint32_t sum = 0;
  for (int i = 0; i < size; ++i) {
    values[i] = sample::mixed(i);
    expected[i] = sum += values[i];
  }
  const size_t bytes = size * sizeof(uint32_t);
  uint32_t *device_values, *block_sums;
  Shared* shared;
  CHECK_CUDA(cudaMalloc(&device_values, bytes));
  CHECK_CUDA(cudaMalloc(&block_sums, kBlocks * sizeof(uint32_t)));
  CHECK_CUDA(cudaMalloc(&shared, sizeof(Shared)));
  CHECK_CUDA(cudaMemcpy(device_values, values.data(), bytes, cudaMemcpyHostToDevice));
  CHECK_CUDA(cudaMemset(shared, 0, sizeof(Shared)));
  void* arguments[] = {&device_values, &size, &block_sums, &shared};
  CHECK_CUDA(cudaLaunchCooperativeKernel(reinterpret_cast<void*>(scan), kBlocks, kThreads,
                                         arguments, 0, nullptr));
  Shared end{};
  CHECK_CUDA(cudaMemcpy(values.data(), device_values, bytes, cudaMemcpyDeviceToHost));
  CHECK_CUDA(cudaMemcpy(&end, shared, sizeof(end), cudaMemcpyDeviceToHost));
  CHECK_CUDA(cudaFree(device_values));
  CHECK_CUDA(cudaFree(block_sums));
  CHECK_CUDA(cudaFree(shared));

  constexpr unsigned kAll = kBlocks * kThreads / kEntering;
  const bool right = values == expected && end.entered == kAll && end.added == kAll * 0.5f &&
                     end.oldest == (kAll - 1) * kEntering && end.lock == 0;
  std::printf("gridScan: %d numbers, %u threads were in the section, checksum %016llx: %s\n", size,
              end.entered, static_cast<unsigned long long>(sample::checksum(values.data(), bytes)),
              right ? "right" : "wrong");
  return right ? sample::kRight : sample::kWrong;
}
