// A program whose kernels print and fail, for tests/samples/test_device_output.py.
//
//   deviceOutput order      what kernels and the program print comes in order
//   deviceOutput flood N    N lines from many threads
//   deviceOutput unwaited   output of a kernel that the program only polls for
//   deviceOutput assert     a failed assertion: its text on stderr, CUDA's code, and a dead context
//   deviceOutput trap       the same for a trap, without a text
#include <cassert>
#include <cstdio>
#include <cstdlib>
#include <cstring>

__global__ void say(int round) { printf("kernel %d says %s %5.2f\n", round, "hello", round * 0.5); }

__global__ void flood(int lines) {
  const int thread = blockIdx.x * blockDim.x + threadIdx.x;
  const int threads = gridDim.x * blockDim.x;
  for (int i = thread; i < lines; i += threads) {
    printf("line %08d of the flood, which is long enough to fill pipes and buffers\n", i);
  }
}

__global__ void claim(int value) { assert(value == 0 && "zero is expected"); }

__global__ void fail() { __trap(); }

static int check(const char* what, cudaError_t result) {
  printf("%s: %s\n", what, cudaGetErrorName(result));
  return result == cudaSuccess ? 0 : 1;
}

static void afterFailure() {
  check("launch", cudaDeviceSynchronize());
  void* memory = nullptr;
  check("malloc", cudaMalloc(&memory, 16));
  check("synchronize", cudaDeviceSynchronize());
  check("last error", cudaGetLastError());
  check("reset", cudaDeviceReset());
  check("malloc", cudaMalloc(&memory, 16));
}

int main(int argc, char** argv) {
  const char* const what = argc > 1 ? argv[1] : "";
  if (std::strcmp(what, "order") == 0) {
    for (int i = 0; i < 20; ++i) {
      printf("before %d\n", i);
      say<<<1, 1>>>(i);
      if (cudaStreamSynchronize(nullptr) != cudaSuccess) return 1;
      printf("after %d\n", i);
    }
    return 0;
  }
  if (std::strcmp(what, "flood") == 0) {
    flood<<<64, 64>>>(std::atoi(argv[2]));
    const int failed = check("flood", cudaDeviceSynchronize());
    printf("the end\n");
    return failed;
  }
  if (std::strcmp(what, "unwaited") == 0) {
    say<<<1, 1>>>(1);
    while (cudaStreamQuery(nullptr) == cudaErrorNotReady) {
    }
    return check("query", cudaStreamQuery(nullptr));
  }
  if (std::strcmp(what, "assert") == 0) {
    claim<<<1, 2>>>(1);
    afterFailure();
    return 0;
  }
  if (std::strcmp(what, "trap") == 0) {
    fail<<<1, 1>>>();
    afterFailure();
    return 0;
  }
  std::fprintf(stderr, "What shall be done?\n");
  return 2;
}
