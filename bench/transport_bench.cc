// The transport beside bare sockets: round trips, launches and bulk, over TCP loopback and Unix
// sockets.
//
// Every figure is measured with its baseline in the same run, in random order and several
// repetitions, and the ratio of the medians is printed at the end. CPU time is that of the calling
// thread.
#include <benchmark/benchmark.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <map>
#include <memory>
#include <string>

#include "bench/transport_peers.h"
#include "protocol/client_connection.h"
#include "protocol/record.h"

namespace farwarp::bench {
namespace {

using namespace farwarp::wire;

constexpr size_t kRecordBytes = 120;  // a launch with 64 bytes of parameters
constexpr size_t kBatchBytes = 16u << 10;
constexpr size_t kRecordsPerBatch = kBatchBytes / kRecordBytes;
constexpr int kBatchesPerSync = 64;

enum Transport { kTcp, kUnix };

std::string addressFor(Transport transport, const char* name) {
  if (transport == kTcp) return "127.0.0.1:0";
  char path[64];
  std::snprintf(path, sizeof(path), "unix:/tmp/farwarp-bench-%d-%s", getpid(), name);
  return path;
}

std::vector<std::byte> launchBatch(size_t records) {
  alignas(8) std::byte record[kRecordBytes] = {};
  const RecordHeader header{kRecordBytes, 77, 0, 1, 1};
  std::memcpy(record, &header, sizeof(header));
  std::vector<std::byte> batch;
  for (size_t i = 0; i < records; ++i) {
    record[sizeof(header)] = static_cast<std::byte>(i);
    batch.insert(batch.end(), record, record + kRecordBytes);
  }
  return batch;
}

struct Peers {
  explicit Peers(Transport transport)
      : rpc(addressFor(transport, "rpc")), raw(addressFor(transport, "raw")) {
    ConnectionError error;
    client = ClientConnection::open(rpc.address(), ClientHello{}, ClientOptions{}, error);
    if (client == nullptr) {
      std::fprintf(stderr, "%s\n", error.sentence.c_str());
      std::exit(1);
    }
  }
  RpcPeer rpc;
  RawPeer raw;
  std::unique_ptr<ClientConnection> client;
};

Peers& peers(Transport transport) {
  static std::map<Transport, std::unique_ptr<Peers>> all;
  auto& found = all[transport];
  if (found == nullptr) found = std::make_unique<Peers>(transport);
  return *found;
}

void check(benchmark::State& state, Trouble trouble) {
  if (trouble != Trouble::none) state.SkipWithError(troubleName(trouble));
}

void rawPing(int fd) {
  std::byte message[sizeof(RawRequest) + kPingBytes] = {};
  const RawRequest request{RawOp::ping, kPingBytes};
  std::memcpy(message, &request, sizeof(request));
  sendAll(fd, message, sizeof(message));
  receiveAll(fd, message, kPingBytes);
}

void roundTripRaw(benchmark::State& state, Transport transport) {
  const int fd = peers(transport).raw.fd();
  for (auto _ : state) rawPing(fd);
}

void roundTripRpc(benchmark::State& state, Transport transport) {
  ClientConnection& client = *peers(transport).client;
  const auto batch = launchBatch(1);
  for (auto _ : state) {
    Reply reply;
    check(state, client.wait(client.start(std::span(batch).first(kPingBytes)), reply));
  }
}

void launchesRaw(benchmark::State& state, Transport transport) {
  const int fd = peers(transport).raw.fd();
  const auto batch = launchBatch(kRecordsPerBatch);
  const RawRequest request{RawOp::batch, static_cast<uint32_t>(batch.size())};
  std::vector<std::byte> message(sizeof(request) + batch.size());
  std::memcpy(message.data(), &request, sizeof(request));
  for (auto _ : state) {
    for (int i = 0; i < kBatchesPerSync; ++i) {
      std::memcpy(message.data() + sizeof(request), batch.data(), batch.size());
      sendAll(fd, message.data(), message.size());
    }
    rawPing(fd);
  }
  state.SetItemsProcessed(state.iterations() * kBatchesPerSync * kRecordsPerBatch);
}

void launchesRpc(benchmark::State& state, Transport transport) {
  ClientConnection& client = *peers(transport).client;
  const auto batch = launchBatch(kRecordsPerBatch);
  for (auto _ : state) {
    for (int i = 0; i < kBatchesPerSync; ++i) check(state, client.submit(batch));
    Reply reply;
    check(state, client.wait(client.start(std::span(batch).first(kPingBytes)), reply));
  }
  state.SetItemsProcessed(state.iterations() * kBatchesPerSync * kRecordsPerBatch);
}

std::vector<std::byte>& bulkBuffer() {
  static std::vector<std::byte> buffer(kBulkBytes, std::byte{3});
  return buffer;
}

void putRaw(benchmark::State& state, Transport transport) {
  const int fd = peers(transport).raw.fd();
  const RawRequest request{RawOp::upload, kBulkBytes};
  std::byte answer;
  for (auto _ : state) {
    sendAll(fd, &request, sizeof(request));
    sendAll(fd, bulkBuffer().data(), kBulkBytes);
    receiveAll(fd, &answer, 1);
  }
  state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(kBulkBytes));
}

void putRpc(benchmark::State& state, Transport transport) {
  ClientConnection& client = *peers(transport).client;
  std::byte answer;
  for (auto _ : state) {
    check(state, client.put(1, bulkBuffer()));
    check(state, client.get(2, std::span(&answer, 1)));  // comes after the chunks before it
  }
  state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(kBulkBytes));
}

