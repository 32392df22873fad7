// Arithmetic in the formats that GPUs have, each result turned into a whole number that is known:
// half, bfloat16, 8-bit floating point, double with one rounding, roundings up and down, 128-bit
// integers, and four bytes in one register.
//
// usage: numberFormats [SIZE]
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_fp8.h>

#include <vector>

#include "sample.h"

constexpr int kThreads = 128;

struct Results {
  uint32_t half_fma, half_pair, bfloat16, float8;
  uint64_t double_fma, down, up;
  uint64_t product_high, sum_high;
  uint32_t bytes_added, bytes_apart;
};

__global__ void compute(const uint32_t* numbers, Results* results, int size) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= size) return;
  const uint32_t wide_a = numbers[i], wide_b = numbers[size + i];
  const int a = wide_a % 32, b = wide_b % 32;
  Results r;
  r.half_fma = __half2uint_rz(__hfma(__int2half_rn(a), __int2half_rn(b), __int2half_rn(1)));
  const half2 pair =
      __hmul2(__floats2half2_rn(a, b), __floats2half2_rn(2.0f, 3.0f));  // a * 2 and b * 3
  r.half_pair =
      static_cast<uint32_t>(__low2float(pair)) << 16 | static_cast<uint32_t>(__high2float(pair));
  r.bfloat16 = static_cast<uint32_t>(__bfloat162float(__float2bfloat16_rn(a * b)));
  r.float8 = static_cast<uint32_t>(static_cast<float>(__nv_fp8_e4m3(static_cast<float>(a))));
  const double product = fma(static_cast<double>(wide_a), static_cast<double>(wide_b), 1.0);
  r.double_fma = __double2ull_rz(product * 0x1p-1);  // half of it is below 2^64 in any case
  r.down = __double2ull_rz(__double2float_rd(static_cast<double>(wide_a)));
  r.up = __double2ull_rz(__double2float_ru(static_cast<double>(wide_a)));
  const uint64_t x = static_cast<uint64_t>(wide_a) << 32 | wide_b;
  r.product_high = __umul64hi(x, ~x);
  const auto sum = static_cast<unsigned __int128>(x) * 3 + ~x;
  r.sum_high = static_cast<uint64_t>(sum >> 32);
  r.bytes_added = __vadd4(wide_a, wide_b);
  r.bytes_apart = __vabsdiffu4(wide_a, wide_b);
  results[i] = r;
}

// `value` with its `bits` leading bits; up: 0 = down, 1 = up, 2 = to the nearest, ties to even.
static uint64_t rounded(unsigned __int128 value, int bits, int up) {
  int length = 0;
  while (value >> length != 0) ++length;
  if (length <= bits) return static_cast<uint64_t>(value);
  const int drop = length - bits;
  unsigned __int128 kept = value >> drop;
  const unsigned __int128 rest = value - (kept << drop), half = static_cast<unsigned __int128>(1)
                                                                << (drop - 1);
  if (up == 1 && rest != 0) ++kept;
  if (up == 2 && (rest > half || (rest == half && (kept & 1) != 0))) ++kept;
  return static_cast<uint64_t>(kept << drop);
}

static Results expectedOf(uint32_t wide_a, uint32_t wide_b) {
  const uint32_t a = wide_a % 32, b = wide_b % 32;
  Results r{};
  r.half_fma = a * b + 1;
  r.half_pair = a * 2 << 16 | b * 3;
  r.bfloat16 = static_cast<uint32_t>(rounded(a * b, 8, 2));
  r.float8 = static_cast<uint32_t>(rounded(a, 4, 2));
  const double product =
      static_cast<double>(static_cast<unsigned __int128>(wide_a) * wide_b + 1);  // rounds once
  r.double_fma = static_cast<uint64_t>(product * 0x1p-1);
  r.down = rounded(wide_a, 24, 0);
  r.up = rounded(wide_a, 24, 1);
  const uint64_t x = static_cast<uint64_t>(wide_a) << 32 | wide_b;
  r.product_high = static_cast<uint64_t>(static_cast<unsigned __int128>(x) * ~x >> 64);
  r.sum_high = static_cast<uint64_t>((static_cast<unsigned __int128>(x) * 3 + ~x) >> 32);
  for (int k = 0; k < 32; k += 8) {
    const uint32_t p = wide_a >> k & 0xff, q = wide_b >> k & 0xff;
    r.bytes_added |= (p + q & 0xff) << k;
    r.bytes_apart |= (p > q ? p - q : q - p) << k;
  }
  return r;
}

int main(int argc, char** argv) {
  const int size = sample::argument(argc, argv, 1, "SIZE", 20000, 1, 1 << 24);
  sample::noMoreArguments(argc, argv, 1);

  std::vector<uint32_t> numbers(2 * size);
  std::vector<Results> results(size);
  for (int i = 0; i < 2 * size; ++i) numbers[i] = sample::mixed(i);
  uint32_t* device_numbers;
  Results* device_results;
  CHECK_CUDA(cudaMalloc(&device_numbers, numbers.size() * sizeof(uint32_t)));
  CHECK_CUDA(cudaMalloc(&device_results, size * sizeof(Results)));
  CHECK_CUDA(cudaMemcpy(device_numbers, numbers.data(), numbers.size() * sizeof(uint32_t),
                        cudaMemcpyHostToDevice));
  compute<<<(size + kThreads - 1) / kThreads, kThreads>>>(device_numbers, device_results, size);
  CHECK_CUDA(cudaGetLastError());
  CHECK_CUDA(
      cudaMemcpy(results.data(), device_results, size * sizeof(Results), cudaMemcpyDeviceToHost));
  CHECK_CUDA(cudaFree(device_numbers));
  CHECK_CUDA(cudaFree(device_results));

  uint64_t folded = 0;
  for (int i = 0; i < size; ++i) {
    const Results& have = results[i];
    const Results want = expectedOf(numbers[i], numbers[size + i]);
    const uint64_t pairs[][2] = {
        {have.half_fma, want.half_fma},
        {have.half_pair, want.half_pair},
        {have.bfloat16, want.bfloat16},
        {have.float8, want.float8},
        {have.double_fma, want.double_fma},
        {have.down, want.down},
        {have.up, want.up},
        {have.product_high, want.product_high},
        {have.sum_high, want.sum_high},
        {have.bytes_added, want.bytes_added},
        {have.bytes_apart, want.bytes_apart},
    };
    for (const auto& pair : pairs) {
      folded = folded * 31 + pair[0];
      if (pair[0] == pair[1]) continue;
      std::printf("numberFormats: result %d of element %d is %llu; it must be %llu: wrong\n",
                  static_cast<int>(&pair - pairs), i, static_cast<unsigned long long>(pair[0]),
                  static_cast<unsigned long long>(pair[1]));
      return sample::kWrong;
    }
  }
  std::printf("numberFormats: %d numbers, folded %016llx: right\n", size,
              static_cast<unsigned long long>(folded));
  return sample::kRight;
}
