// Millions of mixed calls and many bytes in one session, with every result checked: a program of
// the driver API, to be run by `farwarp run`. bench/soak.py starts it and watches the memory.
//
//   soak_program CALLS GIB SEED
//
// Prints a line of JSON now and then and one at the end. Ends with 1 and a sentence when a result
// is wrong.
#include <cuda.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <vector>

namespace {

constexpr char kPtx[] = R"(
.version 7.0
.target sm_70
.address_size 64
.visible .entry addOne(.param .u64 counter_) {
  .reg .u64 %c; .reg .u32 %v;
  ld.param.u64 %c, [counter_];
  ld.global.u32 %v, [%c]; add.u32 %v, %v, 1; st.global.u32 [%c], %v;
  ret;
}
)";

constexpr size_t kCopyBytesMax = 16u << 20;
constexpr size_t kSmallBytes = 256;
constexpr int kStreams = 4;

void check(CUresult result, const char* call) {
  if (result == CUDA_SUCCESS) return;
  std::fprintf(stderr, "%s gave CUresult %d.\n", call, static_cast<int>(result));
  std::exit(1);
}
#define CHECK(call) check(call, #call)

[[noreturn]] void wrong(const char* what) {
  std::fprintf(stderr, "Wrong: %s.\n", what);
  std::exit(1);
}

class Soak {
 public:
  Soak(uint64_t calls, uint64_t bytes, uint32_t seed)
      : calls_max_(calls), bytes_max_(bytes), random_(seed) {}

  void run() {
    open();
    const auto start = std::chrono::steady_clock::now();
    uint64_t said = 0;
    // Calls and bytes advance together, so that both kinds meet all along.
    while (calls_ < calls_max_ || bytes_ < bytes_max_) {
      const double calls_done = static_cast<double>(calls_) / static_cast<double>(calls_max_ + 1);
      const double bytes_done = static_cast<double>(bytes_) / static_cast<double>(bytes_max_ + 1);
      if (calls_done <= bytes_done) {
        for (int i = 0; i < 1000; ++i) smallCall();
        if (++rounds_ % 16 == 0) checkCounter();
      } else {
        copy();
      }
      const uint64_t percent = static_cast<uint64_t>(100 * std::min(calls_done, bytes_done));
      if (percent > said) {
        said = percent;
        tell(start);
      }
    }
    checkCounter();
    tell(start);
  }

