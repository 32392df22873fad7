// The whole way of a call beside bare sockets: a driver API program, the client library, gpud, and
// a driver that does nothing, so that what is measured is Farwarp. bench/compare.py runs it.
//
//   driver_bench rows --transport tcp|tls|unix [--only ROW,...] [--quick]
//       measures each row beside its baseline in the same run and prints JSON
//   driver_bench serve --transport tcp|tls|unix [--device empty|cpu] [--delay-ms MS]
//       runs a gpud, behind a line that adds MS to every round trip; prints JSON with its address
//       and process, and ends with its standard input
#include <cuda.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "bench/bench_gpud.h"
#include "bench/delay_line.h"
#include "bench/paired.h"
#include "bench/transport_peers.h"
#include "protocol/record.h"

namespace farwarp::bench {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kSmallCopyBytes = 64;
constexpr int kLaunchesPerWait = 8192;
constexpr size_t kRecordBytes = 120;  // of the bare baseline: a launch with 64 bytes of parameters
constexpr size_t kRecordsPerBatch = (16u << 10) / kRecordBytes;

void check(CUresult result, const char* call) {
  if (result == CUDA_SUCCESS) return;
  std::fprintf(stderr, "%s gave CUresult %d.\n", call, static_cast<int>(result));
  std::exit(1);
}
#define CHECK(call) check(call, #call)

// The program's side of every row.
class Rows {
 public:
  Rows(Gpud& gpud, RawPeer& raw, std::string only, bool quick)
      : gpud_(gpud), raw_(raw), only_(std::move(only)), quick_(quick) {}

  Json run() {
    // Where the scheduler puts the two ends decides the time of a round trip: both ways of doing it
    // have them on the same two cores.
    pinThread(pthread_self(), 0);
    pinThread(raw_.thread(), 1);
    openSession();
    near_ = threadCpu();
    raw_far_ = threadCpu(raw_.thread());
    const std::vector<pid_t> workers = gpud_.workers();
    for (const pid_t worker : workers) pinProcess(worker, 1);
    own_far_ = [workers] {
      double sum = 0;
      for (const pid_t pid : workers) sum += processCpu(pid)();
      return sum;
    };
    calls();
    launches();
    for (const size_t mib : {16, 256}) bulk(mib << 20);
    callDuringBulk();
    return rows_;
  }

 private:
  void openSession() {
    CHECK(cuInit(0));
    CUcontext context = nullptr;
    CHECK(cuDevicePrimaryCtxRetain(&context, 0));
    CHECK(cuCtxSetCurrent(context));
    context_ = context;
    CUmodule module = nullptr;
    CHECK(cuModuleLoadData(&module,
                           ".version 9.0\n.target sm_90\n.address_size 64\n"
                           ".visible .entry kernel(.param .u64 p) { ret; }\n"));
    CHECK(cuModuleGetFunction(&kernel_, module, "kernel"));
    CHECK(cuMemAlloc_v2(&device_, kBulkBytesMax));
    host_.assign(kBulkBytesMax, std::byte{1});
    // The first copy opens the bulk connection, and both ends touch their memory.
    CHECK(cuMemcpyHtoD_v2(device_, host_.data(), kBulkBytesMax));
    CHECK(cuMemcpyDtoH_v2(host_.data(), device_, kBulkBytesMax));
  }

  bool wanted(const std::string& id) const {
    if (only_.empty()) return true;
    return ("," + only_ + ",").find("," + id + ",") != std::string::npos;
  }
  Effort effort(double slice_s) const { return {quick_ ? 5 : 15, quick_ ? slice_s / 4 : slice_s}; }

  void row(const std::string& id, double per, double slice_s, const std::function<void(int)>& raw,
           const std::function<void(int)>& own) {
    if (!wanted(id)) return;
    const Comparison found =
        compare({raw, near_, raw_far_}, {own, near_, own_far_}, effort(slice_s));
    Json json = {{"id", id},
                 {"ratio_of_times", found.ratio},
                 {"quartiles", {found.ratio_least, found.ratio_greatest}},
                 {"least_cpu_ratio", found.cpu_least},
                 {"least_near_cpu_ratio", found.near_cpu_least},
                 {"pairs", found.pairs}};
    for (const auto& [name, side] : {std::pair{"raw", found.raw}, {"own", found.own}}) {
      json[name] = {{"us", side.wall_s / per * 1e6},
                    {"near_cpu_us", side.near_cpu_s / per * 1e6},
                    {"far_cpu_us", side.far_cpu_s / per * 1e6}};
    }
    rows_.push_back(json);
  }

