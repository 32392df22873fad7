// What the two sources of the sample `separate` know of each other.
#pragma once

#include <cstdint>

inline constexpr int kRounds = 5;

extern __constant__ uint32_t steps[kRounds];
extern __device__ uint32_t calls;  // of stir, by all threads

__device__ uint32_t stir(uint32_t value, int round);
