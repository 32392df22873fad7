// What the sample programs share: their arguments, their exit codes, checked CUDA calls, and the
// checksum that a result line ends with.
//
// A sample is plain CUDA that knows nothing of Farwarp. It computes with values for which the
// arithmetic is exact, so its one line on stdout is the same on every device; times go to stderr.
#pragma once

#include <cuda_runtime.h>

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

namespace sample {

enum ExitCode { kRight = 0, kWrong = 1, kBadArgument = 2, kCudaError = 3 };

// Ends the program with kCudaError and says which call failed, unless `result` is cudaSuccess.
inline void check(cudaError_t result, const char* call, const char* file, int line) {
  if (result == cudaSuccess) return;
  std::fprintf(stderr, "%s:%d: %s failed: %s (%d): %s\n", file, line, call,
               cudaGetErrorName(result), static_cast<int>(result), cudaGetErrorString(result));
  std::exit(kCudaError);
}

// Argument number `index` as a whole number from `min` to `max`, or `preset` when it was not given.
// Anything else ends the program with kBadArgument and names the argument, its value and its
// limits.
inline int64_t argument(int argc, char** argv, int index, const char* name, int64_t preset,
                        int64_t min, int64_t max) {
  if (index >= argc) return preset;
  char* end = nullptr;
  errno = 0;
  const long long value = std::strtoll(argv[index], &end, 10);
  if (errno != 0 || end == argv[index] || *end != '\0' || value < min || value > max) {
    std::fprintf(
        stderr, "%s: argument %s is \"%s\"; it must be a whole number from %lld to %lld.\n",
        argv[0], name, argv[index], static_cast<long long>(min), static_cast<long long>(max));
    std::exit(kBadArgument);
  }
  return value;
}

// Ends the program with kBadArgument when there are more than `count` arguments.
inline void noMoreArguments(int argc, char** argv, int count) {
  if (argc <= count + 1) return;
  std::fprintf(stderr,
               "%s: there are %d arguments; the most is %d. The first too many is \"%s\".\n",
               argv[0], argc - 1, count, argv[count + 1]);
  std::exit(kBadArgument);
}

// 64-bit FNV-1a of `bytes` bytes: equal results print equal checksums.
inline uint64_t checksum(const void* data, size_t bytes) {
  const auto* at = static_cast<const unsigned char*>(data);
  uint64_t hash = 0xcbf29ce484222325u;
  for (size_t i = 0; i < bytes; ++i) hash = (hash ^ at[i]) * 0x100000001b3u;
  return hash;
}

// The same pseudo-random 32 bits for the same index, everywhere.
inline uint32_t mixed(uint32_t index) {
  uint32_t x = index * 0x9e3779b9u + 0x7f4a7c15u;
  x = (x ^ (x >> 16)) * 0x21f0aaadu;
  x = (x ^ (x >> 15)) * 0x735a2d97u;
  return x ^ (x >> 15);
}

}  // namespace sample

#define CHECK_CUDA(call) ::sample::check((call), #call, __FILE__, __LINE__)