  void rawPing() {
    std::byte message[sizeof(RawRequest) + kPingBytes] = {};
    const RawRequest request{RawOp::ping, kPingBytes};
    std::memcpy(message, &request, sizeof(request));
    raw_.client().send(message, sizeof(message));
    raw_.client().receive(message, kPingBytes);
  }
  void rawPings(int count) {
    for (int i = 0; i < count; ++i) rawPing();
  }
  void waitingCall() {
    size_t free = 0, total = 0;
    CHECK(cuMemGetInfo_v2(&free, &total));
  }

  void calls() {
    const auto pings = [this](int count) { rawPings(count); };
    row("waiting_call", 1, 0.06, pings, [this](int count) {
      for (int i = 0; i < count; ++i) waitingCall();
    });
    row("small_htod", 1, 0.06, pings, [this](int count) {
      for (int i = 0; i < count; ++i) {
        CHECK(cuMemcpyHtoD_v2(device_, host_.data(), kSmallCopyBytes));
        waitingCall();  // a copy alone need not wait
      }
    });
    row("small_dtoh", 1, 0.06, pings, [this](int count) {
      for (int i = 0; i < count; ++i) {
        CHECK(cuMemcpyDtoH_v2(host_.data(), device_, kSmallCopyBytes));
      }
    });
  }

  void launch() {
    std::array<CUdeviceptr, 8> arguments{};
    void* params[8];
    for (size_t i = 0; i < 8; ++i) params[i] = &arguments[i];
    CHECK(cuLaunchKernel(kernel_, 1, 1, 1, 32, 1, 1, 0, nullptr, params, nullptr));
  }

  void launches() {
    std::vector<std::byte> message(sizeof(RawRequest) + kRecordsPerBatch * kRecordBytes);
    const RawRequest request{RawOp::batch, kRecordsPerBatch * kRecordBytes};
    std::memcpy(message.data(), &request, sizeof(request));
    const wire::RecordHeader header{kRecordBytes, 77, 0, 1, 1};
    row(
        "launches", kLaunchesPerWait, 0.05,
        [&](int count) {
          for (int n = 0; n < count; ++n) {
            for (size_t sent = 0; sent < kLaunchesPerWait; sent += kRecordsPerBatch) {
              for (size_t i = 0; i < kRecordsPerBatch; ++i) {
                std::memcpy(&message[sizeof(request) + i * kRecordBytes], &header, sizeof(header));
              }
              raw_.client().send(message.data(), message.size());
            }
            rawPing();
          }
        },
        [this](int count) {
          for (int n = 0; n < count; ++n) {
            for (int i = 0; i < kLaunchesPerWait; ++i) launch();
            CHECK(cuCtxSynchronize());
          }
        });
    isolatedLaunch();
  }

