// One matrix product four times, by the tensor cores: half with float sums, signed bytes with
// integer sums, bfloat16, and double. The numbers are small and whole, so all four are exact and
// the same. The tiles of half are brought to shared memory by asynchronous copies.
//
// usage: tensorCores [SIZE]   (in tiles: the matrices are 16 * SIZE on a side)
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_pipeline.h>
#include <mma.h>

#include <vector>

#include "sample.h"

using namespace nvcuda;

constexpr int kTile = 16;
constexpr int kDoubleTile = 8, kDoubleDepth = 4;

__global__ void multiplyHalf(const half* a, const half* b, float* c, int size) {
  __shared__ __align__(16) half tile_a[kTile * kTile], tile_b[kTile * kTile];
  wmma::fragment<wmma::matrix_a, 16, 16, 16, half, wmma::row_major> left;
  wmma::fragment<wmma::matrix_b, 16, 16, 16, half, wmma::row_major> right;
  wmma::fragment<wmma::accumulator, 16, 16, 16, float> sum;
  wmma::fill_fragment(sum, 0.0f);
  const int row = blockIdx.y * kTile, column = blockIdx.x * kTile;
  for (int k = 0; k < size; k += kTile) {
    // 32 lanes copy 16 bytes each: half a row of a tile.
    const int at = threadIdx.x * 8, y = at / kTile, x = at % kTile;
    __pipeline_memcpy_async(&tile_a[at], &a[(row + y) * size + k + x], 16);
    __pipeline_memcpy_async(&tile_b[at], &b[(k + y) * size + column + x], 16);
    __pipeline_commit();
    __pipeline_wait_prior(0);
    __syncwarp();
    wmma::load_matrix_sync(left, tile_a, kTile);
    wmma::load_matrix_sync(right, tile_b, kTile);
    wmma::mma_sync(sum, left, right, sum);
    __syncwarp();
  }
  wmma::store_matrix_sync(&c[row * size + column], sum, size, wmma::mem_row_major);
}

// Element is signed char with int sums, or __nv_bfloat16 with float sums.
template <class Element, class Sum>
__global__ void multiply(const Element* a, const Element* b, Sum* c, int size) {
  wmma::fragment<wmma::matrix_a, 16, 16, 16, Element, wmma::row_major> left;
  wmma::fragment<wmma::matrix_b, 16, 16, 16, Element, wmma::row_major> right;
  wmma::fragment<wmma::accumulator, 16, 16, 16, Sum> sum;
  wmma::fill_fragment(sum, Sum(0));
  const int row = blockIdx.y * kTile, column = blockIdx.x * kTile;
  for (int k = 0; k < size; k += kTile) {
    wmma::load_matrix_sync(left, &a[row * size + k], size);
    wmma::load_matrix_sync(right, &b[k * size + column], size);
    wmma::mma_sync(sum, left, right, sum);
  }
  wmma::store_matrix_sync(&c[row * size + column], sum, size, wmma::mem_row_major);
}

__global__ void multiplyDouble(const double* a, const double* b, double* c, int size) {
  wmma::fragment<wmma::matrix_a, 8, 8, 4, double, wmma::row_major> left;
  wmma::fragment<wmma::matrix_b, 8, 8, 4, double, wmma::row_major> right;
  wmma::fragment<wmma::accumulator, 8, 8, 4, double> sum;
  wmma::fill_fragment(sum, 0.0);
  const int row = blockIdx.y * kDoubleTile, column = blockIdx.x * kDoubleTile;
  for (int k = 0; k < size; k += kDoubleDepth) {
    wmma::load_matrix_sync(left, &a[row * size + k], size);
    wmma::load_matrix_sync(right, &b[k * size + column], size);
    wmma::mma_sync(sum, left, right, sum);
  }
  wmma::store_matrix_sync(&c[row * size + column], sum, size, wmma::mem_row_major);
}

// Runs `kernel` on the values as Element; returns the sums as whole numbers.
template <class Element, class Sum>
std::vector<int> product(void (*kernel)(const Element*, const Element*, Sum*, int), int tile,
                         const std::vector<int>& a, const std::vector<int>& b, int size) {
  std::vector<Element> left(a.size()), right(b.size());
  for (size_t i = 0; i < a.size(); ++i) {
    left[i] = Element(static_cast<float>(a[i]));
    right[i] = Element(static_cast<float>(b[i]));
  }
  std::vector<Sum> sums(a.size());
  Element *device_left, *device_right;
  Sum* device_sums;
  const size_t bytes = a.size() * sizeof(Element);
  CHECK_CUDA(cudaMalloc(&device_left, bytes));
  CHECK_CUDA(cudaMalloc(&device_right, bytes));
  CHECK_CUDA(cudaMalloc(&device_sums, sums.size() * sizeof(Sum)));
  CHECK_CUDA(cudaMemcpy(device_left, left.data(), bytes, cudaMemcpyHostToDevice));
  CHECK_CUDA(cudaMemcpy(device_right, right.data(), bytes, cudaMemcpyHostToDevice));
  kernel<<<dim3(size / tile, size / tile), 32>>>(device_left, device_right, device_sums, size);
  CHECK_CUDA(cudaGetLastError());
  CHECK_CUDA(
      cudaMemcpy(sums.data(), device_sums, sums.size() * sizeof(Sum), cudaMemcpyDeviceToHost));
  CHECK_CUDA(cudaFree(device_left));
  CHECK_CUDA(cudaFree(device_right));
  CHECK_CUDA(cudaFree(device_sums));
  return {sums.begin(), sums.end()};
}

int main(int argc, char** argv) {
  const int tiles = sample::argument(argc, argv, 1, "SIZE", 8, 1, 64);
  sample::noMoreArguments(argc, argv, 1);

  const int size = tiles * kTile, count = size * size;
  std::vector<int> a(count), b(count), expected(count, 0);
  for (int i = 0; i < count; ++i) {
    a[i] = static_cast<int>(sample::mixed(i) % 8) - 4;
    b[i] = static_cast<int>(sample::mixed(i + count) % 8) - 4;
  }
  for (int y = 0; y < size; ++y) {
    for (int k = 0; k < size; ++k) {
      for (int x = 0; x < size; ++x) expected[y * size + x] += a[y * size + k] * b[k * size + x];
    }
  }

  const struct {
    const char* name;
    std::vector<int> sums;
  } results[] = {
      {"half", product(multiplyHalf, kTile, a, b, size)},
      {"bytes", product(multiply<signed char, int>, kTile, a, b, size)},
      {"bfloat16", product(multiply<__nv_bfloat16, float>, kTile, a, b, size)},
      {"double", product(multiplyDouble, kDoubleTile, a, b, size)},
  };
  for (const auto& result : results) {
    for (int i = 0; i < count; ++i) {
      if (result.sums[i] == expected[i]) continue;
      std::printf("tensorCores: element %d of the product of %s is %d; it must be %d: wrong\n", i,
                  result.name, result.sums[i], expected[i]);
      return sample::kWrong;
    }
  }
  std::printf("tensorCores: %d x %d, checksum %016llx: right\n", size, size,
              static_cast<unsigned long long>(
                  sample::checksum(results[0].sums.data(), count * sizeof(int))));
  return sample::kRight;
}
