// Goal: functions of the program run in stream order, see what the stream did before them, hold
// back nothing else, and are called or not called after an error as CUDA documents. Method: host
// functions that the test holds at a gate, or that note what they see; streams and threads around
// them are observed while they wait. No test depends on time: what must not be blocked is waited
// for without a limit.
#include <atomic>
#include <condition_variable>
#include <cstring>
#include <mutex>
#include <thread>

#include "tests/conformance/conformance.h"
#include "tests/cpu_device/kernels_ptx.h"

namespace farwarp::conformance {
namespace {

constexpr char kTrap[] = R"(
.version 8.0
.target sm_75
.address_size 64
.visible .entry fail()
{
  trap;
}
)";

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
  void waitUntilReached() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return reached_; });
  }

 private:
  void wait() {
    std::unique_lock lock(mutex_);
    reached_ = true;
    changed_.notify_all();
    changed_.wait(lock, [this] { return open_; });
  }
  std::mutex mutex_;
  std::condition_variable changed_;
  bool open_ = false, reached_ = false;
};

class HostFunctionsTest : public ConformanceTest {
 protected:
  CUstream stream(unsigned flags = CU_STREAM_NON_BLOCKING) {
    CUstream stream = nullptr;
    EXPECT_OK(cuStreamCreate(&stream, flags));
    return stream;
  }
  CUfunction kernel(const char* image, const char* name) {
    CUmodule module = nullptr;
    CUfunction function = nullptr;
    EXPECT_OK(cuModuleLoadData(&module, image));
    EXPECT_OK(cuModuleGetFunction(&function, module, name));
    return function;
  }
  void store(CUfunction function, CUdeviceptr at, unsigned value, CUstream stream) {
    void* params[] = {&at, &value};
    EXPECT_OK(cuLaunchKernel(function, 1, 1, 1, 1, 1, 1, 0, stream, params, nullptr));
  }
};

TEST_F(HostFunctionsTest, SeeWhatTheStreamDidBefore) {
  const CUstream s = stream();
  const CUfunction store_kernel = kernel(cpu::kKernels, "store");
  const CUdeviceptr device = allocate(1 << 20);
  struct Seen {
    unsigned* pinned;
    unsigned first = 0, last = 0;
  } seen{};
  void* pinned = nullptr;
  ASSERT_OK(cuMemHostAlloc(&pinned, 1 << 20, 0));
  seen.pinned = static_cast<unsigned*>(pinned);
  std::memset(pinned, 0, 1 << 20);
  for (unsigned round = 1; round <= 20; ++round) {
    store(store_kernel, device, round, s);
    store(store_kernel, device + (1 << 20) - 4, round + 100, s);
    EXPECT_OK(cuMemcpyDtoHAsync_v2(pinned, device, 1 << 20, s));
    EXPECT_OK(cuLaunchHostFunc(
        s,
        [](void* user) {
          auto* see = static_cast<Seen*>(user);
          see->first = see->pinned[0];
          see->last = see->pinned[(1 << 18) - 1];
        },
        &seen));
    EXPECT_OK(cuStreamSynchronize(s));
    EXPECT_EQ(seen.first, round);
    EXPECT_EQ(seen.last, round + 100);
  }
  EXPECT_OK(cuMemFreeHost(pinned));
  EXPECT_OK(cuMemFree_v2(device));
}

// Pitfall "Pinned source filled by earlier stream work": the copy must not read before its turn.
TEST_F(HostFunctionsTest, PinnedSourceFilledByEarlierStreamWork) {
  const CUstream s = stream();
  const size_t bytes = 300000;  // more than one chunk of nothing: a record holds 64 KiB
  for (const size_t part : {size_t{16}, bytes}) {
    Gate gate;
    const CUdeviceptr device = allocate(bytes);
    void* pinned = nullptr;
    ASSERT_OK(cuMemHostAlloc(&pinned, bytes, 0));
    std::memset(pinned, 1, bytes);
    gate.enqueue(s);
    EXPECT_OK(cuLaunchHostFunc(
        s, [](void* user) { std::memset(user, 7, 300000); }, pinned));
    EXPECT_OK(cuMemcpyHtoDAsync_v2(device, pinned, part, s));
    EXPECT_OK(cuLaunchHostFunc(
        s, [](void* user) { std::memset(user, 9, 300000); }, pinned));
    gate.open();
    EXPECT_OK(cuStreamSynchronize(s));
    EXPECT_EQ(download(device, part), std::vector<unsigned char>(part, 7));
    EXPECT_OK(cuMemFreeHost(pinned));
    EXPECT_OK(cuMemFree_v2(device));
  }
}