  // The calling thread itself hands an isolated launch to the socket, so it is on the wire when the
  // call returns.
  void isolatedLaunch() {
    if (!wanted("isolated_launch")) return;
    std::vector<double> took;
    for (int i = 0; i < (quick_ ? 50 : 300); ++i) {
      CHECK(cuCtxSynchronize());
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
      const auto start = std::chrono::steady_clock::now();
      launch();
      took.push_back(
          std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
    }
    rows_.push_back({{"id", "isolated_launch"}, {"own", {{"us", median(took) * 1e6}}}});
  }

  void bulk(size_t bytes) {
    const std::string size = std::to_string(bytes >> 20);
    const double slice_s = bytes >= kBulkBytesMax ? 0.02 : 0.04;
    row(
        "htod_" + size, 1, slice_s,
        [&](int count) {
          const RawRequest request{RawOp::upload, static_cast<uint32_t>(bytes)};
          std::byte answer;
          for (int i = 0; i < count; ++i) {
            raw_.client().send(&request, sizeof(request));
            raw_.client().send(host_.data(), bytes);
            raw_.client().receive(&answer, 1);
          }
        },
        [&](int count) {
          for (int i = 0; i < count; ++i) {
            CHECK(cuMemcpyHtoD_v2(device_, host_.data(), bytes));
            CHECK(cuCtxSynchronize());
          }
        });
    row(
        "dtoh_" + size, 1, slice_s,
        [&](int count) {
          const RawRequest request{RawOp::download, static_cast<uint32_t>(bytes)};
          for (int i = 0; i < count; ++i) {
            raw_.client().send(&request, sizeof(request));
            raw_.client().receive(host_.data(), bytes);
          }
        },
        [&](int count) {
          for (int i = 0; i < count; ++i) CHECK(cuMemcpyDtoH_v2(host_.data(), device_, bytes));
        });
  }

  // Waiting calls while another thread of the program copies without end; the baseline is the same
  // call in the same session with nothing else going on.
  void callDuringBulk() {
    if (!wanted("call_during_bulk")) return;
    unpinThread(pthread_self());  // there are three at work
    std::atomic<bool> copying{false}, stop{false};
    std::thread copier([&] {
      CHECK(cuCtxSetCurrent(context_));
      std::vector<std::byte> host(kBulkBytes);
      while (!stop) {
        if (!copying) {
          std::this_thread::sleep_for(std::chrono::microseconds(200));
          continue;
        }
        CHECK(cuMemcpyHtoD_v2(device_, host.data(), kBulkBytes));
        CHECK(cuMemcpyDtoH_v2(host.data(), device_, kBulkBytes));
      }
    });
    const auto timed = [&](bool beside) {
      return [&, beside](int count) {
        copying = beside;
        for (int i = 0; i < count; ++i) waitingCall();
        copying = false;
      };
    };
    const Comparison found =
        compare({timed(false), near_, own_far_}, {timed(true), near_, {}}, effort(0.1));
    stop = true;
    copier.join();
    rows_.push_back({{"id", "call_during_bulk"},
                     {"ratio_of_times", found.ratio},
                     {"raw", {{"us", found.raw.wall_s * 1e6}}},
                     {"own", {{"us", found.own.wall_s * 1e6}}}});
  }

  Gpud& gpud_;
  RawPeer& raw_;
  const std::string only_;
  const bool quick_;
  CpuClock near_, raw_far_, own_far_;
  CUcontext context_ = nullptr;
  CUfunction kernel_ = nullptr;
  CUdeviceptr device_ = 0;
  std::vector<std::byte> host_;
  Json rows_ = Json::array();
};

struct Arguments {
  std::string command, transport = "tcp", only, device = "empty";
  double delay_ms = 0;
  bool quick = false;
};

[[noreturn]] void usage(const char* why) {
  std::fprintf(stderr,
               "driver_bench: %s\n"
               "usage: driver_bench rows  --transport tcp|tls|unix [--only ROW,...] [--quick]\n"
               "       driver_bench serve --transport tcp|tls|unix [--device empty|cpu] "
               "[--delay-ms MS]\n",
               why);
  std::exit(2);
}

Arguments parse(int argc, char** argv) {
  Arguments arguments;
  if (argc < 2) usage("No command is given.");
  arguments.command = argv[1];
  for (int i = 2; i < argc; ++i) {
    const std::string name = argv[i];
    if (name == "--quick") {
      arguments.quick = true;
      continue;
    }
    if (i + 1 == argc) usage(("The option " + name + " is unknown or has no value.").c_str());
    const std::string value = argv[++i];
    if (name == "--transport")
      arguments.transport = value;
    else if (name == "--only")
      arguments.only = value;
    else if (name == "--device")
      arguments.device = value;
    else if (name == "--delay-ms")
      arguments.delay_ms = std::atof(value.c_str());
    else
      usage(("The option " + name + " is unknown.").c_str());
  }
  if (arguments.transport != "tcp" && arguments.transport != "unix" &&
      arguments.transport != "tls") {
    usage("--transport must be tcp, tls or unix.");
  }
  return arguments;
}

int runRows(const Arguments& arguments) {
  Gpud gpud(arguments.transport, Gpud::Device::empty);
  setenv("FARWARP_SERVER", gpud.endpoint().c_str(), 1);
  gpud.setClientEnvironment();
  const bool unix_socket = arguments.transport == "unix";
  RawPeer raw(unix_socket ? "unix:" + gpud.folder() + "/raw.sock" : "127.0.0.1:0",
              arguments.transport == "tls" ? gpud.tlsFolder() : "");
  Rows rows(gpud, raw, arguments.only, arguments.quick);
  std::puts(rows.run().dump(1).c_str());
  return 0;
}

int serve(const Arguments& arguments) {
  Gpud gpud(arguments.transport,
            arguments.device == "cpu" ? Gpud::Device::cpu : Gpud::Device::empty);
  std::unique_ptr<DelayLine> line;
  std::string address = gpud.endpoint();
  if (arguments.delay_ms >= 0) {
    const std::chrono::microseconds one_way(static_cast<int64_t>(arguments.delay_ms * 500));
    line = std::make_unique<DelayLine>(gpud.endpoint(), one_way);
  }
  std::puts(Json{{"direct", address},
                 {"delayed", line != nullptr ? line->address() : address},
                 {"fingerprint", gpud.fingerprint()},
                 {"pid", gpud.pid()}}
                .dump()
                .c_str());
  std::fflush(stdout);
  char byte;
  while (read(STDIN_FILENO, &byte, 1) > 0) {
  }
  return 0;
}

}  // namespace
}  // namespace farwarp::bench

int main(int argc, char** argv) {
  using namespace farwarp::bench;
  const Arguments arguments = parse(argc, argv);
  if (arguments.command == "rows") return runRows(arguments);
  if (arguments.command == "serve") return serve(arguments);
  usage(("The command " + arguments.command + " is unknown.").c_str());
}
