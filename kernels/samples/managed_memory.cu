// One array that program and kernels both use: managed memory, and a managed variable that counts
// the kernels. Program and kernel take turns on every element; the program also looks at single
// elements only, as one does with large data.
//
// usage: managed_memory [SIZE] [ROUNDS]
#include "sample.h"

constexpr int kThreads = 256;

__managed__ int kernels_run = 100;

__global__ void step(unsigned* values, int size, unsigned factor) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < size) values[i] = values[i] * factor + 1;
  if (i == 0) ++kernels_run;
}

int main(int argc, char** argv) {
  const int size = sample::argument(argc, argv, 1, "SIZE", 100000, 1, 1 << 28);
  const int rounds = sample::argument(argc, argv, 2, "ROUNDS", 4, 1, 1000);
  sample::noMoreArguments(argc, argv, 2);

  unsigned* values = nullptr;
  CHECK_CUDA(cudaMallocManaged(&values, size * sizeof(unsigned)));
  for (int i = 0; i < size; ++i) values[i] = sample::mixed(i);
  for (int round = 0; round < rounds; ++round) {
    step<<<(size + kThreads - 1) / kThreads, kThreads>>>(values, size, 3);
    CHECK_CUDA(cudaGetLastError());
    CHECK_CUDA(cudaDeviceSynchronize());
    for (int i = round; i < size; i += 1000) values[i] ^= 0x55u;
  }

  int wrong = 0;
  for (int i = 0; i < size; ++i) {
    unsigned expected = sample::mixed(i);
    for (int round = 0; round < rounds; ++round) {
      expected = expected * 3 + 1;
      if (i >= round && (i - round) % 1000 == 0) expected ^= 0x55u;
    }
    if (values[i] == expected) continue;
    if (wrong++ == 0) {
      std::printf("managed_memory: number %d is %u; it must be %u: wrong\n", i, values[i],
                  expected);
    }
  }
  if (kernels_run != 100 + rounds) {
    std::printf("managed_memory: %d kernels were counted; it must be %d: wrong\n",
                kernels_run - 100, rounds);
    ++wrong;
  }
  if (wrong != 0) return sample::kWrong;
  std::printf("managed_memory: %d numbers, %d rounds, checksum %016llx: right\n", size, rounds,
              static_cast<unsigned long long>(sample::checksum(values, size * sizeof(unsigned))));
  CHECK_CUDA(cudaFree(values));
  return sample::kRight;
}
