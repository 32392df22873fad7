// Goal: NVIDIA's parallel algorithms (CUB, thrust) and libcu++ give on this device what the host
// computes. Method: each algorithm runs over 10^6 elements of a fixed pseudo-random sequence, and
// its whole result is compared with the same algorithm of the C++ standard library, or a plain
// loop. Prints one line for each algorithm, "equal" or where the first difference is, and ends with
// the number of those that differ.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <numeric>
#include <random>
#include <vector>

#include <thrust/device_vector.h>
#include <thrust/reduce.h>
#include <thrust/scan.h>
#include <thrust/sort.h>
#include <cub/device/device_histogram.cuh>
#include <cub/device/device_merge.cuh>
#include <cub/device/device_radix_sort.cuh>
#include <cub/device/device_reduce.cuh>
#include <cub/device/device_scan.cuh>
#include <cub/device/device_select.cuh>
#include <cuda/atomic>

namespace {

constexpr int kCount = 1'000'000;
constexpr int kBins = 100;

void check(cudaError_t result, const char* what) {
  if (result == cudaSuccess) return;
  std::printf("%s: %s\n", what, cudaGetErrorString(result));
  std::exit(2);
}

// An array in device memory; copies wait for the device.
template <typename T>
class Array {
 public:
  explicit Array(size_t count) : count_(count) {
    check(cudaMalloc(&data_, count * sizeof(T)), "cudaMalloc");
  }
  explicit Array(const std::vector<T>& host) : Array(host.size()) {
    check(cudaMemcpy(data_, host.data(), count_ * sizeof(T), cudaMemcpyDefault), "cudaMemcpy");
  }
  Array(const Array&) = delete;
  ~Array() { cudaFree(data_); }

  T* data() { return data_; }
  std::vector<T> host(size_t count) {
    std::vector<T> copy(count);
    check(cudaMemcpy(copy.data(), data_, count * sizeof(T), cudaMemcpyDefault), "cudaMemcpy");
    return copy;
  }
  std::vector<T> host() { return host(count_); }

 private:
  T* data_ = nullptr;
  size_t count_;
};

// Calls a CUB algorithm as it wants to be called: once for the size of its memory, and once to run.
template <typename Algorithm>
void runCub(const char* name, Algorithm algorithm) {
  size_t bytes = 0;
  check(algorithm(nullptr, bytes), name);
  Array<char> memory(std::max<size_t>(bytes, 1));
  check(algorithm(memory.data(), bytes), name);
  check(cudaDeviceSynchronize(), name);
}

int differences = 0;

template <typename T>
void compare(const char* name, const std::vector<T>& got, const std::vector<T>& wanted) {
  auto [at, other] = std::mismatch(got.begin(), got.end(), wanted.begin(), wanted.end());
  bool equal = at == got.end() && other == wanted.end();
  std::printf("%s: ", name);
  if (equal)
    std::printf("equal\n");
  else
    std::printf("%zu elements, not %zu; differs from element %td\n", got.size(), wanted.size(),
                at - got.begin());
  differences += !equal;
}

struct IsOdd {
  __host__ __device__ bool operator()(uint32_t value) const { return value % 2 != 0; }
};

__global__ void countMultiples(const uint32_t* values, int count, uint32_t* multiples) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= count || values[i] % 3 != 0) return;
  cuda::atomic_ref<uint32_t, cuda::thread_scope_device>(*multiples)
      .fetch_add(1, cuda::std::memory_order_relaxed);
}

void testSort(const std::vector<uint32_t>& values) {
  Array<uint32_t> in(values), out(kCount);
  runCub("cub radix sort", [&](void* memory, size_t& bytes) {
    return cub::DeviceRadixSort::SortKeys(memory, bytes, in.data(), out.data(), kCount);
  });
  std::vector<uint32_t> sorted = values;
  std::sort(sorted.begin(), sorted.end());
  compare("cub radix sort", out.host(), sorted);

  std::vector<int> order(kCount);
  std::iota(order.begin(), order.end(), 0);
  thrust::device_vector<uint32_t> keys = values;
  thrust::device_vector<int> positions = order;
  thrust::stable_sort_by_key(keys.begin(), keys.end(), positions.begin(),
                             thrust::greater<uint32_t>());
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return values[a] > values[b]; });
  std::vector<int> got(kCount);
  thrust::copy(positions.begin(), positions.end(), got.begin());
  compare("thrust stable sort by key", got, order);
}

void testScan(const std::vector<uint32_t>& values) {
  Array<uint32_t> in(values), out(kCount);
  runCub("cub exclusive sum", [&](void* memory, size_t& bytes) {
    return cub::DeviceScan::ExclusiveSum(memory, bytes, in.data(), out.data(), kCount);
  });
  std::vector<uint32_t> sums(kCount);
  std::exclusive_scan(values.begin(), values.end(), sums.begin(), 0u);
  compare("cub exclusive sum", out.host(), sums);

  thrust::device_vector<uint32_t> maxima = values;
  thrust::inclusive_scan(maxima.begin(), maxima.end(), maxima.begin(), thrust::maximum<uint32_t>());
  std::inclusive_scan(values.begin(), values.end(), sums.begin(),
                      [](uint32_t a, uint32_t b) { return std::max(a, b); });
  std::vector<uint32_t> got(kCount);
  thrust::copy(maxima.begin(), maxima.end(), got.begin());
  compare("thrust inclusive maximum", got, sums);
}

