// What the lanes of a warp ask each other, and the operations on bits that go with it: votes,
// matches, reductions, exchanges among all lanes and among those of one branch, byte and funnel
// shifts, dot products of bytes.
//
// usage: warpFunctions [SIZE]
#include <vector>

#include "sample.h"

constexpr unsigned kAllLanes = 0xffffffffu;
constexpr int kThreads = 128;

__global__ void askWarp(const uint32_t* values, uint32_t* results, int size) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  const int lane = threadIdx.x % 32;
  const uint32_t value = i < size ? values[i] : 0;

  const uint32_t odd = __ballot_sync(kAllLanes, value & 1);
  const uint32_t same = __match_any_sync(kAllLanes, value & 3);
  int all_same = 0;
  __match_all_sync(kAllLanes, value >> 31, &all_same);
  const uint32_t sum = __reduce_add_sync(kAllLanes, value);
  const uint32_t greatest = __reduce_max_sync(kAllLanes, value);
  const uint32_t mixed = __reduce_xor_sync(kAllLanes, value);
  const uint32_t partner = __shfl_sync(kAllLanes, value, value % 32);
  const uint32_t mirror = __shfl_xor_sync(kAllLanes, value, 31);
  uint32_t result = odd ^ same * 3 ^ __funnelshift_l(sum, greatest, lane);
  result += __byte_perm(mixed, partner, 0x3715) + __brev(mirror) + __popc(same) + all_same;
  result = __dp4a(value, odd, result);

  // Only the lanes with this bit go in; the others wait for them behind the branch.
  const uint32_t chosen = __ballot_sync(kAllLanes, value & 4);
  if (value & 4) {
    const int first = __ffs(chosen) - 1;
    result ^= __shfl_sync(chosen, result, first) + __clz(__reduce_or_sync(chosen, 1u << lane));
  }
  __syncwarp();
  if (i < size) results[i] = result;
}

static uint32_t reverse(uint32_t value) {
  uint32_t turned = 0;
  for (int bit = 0; bit < 32; ++bit) turned |= (value >> bit & 1) << (31 - bit);
  return turned;
}

static uint32_t byteOf(uint64_t both, int k) {
  return both >> (8 * k) & 0xff;
}

// The same for the 32 values of a warp, without a GPU.
static void askHost(const uint32_t (&values)[32], uint32_t (&results)[32]) {
  uint32_t odd = 0, sum = 0, greatest = 0, mixed = 0, chosen = 0, set = 0;
  for (int lane = 0; lane < 32; ++lane) {
    const uint32_t value = values[lane];
    odd |= (value & 1) << lane;
    sum += value;
    greatest = value > greatest ? value : greatest;
    mixed ^= value;
    if (value & 4) chosen |= 1u << lane;
    set += value >> 31;
  }
  for (int lane = 0; lane < 32; ++lane) {
    const uint32_t value = values[lane];
    uint32_t same = 0;
    for (int k = 0; k < 32; ++k) same |= uint32_t{(values[k] & 3) == (value & 3)} << k;
    const uint64_t pair = uint64_t{greatest} << 32 | sum;
    const uint64_t bytes = uint64_t{values[value % 32]} << 32 | mixed;
    uint32_t& result = results[lane];
    result = odd ^ same * 3 ^ static_cast<uint32_t>(pair << lane >> 32);
    result +=
        byteOf(bytes, 5) | byteOf(bytes, 1) << 8 | byteOf(bytes, 7) << 16 | byteOf(bytes, 3) << 24;
    result += reverse(values[lane ^ 31]) + __builtin_popcount(same) + (set == 0 || set == 32);
    for (int k = 0; k < 4; ++k) result += byteOf(value, k) * byteOf(odd, k);
  }
  if (chosen == 0) return;
  const uint32_t first = results[__builtin_ctz(chosen)] + __builtin_clz(chosen);
  for (int lane = 0; lane < 32; ++lane) {
    if (chosen >> lane & 1) results[lane] ^= first;
  }
}

int main(int argc, char** argv) {
  const int size = sample::argument(argc, argv, 1, "SIZE", 100000, 1, 1 << 26);
  sample::noMoreArguments(argc, argv, 1);

  std::vector<uint32_t> values(size), results(size);
  for (int i = 0; i < size; ++i) values[i] = sample::mixed(i);
  const size_t bytes = size * sizeof(uint32_t);
  uint32_t *device_values, *device_results;
  CHECK_CUDA(cudaMalloc(&device_values, bytes));
  CHECK_CUDA(cudaMalloc(&device_results, bytes));
  CHECK_CUDA(cudaMemcpy(device_values, values.data(), bytes, cudaMemcpyHostToDevice));
  CHECK_CUDA(cudaMemset(device_results, 0, bytes));
  askWarp<<<(size + kThreads - 1) / kThreads, kThreads>>>(device_values, device_results, size);
  CHECK_CUDA(cudaGetLastError());
  CHECK_CUDA(cudaMemcpy(results.data(), device_results, bytes, cudaMemcpyDeviceToHost));
  CHECK_CUDA(cudaFree(device_values));
  CHECK_CUDA(cudaFree(device_results));

  for (int begin = 0; begin < size; begin += 32) {
    uint32_t warp[32] = {}, expected[32];
    for (int k = 0; k < 32 && begin + k < size; ++k) warp[k] = values[begin + k];
    askHost(warp, expected);
    for (int k = 0; k < 32 && begin + k < size; ++k) {
      if (results[begin + k] == expected[k]) continue;
      std::printf("warpFunctions: element %d of %d is %u; it must be %u: wrong\n", begin + k, size,
                  results[begin + k], expected[k]);
      return sample::kWrong;
    }
  }
  std::printf("warpFunctions: %d numbers, checksum %016llx: right\n", size,
              static_cast<unsigned long long>(sample::checksum(results.data(), bytes)));
  return sample::kRight;
}
