// Goal: none of the traps that remote CUDA is known for catches a program. Method: one test per
// trap, named after it, which does what programs do that were caught; test_pitfalls.py runs each
// in-process and through gpud and compares the results of all calls. Nothing depends on time: what
// must not be held up is waited for without a limit. The traps that need a process or a server of
// their own are in test_pitfalls.py.
#include <dlfcn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <cstring>
#include <mutex>
#include <thread>

#include "tests/conformance/conformance.h"
#include "tests/cpu_device/kernels_ptx.h"

namespace farwarp::conformance {
namespace {

// A host function that waits until it is let go.
class Gate {
 public:
  void enqueue(CUstream stream) {
    EXPECT_OK(cuLaunchHostFunc(
        stream, [](void* self) { static_cast<Gate*>(self)->wait(); }, this));
  }
  void open() {
    {
      const std::lock_guard lock(mutex_);
      open_ = true;
    }
    changed_.notify_all();
  }

 private:
  void wait() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return open_; });
  }
  std::mutex mutex_;
  std::condition_variable changed_;
  bool open_ = false;
};

class Pitfalls : public ConformanceTest {
 protected:
  CUfunction kernel(const char* name) {
    if (module_ == nullptr) {
      EXPECT_OK(cuModuleLoadData(&module_, cpu::kKernels));
    }
    CUfunction function = nullptr;
    EXPECT_OK(cuModuleGetFunction(&function, module_, name));
    return function;
  }
  CUstream stream(unsigned flags) {
    CUstream stream = nullptr;
    EXPECT_OK(cuStreamCreate(&stream, flags));
    return stream;
  }
  // *at = value, in `stream`.
  void store(CUdeviceptr at, unsigned value, CUstream stream) {
    void* params[] = {&at, &value};
    EXPECT_OK(cuLaunchKernel(kernel("store"), 1, 1, 1, 1, 1, 1, 0, stream, params, nullptr));
  }
  unsigned word(CUdeviceptr at) {
    unsigned value = 0;
    EXPECT_OK(cuMemcpyDtoH_v2(&value, at, sizeof(value)));
    return value;
  }
  unsigned* pinned(size_t words) {
    void* memory = nullptr;
    EXPECT_OK(cuMemAllocHost_v2(&memory, words * sizeof(unsigned)));
    return static_cast<unsigned*>(memory);
  }
  CUmodule module_ = nullptr;
};

// A thread reads what another thread launched before, without a word between their calls.
TEST_F(Pitfalls, one_order_for_all_threads) {
  const CUdeviceptr at = allocate(sizeof(unsigned));
  std::atomic<unsigned> launched{0}, read{0};
  std::thread reader([&] {
    EXPECT_OK(cuCtxSetCurrent(context_));
    for (unsigned round = 1; round <= 64; ++round) {
      while (launched.load() < round) std::this_thread::yield();
      EXPECT_EQ(word(at), round);
      read.store(round);
    }
  });
  for (unsigned round = 1; round <= 64; ++round) {
    store(at, round, nullptr);
    launched.store(round);
    while (read.load() < round) std::this_thread::yield();
  }
  reader.join();
}

// A thread that waits for a stream holds up nobody, even when the stream waits for a function of
// the program that another thread's calls must let go.
TEST_F(Pitfalls, a_waiting_thread_holds_up_nobody) {
  const CUstream held = stream(CU_STREAM_NON_BLOCKING), other = stream(CU_STREAM_NON_BLOCKING);
  const CUdeviceptr at = allocate(sizeof(unsigned));
  Gate gate;
  gate.enqueue(held);
  std::thread waiter([&] {
    EXPECT_OK(cuCtxSetCurrent(context_));
    EXPECT_OK(cuStreamSynchronize(held));
  });
  for (unsigned round = 0; round < 32; ++round) {
    store(at, round, other);
    EXPECT_OK(cuStreamSynchronize(other));
    EXPECT_EQ(cuStreamQuery(held), CUDA_ERROR_NOT_READY);
  }
  gate.open();
  waiter.join();
  EXPECT_EQ(word(at), 31u);
}

