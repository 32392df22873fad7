// Goal: a program of the CUDA runtime, built by nvcc as usual, meets a driver in every way in which the
// runtime uses one: start, launches, symbols, events, errors, reset, and calls at the very end of the process.
// Method: each part checks its own result; a wrong one ends the program with its line.
#include <cuda_runtime.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

#define CHECK(condition)                                                        \
  do {                                                                          \
    if (!(condition)) {                                                         \
      std::printf("FAILED line %d: %s\n", __LINE__, #condition);                \
      std::exit(1);                                                             \
    }                                                                           \
  } while (0)
#define CHECK_CUDA(call)                                                        \
  do {                                                                          \
    const cudaError_t error = (call);                                           \
    if (error != cudaSuccess) {                                                 \
      std::printf("FAILED line %d: %s: %s\n", __LINE__, #call,                  \
                  cudaGetErrorString(error));                                   \
      std::exit(1);                                                             \
    }                                                                           \
  } while (0)

__constant__ int shift;
__device__ int total = 100;

__global__ void add(const int* a, const int* b, int* sum, int count) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < count) sum[i] = a[i] + b[i] + shift;
}

__global__ void addToTotal(int by) { atomicAdd(&total, by); }

__global__ void write(int* at) { *at = 1; }

// Vectors through device memory; leaves nothing behind.
static void addVectors(int count, int expected_shift) {
  std::vector<int> a(count), b(count), sum(count);
  for (int i = 0; i < count; ++i) a[i] = i, b[i] = 2 * i;
  const size_t bytes = count * sizeof(int);
  int *device_a, *device_b, *device_sum;
  CHECK_CUDA(cudaMalloc(&device_a, bytes));
  CHECK_CUDA(cudaMalloc(&device_b, bytes));
  CHECK_CUDA(cudaMalloc(&device_sum, bytes));
  CHECK_CUDA(cudaMemcpy(device_a, a.data(), bytes, cudaMemcpyHostToDevice));
  CHECK_CUDA(cudaMemcpy(device_b, b.data(), bytes, cudaMemcpyHostToDevice));
  add<<<(count + 127) / 128, 128>>>(device_a, device_b, device_sum, count);
  CHECK_CUDA(cudaGetLastError());
  CHECK_CUDA(cudaMemcpy(sum.data(), device_sum, bytes, cudaMemcpyDeviceToHost));
  for (int i = 0; i < count; ++i) CHECK(sum[i] == 3 * i + expected_shift);
  CHECK_CUDA(cudaFree(device_a));
  CHECK_CUDA(cudaFree(device_b));
  CHECK_CUDA(cudaFree(device_sum));
}

static void useSymbols() {
  const int five = 5;
  CHECK_CUDA(cudaMemcpyToSymbol(shift, &five, sizeof five));
  addVectors(1000, 5);
  addToTotal<<<4, 32>>>(2);
  int value = 0;
  CHECK_CUDA(cudaMemcpyFromSymbol(&value, total, sizeof value));
  CHECK(value == 100 + 4 * 32 * 2);
}

static void useStreamsAndEvents() {
  cudaStream_t stream;
  cudaEvent_t first, last;
  CHECK_CUDA(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  CHECK_CUDA(cudaEventCreate(&first));
  CHECK_CUDA(cudaEventCreate(&last));
  CHECK_CUDA(cudaEventRecord(first, stream));
  addToTotal<<<1, 1, 0, stream>>>(1);
  CHECK_CUDA(cudaEventRecord(last, stream));
  CHECK_CUDA(cudaStreamSynchronize(stream));
  float ms = -1;
  CHECK_CUDA(cudaEventElapsedTime(&ms, first, last));
  CHECK(ms >= 0);
  CHECK_CUDA(cudaEventDestroy(first));
  CHECK_CUDA(cudaEventDestroy(last));
  CHECK_CUDA(cudaStreamDestroy(stream));
}

static void queryTheDevice() {
  cudaDeviceProp properties;
  CHECK_CUDA(cudaGetDeviceProperties(&properties, 0));
  CHECK(std::string(properties.name) == "Farwarp CPU device");
  CHECK(properties.major == 9 && properties.warpSize == 32);
  cudaFuncAttributes attributes;
  CHECK_CUDA(cudaFuncGetAttributes(&attributes, add));
  CHECK(attributes.maxThreadsPerBlock == 1024);
  int blocks = 0, grid = 0;
  CHECK_CUDA(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, add, 256, 0));
  CHECK(blocks >= 1);
  CHECK_CUDA(cudaOccupancyMaxPotentialBlockSize(&grid, &blocks, add));
  CHECK(blocks >= 32);
}

static void meetErrors() {
  add<<<1, 2048>>>(nullptr, nullptr, nullptr, 0);
  CHECK(cudaGetLastError() != cudaSuccess);
  CHECK_CUDA(cudaDeviceSynchronize());
  void* much = nullptr;
  CHECK(cudaMalloc(&much, size_t{1} << 45) == cudaErrorMemoryAllocation);
  CHECK(cudaGetLastError() == cudaErrorMemoryAllocation);
  CHECK(cudaMemcpy(reinterpret_cast<void*>(8), &much, 8, cudaMemcpyHostToDevice) != cudaSuccess);
  cudaGetLastError();

  int* small = nullptr;
  CHECK_CUDA(cudaMalloc(&small, 4));
  write<<<1, 1>>>(small + 4096);
  CHECK(cudaDeviceSynchronize() == cudaErrorIllegalAddress);
  CHECK(cudaMalloc(&much, 4) == cudaErrorIllegalAddress);
  CHECK_CUDA(cudaDeviceReset());
  cudaGetLastError();  // the runtime itself still holds the error
  addVectors(1000, 0);  // the constant is new again
}

static void useThreads() {
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([] {
      for (int i = 0; i < 5; ++i) addVectors(3000, 0);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

int main() {
  addVectors(1, 0);
  addVectors(100'000, 0);
  queryTheDevice();
  useSymbols();
  useStreamsAndEvents();
  meetErrors();
  useThreads();
  // Ends without freeing what there is, as many programs do.
  int* left = nullptr;
  CHECK_CUDA(cudaMalloc(&left, 1000));
  write<<<1, 1>>>(left);
  std::printf("PASS\n");
  return 0;
}
