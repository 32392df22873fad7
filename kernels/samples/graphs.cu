// One sum, computed by graphs made in three ways: recorded from streams that fork and join, built
// node by node, and changed after it was made executable. Each graph copies numbers in, works on
// two branches, joins them and copies the result out, and is launched several times with other
// numbers in the same host memory. A graph that reads host memory too early, runs its branches out
// of order or forgets an update gives a wrong number.
//
// usage: graphs [SIZE]
#include <vector>

#include "sample.h"

constexpr int kThreads = 128;
constexpr int kLaunches = 3;

__global__ void scale(const unsigned* in, unsigned* out, unsigned factor, int size) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < size) out[i] = in[i] * factor;
}

// sum[i] += first[i] + 5 * second[i], which tells the branches apart.
__global__ void join(const unsigned* first, const unsigned* second, unsigned* sum, int size) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < size) sum[i] += first[i] + 5 * second[i];
}

struct Buffers {
  int size;
  std::vector<unsigned> in;                 // pageable: a graph reads it at each launch
  unsigned* out;                            // pinned
  unsigned *source, *first, *second, *sum;  // on the device
  size_t bytes() const { return size * sizeof(unsigned); }
  unsigned blocks() const { return (size + kThreads - 1) / kThreads; }
};

static Buffers allocate(int size) {
  Buffers buffers{size, std::vector<unsigned>(size), nullptr, nullptr, nullptr, nullptr, nullptr};
  CHECK_CUDA(cudaMallocHost(&buffers.out, buffers.bytes()));
  for (unsigned** memory : {&buffers.source, &buffers.first, &buffers.second, &buffers.sum}) {
    CHECK_CUDA(cudaMalloc(memory, buffers.bytes()));
  }
  CHECK_CUDA(cudaMemset(buffers.sum, 0, buffers.bytes()));
  CHECK_CUDA(cudaDeviceSynchronize());
  return buffers;
}

// What two streams do, recorded.
static cudaGraph_t capture(Buffers& buffers, cudaStream_t stream, cudaStream_t side) {
  cudaEvent_t fork, joined;
  CHECK_CUDA(cudaEventCreateWithFlags(&fork, cudaEventDisableTiming));
  CHECK_CUDA(cudaEventCreateWithFlags(&joined, cudaEventDisableTiming));
  CHECK_CUDA(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal));
  CHECK_CUDA(cudaMemcpyAsync(buffers.source, buffers.in.data(), buffers.bytes(),
                             cudaMemcpyHostToDevice, stream));
  CHECK_CUDA(cudaEventRecord(fork, stream));
  CHECK_CUDA(cudaStreamWaitEvent(side, fork, 0));
  scale<<<buffers.blocks(), kThreads, 0, stream>>>(buffers.source, buffers.first, 2u, buffers.size);
  scale<<<buffers.blocks(), kThreads, 0, side>>>(buffers.source, buffers.second, 3u, buffers.size);
  CHECK_CUDA(cudaEventRecord(joined, side));
  CHECK_CUDA(cudaStreamWaitEvent(stream, joined, 0));
  join<<<buffers.blocks(), kThreads, 0, stream>>>(buffers.first, buffers.second, buffers.sum,
                                                  buffers.size);
  CHECK_CUDA(
      cudaMemcpyAsync(buffers.out, buffers.sum, buffers.bytes(), cudaMemcpyDeviceToHost, stream));
  cudaGraph_t graph;
  CHECK_CUDA(cudaStreamEndCapture(stream, &graph));
  CHECK_CUDA(cudaEventDestroy(fork));
  CHECK_CUDA(cudaEventDestroy(joined));
  return graph;
}

static cudaGraphNode_t addKernel(cudaGraph_t graph, const std::vector<cudaGraphNode_t>& after,
                                 const void* kernel, const Buffers& buffers, void** params) {
  cudaKernelNodeParams node{};
  node.func = const_cast<void*>(kernel);
  node.gridDim = dim3(buffers.blocks());
  node.blockDim = dim3(kThreads);
  node.kernelParams = params;
  cudaGraphNode_t added;
  CHECK_CUDA(cudaGraphAddKernelNode(&added, graph, after.data(), after.size(), &node));
  return added;
}

