// The other source of the sample `separate`: functions and variables that its kernel uses.
#include "separate.h"

__constant__ uint32_t steps[kRounds] = {3, 5, 7, 11, 13};
__device__ uint32_t calls = 0;

// Another one than in separate.cu, of the same name.
static __device__ __noinline__ uint32_t turn(uint32_t value) {
  return value << 7 | value >> 25;
}

__device__ __noinline__ uint32_t stir(uint32_t value, int round) {
  atomicAdd(&calls, 1u);
  return turn(value) * steps[round] + 1;
}