 private:
  void open() {
    CHECK(cuInit(0));
    CUcontext context = nullptr;
    CHECK(cuDevicePrimaryCtxRetain(&context, 0));
    CHECK(cuCtxSetCurrent(context));
    CUmodule module = nullptr;
    CHECK(cuModuleLoadData(&module, kPtx));
    CHECK(cuModuleGetFunction(&kernel_, module, "addOne"));
    CHECK(cuMemAlloc_v2(&memory_, kCopyBytesMax));
    CHECK(cuMemAlloc_v2(&other_, kCopyBytesMax));
    CHECK(cuMemAlloc_v2(&small_, kSmallBytes));
    CHECK(cuMemAlloc_v2(&counter_, 4));
    CHECK(cuMemsetD32_v2(counter_, 0, 1));
    for (CUstream& stream : streams_) CHECK(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    CHECK(cuEventCreate(&event_, CU_EVENT_DISABLE_TIMING));
    from_.resize(kCopyBytesMax);
    to_.resize(kCopyBytesMax);
    for (auto& byte : from_) byte = static_cast<unsigned char>(random_());
  }

  void smallCall() {
    ++calls_;
    const uint32_t dice = random_() % 1000;
    CUstream stream = streams_[random_() % kStreams];
    if (dice < 300) {
      void* params[] = {&counter_};
      CHECK(cuLaunchKernel(kernel_, 1, 1, 1, 1, 1, 1, 0, nullptr, params, nullptr));
      ++launched_;
    } else if (dice < 500) {
      CHECK(cuEventRecord(event_, stream));
    } else if (dice < 700) {
      CHECK(cuStreamWaitEvent(stream, event_, 0));
    } else if (dice < 850) {
      CHECK(cuMemsetD8Async(small_, static_cast<unsigned char>(dice), kSmallBytes, stream));
    } else if (dice < 950) {
      CHECK(cuMemcpyHtoDAsync_v2(small_, from_.data(), kSmallBytes, stream));
    } else if (dice < 970) {
      CUstream made = nullptr;
      CHECK(cuStreamCreate(&made, CU_STREAM_NON_BLOCKING));
      CHECK(cuStreamDestroy_v2(made));
    } else if (dice < 990) {
      CUevent made = nullptr;
      CHECK(cuEventCreate(&made, CU_EVENT_DEFAULT));
      CHECK(cuEventDestroy_v2(made));
    } else if (dice < 995) {
      CUdeviceptr made = 0;
      CHECK(cuMemAlloc_v2(&made, 1 + random_() % 100000));
      CHECK(cuMemFree_v2(made));
    } else {
      CHECK(cuStreamSynchronize(stream));
    }
  }

  // There, across and back; every byte is compared.
  void copy() {
    static constexpr size_t kSizes[] = {100,    5000,     65536,   65537,
                                        300001, 1u << 20, 4000003, kCopyBytesMax};
    const size_t bytes = kSizes[random_() % std::size(kSizes)];
    const size_t shift = random_() % 64 < 48 ? 0 : random_() % 8;
    const size_t count = bytes - shift;
    const uint64_t mark = ++copies_;
    std::memcpy(from_.data() + shift, &mark, sizeof(mark));
    std::memcpy(from_.data() + shift + count - sizeof(mark), &mark, sizeof(mark));
    CHECK(cuMemcpyHtoD_v2(memory_, from_.data() + shift, count));
    CHECK(cuMemcpyDtoD_v2(other_, memory_, count));
    CHECK(cuMemcpyDtoH_v2(to_.data() + shift, other_, count));
    if (std::memcmp(to_.data() + shift, from_.data() + shift, count) != 0) {
      wrong("the bytes of a copy there and back");
    }
    bytes_ += 2 * count;
    calls_ += 3;
  }

  void checkCounter() {
    uint32_t seen = 0;
    CHECK(cuMemcpyDtoH_v2(&seen, counter_, sizeof(seen)));
    if (seen != static_cast<uint32_t>(launched_)) wrong("the number of launches that ran");
  }

  void tell(std::chrono::steady_clock::time_point start) const {
    const double seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    std::printf(
        "{\"calls\": %llu, \"launches\": %llu, \"copies\": %llu, \"bytes\": %llu, "
        "\"seconds\": %.1f}\n",
        static_cast<unsigned long long>(calls_), static_cast<unsigned long long>(launched_),
        static_cast<unsigned long long>(copies_), static_cast<unsigned long long>(bytes_), seconds);
    std::fflush(stdout);
  }

  const uint64_t calls_max_, bytes_max_;
  std::mt19937 random_;
  uint64_t calls_ = 0, launched_ = 0, copies_ = 0, bytes_ = 0, rounds_ = 0;
  CUfunction kernel_ = nullptr;
  CUdeviceptr memory_ = 0, other_ = 0, small_ = 0, counter_ = 0;
  CUstream streams_[kStreams] = {};
  CUevent event_ = nullptr;
  std::vector<unsigned char> from_, to_;
};

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) {
    std::fprintf(stderr, "usage: %s CALLS GIB SEED\n", argv[0]);
    return 2;
  }
  const double gib = std::atof(argv[2]);
  Soak(std::strtoull(argv[1], nullptr, 10), static_cast<uint64_t>(gib * (1u << 30)),
       static_cast<uint32_t>(std::atoi(argv[3])))
      .run();
  return 0;
}