// A copy from pinned memory reads it when the stream gets there, not when the call is made.
TEST_F(Pitfalls, pinned_source_filled_by_earlier_stream_work) {
  constexpr size_t kWords = 50'000;
  const CUstream s = stream(CU_STREAM_NON_BLOCKING);
  unsigned* memory = pinned(kWords);
  const CUdeviceptr from = allocate(kWords * 4), to = allocate(kWords * 4);
  for (unsigned round = 1; round <= 4; ++round) {
    std::memset(memory, 0xee, kWords * 4);
    EXPECT_OK(cuMemsetD32Async(from, round, kWords, s));
    EXPECT_OK(cuMemcpyDtoHAsync_v2(memory, from, kWords * 4, s));
    EXPECT_OK(cuMemcpyHtoDAsync_v2(to, memory, kWords * 4, s));
    EXPECT_OK(cuStreamSynchronize(s));
    std::vector<unsigned> got(kWords);
    EXPECT_OK(cuMemcpyDtoH_v2(got.data(), to, kWords * 4));
    EXPECT_EQ(got, std::vector<unsigned>(kWords, round));
  }
  EXPECT_OK(cuMemFreeHost(memory));
}

// The NULL stream waits for blocking streams and they for it; non-blocking streams do neither.
TEST_F(Pitfalls, null_stream_and_nonblocking_streams) {
  const CUdeviceptr at = allocate(8);
  const CUstream blocking = stream(CU_STREAM_DEFAULT), apart = stream(CU_STREAM_NON_BLOCKING);
  {
    Gate gate;
    gate.enqueue(apart);
    store(at, 1, nullptr);  // goes on although `apart` is held
    EXPECT_OK(cuStreamSynchronize(nullptr));
    EXPECT_EQ(word(at), 1u);
    gate.open();
    EXPECT_OK(cuStreamSynchronize(apart));
  }
  {
    Gate gate;
    gate.enqueue(blocking);
    store(at, 2, blocking);
    EXPECT_OK(cuMemcpyDtoDAsync_v2(at + 4, at, 4, nullptr));  // behind `blocking`
    EXPECT_EQ(cuStreamQuery(nullptr), CUDA_ERROR_NOT_READY);
    gate.open();
    EXPECT_EQ(word(at + 4), 2u);
  }
  {
    Gate gate;
    gate.enqueue(nullptr);
    store(at, 3, blocking);  // behind the NULL stream
    store(at + 4, 4, apart);
    EXPECT_OK(cuStreamSynchronize(apart));
    EXPECT_EQ(cuStreamQuery(blocking), CUDA_ERROR_NOT_READY);
    gate.open();
    EXPECT_OK(cuStreamSynchronize(blocking));
    EXPECT_EQ(word(at), 3u);
    EXPECT_EQ(word(at + 4), 4u);
  }
  // The default stream of each thread is in order with the NULL stream, and apart from the others'.
  const CUstream mine = CU_STREAM_PER_THREAD;
  store(at, 5, mine);
  EXPECT_OK(cuMemcpyDtoDAsync_v2(at + 4, at, 4, nullptr));
  EXPECT_EQ(word(at + 4), 5u);
  Gate gate;
  gate.enqueue(mine);
  std::thread other([&] {
    EXPECT_OK(cuCtxSetCurrent(context_));
    store(at, 6, CU_STREAM_PER_THREAD);
    EXPECT_OK(cuStreamSynchronize(CU_STREAM_PER_THREAD));
  });
  other.join();
  gate.open();
  EXPECT_OK(cuStreamSynchronize(mine));
  EXPECT_EQ(word(at), 6u);
}

