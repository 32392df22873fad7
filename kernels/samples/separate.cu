// Sources that are compiled one by one and linked (nvcc -rdc=true): the kernel here calls a
// function and reads variables of separate_functions.cu. A driver for which there is no machine
// code links the PTX of both.
//
// usage: separate [SIZE]
#include <vector>

#include "sample.h"
#include "separate.h"

// Another one than in separate_functions.cu, of the same name.
static __device__ __noinline__ uint32_t turn(uint32_t value) {
  return ~value;
}

__global__ void stirAll(uint32_t* values, int size) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= size) return;
  uint32_t value = turn(values[i]);
  for (int round = 0; round < kRounds; ++round) value = stir(value, round) ^ steps[round];
  values[i] = value;
}

int main(int argc, char** argv) {
  const int size = sample::argument(argc, argv, 1, "SIZE", 50000, 1, 1 << 26);
  sample::noMoreArguments(argc, argv, 1);

  std::vector<uint32_t> values(size);
  for (int i = 0; i < size; ++i) values[i] = sample::mixed(i);
  const size_t bytes = size * sizeof(uint32_t);
  uint32_t* device_values;
  CHECK_CUDA(cudaMalloc(&device_values, bytes));
  CHECK_CUDA(cudaMemcpy(device_values, values.data(), bytes, cudaMemcpyHostToDevice));
  const int threads = 128;
  stirAll<<<(size + threads - 1) / threads, threads>>>(device_values, size);
  CHECK_CUDA(cudaGetLastError());
  CHECK_CUDA(cudaMemcpy(values.data(), device_values, bytes, cudaMemcpyDeviceToHost));
  CHECK_CUDA(cudaFree(device_values));
  uint32_t counted = 0;
  CHECK_CUDA(cudaMemcpyFromSymbol(&counted, calls, sizeof(counted)));

  const uint32_t factors[kRounds] = {3, 5, 7, 11, 13};
  for (int i = 0; i < size; ++i) {
    uint32_t value = ~sample::mixed(i);
    for (uint32_t factor : factors) value = ((value << 7 | value >> 25) * factor + 1) ^ factor;
    if (values[i] == value) continue;
    std::printf("separate: element %d of %d is %u; it must be %u: wrong\n", i, size, values[i],
                value);
    return sample::kWrong;
  }
  if (counted != static_cast<uint32_t>(size) * kRounds) {
    std::printf("separate: %u calls; it must be %u: wrong\n", counted, size * kRounds);
    return sample::kWrong;
  }
  std::printf("separate: %d numbers, checksum %016llx: right\n", size,
              static_cast<unsigned long long>(sample::checksum(values.data(), bytes)));
  return sample::kRight;
}
