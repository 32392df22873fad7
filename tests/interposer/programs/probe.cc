// Makes the driver calls that its arguments name, one after the other, and prints "word result" for
// each. Loads the driver by the name in PROBE_LIBRARY (default libcuda.so.1), as programs do; with
// PROBE_LINKED, for sanitizers, the client is part of the program.
#include <cuda.h>
#include <dlfcn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

namespace {

#ifdef PROBE_LINKED
#define CALL(function, ...) ::function(__VA_ARGS__)
#else
void* library = nullptr;

template <typename Function>
Function* driver(const char* name) {
  void* found = dlsym(library, name);
  if (found == nullptr) {
    std::printf("%s is missing\n", name);
    std::exit(9);
  }
  return reinterpret_cast<Function*>(found);
}
#define CALL(function, ...) driver<decltype(::function)>(#function)(__VA_ARGS__)
#endif

CUcontext context = nullptr;
CUdeviceptr memory = 0;
constexpr size_t kBytes = 1 << 20;

int roundTrip(size_t bytes) {
  std::vector<unsigned char> out(bytes), in(bytes);
  for (size_t i = 0; i < bytes; ++i) out[i] = static_cast<unsigned char>(i * 7 + i / 251);
  if (CUresult r = CALL(cuMemcpyHtoD_v2, memory, out.data(), bytes); r != CUDA_SUCCESS) return r;
  if (CUresult r = CALL(cuMemcpyDtoH_v2, in.data(), memory, bytes); r != CUDA_SUCCESS) return r;
  return in == out ? CUDA_SUCCESS : -1;
}

int forkAndCall() {
  std::fflush(stdout);
  const pid_t child = fork();
  if (child == 0) {
    int count = 0;
    size_t free_bytes = 0, total = 0;
    const int first = CALL(cuDeviceGetCount, &count);
    const int second = CALL(cuMemGetInfo_v2, &free_bytes, &total);
    _exit(first == second ? first : 99);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

// A child that is forked before the first CUDA call of its parent initialises as any program.
int forkAndInit() {
  std::fflush(stdout);
  const pid_t child = fork();
  if (child == 0) _exit(CALL(cuInit, 0));
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

int manyThreads() {
  constexpr int kThreads = 8, kRounds = 200;
  std::vector<std::thread> threads;
  std::vector<int> results(kThreads, 0);
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      int& result = results[t];
      result = CALL(cuCtxSetCurrent, context);
      for (int i = 0; i < kRounds && result == 0; ++i) {
        CUdeviceptr own = 0;
        CUstream stream = nullptr;
        unsigned int value = 0;
        const unsigned int want = t * kRounds + i;
        if ((result = CALL(cuMemAlloc_v2, &own, 4)) != 0) break;
        if ((result = CALL(cuStreamCreate, &stream, CU_STREAM_NON_BLOCKING)) != 0) break;
        if ((result = CALL(cuMemsetD32Async, own, want, 1, stream)) != 0) break;
        if ((result = CALL(cuStreamSynchronize, stream)) != 0) break;
        if ((result = CALL(cuMemcpyDtoH_v2, &value, own, 4)) != 0) break;
        if (value != want) result = -1;
        if (result == 0) result = CALL(cuStreamDestroy_v2, stream);
        if (result == 0) result = CALL(cuMemFree_v2, own);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (int result : results) {
    if (result != 0) return result;
  }
  return 0;
}

int waitForLine() {
  std::printf("ready\n");
  std::fflush(stdout);
  char line[16];
  return std::fgets(line, sizeof(line), stdin) == nullptr;
}

// Sixteen pinned downloads behind one another, placed by the time the stream was waited for.
int pinnedDownloads() {
  constexpr int kCopies = 16;
  constexpr size_t kPart = 128 << 10;
  unsigned char* host = nullptr;
  CUdeviceptr device = 0;
  CUstream stream = nullptr;
  if (int r = CALL(cuMemAllocHost_v2, reinterpret_cast<void**>(&host), kCopies * kPart)) return r;
  if (int r = CALL(cuMemAlloc_v2, &device, kPart)) return r;
  if (int r = CALL(cuStreamCreate, &stream, CU_STREAM_NON_BLOCKING)) return r;
  std::memset(host, 0xff, kCopies * kPart);
  for (int i = 0; i < kCopies; ++i) {
    if (int r = CALL(cuMemsetD8Async, device, i + 1, kPart, stream)) return r;
    if (int r = CALL(cuMemcpyDtoHAsync_v2, host + i * kPart, device, kPart, stream)) return r;
  }
  if (int r = CALL(cuStreamSynchronize, stream)) return r;
  for (size_t i = 0; i < kCopies * kPart; ++i) {
    if (host[i] != i / kPart + 1) return -1;
  }
  // What a copy has brought is what the next one takes along.
  if (int r = CALL(cuMemsetD8Async, device, 77, kPart, stream)) return r;
  if (int r = CALL(cuMemcpyDtoHAsync_v2, host, device, kPart, stream)) return r;
  if (int r = CALL(cuMemcpyHtoDAsync_v2, device, host, kPart, stream)) return r;
  unsigned char last = 0;
  if (int r = CALL(cuMemcpyDtoH_v2, &last, device + kPart - 1, 1)) return r;
  if (last != 77) return -2;
  if (int r = CALL(cuMemFreeHost, host)) return r;
  return CALL(cuMemFree_v2, device);
}

// A thread that downloads into pinned memory finds the bytes there when its stream was waited for,
// also when gpud told another thread, which makes waiting calls all the time, that the download is
// complete.
int downloadsBesideOtherWaits() {
  constexpr int kRounds = 300;
  constexpr size_t kPart = 64 << 10;
  std::atomic<bool> stop{false};
  std::thread other([&] {
    CALL(cuCtxSetCurrent, context);
    while (!stop) {
      size_t free_bytes = 0, total = 0;
      CALL(cuMemGetInfo_v2, &free_bytes, &total);
    }
  });
  unsigned char* host = nullptr;
  CUdeviceptr device = 0;
  CUstream stream = nullptr;
  int result = CALL(cuMemAllocHost_v2, reinterpret_cast<void**>(&host), kPart);
  if (result == 0) result = CALL(cuMemAlloc_v2, &device, kPart);
  if (result == 0) result = CALL(cuStreamCreate, &stream, CU_STREAM_NON_BLOCKING);
  for (int i = 0; i < kRounds && result == 0; ++i) {
    const auto value = static_cast<unsigned char>(i + 1);
    if ((result = CALL(cuMemsetD8Async, device, value, kPart, stream)) != 0) break;
    if ((result = CALL(cuMemcpyDtoHAsync_v2, host, device, kPart, stream)) != 0) break;
    if ((result = CALL(cuStreamSynchronize, stream)) != 0) break;
    if (host[0] != value || host[kPart - 1] != value) result = -1;
  }
  stop = true;
  other.join();
  if (result == 0) result = CALL(cuMemFreeHost, host);
  return result;
}

// Calls that go wrong must do so at the call, and the session must go on.
int badCalls() {
  struct Case {
    const char* what;
    int got, want;
  };
  CUdeviceptr inside = memory + 16;
  char host = 0;
  auto stale = reinterpret_cast<CUstream>(0x0200000100000001ull + 100);
  const Case cases[] = {
      {"free inside", CALL(cuMemFree_v2, inside), CUDA_ERROR_INVALID_VALUE},
      {"copy past the end", CALL(cuMemcpyHtoD_v2, memory + kBytes - 1, &inside, 2),
       CUDA_ERROR_INVALID_VALUE},
      {"null source", CALL(cuMemcpyHtoD_v2, memory, nullptr, 2), CUDA_ERROR_INVALID_VALUE},
      {"no stream", CALL(cuStreamSynchronize, stale), CUDA_ERROR_INVALID_HANDLE},
      {"a pointer as stream", CALL(cuStreamQuery, reinterpret_cast<CUstream>(&host)),
       CUDA_ERROR_INVALID_HANDLE},
      {"empty allocation", CALL(cuMemAlloc_v2, &inside, 0), CUDA_ERROR_INVALID_VALUE},
      {"no kernel", CALL(cuLaunchKernel, nullptr, 1, 1, 1, 1, 1, 1, 0, nullptr, nullptr, nullptr),
       CUDA_ERROR_INVALID_HANDLE},
      {"no such context", CALL(cuCtxSetCurrent, reinterpret_cast<CUcontext>(&host)),
       CUDA_ERROR_INVALID_CONTEXT},
      {"not an image", CALL(cuModuleLoadData, reinterpret_cast<CUmodule*>(&inside), "no image"),
       CUDA_ERROR_INVALID_IMAGE},
      {"unsupported", CALL(cuGraphicsUnregisterResource, nullptr), CUDA_ERROR_NOT_SUPPORTED},
      {"and on it goes", roundTrip(1000), CUDA_SUCCESS},
  };
  int wrong = 0;
  for (const Case& one : cases) {
    if (one.got == one.want) continue;
    std::printf("%s: %d instead of %d\n", one.what, one.got, one.want);
    ++wrong;
  }
  return wrong;
}

int run(const std::string& word) {
  int value = 0;
  size_t size = 0, total = 0;
  if (word == "init") return CALL(cuInit, 0);
  if (word == "version") return CALL(cuDriverGetVersion, &value) * 100000 + value;
  if (word == "count") return CALL(cuDeviceGetCount, &value);
  if (word == "ctx") {
    const int result = CALL(cuDevicePrimaryCtxRetain, &context, 0);
    return result != 0 ? result : CALL(cuCtxSetCurrent, context);
  }
  if (word == "alloc") return CALL(cuMemAlloc_v2, &memory, kBytes);
  if (word == "free") return CALL(cuMemFree_v2, memory);
  if (word == "set") return CALL(cuMemsetD8_v2, memory, 1, kBytes);
  if (word == "sync") return CALL(cuCtxSynchronize);
  if (word == "info") return CALL(cuMemGetInfo_v2, &size, &total);
  if (word == "small") return roundTrip(1000);
  if (word == "large") return roundTrip(kBytes);
  if (word == "pinned") return pinnedDownloads();
  if (word == "beside") return downloadsBesideOtherWaits();
  if (word == "bad") return badCalls();
  if (word == "reset") return CALL(cuDevicePrimaryCtxReset_v2, 0);
  if (word == "release") return CALL(cuDevicePrimaryCtxRelease_v2, 0);
  if (word == "threads") return manyThreads();
  if (word == "fork") return forkAndCall();
  if (word == "forkinit") return forkAndInit();
  if (word == "wait") return waitForLine();
  std::printf("no such word: %s\n", word.c_str());
  std::exit(9);
}

// Destroyed after main: global objects of CUDA programs free their memory there.
struct Late {
  ~Late() {
    if (context == nullptr || std::getenv("PROBE_LATE") == nullptr) return;
    const int copied = roundTrip(1000);
    std::printf("late %d %d\n", copied, CALL(cuMemFree_v2, memory));
  }
} late;

// Runs after every destructor of the program, as the runtimes in shared libraries do.
__attribute__((destructor)) void afterEverything() {
  if (context == nullptr || std::getenv("PROBE_LATE") == nullptr) return;
  std::fprintf(stderr, "later %d\n", CALL(cuDevicePrimaryCtxRelease_v2, 0));
}

}  // namespace

int main(int argc, char** argv) {
#ifndef PROBE_LINKED
  const char* name = std::getenv("PROBE_LIBRARY");
  library = dlopen(name == nullptr ? "libcuda.so.1" : name, RTLD_NOW);
  if (library == nullptr) {
    std::printf("%s\n", dlerror());
    return 8;
  }
#endif
  for (int i = 1; i < argc; ++i) {
    const int result = run(argv[i]);
    std::printf("%s %d\n", argv[i], result);
    std::fflush(stdout);
  }
}
