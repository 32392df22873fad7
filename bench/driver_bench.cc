// The whole way of a call beside bare sockets: a driver API program, the client library, gpud, and
// a driver that does nothing (the mock), so that what is measured is Farwarp.
//
// driver_bench [--transport tcp|unix] [Google Benchmark's flags]
// Starts the gpud that lies beside it. Every figure is measured with its baseline in the same run,
// in random order and several repetitions; the ratio of the medians is printed at the end.
#include <benchmark/benchmark.h>
#include <cuda.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "bench/median_reporter.h"
#include "bench/transport_peers.h"
#include "protocol/record.h"

namespace farwarp::bench {
namespace {

constexpr size_t kSmallCopyBytes = 64;
constexpr int kLaunchesPerWait = 8192;
constexpr size_t kRecordBytes = 120;  // of the bare baseline: a launch with 64 bytes of parameters
constexpr size_t kRecordsPerBatch = (16u << 10) / kRecordBytes;

// gpud on the mock driver, in a folder of its own.
class Gpud {
 public:
  explicit Gpud(bool tcp) {
    char folder[] = "/tmp/farwarp-bench-XXXXXX";
    if (mkdtemp(folder) == nullptr) fail("The temporary folder cannot be made");
    folder_ = folder;
    const auto bin = std::filesystem::read_symlink("/proc/self/exe").parent_path();
    const std::string gpud = bin / "gpud";
    const std::string mock = bin.parent_path() / "lib/mock/libcuda.so.1";
    const std::string listen = tcp ? "tcp:127.0.0.1:0" : "unix:" + folder_ + "/gpud.sock";
    int ready[2];
    if (pipe(ready) != 0) fail("A pipe cannot be made");
    pid_ = fork();
    if (pid_ == 0) {
      close(ready[0]);
      const std::string ready_fd = std::to_string(ready[1]);
      execl(gpud.c_str(), "gpud", "--device", "cpu", "--cpu-device", mock.c_str(), "--listen",
            listen.c_str(), "--insecure", "--log-level", "warn", "--ready-fd", ready_fd.c_str(),
            nullptr);
      _exit(127);
    }
    close(ready[1]);
    std::string said;
    char text[256];
    for (ssize_t n; (n = read(ready[0], text, sizeof(text))) > 0;) said.append(text, n);
    close(ready[0]);
    const std::string word = "listening ";
    const size_t at = said.find(word);
    if (at == std::string::npos) fail("gpud did not become ready");
    endpoint_ = said.substr(at + word.size(), said.find('\n', at) - at - word.size());
  }
  ~Gpud() {
    kill(pid_, SIGTERM);
    waitpid(pid_, nullptr, 0);
    std::filesystem::remove_all(folder_);
  }
  const std::string& endpoint() const { return endpoint_; }
  const std::string& folder() const { return folder_; }

