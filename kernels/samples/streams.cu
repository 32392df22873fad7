// Two streams with asynchronous copies from and to pinned memory, ordered by events. Each stream
// squares one half of the numbers in chunks; then the second stream waits for the first one's event
// and folds the two halves together. A copy or a wait out of order gives a wrong number.
//
// usage: streams [SIZE]
#include "sample.h"

constexpr int kStreams = 2;
constexpr int kChunks = 4;  // per stream
constexpr int kThreads = 128;

__global__ void square(const unsigned* in, unsigned* out, int size) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < size) out[i] = in[i] * in[i];
}

// folded[i] = 3 * first[i] + second[i], which tells the halves apart.
__global__ void fold(const unsigned* first, const unsigned* second, unsigned* folded, int size) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < size) folded[i] = 3 * first[i] + second[i];
}

struct Buffers {
  unsigned* in;      // pinned, 2 * half numbers
  unsigned* out;     // pinned, 2 * half
  unsigned* folded;  // pinned, half
  unsigned* device_in;
  unsigned* device_out;
  unsigned* device_folded;
};

static int blocksFor(int size) {
  return (size + kThreads - 1) / kThreads;
}

// Copies each chunk of one half in, squares it and copies it out, all in `stream`.
static void squareHalf(const Buffers& buffers, int first, int half, cudaStream_t stream) {
  for (int chunk = 0; chunk < kChunks; ++chunk) {
    const int begin = static_cast<int>(static_cast<int64_t>(half) * chunk / kChunks);
    const int end = static_cast<int>(static_cast<int64_t>(half) * (chunk + 1) / kChunks);
    const int count = end - begin, at = first + begin;
    if (count == 0) continue;
    CHECK_CUDA(cudaMemcpyAsync(buffers.device_in + at, buffers.in + at, count * sizeof(unsigned),
                               cudaMemcpyHostToDevice, stream));
    square<<<blocksFor(count), kThreads, 0, stream>>>(buffers.device_in + at,
                                                      buffers.device_out + at, count);
    CHECK_CUDA(cudaGetLastError());
    CHECK_CUDA(cudaMemcpyAsync(buffers.out + at, buffers.device_out + at, count * sizeof(unsigned),
                               cudaMemcpyDeviceToHost, stream));
  }
}

static Buffers allocate(int half) {
  Buffers buffers;
  const size_t half_bytes = half * sizeof(unsigned);
  CHECK_CUDA(cudaMallocHost(&buffers.in, 2 * half_bytes));
  CHECK_CUDA(cudaMallocHost(&buffers.out, 2 * half_bytes));
  CHECK_CUDA(cudaMallocHost(&buffers.folded, half_bytes));
  CHECK_CUDA(cudaMalloc(&buffers.device_in, 2 * half_bytes));
  CHECK_CUDA(cudaMalloc(&buffers.device_out, 2 * half_bytes));
  CHECK_CUDA(cudaMalloc(&buffers.device_folded, half_bytes));
  for (int i = 0; i < 2 * half; ++i) {
    buffers.in[i] = sample::mixed(i);
    buffers.out[i] = 0;
  }
  for (int i = 0; i < half; ++i) buffers.folded[i] = 0;
  return buffers;
}

static void release(const Buffers& buffers) {
  CHECK_CUDA(cudaFreeHost(buffers.in));
  CHECK_CUDA(cudaFreeHost(buffers.out));
  CHECK_CUDA(cudaFreeHost(buffers.folded));
  CHECK_CUDA(cudaFree(buffers.device_in));
  CHECK_CUDA(cudaFree(buffers.device_out));
  CHECK_CUDA(cudaFree(buffers.device_folded));
}

// Queues everything, waits, and prints the time between the first and the last event to stderr.
static void run(const Buffers& buffers, int half) {
  cudaStream_t streams[kStreams];
  cudaEvent_t begin, first_half_done, end;
  for (cudaStream_t& stream : streams) CHECK_CUDA(cudaStreamCreate(&stream));
  CHECK_CUDA(cudaEventCreate(&begin));
  CHECK_CUDA(cudaEventCreateWithFlags(&first_half_done, cudaEventDisableTiming));
  CHECK_CUDA(cudaEventCreate(&end));

  CHECK_CUDA(cudaEventRecord(begin, streams[1]));
  for (int i = 0; i < kStreams; ++i) squareHalf(buffers, i * half, half, streams[i]);
  CHECK_CUDA(cudaEventRecord(first_half_done, streams[0]));
  CHECK_CUDA(cudaStreamWaitEvent(streams[1], first_half_done, 0));
  fold<<<blocksFor(half), kThreads, 0, streams[1]>>>(buffers.device_out, buffers.device_out + half,
                                                     buffers.device_folded, half);
  CHECK_CUDA(cudaGetLastError());
  CHECK_CUDA(cudaMemcpyAsync(buffers.folded, buffers.device_folded, half * sizeof(unsigned),
                             cudaMemcpyDeviceToHost, streams[1]));
  CHECK_CUDA(cudaEventRecord(end, streams[1]));
  CHECK_CUDA(cudaStreamSynchronize(streams[0]));
  CHECK_CUDA(cudaEventSynchronize(end));
  CHECK_CUDA(cudaEventQuery(end));

  float milliseconds = -1.0f;
  CHECK_CUDA(cudaEventElapsedTime(&milliseconds, begin, end));
  std::fprintf(stderr, "streams: %.3f ms between the events\n", milliseconds);
  for (cudaEvent_t event : {begin, first_half_done, end}) CHECK_CUDA(cudaEventDestroy(event));
  for (cudaStream_t stream : streams) CHECK_CUDA(cudaStreamDestroy(stream));
}

int main(int argc, char** argv) {
  const int half = sample::argument(argc, argv, 1, "SIZE", 30000, 1, 1 << 25);
  sample::noMoreArguments(argc, argv, 1);

  const Buffers buffers = allocate(half);
  run(buffers, half);

  for (int i = 0; i < 2 * half; ++i) {
    const unsigned expected = buffers.in[i] * buffers.in[i];
    if (buffers.out[i] != expected) {
      std::printf("streams: square %d of %d is %u; it must be %u: wrong\n", i, 2 * half,
                  buffers.out[i], expected);
      return sample::kWrong;
    }
  }
  for (int i = 0; i < half; ++i) {
    const unsigned expected = 3 * buffers.out[i] + buffers.out[half + i];
    if (buffers.folded[i] != expected) {
      std::printf("streams: folded number %d of %d is %u; it must be %u: wrong\n", i, half,
                  buffers.folded[i], expected);
      return sample::kWrong;
    }
  }
  std::printf(
      "streams: 2 x %d numbers, checksum %016llx: right\n", half,
      static_cast<unsigned long long>(sample::checksum(buffers.folded, half * sizeof(unsigned))));
  release(buffers);
  return sample::kRight;
}
