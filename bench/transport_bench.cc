// The transport beside bare sockets: round trips, launches and bulk, over TCP loopback and Unix
// sockets.
//
// Every figure is measured with its baseline in the same run, in random order and several
// repetitions, and the ratio of the medians is printed at the end. CPU time is that of the calling
// thread.
#include <benchmark/benchmark.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <map>
#include <memory>
#include <string>

#include "bench/median_reporter.h"
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
    ClientOptions options;
    options.insecure = true;
    client = ClientConnection::open(rpc.address(), ClientHello{}, options, error);
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
  const RawRequest request{RawOp::download, kBulkBytes};
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

void registerAll() {
  const struct {
    const char* name;
    void (*raw)(benchmark::State&, Transport);
    void (*rpc)(benchmark::State&, Transport);
  } tasks[] = {{"roundTrip", roundTripRaw, roundTripRpc},
               {"launches", launchesRaw, launchesRpc},
               {"put", putRaw, putRpc},
               {"get", getRaw, getRpc}};
  for (const auto& task : tasks) {
    for (const Transport transport : {kTcp, kUnix}) {
      const std::string name = std::string(task.name) + (transport == kTcp ? "Tcp" : "Unix");
      benchmark::RegisterBenchmark((name + "Raw").c_str(), task.raw, transport)->UseRealTime();
      benchmark::RegisterBenchmark(name.c_str(), task.rpc, transport)->UseRealTime();
    }
  }
}

const RatioRow kRows[] = {
    {"round trip, tcp", "roundTripTcp", 1, false, "<= 1.2"},
    {"round trip, unix", "roundTripUnix", 1, false, "<= 1.2"},
    {"launch in 16 KiB batches, tcp", "launchesTcp", kBatchesPerSync* kRecordsPerBatch, true,
     ">= 0.8"},
    {"launch in 16 KiB batches, unix", "launchesUnix", kBatchesPerSync* kRecordsPerBatch, true,
     ">= 0.8"},
    {"put 16 MiB, tcp", "putTcp", 1, true, ">= 0.95"},
    {"put 16 MiB, unix", "putUnix", 1, true, ">= 0.95"},
    {"get 16 MiB, tcp", "getTcp", 1, true, ">= 0.95"},
    {"get 16 MiB, unix", "getUnix", 1, true, ">= 0.95"},
};

}  // namespace
}  // namespace farwarp::bench

int main(int argc, char** argv) {
  farwarp::bench::registerAll();
  farwarp::bench::MedianReporter reporter;
  if (!farwarp::bench::runBenchmarks(argc, argv, reporter)) return 1;
  farwarp::bench::printRatios(reporter, farwarp::bench::kRows);
  return 0;
}
