// Copies data of several kinds to the device and back, and prints how fast: what compression is
// worth on a network. Run by bench/links.py under farwarp run; prints one line of JSON per kind.
//
// link_bench MIB TEXT_FILE
#include <cuda.h>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

namespace {

using Bytes = std::vector<char>;

void check(CUresult result, const char* call) {
  if (result == CUDA_SUCCESS) return;
  std::fprintf(stderr, "%s failed with %d.\n", call, static_cast<int>(result));
  std::exit(1);
}

template <typename T, typename Make>
Bytes numbers(size_t bytes, Make make) {
  Bytes out(bytes);
  for (size_t i = 0; i + sizeof(T) <= bytes; i += sizeof(T)) {
    const T value = make();
    std::memcpy(&out[i], &value, sizeof(T));
  }
  return out;
}

struct Kind {
  const char* name;
  Bytes data;
};

std::vector<Kind> kinds(size_t bytes, const char* text_file) {
  std::mt19937 random(1);
  std::normal_distribution<float> weight(0, 0.02f);
  const auto word = [&] { return static_cast<uint32_t>(random()); };
  std::vector<Kind> all;
  all.push_back({"bf16 weights", numbers<uint16_t>(bytes, [&] {
                   const float value = weight(random);
                   uint32_t whole;
                   std::memcpy(&whole, &value, sizeof(whole));
                   return static_cast<uint16_t>((whole + 0x8000) >> 16);
                 })});
  all.push_back({"fp16 weights",
                 numbers<_Float16>(bytes, [&] { return static_cast<_Float16>(weight(random)); })});
  all.push_back({"fp32 weights", numbers<float>(bytes, [&] { return weight(random); })});
  all.push_back({"sparse fp32, 90% zero",
                 numbers<float>(bytes, [&] { return word() % 10 == 0 ? weight(random) : 0.0f; })});
  all.push_back({"int32 below 50000", numbers<uint32_t>(bytes, [&] { return word() % 50000; })});
  all.push_back({"int64 ids", numbers<uint64_t>(bytes, [&] { return uint64_t{word() % 50000}; })});
  std::ifstream file(text_file, std::ios::binary);
  Bytes text{std::istreambuf_iterator<char>(file), {}};
  if (!text.empty()) {
    const size_t once = text.size();
    while (text.size() < bytes) text.insert(text.end(), text.begin(), text.begin() + once);
    text.resize(bytes);
    all.push_back({"source text", std::move(text)});
  }
  all.push_back({"random bytes", numbers<uint32_t>(bytes, word)});
  all.push_back({"zeros", Bytes(bytes)});
  return all;
}

template <typename Copy>
double bytesPerSecond(size_t bytes, Copy copy) {
  const auto begin = std::chrono::steady_clock::now();
  check(copy(), "the copy");
  const std::chrono::duration<double> time = std::chrono::steady_clock::now() - begin;
  return static_cast<double>(bytes) / time.count();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: link_bench MIB TEXT_FILE\n");
    return 2;
  }
  const size_t bytes = std::strtoull(argv[1], nullptr, 10) << 20;
  CUdevice device;
  CUcontext context;
  CUdeviceptr memory;
  check(cuInit(0), "cuInit");
  check(cuDeviceGet(&device, 0), "cuDeviceGet");
  check(cuDevicePrimaryCtxRetain(&context, device), "cuDevicePrimaryCtxRetain");
  check(cuCtxSetCurrent(context), "cuCtxSetCurrent");
  check(cuMemAlloc_v2(&memory, bytes), "cuMemAlloc");
  Bytes back(bytes);
  // The network is measured on the way: both directions begin with some bytes that nobody counts.
  const Bytes noise = numbers<uint32_t>(std::min<size_t>(bytes, 16u << 20), std::mt19937(2));
  check(cuMemcpyHtoD_v2(memory, noise.data(), noise.size()), "cuMemcpyHtoD");
  check(cuMemcpyDtoH_v2(back.data(), memory, noise.size()), "cuMemcpyDtoH");
  for (const Kind& kind : kinds(bytes, argv[2])) {
    const double there =
        bytesPerSecond(bytes, [&] { return cuMemcpyHtoD_v2(memory, kind.data.data(), bytes); });
    check(cuCtxSynchronize(), "cuCtxSynchronize");
    const double here =
        bytesPerSecond(bytes, [&] { return cuMemcpyDtoH_v2(back.data(), memory, bytes); });
    if (back != kind.data) {
      std::fprintf(stderr, "%s came back changed.\n", kind.name);
      return 1;
    }
    std::printf("{\"kind\": \"%s\", \"to_device\": %.0f, \"to_host\": %.0f}\n", kind.name, there,
                here);
    std::fflush(stdout);
  }
  return 0;
}
