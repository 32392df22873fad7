// Two kernels for the tests of the image reader; large enough that every compressor compresses it.
#include <cstdint>

extern "C" __global__ void scale(float* values, float factor, int count) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < count) values[i] *= factor;
}

extern "C" __global__ void mix(uint32_t* values, int count, int rounds) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= count) return;
  uint32_t x = values[i];
#pragma unroll 32
  for (int r = 0; r < 64; ++r) {
    x = x * 1664525u + 1013904223u;
    if (x & 1) x ^= x >> 13;
    if (r == rounds) break;
  }
  values[i] = x;
}