void testReduceByKey(const std::vector<uint32_t>& values) {
  std::vector<int> keys(kCount);
  for (int i = 1; i < kCount; ++i) keys[i] = keys[i - 1] + (values[i] % 7 == 0);
  std::vector<int> distinct = keys;
  distinct.erase(std::unique(distinct.begin(), distinct.end()), distinct.end());
  std::vector<uint64_t> sums(distinct.size()), wide(values.begin(), values.end());
  for (int i = 0; i < kCount; ++i) sums[keys[i]] += wide[i];

  Array<int> in(keys), unique(kCount), runs(1);
  Array<uint64_t> numbers(wide), out(kCount);
  runCub("cub reduce by key", [&](void* memory, size_t& bytes) {
    return cub::DeviceReduce::ReduceByKey(memory, bytes, in.data(), unique.data(), numbers.data(),
                                          out.data(), runs.data(), cuda::std::plus<>{}, kCount);
  });
  size_t count = runs.host()[0];
  compare("cub reduce by key, keys", unique.host(std::min<size_t>(count, kCount)), distinct);
  compare("cub reduce by key, sums", out.host(std::min<size_t>(count, kCount)), sums);

  thrust::device_vector<int> all = keys, left(kCount);
  thrust::device_vector<uint64_t> added = wide, total(kCount);
  auto ends =
      thrust::reduce_by_key(all.begin(), all.end(), added.begin(), left.begin(), total.begin());
  std::vector<uint64_t> got(ends.second - total.begin());
  thrust::copy(total.begin(), ends.second, got.begin());
  compare("thrust reduce by key", got, sums);
}

void testSelect(const std::vector<uint32_t>& values) {
  Array<uint32_t> in(values), out(kCount);
  Array<int> selected(1);
  runCub("cub select", [&](void* memory, size_t& bytes) {
    return cub::DeviceSelect::If(memory, bytes, in.data(), out.data(), selected.data(), kCount,
                                 IsOdd{});
  });
  std::vector<uint32_t> odd;
  std::copy_if(values.begin(), values.end(), std::back_inserter(odd), IsOdd{});
  compare("cub select", out.host(selected.host()[0]), odd);
}

void testHistogram(const std::vector<uint32_t>& values) {
  std::vector<float> samples(values.begin(), values.end());
  const float width = 4294967296.0f / kBins;
  std::vector<int> counts(kBins);
  for (float& sample : samples) {
    sample = std::floor(sample / width) +
             0.5f;  // in the middle of a bin, so that rounding decides nothing
    ++counts[std::min(kBins - 1, static_cast<int>(sample))];
    sample = std::min(sample, kBins - 0.5f);
  }
  Array<float> in(samples);
  Array<int> out(kBins);
  runCub("cub histogram", [&](void* memory, size_t& bytes) {
    return cub::DeviceHistogram::HistogramEven(memory, bytes, in.data(), out.data(), kBins + 1,
                                               0.0f, static_cast<float>(kBins), kCount);
  });
  compare("cub histogram", out.host(), counts);
}

void testMerge(const std::vector<uint32_t>& values) {
  std::vector<uint32_t> first(values.begin(), values.begin() + kCount / 3);
  std::vector<uint32_t> second(values.begin() + kCount / 3, values.end()), merged(kCount);
  std::sort(first.begin(), first.end());
  std::sort(second.begin(), second.end());
  std::merge(first.begin(), first.end(), second.begin(), second.end(), merged.begin());
  Array<uint32_t> a(first), b(second), out(kCount);
  runCub("cub merge", [&](void* memory, size_t& bytes) {
    return cub::DeviceMerge::MergeKeys(memory, bytes, a.data(), static_cast<int>(first.size()),
                                       b.data(), static_cast<int>(second.size()), out.data());
  });
  compare("cub merge", out.host(), merged);
}

void testAtomic(const std::vector<uint32_t>& values) {
  Array<uint32_t> in(values), out(std::vector<uint32_t>{0});
  countMultiples<<<(kCount + 255) / 256, 256>>>(in.data(), kCount, out.data());
  check(cudaDeviceSynchronize(), "cuda::atomic_ref");
  auto multiples =
      std::count_if(values.begin(), values.end(), [](uint32_t v) { return v % 3 == 0; });
  compare("cuda::atomic_ref", out.host(), {static_cast<uint32_t>(multiples)});
}

}  // namespace

int main() {
  std::mt19937 random(20251120);
  std::vector<uint32_t> values(kCount);
  for (uint32_t& value : values) value = static_cast<uint32_t>(random());
  testSort(values);
  testScan(values);
  testReduceByKey(values);
  testSelect(values);
  testHistogram(values);
  testMerge(values);
  testAtomic(values);
  return differences;
}
