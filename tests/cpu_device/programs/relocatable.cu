// Goal: a program of several files (nvcc -rdc=true) and kernels that launch kernels (libcudadevrt) run on
// PTX alone. Method: functions, variables and constants of one file are used by kernels of the other,
// and a kernel launches grids that launch grids; what they leave is compared with what C++ says.
#include <cstdio>

__device__ int shared_value = 5;
__constant__ int table[4] = {1, 20, 300, 4000};

static __device__ __noinline__ int hidden(int x) {
  return x + 100;
}
__device__ __noinline__ int helper(int x) {
  return 3 * hidden(x);
}

__global__ void useOthers(int* out);
__global__ void launchGrids(int* counter, int depth);

int main() {
  int *out = nullptr, have[64] = {}, value = 7, bad = 0;
  cudaMalloc(&out, sizeof(have));
  cudaMemset(out, 0, sizeof(have));
  cudaMemcpyToSymbol(shared_value, &value, sizeof(value));
  useOthers<<<1, 64>>>(out);
  cudaMemcpy(have, out, sizeof(have), cudaMemcpyDefault);
  const int constants[4] = {1, 20, 300, 4000};
  for (int x = 0; x < 64; ++x) bad += have[x] != 3 * (x + 100) + x + 1000 + 7 + constants[x & 3];
  cudaMemset(out, 0, sizeof(have));
  launchGrids<<<1, 1>>>(out, 4);
  cudaMemcpy(have, out, sizeof(have), cudaMemcpyDefault);
  // 1 + 2 + 4 + 8 threads, of which each launches 6 threads that count.
  bad += have[0] != 15 * 6;
  cudaError_t error = cudaGetLastError();
  std::printf("%d wrong, %d counted, %s\n%s\n", bad, have[0], cudaGetErrorString(error),
              bad == 0 && error == cudaSuccess ? "PASS" : "FAILED");
  return bad == 0 && error == cudaSuccess ? 0 : 1;
}