// The same built by hand. `scaled` gets the node of the second branch.
static cudaGraph_t build(Buffers& buffers, unsigned factor, cudaGraphNode_t* scaled) {
  cudaGraph_t graph;
  CHECK_CUDA(cudaGraphCreate(&graph, 0));
  cudaGraphNode_t in, out;
  CHECK_CUDA(cudaGraphAddMemcpyNode1D(&in, graph, nullptr, 0, buffers.source, buffers.in.data(),
                                      buffers.bytes(), cudaMemcpyHostToDevice));
  unsigned two = 2;
  void* first_params[] = {&buffers.source, &buffers.first, &two, &buffers.size};
  void* second_params[] = {&buffers.source, &buffers.second, &factor, &buffers.size};
  void* join_params[] = {&buffers.first, &buffers.second, &buffers.sum, &buffers.size};
  const auto* scale_kernel = reinterpret_cast<const void*>(scale);
  const cudaGraphNode_t first = addKernel(graph, {in}, scale_kernel, buffers, first_params);
  *scaled = addKernel(graph, {in}, scale_kernel, buffers, second_params);
  const cudaGraphNode_t joined =
      addKernel(graph, {first, *scaled}, reinterpret_cast<const void*>(join), buffers, join_params);
  CHECK_CUDA(cudaGraphAddMemcpyNode1D(&out, graph, &joined, 1, buffers.out, buffers.sum,
                                      buffers.bytes(), cudaMemcpyDeviceToHost));
  return graph;
}

// Launches with other numbers each time. `expected` follows along; false when it is not met.
static bool launch(Buffers& buffers, cudaGraphExec_t exec, cudaStream_t stream, unsigned factor,
                   unsigned& round, std::vector<unsigned>& expected) {
  for (int i = 0; i < kLaunches; ++i) {
    ++round;
    for (int at = 0; at < buffers.size; ++at) buffers.in[at] = sample::mixed(at) + round;
    CHECK_CUDA(cudaGraphLaunch(exec, stream));
    CHECK_CUDA(cudaStreamSynchronize(stream));
    for (int at = 0; at < buffers.size; ++at) {
      expected[at] += buffers.in[at] * (2 + 5 * factor);
      if (buffers.out[at] == expected[at]) continue;
      std::printf("graphs: number %d of %d is %u in round %u; it must be %u: wrong\n", at,
                  buffers.size, buffers.out[at], round, expected[at]);
      return false;
    }
  }
  return true;
}

int main(int argc, char** argv) {
  const int size = sample::argument(argc, argv, 1, "SIZE", 30000, 1, 1 << 25);
  sample::noMoreArguments(argc, argv, 1);

  Buffers buffers = allocate(size);
  cudaStream_t stream, side;
  CHECK_CUDA(cudaStreamCreate(&stream));
  CHECK_CUDA(cudaStreamCreate(&side));
  std::vector<unsigned> expected(size, 0);
  unsigned round = 0;

  const cudaGraph_t captured = capture(buffers, stream, side);
  cudaGraphExec_t exec;
  CHECK_CUDA(cudaGraphInstantiate(&exec, captured, 0));
  if (!launch(buffers, exec, stream, 3, round, expected)) return sample::kWrong;

  cudaGraphNode_t scaled;
  const cudaGraph_t built = build(buffers, 7, &scaled);
  cudaGraphExec_t built_exec;
  CHECK_CUDA(cudaGraphInstantiate(&built_exec, built, 0));
  if (!launch(buffers, built_exec, stream, 7, round, expected)) return sample::kWrong;

  // One node with another factor.
  unsigned factor = 11;
  void* params[] = {&buffers.source, &buffers.second, &factor, &buffers.size};
  cudaKernelNodeParams node{};
  CHECK_CUDA(cudaGraphKernelNodeGetParams(scaled, &node));
  node.kernelParams = params;
  CHECK_CUDA(cudaGraphExecKernelNodeSetParams(built_exec, scaled, &node));
  if (!launch(buffers, built_exec, stream, 11, round, expected)) return sample::kWrong;

  // All of it from a graph of the same shape.
  cudaGraphNode_t other_scaled;
  const cudaGraph_t other = build(buffers, 13, &other_scaled);
  cudaGraphExecUpdateResultInfo info{};
  CHECK_CUDA(cudaGraphExecUpdate(built_exec, other, &info));
  if (!launch(buffers, built_exec, stream, 13, round, expected)) return sample::kWrong;

  std::printf("graphs: %d numbers, %u launches, checksum %016llx: right\n", size, round,
              static_cast<unsigned long long>(sample::checksum(buffers.out, buffers.bytes())));
  for (cudaGraphExec_t made : {exec, built_exec}) CHECK_CUDA(cudaGraphExecDestroy(made));
  for (cudaGraph_t made : {captured, built, other}) CHECK_CUDA(cudaGraphDestroy(made));
  CHECK_CUDA(cudaStreamDestroy(side));
  CHECK_CUDA(cudaStreamDestroy(stream));
  for (unsigned* memory : {buffers.source, buffers.first, buffers.second, buffers.sum}) {
    CHECK_CUDA(cudaFree(memory));
  }
  CHECK_CUDA(cudaFreeHost(buffers.out));
  return sample::kRight;
}