 private:
  [[noreturn]] static void fail(const char* what) {
    std::fprintf(stderr, "%s: %s.\n", what, std::strerror(errno));
    std::exit(1);
  }
  std::string folder_;
  std::string endpoint_;
  pid_t pid_ = -1;
};

void check(CUresult result, const char* call) {
  if (result == CUDA_SUCCESS) return;
  std::fprintf(stderr, "%s gave CUresult %d.\n", call, static_cast<int>(result));
  std::exit(1);
}
#define CHECK(call) check(call, #call)

RawPeer* raw_peer = nullptr;
CUfunction kernel = nullptr;
CUdeviceptr device_buffer = 0;
std::vector<std::byte> host_buffer(kBulkBytes, std::byte{1});

void openSession() {
  CHECK(cuInit(0));
  CUcontext context = nullptr;
  CHECK(cuDevicePrimaryCtxRetain(&context, 0));
  CHECK(cuCtxSetCurrent(context));
  CUmodule module = nullptr;
  CHECK(cuModuleLoadData(&module,
                         ".version 9.0\n.target sm_90\n.address_size 64\n"
                         ".visible .entry kernel(.param .u64 p) { ret; }\n"));
  CHECK(cuModuleGetFunction(&kernel, module, "kernel"));
  CHECK(cuMemAlloc_v2(&device_buffer, kBulkBytes));
}

void rawPing() {
  std::byte message[sizeof(RawRequest) + kPingBytes] = {};
  const RawRequest request{RawOp::ping, kPingBytes};
  std::memcpy(message, &request, sizeof(request));
  sendAll(raw_peer->fd(), message, sizeof(message));
  receiveAll(raw_peer->fd(), message, kPingBytes);
}

void waitingCall(benchmark::State& state) {
  size_t free = 0, total = 0;
  for (auto _ : state) CHECK(cuMemGetInfo_v2(&free, &total));
}
void waitingCallRaw(benchmark::State& state) {
  for (auto _ : state) rawPing();
}

void launches(benchmark::State& state) {
  CUdeviceptr argument = device_buffer;
  void* params[] = {&argument};
  for (auto _ : state) {
    for (int i = 0; i < kLaunchesPerWait; ++i) {
      CHECK(cuLaunchKernel(kernel, 1, 1, 1, 32, 1, 1, 0, nullptr, params, nullptr));
    }
    CHECK(cuCtxSynchronize());
  }
}
void launchesRaw(benchmark::State& state) {
  std::vector<std::byte> message(sizeof(RawRequest) + kRecordsPerBatch * kRecordBytes);
  const RawRequest request{RawOp::batch, kRecordsPerBatch * kRecordBytes};
  std::memcpy(message.data(), &request, sizeof(request));
  const wire::RecordHeader header{kRecordBytes, 77, 0, 1, 1};
  for (auto _ : state) {
    for (size_t sent = 0; sent < kLaunchesPerWait; sent += kRecordsPerBatch) {
      for (size_t i = 0; i < kRecordsPerBatch; ++i) {
        std::memcpy(&message[sizeof(request) + i * kRecordBytes], &header, sizeof(header));
      }
      sendAll(raw_peer->fd(), message.data(), message.size());
    }
    rawPing();
  }
}

void smallHtoD(benchmark::State& state) {
  size_t free = 0, total = 0;
  for (auto _ : state) {
    CHECK(cuMemcpyHtoD_v2(device_buffer, host_buffer.data(), kSmallCopyBytes));
    CHECK(cuMemGetInfo_v2(&free, &total));  // a copy alone need not wait
  }
}
void smallHtoDRaw(benchmark::State& state) {
  waitingCallRaw(state);
}
void smallDtoH(benchmark::State& state) {
  for (auto _ : state) {
    CHECK(cuMemcpyDtoH_v2(host_buffer.data(), device_buffer, kSmallCopyBytes));
  }
}
void smallDtoHRaw(benchmark::State& state) {
  waitingCallRaw(state);
}

void bulkHtoD(benchmark::State& state) {
  for (auto _ : state) {
    CHECK(cuMemcpyHtoD_v2(device_buffer, host_buffer.data(), kBulkBytes));
    CHECK(cuCtxSynchronize());
  }
}
void bulkHtoDRaw(benchmark::State& state) {
  const RawRequest request{RawOp::upload, kBulkBytes};
  std::byte answer;
  for (auto _ : state) {
    sendAll(raw_peer->fd(), &request, sizeof(request));
    sendAll(raw_peer->fd(), host_buffer.data(), kBulkBytes);
    receiveAll(raw_peer->fd(), &answer, 1);
  }
}
void bulkDtoH(benchmark::State& state) {
  for (auto _ : state) CHECK(cuMemcpyDtoH_v2(host_buffer.data(), device_buffer, kBulkBytes));
}
void bulkDtoHRaw(benchmark::State& state) {
  const RawRequest request{RawOp::download, 0};
  for (auto _ : state) {
    sendAll(raw_peer->fd(), &request, sizeof(request));
    receiveAll(raw_peer->fd(), host_buffer.data(), kBulkBytes);
  }
}

const RatioRow kRows[] = {
    {"waiting call / ping-pong of 64 B", "waitingCall", 1, false, "<= 1.2"},
    {"launch / bare framing", "launches", kLaunchesPerWait, true, ">= 0.8"},
    {"64 B to the device / ping-pong", "smallHtoD", 1, false, "<= 1.3"},
    {"64 B to the host / ping-pong", "smallDtoH", 1, false, "<= 1.3"},
    {"16 MiB to the device", "bulkHtoD", 1, true, ">= 0.95"},
    {"16 MiB to the host", "bulkDtoH", 1, true, ">= 0.95"},
};

#define FARWARP_BENCH(name)       \
  BENCHMARK(name)->UseRealTime(); \
  BENCHMARK(name##Raw)->UseRealTime()
FARWARP_BENCH(waitingCall);
FARWARP_BENCH(launches);
FARWARP_BENCH(smallHtoD);
FARWARP_BENCH(smallDtoH);
FARWARP_BENCH(bulkHtoD);
FARWARP_BENCH(bulkDtoH);

// Takes `--transport X` out of the arguments.
std::string takeTransport(int& argc, char** argv) {
  std::string transport = "tcp";
  for (int i = 1; i + 1 < argc; ++i) {
    if (std::strcmp(argv[i], "--transport") != 0) continue;
    transport = argv[i + 1];
    std::copy(argv + i + 2, argv + argc, argv + i);
    argc -= 2;
    break;
  }
  if (transport != "tcp" && transport != "unix") {
    std::fprintf(stderr, "--transport is \"%s\"; it must be tcp or unix.\n", transport.c_str());
    std::exit(2);
  }
  return transport;
}

}  // namespace
}  // namespace farwarp::bench

int main(int argc, char** argv) {
  using namespace farwarp::bench;
  const std::string transport = takeTransport(argc, argv);
  Gpud gpud(transport == "tcp");
  setenv("FARWARP_SERVER", gpud.endpoint().c_str(), 1);
  setenv("FARWARP_INSECURE", "1", 1);
  RawPeer raw(transport == "tcp" ? "127.0.0.1:0" : "unix:" + gpud.folder() + "/raw.sock");
  raw_peer = &raw;
  openSession();
  MedianReporter reporter;
  if (!runBenchmarks(argc, argv, reporter)) return 1;
  std::printf("\nover %s\n", transport.c_str());
  printRatios(reporter, kRows);
  return 0;
}