// Pitfall "Waiting in order" (a thread parked in a synchronize blocks all others, or a host
// callback deadlocks with it): other streams, other threads and allocation go on meanwhile.
TEST_F(HostFunctionsTest, WaitingInOrder) {
  const CUstream held = stream(), other = stream();
  const CUfunction store_kernel = kernel(cpu::kKernels, "store");
  Gate gate;
  gate.enqueue(held);
  CUevent behind = nullptr;
  ASSERT_OK(cuEventCreate(&behind, CU_EVENT_DEFAULT));
  EXPECT_OK(cuEventRecord(behind, held));
  gate.waitUntilReached();

  std::atomic<CUresult> parked{CUDA_ERROR_UNKNOWN};
  std::thread thread([&] {
    cuCtxSetCurrent(context_);
    parked = cuStreamSynchronize(held);
  });
  const CUdeviceptr device = allocate(4);
  store(store_kernel, device, 5, other);
  EXPECT_OK(cuStreamSynchronize(other));
  unsigned value = 0;
  EXPECT_OK(cuMemcpyDtoHAsync_v2(&value, device, 4, other));
  EXPECT_OK(cuStreamSynchronize(other));
  EXPECT_EQ(value, 5u);
  EXPECT_CUDA(cuStreamQuery(held), CUDA_ERROR_NOT_READY);
  EXPECT_CUDA(cuEventQuery(behind), CUDA_ERROR_NOT_READY);
  EXPECT_OK(cuStreamWaitEvent(other, behind, 0));
  store(store_kernel, device, 6, other);
  EXPECT_CUDA(cuStreamQuery(other), CUDA_ERROR_NOT_READY);
  gate.open();
  thread.join();
  EXPECT_EQ(parked.load(), CUDA_SUCCESS);
  EXPECT_OK(cuStreamSynchronize(other));
  EXPECT_OK(cuEventQuery(behind));
  EXPECT_OK(cuMemFree_v2(device));
  EXPECT_OK(cuEventDestroy_v2(behind));
}

// A call that waits for the device while a function is pending, and the function waits for another
// thread that uses CUDA.
TEST_F(HostFunctionsTest, FreeingWaitsForThemAndBlocksNobodyElse) {
  const CUstream held = stream(), other = stream();
  Gate gate;
  gate.enqueue(held);
  gate.waitUntilReached();
  const CUdeviceptr device = allocate(4);
  std::thread freeing([&] {
    cuCtxSetCurrent(context_);
    EXPECT_EQ(cuMemFree_v2(device), CUDA_SUCCESS);
  });
  std::thread working([&] {
    cuCtxSetCurrent(context_);
    for (int i = 0; i < 50; ++i) EXPECT_EQ(cuStreamSynchronize(other), CUDA_SUCCESS);
    gate.open();
  });
  working.join();
  freeing.join();
  EXPECT_OK(cuCtxSynchronize());
}