void getRaw(benchmark::State& state, Transport transport) {
  const int fd = peers(transport).raw.fd();
  const RawRequest request{RawOp::download, 0};
  for (auto _ : state) {
    sendAll(fd, &request, sizeof(request));
    receiveAll(fd, bulkBuffer().data(), kBulkBytes);
  }
  state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(kBulkBytes));
}

void getRpc(benchmark::State& state, Transport transport) {
  ClientConnection& client = *peers(transport).client;
  for (auto _ : state) check(state, client.get(1, bulkBuffer()));
  state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(kBulkBytes));
}

BENCHMARK_CAPTURE(roundTripRaw, tcp, kTcp)->UseRealTime();
BENCHMARK_CAPTURE(roundTripRpc, tcp, kTcp)->UseRealTime();
BENCHMARK_CAPTURE(roundTripRaw, unix, kUnix)->UseRealTime();
BENCHMARK_CAPTURE(roundTripRpc, unix, kUnix)->UseRealTime();
BENCHMARK_CAPTURE(launchesRaw, tcp, kTcp)->UseRealTime();
BENCHMARK_CAPTURE(launchesRpc, tcp, kTcp)->UseRealTime();
BENCHMARK_CAPTURE(launchesRaw, unix, kUnix)->UseRealTime();
BENCHMARK_CAPTURE(launchesRpc, unix, kUnix)->UseRealTime();
BENCHMARK_CAPTURE(putRaw, tcp, kTcp)->UseRealTime();
BENCHMARK_CAPTURE(putRpc, tcp, kTcp)->UseRealTime();
BENCHMARK_CAPTURE(putRaw, unix, kUnix)->UseRealTime();
BENCHMARK_CAPTURE(putRpc, unix, kUnix)->UseRealTime();
BENCHMARK_CAPTURE(getRaw, tcp, kTcp)->UseRealTime();
BENCHMARK_CAPTURE(getRpc, tcp, kTcp)->UseRealTime();
BENCHMARK_CAPTURE(getRaw, unix, kUnix)->UseRealTime();
BENCHMARK_CAPTURE(getRpc, unix, kUnix)->UseRealTime();

// Keeps the median of each benchmark while the console shows them.
class MedianReporter final : public benchmark::ConsoleReporter {
 public:
  void ReportRuns(const std::vector<Run>& runs) override {
    ConsoleReporter::ReportRuns(runs);
    for (const Run& run : runs) {
      if (run.error_occurred || run.run_type != Run::RT_Iteration) continue;
      const auto iterations = static_cast<double>(run.iterations);
      samples[run.run_name.function_name + "/" + run.run_name.args].push_back(
          {run.real_accumulated_time / iterations, run.cpu_accumulated_time / iterations});
    }
  }

  struct Sample {
    double real_s, cpu_s;
  };
  std::map<std::string, std::vector<Sample>> samples;

  double median(const std::string& name, double Sample::*field) const {
    for (const auto& [key, list] : samples) {
      if (key.rfind(name, 0) != 0) continue;
      std::vector<double> values;
      for (const Sample& s : list) values.push_back(s.*field);
      std::sort(values.begin(), values.end());
      return values[values.size() / 2];
    }
    return 0;
  }
};

void printRatios(const MedianReporter& reporter) {
  const struct {
    const char* what;
    const char* name;
    double per;  // divides the time of one iteration
    bool rate;   // the ratio is of rates, larger is better
    const char* goal;
  } rows[] = {
      {"round trip", "roundTrip", 1, false, "<= 1.2"},
      {"launch, 16 KiB batches", "launches", kBatchesPerSync * kRecordsPerBatch, true, ">= 0.8"},
      {"put 16 MiB", "put", 1, true, ">= 0.95"},
      {"get 16 MiB", "get", 1, true, ">= 0.95"}};
  std::printf("\n%-24s %-5s %12s %12s %12s %12s %7s  %s\n", "", "", "raw", "rpc", "raw cpu",
              "rpc cpu", "ratio", "goal");
  for (const auto& row : rows) {
    for (const char* transport : {"tcp", "unix"}) {
      const std::string name = row.name;
      const auto at = [&](const char* side, double MedianReporter::Sample::*field) {
        return reporter.median(name + side + "/" + transport, field) / row.per * 1e6;
      };
      const double raw = at("Raw", &MedianReporter::Sample::real_s);
      const double rpc = at("Rpc", &MedianReporter::Sample::real_s);
      if (raw == 0 || rpc == 0) continue;
      std::printf("%-24s %-5s %9.3f us %9.3f us %9.3f us %9.3f us %7.2f  %s\n", row.what, transport,
                  raw, rpc, at("Raw", &MedianReporter::Sample::cpu_s),
                  at("Rpc", &MedianReporter::Sample::cpu_s), row.rate ? raw / rpc : rpc / raw,
                  row.goal);
    }
  }
}

}  // namespace
}  // namespace farwarp::bench

int main(int argc, char** argv) {
  // Repetitions in random order, unless the user says otherwise (later flags win).
  std::string repetitions = "--benchmark_repetitions=5", least = "--benchmark_min_time=0.2",
              mixed = "--benchmark_enable_random_interleaving=true";
  std::vector<char*> args = {argv[0], repetitions.data(), least.data(), mixed.data()};
  args.insert(args.end(), argv + 1, argv + argc);
  int count = static_cast<int>(args.size());
  benchmark::Initialize(&count, args.data());
  if (benchmark::ReportUnrecognizedArguments(count, args.data())) return 1;
  farwarp::bench::MedianReporter reporter;
  benchmark::RunSpecifiedBenchmarks(&reporter);
  farwarp::bench::printRatios(reporter);
  std::fflush(stdout);
  return 0;
}
