// Adds two vectors, one element per thread: the smallest program with a whole round of allocation,
// copies in, launch and copy out. More ROUNDS repeat the launch and wait for each, which makes a
// program of any length with one waiting call per round.
//
// usage: vectorAdd [SIZE [ROUNDS]]
#include <vector>

#include "sample.h"

__global__ void vectorAdd(const float* a, const float* b, float* c, int size) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < size) c[i] = a[i] + b[i];
}

int main(int argc, char** argv) {
  const int size = sample::argument(argc, argv, 1, "SIZE", 50000, 1, 1 << 26);
  const int64_t rounds = sample::argument(argc, argv, 2, "ROUNDS", 1, 1, 1000000000);
  sample::noMoreArguments(argc, argv, 2);

  std::vector<float> a(size), b(size), c(size, -1.0f);
  for (int i = 0; i < size; ++i) {
    a[i] = 0.5f * static_cast<float>(sample::mixed(i) % 4096);
    b[i] = 0.25f * static_cast<float>(sample::mixed(i + size) % 4096);
  }

  const size_t bytes = size * sizeof(float);
  float *device_a, *device_b, *device_c;
  CHECK_CUDA(cudaMalloc(&device_a, bytes));
  CHECK_CUDA(cudaMalloc(&device_b, bytes));
  CHECK_CUDA(cudaMalloc(&device_c, bytes));
  CHECK_CUDA(cudaMemcpy(device_a, a.data(), bytes, cudaMemcpyHostToDevice));
  CHECK_CUDA(cudaMemcpy(device_b, b.data(), bytes, cudaMemcpyHostToDevice));

  const int threads = 256;
  const int blocks = (size + threads - 1) / threads;
  for (int64_t round = 0; round < rounds; ++round) {
    vectorAdd<<<blocks, threads>>>(device_a, device_b, device_c, size);
    CHECK_CUDA(cudaGetLastError());
    CHECK_CUDA(cudaDeviceSynchronize());
  }
  CHECK_CUDA(cudaMemcpy(c.data(), device_c, bytes, cudaMemcpyDeviceToHost));
  CHECK_CUDA(cudaFree(device_a));
  CHECK_CUDA(cudaFree(device_b));
  CHECK_CUDA(cudaFree(device_c));

  for (int i = 0; i < size; ++i) {
    if (c[i] != a[i] + b[i]) {
      std::printf("vectorAdd: element %d of %d is %g; it must be %g: wrong\n", i, size, c[i],
                  a[i] + b[i]);
      return sample::kWrong;
    }
  }
  std::printf("vectorAdd: %d elements, checksum %016llx: right\n", size,
              static_cast<unsigned long long>(sample::checksum(c.data(), bytes)));
  return sample::kRight;
}