TEST_F(HostFunctionsTest, ManyInSeveralStreamsInOrder) {
  constexpr int kStreams = 4, kEach = 500;
  struct Lane {
    int next = 0;
    bool ordered = true;
  } lanes[kStreams];
  struct Step {
    Lane* lane;
    int number;
  };
  std::vector<Step> steps;
  for (int i = 0; i < kEach; ++i) {
    for (Lane& lane : lanes) steps.push_back({&lane, i});
  }
  std::vector<CUstream> streams;
  for (int i = 0; i < kStreams; ++i) streams.push_back(stream());
  CUresult result = CUDA_SUCCESS;
  for (size_t i = 0; i < steps.size(); ++i) {
    const auto note_step = [](void* user) {
      auto* step = static_cast<Step*>(user);
      step->lane->ordered &= step->lane->next++ == step->number;
    };
    const CUresult r = cuLaunchHostFunc(streams[i % kStreams], note_step, &steps[i]);
    if (r != CUDA_SUCCESS) result = r;
  }
  EXPECT_EQ(result, CUDA_SUCCESS);
  EXPECT_OK(cuCtxSynchronize());
  for (const Lane& lane : lanes) {
    EXPECT_TRUE(lane.ordered);
    EXPECT_EQ(lane.next, kEach);
  }
}

// More than any driver queues: the program waits for room, and what it waits for goes on.
TEST_F(HostFunctionsTest, MoreThanADriverQueues) {
  const CUstream s = stream();
  const CUfunction nothing = kernel(cpu::kKernels, "nothing");
  std::atomic<int> called{0};
  CUresult result = CUDA_SUCCESS;
  for (int i = 0; i < 3000 && result == CUDA_SUCCESS; ++i) {
    result = cuLaunchHostFunc(
        s, [](void* user) { ++*static_cast<std::atomic<int>*>(user); }, &called);
    if (result != CUDA_SUCCESS) break;
    result = cuLaunchKernel(nothing, 1, 1, 1, 1, 1, 1, 0, s, nullptr, nullptr);
  }
  EXPECT_EQ(result, CUDA_SUCCESS);
  EXPECT_OK(cuStreamSynchronize(s));
  EXPECT_EQ(called.load(), 3000);
}

TEST_F(HostFunctionsTest, DefaultStreams) {
  std::vector<int> order;
  const auto one = [](void* user) { static_cast<std::vector<int>*>(user)->push_back(1); };
  const auto two = [](void* user) { static_cast<std::vector<int>*>(user)->push_back(2); };
  const CUstream blocking = stream(CU_STREAM_DEFAULT);
  EXPECT_OK(cuLaunchHostFunc(blocking, one, &order));
  EXPECT_OK(cuLaunchHostFunc(nullptr, two, &order));
  EXPECT_OK(cuLaunchHostFunc(blocking, one, &order));
  EXPECT_OK(cuLaunchHostFunc(CU_STREAM_LEGACY, two, &order));
  EXPECT_OK(cuLaunchHostFunc(CU_STREAM_PER_THREAD, one, &order));
  EXPECT_OK(cuCtxSynchronize());
  EXPECT_EQ(order, (std::vector<int>{1, 2, 1, 2, 1}));
}

TEST_F(HostFunctionsTest, MayNotUseTheDevice) {
  struct Results {
    CUresult allocation, synchronise, launch, name;
    const char* text;
  } results{};
  EXPECT_OK(cuLaunchHostFunc(
      nullptr,
      [](void* user) {
        auto* r = static_cast<Results*>(user);
        CUdeviceptr device = 0;
        r->allocation = cuMemAlloc_v2(&device, 4);
        r->synchronise = cuCtxSynchronize();
        r->launch = cuLaunchHostFunc(
            nullptr, [](void*) {}, nullptr);
        r->name = cuGetErrorName(CUDA_ERROR_ASSERT, &r->text);
      },
      &results));
  EXPECT_OK(cuCtxSynchronize());
  EXPECT_EQ(results.allocation, CUDA_ERROR_NOT_PERMITTED);
  EXPECT_EQ(results.synchronise, CUDA_ERROR_NOT_PERMITTED);
  EXPECT_EQ(results.launch, CUDA_ERROR_NOT_PERMITTED);
  EXPECT_EQ(results.name, CUDA_SUCCESS);
  EXPECT_STREQ(results.text, "CUDA_ERROR_ASSERT");
}