// A launch that cannot be is refused by the call that asks for it, and harms nothing.
TEST_F(Pitfalls, launches_are_validated_at_the_call) {
  const CUfunction nothing = kernel("nothing"), bounded = kernel("bounded");
  const auto launch = [](CUfunction function, unsigned grid, unsigned block, unsigned shared) {
    return cuLaunchKernel(function, grid, 1, 1, block, 1, 1, shared, nullptr, nullptr, nullptr);
  };
  EXPECT_CUDA(launch(nothing, 0, 1, 0), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(launch(nothing, 1, 0, 0), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(launch(nothing, 1, 1025, 0), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(launch(nothing, 1, 1, 1u << 30), CUDA_ERROR_INVALID_VALUE);
  EXPECT_NE(note("bounded", launch(bounded, 1, 65, 0)), "CUDA_SUCCESS");
  EXPECT_OK(launch(nothing, 1, 1024, 0));
  EXPECT_OK(cuCtxSynchronize());
}

// Handles that never were, that are gone, and of the wrong kind.
TEST_F(Pitfalls, garbage_handles_give_errors) {
  const auto garbage = [](uint64_t bits) { return reinterpret_cast<void*>(bits); };
  for (const uint64_t bits :
       {uint64_t{0xdeadbeef}, uint64_t{0x1234567890abcdef}, ~uint64_t{0} - 7}) {
    void* const handle = garbage(bits);
    EXPECT_NE(note("cuStreamSynchronize", cuStreamSynchronize(static_cast<CUstream>(handle))),
              "CUDA_SUCCESS");
    EXPECT_NE(note("cuEventRecord", cuEventRecord(static_cast<CUevent>(handle), nullptr)),
              "CUDA_SUCCESS");
    EXPECT_NE(note("cuModuleUnload", cuModuleUnload(static_cast<CUmodule>(handle))),
              "CUDA_SUCCESS");
    EXPECT_NE(note("cuLaunchKernel", cuLaunchKernel(static_cast<CUfunction>(handle), 1, 1, 1, 1, 1,
                                                    1, 0, nullptr, nullptr, nullptr)),
              "CUDA_SUCCESS");
    EXPECT_NE(note("cuMemFree", cuMemFree_v2(bits)), "CUDA_SUCCESS");
  }
  const CUstream gone = stream(CU_STREAM_DEFAULT);
  EXPECT_OK(cuStreamDestroy_v2(gone));
  EXPECT_NE(note("destroyed", cuStreamSynchronize(gone)), "CUDA_SUCCESS");
  CUevent event = nullptr;
  EXPECT_OK(cuEventCreate(&event, 0));
  EXPECT_NE(note("wrong kind", cuStreamSynchronize(reinterpret_cast<CUstream>(event))),
            "CUDA_SUCCESS");
  EXPECT_OK(cuEventDestroy_v2(event));
  EXPECT_OK(cuCtxSynchronize());
}

// Copies beyond every message limit that others have.
TEST_F(Pitfalls, copies_larger_than_any_message) {
  constexpr size_t kBytes = (size_t{256} << 20) + 4096 + 4;
  std::vector<unsigned> host(kBytes / 4);
  for (size_t i = 0; i < host.size(); ++i) host[i] = static_cast<unsigned>(i * 2654435761u);
  const CUdeviceptr at = allocate(kBytes);
  EXPECT_OK(cuMemcpyHtoD_v2(at, host.data(), kBytes));
  std::vector<unsigned> back(host.size());
  EXPECT_OK(cuMemcpyDtoH_v2(back.data(), at, kBytes));
  EXPECT_TRUE(back == host);
  EXPECT_OK(cuMemFree_v2(at));
}

// Polling sees the event as soon as the device is there, however often it asks.
TEST_F(Pitfalls, event_polling) {
  const CUstream s = stream(CU_STREAM_NON_BLOCKING);
  CUevent event = nullptr;
  EXPECT_OK(cuEventCreate(&event, CU_EVENT_DISABLE_TIMING));
  Gate gate;
  gate.enqueue(s);
  EXPECT_OK(cuEventRecord(event, s));
  for (int i = 0; i < 500; ++i) ASSERT_EQ(cuEventQuery(event), CUDA_ERROR_NOT_READY);
  gate.open();
  CUresult result = CUDA_ERROR_NOT_READY;
  while ((result = cuEventQuery(event)) == CUDA_ERROR_NOT_READY) std::this_thread::yield();
  EXPECT_EQ(result, CUDA_SUCCESS);
  EXPECT_OK(cuEventDestroy_v2(event));
}

// kernelParams, a packed buffer, cuLaunchKernelEx with attributes, a cooperative launch.
TEST_F(Pitfalls, every_form_of_launch) {
  CUdeviceptr at = allocate(4);
  const CUfunction function = kernel("store");
  unsigned value = 1;
  void* params[] = {&at, &value};
  EXPECT_OK(cuLaunchKernel(function, 1, 1, 1, 1, 1, 1, 0, nullptr, params, nullptr));
  EXPECT_EQ(word(at), 1u);

  struct Packed {
    CUdeviceptr at;
    unsigned value;
  } packed{at, 2};
  size_t bytes = sizeof(CUdeviceptr) + sizeof(unsigned);
  void* extra[] = {CU_LAUNCH_PARAM_BUFFER_POINTER, &packed, CU_LAUNCH_PARAM_BUFFER_SIZE, &bytes,
                   CU_LAUNCH_PARAM_END};
  EXPECT_OK(cuLaunchKernel(function, 1, 1, 1, 1, 1, 1, 0, nullptr, nullptr, extra));
  EXPECT_EQ(word(at), 2u);

  CUlaunchAttribute attributes[1] = {};
  attributes[0].id = CU_LAUNCH_ATTRIBUTE_COOPERATIVE;
  attributes[0].value.cooperative = 1;
  CUlaunchConfig config{};
  config.gridDimX = config.gridDimY = config.gridDimZ = 1;
  config.blockDimX = config.blockDimY = config.blockDimZ = 1;
  config.attrs = attributes;
  config.numAttrs = 1;
  value = 3;
  EXPECT_OK(cuLaunchKernelEx(&config, function, params, nullptr));
  EXPECT_EQ(word(at), 3u);
  value = 4;
  EXPECT_OK(cuLaunchCooperativeKernel(function, 1, 1, 1, 1, 1, 1, 0, nullptr, params));
  EXPECT_EQ(word(at), 4u);
}

// Managed memory is touched by a host function, by other threads, and between kernels.
TEST_F(Pitfalls, managed_memory_touched_in_callbacks) {
  CUdeviceptr at = 0;
  EXPECT_OK(cuMemAllocManaged(&at, 4096, CU_MEM_ATTACH_GLOBAL));
  auto* words = reinterpret_cast<volatile unsigned*>(at);
  const CUstream s = stream(CU_STREAM_NON_BLOCKING);
  for (unsigned round = 1; round <= 8; ++round) {
    words[1] = round;
    store(at, round, s);
    EXPECT_OK(cuLaunchHostFunc(
        s,
        [](void* memory) {
          auto* seen = static_cast<volatile unsigned*>(memory);
          seen[2] = seen[0] + seen[1];  // of the kernel and of the program
        },
        reinterpret_cast<void*>(at)));
    EXPECT_OK(cuMemcpyDtoDAsync_v2(at + 12, at + 8, 4, s));
    EXPECT_OK(cuStreamSynchronize(s));
    unsigned seen = 0;
    std::thread([&] { seen = words[3]; }).join();
    EXPECT_EQ(seen, 2 * round);
  }
  EXPECT_OK(cuMemFree_v2(at));
}

// A kernel that runs waits for what the program writes into memory that both see.
TEST_F(Pitfalls, mapped_memory_written_while_a_kernel_runs) {
  const CUstream s = stream(CU_STREAM_NON_BLOCKING);
  unsigned* flag = pinned(1);
  *flag = 0;
  CUdeviceptr at = 0;
  EXPECT_OK(cuMemHostGetDevicePointer_v2(&at, flag, 0));
  void* params[] = {&at};
  EXPECT_OK(cuLaunchKernel(kernel("gate"), 1, 1, 1, 1, 1, 1, 0, s, params, nullptr));
  *flag = 1;
  EXPECT_OK(cuStreamSynchronize(s));
  EXPECT_OK(cuMemFreeHost(flag));
}

// Work that was captured with a host function in it runs the function with every launch.
TEST_F(Pitfalls, graphs_with_host_nodes) {
  const CUstream s = stream(CU_STREAM_NON_BLOCKING);
  const CUdeviceptr at = allocate(4);
  static std::atomic<int> ran{0};
  ran = 0;
  kernel("store");  // loads the module before the capture
  EXPECT_OK(cuStreamBeginCapture_v2(s, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL));
  store(at, 9, s);
  EXPECT_OK(cuLaunchHostFunc(
      s, [](void*) { ++ran; }, nullptr));
  CUgraph graph = nullptr;
  EXPECT_OK(cuStreamEndCapture(s, &graph));
  CUgraphExec exec = nullptr;
  EXPECT_OK(cuGraphInstantiateWithFlags(&exec, graph, 0));
  for (int i = 0; i < 3; ++i) EXPECT_OK(cuGraphLaunch(exec, s));
  EXPECT_OK(cuStreamSynchronize(s));
  EXPECT_EQ(ran.load(), 3);
  EXPECT_EQ(word(at), 9u);
  EXPECT_OK(cuGraphExecDestroy(exec));
  EXPECT_OK(cuGraphDestroy(graph));
}

// The failure comes with the call, so that a program can free its caches and try again.
TEST_F(Pitfalls, out_of_memory_at_the_call) {
  size_t free = 0, total = 0;
  EXPECT_OK(cuMemGetInfo_v2(&free, &total));
  const CUdeviceptr cache = allocate(free / 2);
  CUdeviceptr at = 0;
  EXPECT_CUDA(cuMemAlloc_v2(&at, free / 4 * 3), CUDA_ERROR_OUT_OF_MEMORY);
  EXPECT_OK(cuCtxSynchronize());
  EXPECT_OK(cuMemFree_v2(cache));
  EXPECT_OK(cuMemAlloc_v2(&at, free / 4 * 3));
  EXPECT_OK(cuMemFree_v2(at));
}

// A child of fork() ends without harm to its parent's session, and its calls fail as the driver's
// do.
TEST_F(Pitfalls, fork_keeps_the_parents_session) {
  const CUdeviceptr at = upload(pattern(4096, 1));
  for (int i = 0; i < 3; ++i) {
    const pid_t child = fork();
    if (child == 0) {
      CUdeviceptr none = 0;
      _exit(cuMemAlloc_v2(&none, 16) == CUDA_ERROR_NOT_INITIALIZED ? 42 : 1);
    }
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFEXITED(status));
    EXPECT_EQ(WEXITSTATUS(status), 42);
    EXPECT_EQ(download(at, 4096), pattern(4096, 1));
  }
}

// However a program asks the loader for the driver, it is the one that it has already.
TEST_F(Pitfalls, driver_loaded_by_an_absolute_path) {
  // In-process there is no hook, and none where the client is not preloaded.
  if (std::getenv("FARWARP_SERVER") == nullptr || std::getenv("LD_PRELOAD") == nullptr) return;
  for (const char* path : {"/usr/lib/x86_64-linux-gnu/libcuda.so.1", "/no/such/libcuda.so"}) {
    void* library = dlopen(path, RTLD_NOW);
    ASSERT_NE(library, nullptr) << path;
    const auto get =
        reinterpret_cast<decltype(&cuDriverGetVersion)>(dlsym(library, "cuDriverGetVersion"));
    EXPECT_EQ(get, &cuDriverGetVersion) << path;
  }
}

// Calls that come from destructors of static objects, when the library's own are done.
struct LateCaller {
  ~LateCaller() {
    if (!armed) return;
    CUdeviceptr at = 0;
    cuMemAlloc_v2(&at, 64);
    cuMemFree_v2(at);
    cuStreamSynchronize(nullptr);
    cuCtxSynchronize();
  }
  bool armed = false;
};
LateCaller late_caller;
__attribute__((destructor(101))) void lastCaller() {
  if (!late_caller.armed) return;
  CUdeviceptr at = 0;
  cuMemAlloc_v2(&at, 64);
  cuCtxSynchronize();
}

TEST_F(Pitfalls, calls_after_static_destructors) {
  late_caller.armed = true;  // the verdict is the exit status of the process
  EXPECT_EQ(download(upload(pattern(64, 2)), 64), pattern(64, 2));
}

}  // namespace
}  // namespace farwarp::conformance
