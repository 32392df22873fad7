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
#include <mma.h>
namespace w = nvcuda::wmma;
template <int M, int N, int K, class T, class Sum, class La, class Lb>
__device__ void product(const T* a, const T* b, Sum* c, int n, int k, w::layout_t out) {
  w::fragment<w::matrix_a, M, N, K, T, La> fa;
  w::fragment<w::matrix_b, M, N, K, T, Lb> fb;
  w::fragment<w::accumulator, M, N, K, Sum> sum;
  w::fill_fragment(sum, Sum(0));
  w::load_matrix_sync(fa, a, std::is_same_v<La, w::row_major> ? K : M);
  w::load_matrix_sync(fb, b, std::is_same_v<Lb, w::row_major> ? N : K);
  w::mma_sync(sum, fa, fb, sum);
  for (int i = 0; i < sum.num_elements; ++i) sum.x[i] = sum.x[i] + Sum(1);
  w::store_matrix_sync(c, sum, out == w::mem_row_major ? N : M, out);
}
extern "C" __global__ void wmma16(const half* a, const half* b, float* c) { product<16, 16, 16, half, float, w::row_major, w::col_major>(a, b, c, 0, 0, w::mem_row_major); }
extern "C" __global__ void wmma32(const half* a, const half* b, half* c) { product<32, 8, 16, half, half, w::col_major, w::row_major>(a, b, c, 0, 0, w::mem_row_major); }
extern "C" __global__ void wmma8(const signed char* a, const signed char* b, int* c) { product<8, 32, 16, signed char, int, w::row_major, w::col_major>(a, b, c, 0, 0, w::mem_col_major); }
extern "C" __global__ void wmmad(const double* a, const double* b, double* c) { product<8, 8, 4, double, double, w::row_major, w::col_major>(a, b, c, 0, 0, w::mem_row_major); }
extern "C" __global__ void wmmat(const float* a, const float* b, float* c) {
  w::fragment<w::matrix_a, 16, 16, 8, w::precision::tf32, w::row_major> fa;
  w::fragment<w::matrix_b, 16, 16, 8, w::precision::tf32, w::row_major> fb;
  w::fragment<w::accumulator, 16, 16, 8, float> sum;
  w::fill_fragment(sum, 1.0f);
  w::load_matrix_sync(fa, a, 8);
  w::load_matrix_sync(fb, b, 16);
  for (int i = 0; i < fa.num_elements; ++i) fa.x[i] = w::__float_to_tf32(fa.x[i]);
  w::mma_sync(sum, fa, fb, sum);
  w::store_matrix_sync(c, sum, 16, w::mem_row_major);
}
extern "C" __global__ void simdVideo(const unsigned* a, unsigned* out) {
  unsigned x = a[2 * threadIdx.x], y = a[2 * threadIdx.x + 1];
  unsigned* o = out + 6 * threadIdx.x;
  o[0] = __vadd4(x, y); o[1] = __vabsdiffu4(x, y); o[2] = __vaddss2(x, y);
  asm("vabsdiff4.u32.u32.u32.add %0, %1, %2, %3;" : "=r"(o[3]) : "r"(x), "r"(y), "r"(7));
  asm("vadd4.s32.s32.s32.sat %0, %1, %2, %3;" : "=r"(o[4]) : "r"(x), "r"(y), "r"(0));
  asm("vabsdiff2.u32.u32.u32 %0, %1, %2, %3;" : "=r"(o[5]) : "r"(x), "r"(y), "r"(0));
}
#include <cuda/barrier>
#include <cuda_fp8.h>
extern "C" __global__ void blockBarrier(int* out) {
#pragma nv_diag_suppress static_var_with_dynamic_init
  __shared__ cuda::barrier<cuda::thread_scope_block> bar;
  __shared__ int cells[256];
  if (threadIdx.x == 0) init(&bar, blockDim.x);
  __syncthreads();
  int v = threadIdx.x;
  for (int round = 0; round < 5; ++round) {
    cells[threadIdx.x] = v;
    bar.arrive_and_wait();
    v = cells[(threadIdx.x + 33) % blockDim.x] + 1;
    bar.arrive_and_wait();
  }
  out[threadIdx.x] = v;
}
extern "C" __global__ void __cluster_dims__(4, 1, 1) clusterSum(int* out) {
  __shared__ int cell;
  cg::cluster_group c = cg::this_cluster();
  cell = blockIdx.x + 1;
  c.sync();
  int sum = 0;
  for (unsigned r = 0; r < c.num_blocks(); ++r) sum += *c.map_shared_rank(&cell, r);
  c.sync();
  if (threadIdx.x == 0) out[blockIdx.x] = sum * 10 + c.block_rank();
}
extern "C" __global__ void bulk(const int* in, int* out) {
  __shared__ alignas(16) int buffer[256];
  __shared__ alignas(8) unsigned long long bar;
  unsigned b = __cvta_generic_to_shared(&bar), s = __cvta_generic_to_shared(buffer);
  if (threadIdx.x == 0) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;" ::"r"(b));
    asm volatile("fence.mbarrier_init.release.cluster;");
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(b), "r"(1024));
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(s), "l"(in), "r"(1024), "r"(b) : "memory");
  }
  __syncthreads();
  asm volatile("{ .reg .pred p; WAIT: mbarrier.try_wait.parity.shared::cta.b64 p, [%0], 0; @p bra DONE; bra WAIT; DONE: }" ::"r"(b) : "memory");
  buffer[threadIdx.x] *= 2;
  __syncthreads();
  if (threadIdx.x == 0) {
    asm volatile("fence.proxy.async.shared::cta;");
    asm volatile("cp.async.bulk.global.shared::cta.bulk_group [%0], [%1], %2;" ::"l"(out), "r"(s), "r"(1024) : "memory");
    asm volatile("cp.async.bulk.commit_group;");
    asm volatile("cp.async.bulk.wait_group 0;" ::: "memory");
  }
}
extern "C" __global__ void floats8(const float* in, float* out) {
  float v = in[threadIdx.x];
  out[2 * threadIdx.x] = float(__nv_fp8_e4m3(v));
  out[2 * threadIdx.x + 1] = float(__nv_fp8_e5m2(v));
}