TEST_F(HostFunctionsTest, CallbacksGetStreamStatusAndTheirPointer) {
  struct Call {
    CUstream stream = nullptr;
    CUresult status = CUDA_ERROR_UNKNOWN;
  } call;
  const CUstream s = stream();
  EXPECT_OK(cuStreamAddCallback(
      s,
      [](CUstream stream, CUresult status, void* user) {
        *static_cast<Call*>(user) = {stream, status};
      },
      &call, 0));
  EXPECT_OK(cuStreamSynchronize(s));
  EXPECT_EQ(call.stream, s);
  EXPECT_EQ(call.status, CUDA_SUCCESS);
}

// After an error a callback is called and told of it; a host function is not called.
TEST_F(HostFunctionsTest, AfterAnError) {
  CUcontext second = nullptr;
  ASSERT_OK(cuCtxCreate_v2(&second, 0, device_));
  const CUstream s = stream();
  const CUfunction fail = kernel(kTrap, "fail");
  Gate gate;
  std::atomic<CUresult> status{CUDA_SUCCESS};
  std::atomic<bool> called{false};
  gate.enqueue(s);
  EXPECT_OK(cuLaunchKernel(fail, 1, 1, 1, 1, 1, 1, 0, s, nullptr, nullptr));
  EXPECT_OK(cuStreamAddCallback(
      s,
      [](CUstream, CUresult told, void* user) {
        *static_cast<std::atomic<CUresult>*>(user) = told;
      },
      &status, 0));
  EXPECT_OK(cuLaunchHostFunc(
      s, [](void* user) { *static_cast<std::atomic<bool>*>(user) = true; }, &called));
  gate.open();
  EXPECT_CUDA(cuCtxSynchronize(), CUDA_ERROR_LAUNCH_FAILED);
  EXPECT_CUDA(cuStreamSynchronize(s), CUDA_ERROR_LAUNCH_FAILED);
  EXPECT_OK(cuCtxDestroy_v2(second));
  EXPECT_EQ(status.load(), CUDA_ERROR_LAUNCH_FAILED);
  EXPECT_FALSE(called);
  ASSERT_OK(cuCtxSetCurrent(context_));
  EXPECT_OK(cuCtxSynchronize());
}

// What is in a stream that is destroyed still runs.
TEST_F(HostFunctionsTest, OutliveTheirStream) {
  const CUstream s = stream();
  Gate gate;
  std::atomic<bool> called{false};
  gate.enqueue(s);
  EXPECT_OK(cuLaunchHostFunc(
      s, [](void* user) { *static_cast<std::atomic<bool>*>(user) = true; }, &called));
  EXPECT_OK(cuStreamDestroy_v2(s));
  gate.open();
  EXPECT_OK(cuCtxSynchronize());
  EXPECT_TRUE(called);
}

TEST_F(HostFunctionsTest, RefuseWhatCudaRefuses) {
  const auto nothing = [](void*) {};
  const auto no_callback = [](CUstream, CUresult, void*) {};
  const CUstream s = stream();
  EXPECT_CUDA(cuLaunchHostFunc(s, nullptr, nullptr), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuStreamAddCallback(s, nullptr, nullptr, 0), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuStreamAddCallback(s, no_callback, nullptr, 1), CUDA_ERROR_INVALID_VALUE);
  EXPECT_OK(cuStreamDestroy_v2(s));
  EXPECT_BAD_HANDLE(cuLaunchHostFunc(s, nothing, nullptr), CUDA_ERROR_INVALID_HANDLE);
  EXPECT_BAD_HANDLE(cuStreamAddCallback(s, no_callback, nullptr, 0), CUDA_ERROR_INVALID_HANDLE);
  EXPECT_OK(cuCtxSetCurrent(nullptr));
  EXPECT_CUDA(cuLaunchHostFunc(nullptr, nothing, nullptr), CUDA_ERROR_INVALID_CONTEXT);
  EXPECT_OK(cuCtxSetCurrent(context_));
}

}  // namespace
}  // namespace farwarp::conformance
