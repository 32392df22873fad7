// Kernels for nvcc_test.cc, compiled to PTX by nvcc: what compilers write, not what we would.
#include <cstdio>
#include <cassert>
#include <cooperative_groups.h>
namespace cg = cooperative_groups;
template <int T> __device__ void mm(float* C, const float* A, const float* B, int n) {
  __shared__ float As[T][T], Bs[T][T];
  int tx = threadIdx.x, ty = threadIdx.y, col = blockIdx.x * T + tx, row = blockIdx.y * T + ty;
  float s = 0;
  for (int m = 0; m < n / T; ++m) {
    As[ty][tx] = A[row * n + m * T + tx];
    Bs[ty][tx] = B[(m * T + ty) * n + col];
    __syncthreads();
#pragma unroll
    for (int k = 0; k < T; ++k) s += As[ty][k] * Bs[k][tx];
    __syncthreads();
  }
  C[row * n + col] = s;
}
extern "C" __global__ void matmul16(float* C, const float* A, const float* B, int n) { mm<16>(C, A, B, n); }
extern "C" __global__ void matmul32(float* C, const float* A, const float* B, int n) { mm<32>(C, A, B, n); }
extern "C" __global__ void vadd(const float* a, const float* b, float* c, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) c[i] = a[i] + b[i];
}
extern "C" __global__ void reduceSum(const float* in, float* out, int n) {
  __shared__ float part[32];
  float s = 0;
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) s += in[i];
  for (int o = 16; o; o >>= 1) s += __shfl_down_sync(~0u, s, o);
  if (threadIdx.x % 32 == 0) part[threadIdx.x / 32] = s;
  __syncthreads();
  if (threadIdx.x < 32) {
    s = threadIdx.x < blockDim.x / 32 ? part[threadIdx.x] : 0;
    for (int o = 16; o; o >>= 1) s += __shfl_down_sync(~0u, s, o);
    if (threadIdx.x == 0) atomicAdd(out, s);
  }
}
extern "C" __global__ void collatz(int* out, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  unsigned long long v = i + 1; int steps = 0;
  while (v != 1) { v = v & 1 ? 3 * v + 1 : v / 2; ++steps; }
  out[i] = steps;
}
extern "C" __global__ void spinLock(int* lock, int* counter) {
  bool done = false;
  while (!done) {
    if (atomicCAS(lock, 0, 1) == 0) { *(volatile int*)counter = *(volatile int*)counter + 1; __threadfence(); atomicExch(lock, 0); done = true; }
  }
}
extern "C" __global__ void spinLock2(int* lock, int* counter) {
  while (atomicCAS(lock, 0, 1) != 0) ;
  *(volatile int*)counter = *(volatile int*)counter + 1; __threadfence(); atomicExch(lock, 0);
}
extern "C" __global__ void hello(int x) { printf("hello %d %s %5.2f %c%%\n", threadIdx.x + x, "str", 1.5 * threadIdx.x, 'a'); }
extern "C" __global__ void asserts(int x) { assert(threadIdx.x != x); }
__device__ __noinline__ int fib(int n) { return n < 2 ? n : fib(n - 1) + fib(n - 2); }
extern "C" __global__ void fibs(int* out) { out[threadIdx.x] = fib(threadIdx.x % 12); }
struct Shape { __device__ virtual float area() const = 0; float r; };
struct Sq : Shape { __device__ float area() const override { return r * r; } };
struct Ci : Shape { __device__ float area() const override { return 3 * r * r; } };
extern "C" __global__ void virtuals(float* out) {
  Sq s; Ci c; s.r = threadIdx.x; c.r = threadIdx.x; Shape* p = threadIdx.x % 3 ? (Shape*)&s : (Shape*)&c; 
  out[threadIdx.x] = p->area();
}
__constant__ float coef[4] = {1, 2, 3, 4};
extern "C" __global__ void consts(float* out) { out[threadIdx.x] = coef[threadIdx.x & 3]; }
extern "C" __global__ void gridsync(int* data, int* out, int n) {
  cg::grid_group g = cg::this_grid();
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  data[i] = i; g.sync();
  out[i] = data[n - 1 - i]; g.sync();
  data[i] = out[i] + data[i] * 0; g.sync();
}
extern "C" __global__ void dynshared(int* out) { extern __shared__ int sm[]; sm[threadIdx.x] = threadIdx.x; __syncthreads(); out[threadIdx.x] = sm[blockDim.x - 1 - threadIdx.x]; }
extern "C" __global__ void trig(float* out) { float x = threadIdx.x * 1.7f - 20; out[threadIdx.x] = sinf(x) + expf(x / 10) + powf(fabsf(x), 1.3f); }
extern "C" __global__ void dtrig(double* out) { double x = threadIdx.x * 1.7 - 20; out[threadIdx.x] = sin(x) + exp(x / 10) + pow(fabs(x), 1.3); }
extern "C" __global__ void switches(int* out, int s) {
  int r = 0; switch ((threadIdx.x * s) % 9) { case 0: r = 5; break; case 1: r = threadIdx.x; break; case 2: r = 77; break; case 3: for (int i = 0; i < threadIdx.x; ++i) r += i * i; break; case 4: r = -3; break; case 5: r = 12; case 6: r += 100; break; default: r = 1; }
  out[threadIdx.x] = r;
}
extern "C" __global__ void heap(int* out) { int* p = (int*)malloc(16); p[0] = threadIdx.x; out[threadIdx.x] = p[0]; free(p); }
