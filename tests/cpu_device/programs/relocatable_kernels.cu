// The kernels of relocatable.cu, in a file of their own: they use what that file defines, and both files
// have a function `hidden` of their own.
extern __device__ int shared_value;
extern __constant__ int table[4];
extern __device__ int helper(int x);

static __device__ __noinline__ int hidden(int x) {
  return x + 1000;
}

__global__ void useOthers(int* out) {
  int x = static_cast<int>(threadIdx.x);
  out[x] = helper(x) + hidden(x) + shared_value + table[x & 3];
}

__global__ void countUp(int* counter) {
  atomicAdd(counter, 1);
}

// Each thread of each grid launches two grids, until `depth` is 0.
__global__ void launchGrids(int* counter, int depth) {
  if (depth == 0) return;
  countUp<<<2, 3>>>(counter);
  launchGrids<<<1, 2>>>(counter, depth - 1);
}
