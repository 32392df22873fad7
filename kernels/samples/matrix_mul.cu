// Multiplies two square matrices tile by tile: shared memory and barriers. SIZE need not be a
// multiple of the tile, so blocks at the edges hold threads that load zeros and store nothing.
//
// usage: matrixMul [SIZE]
#include <vector>

#include "sample.h"

constexpr int kTile = 16;

__global__ void matrixMul(const float* a, const float* b, float* c, int size) {
  __shared__ float tile_a[kTile][kTile];
  __shared__ float tile_b[kTile][kTile];
  const int row = blockIdx.y * kTile + threadIdx.y;
  const int column = blockIdx.x * kTile + threadIdx.x;

  float sum = 0.0f;
  for (int first = 0; first < size; first += kTile) {
    const int a_column = first + threadIdx.x;
    const int b_row = first + threadIdx.y;
    tile_a[threadIdx.y][threadIdx.x] =
        row < size && a_column < size ? a[row * size + a_column] : 0.0f;
    tile_b[threadIdx.y][threadIdx.x] =
        b_row < size && column < size ? b[b_row * size + column] : 0.0f;
    __syncthreads();
    for (int k = 0; k < kTile; ++k) sum += tile_a[threadIdx.y][k] * tile_b[k][threadIdx.x];
    __syncthreads();
  }
  if (row < size && column < size) c[row * size + column] = sum;
}

// The product in whole numbers. Elements are below 16, so up to SIZE 1024 each sum is below 2^18
// and the device's floats are exact in whatever order it adds.
static std::vector<float> expectedProduct(const std::vector<float>& a, const std::vector<float>& b,
                                          int size) {
  std::vector<float> c(a.size());
  std::vector<int> row(size);
  for (int i = 0; i < size; ++i) {
    row.assign(size, 0);
    for (int k = 0; k < size; ++k) {
      const int factor = static_cast<int>(a[i * size + k]);
      for (int j = 0; j < size; ++j) row[j] += factor * static_cast<int>(b[k * size + j]);
    }
    for (int j = 0; j < size; ++j) c[i * size + j] = static_cast<float>(row[j]);
  }
  return c;
}

int main(int argc, char** argv) {
  const int size = sample::argument(argc, argv, 1, "SIZE", 100, 1, 1024);
  sample::noMoreArguments(argc, argv, 1);

  const int elements = size * size;
  std::vector<float> a(elements), b(elements), c(elements, -1.0f);
  for (int i = 0; i < elements; ++i) {
    a[i] = static_cast<float>(sample::mixed(i) % 16);
    b[i] = static_cast<float>(sample::mixed(i + elements) % 16);
  }

  const size_t bytes = elements * sizeof(float);
  float *device_a, *device_b, *device_c;
  CHECK_CUDA(cudaMalloc(&device_a, bytes));
  CHECK_CUDA(cudaMalloc(&device_b, bytes));
  CHECK_CUDA(cudaMalloc(&device_c, bytes));
  CHECK_CUDA(cudaMemcpy(device_a, a.data(), bytes, cudaMemcpyHostToDevice));
  CHECK_CUDA(cudaMemcpy(device_b, b.data(), bytes, cudaMemcpyHostToDevice));

  const int tiles = (size + kTile - 1) / kTile;
  matrixMul<<<dim3(tiles, tiles), dim3(kTile, kTile)>>>(device_a, device_b, device_c, size);
  CHECK_CUDA(cudaGetLastError());
  CHECK_CUDA(cudaMemcpy(c.data(), device_c, bytes, cudaMemcpyDeviceToHost));
  CHECK_CUDA(cudaFree(device_a));
  CHECK_CUDA(cudaFree(device_b));
  CHECK_CUDA(cudaFree(device_c));

  const std::vector<float> expected = expectedProduct(a, b, size);
  for (int i = 0; i < elements; ++i) {
    if (c[i] != expected[i]) {
      std::printf("matrixMul: row %d, column %d of %d x %d is %g; it must be %g: wrong\n", i / size,
                  i % size, size, size, c[i], expected[i]);
      return sample::kWrong;
    }
  }
  std::printf("matrixMul: %d x %d, checksum %016llx: right\n", size, size,
              static_cast<unsigned long long>(sample::checksum(c.data(), bytes)));
  return sample::kRight;
}
