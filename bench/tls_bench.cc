// The transport with TLS beside bare OpenSSL: 16 MiB each way, and the round trip of 64 bytes. Both
// speak TLS 1.3 with AES-128-GCM over TCP loopback, in the same run. What TLS adds to a round trip
// is the difference to the same transport in clear, which is printed last.
#include <benchmark/benchmark.h>
#include <openssl/ssl.h>
#include <stdlib.h>
#include <unistd.h>

#include <cstdio>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <memory>
#include <stdexcept>
#include <string>

#include "bench/median_reporter.h"
#include "bench/transport_peers.h"
#include "gpud/certificates.h"
#include "protocol/client_connection.h"
#include "protocol/endpoint.h"
#include "protocol/tls.h"

namespace farwarp::bench {
namespace {

using namespace farwarp::wire;

// Keys for this run, in a folder that goes with it.
struct Keys {
  Keys() {
    char name[] = "/tmp/farwarp-tls-bench-XXXXXX";
    folder = mkdtemp(name);
    const std::time_t now = std::time(nullptr);
    const Validity validity{now - 3600, now + 86400};
    KeyPair authority, server;
    std::string error;
    if (!makeAuthority("bench", validity, authority, error) ||
        !makeServerCertificate(authority, {"127.0.0.1"}, validity, server, error)) {
      throw std::runtime_error(error);
    }
    fingerprint = fingerprintOf(authority.certificate);
    std::ofstream(certificate) << server.certificate;
    std::ofstream(key) << server.key;
  }
  ~Keys() {
    std::error_code ignored;
    std::filesystem::remove_all(folder, ignored);
  }
  std::string folder;
  std::string certificate = folder + "/server.crt";
  std::string key = folder + "/server.key";
  std::string fingerprint;
};

// Bare OpenSSL on blocking sockets, as a program would write it.
class BareTls {
 public:
  BareTls(SSL_CTX* context, int fd, bool server) : ssl_(SSL_new(context)), fd_(fd) {
    SSL_set_fd(ssl_, fd);
    if ((server ? SSL_accept(ssl_) : SSL_connect(ssl_)) != 1) throw std::runtime_error("TLS");
  }
  ~BareTls() {
    SSL_free(ssl_);
    close(fd_);
  }
  void send(const void* data, size_t bytes) {
    for (size_t done = 0, n = 0; done < bytes; done += n) {
      if (SSL_write_ex(ssl_, static_cast<const char*>(data) + done, bytes - done, &n) != 1) return;
    }
  }
  bool receive(void* data, size_t bytes) {
    for (size_t done = 0, n = 0; done < bytes; done += n) {
      if (SSL_read_ex(ssl_, static_cast<char*>(data) + done, bytes - done, &n) != 1) return false;
    }
    return true;
  }

 private:
  SSL* ssl_;
  int fd_;
};

SSL_CTX* bareContext(const SSL_METHOD* method) {
  SSL_CTX* context = SSL_CTX_new(method);
  SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION);
  SSL_CTX_set_ciphersuites(context, "TLS_AES_128_GCM_SHA256");
  SSL_CTX_set_read_ahead(context, 1);
  return context;
}

class BarePeer {
 public:
  explicit BarePeer(const Keys& keys) {
    SSL_CTX* server = bareContext(TLS_server_method());
    SSL_CTX_use_certificate_chain_file(server, keys.certificate.c_str());
    SSL_CTX_use_PrivateKey_file(server, keys.key.c_str(), SSL_FILETYPE_PEM);
    Endpoint bound;
    std::string error;
    if (!parseEndpoint("127.0.0.1:0", bound, error, true)) throw std::runtime_error(error);
    const int listener = listenOn(bound, 1, error);
    if (listener < 0 || !boundEndpoint(listener, bound)) throw std::runtime_error(error);
    const int fd = connectTo(bound, 10000, error);
    const int accepted = acceptBlocking(listener);
    close(listener);
    thread_ = std::thread([server, accepted] { serve(server, accepted); });
    client_ = std::make_unique<BareTls>(bareContext(TLS_client_method()), fd, false);
  }
  ~BarePeer() {
    client_.reset();
    thread_.join();
  }
  BareTls& client() { return *client_; }

 private:
  static int acceptBlocking(int listener);
  static void serve(SSL_CTX* context, int fd) {
    BareTls peer(context, fd, true);
    std::vector<std::byte> buffer(kBulkBytes, std::byte{1});
    RawRequest request;
    while (peer.receive(&request, sizeof(request))) {
      if (request.op == RawOp::download) {
        peer.send(buffer.data(), buffer.size());
        continue;
      }
      if (!peer.receive(buffer.data(), request.bytes)) return;
      peer.send(buffer.data(), request.op == RawOp::ping ? request.bytes : 1);
    }
  }
  std::unique_ptr<BareTls> client_;
  std::thread thread_;
};

int BarePeer::acceptBlocking(int listener) {
  const int fd = acceptFrom(listener);
  if (fd < 0) throw std::runtime_error("accept");
  return fd;
}

struct Peers {
  Peers() {
    std::string error;
    tls = TlsServer::load(keys.certificate, keys.key, error);
    if (tls == nullptr) throw std::runtime_error(error);
    encrypted = std::make_unique<RpcPeer>("127.0.0.1:0", tls.get());
    clear = std::make_unique<RpcPeer>("127.0.0.1:0");
    ConnectionError failure;
    ClientOptions options;
    options.compression = CompressionMode::off;
    options.trust.fingerprint = keys.fingerprint;
    client = ClientConnection::open(encrypted->address(), ClientHello{}, options, failure);
    options.insecure = true;
    plain = ClientConnection::open(clear->address(), ClientHello{}, options, failure);
    if (client == nullptr || plain == nullptr) throw std::runtime_error(failure.sentence);
    bare = std::make_unique<BarePeer>(keys);
  }
  Keys keys;
  std::unique_ptr<TlsServer> tls;
  std::unique_ptr<RpcPeer> encrypted, clear;
  std::unique_ptr<ClientConnection> client, plain;
  std::unique_ptr<BarePeer> bare;
};

Peers& peers() {
  static Peers all;
  return all;
}

std::vector<std::byte>& bulkBuffer() {
  static std::vector<std::byte> buffer(kBulkBytes, std::byte{3});
  return buffer;
}

void check(benchmark::State& state, Trouble trouble) {
  if (trouble != Trouble::none) state.SkipWithError(troubleName(trouble));
}

void putRaw(benchmark::State& state) {
  BareTls& bare = peers().bare->client();
  const RawRequest request{RawOp::upload, kBulkBytes};
  std::byte answer;
  for (auto _ : state) {
    bare.send(&request, sizeof(request));
    bare.send(bulkBuffer().data(), kBulkBytes);
    bare.receive(&answer, 1);
  }
}

void put(benchmark::State& state) {
  ClientConnection& client = *peers().client;
  std::byte answer;
  for (auto _ : state) {
    check(state, client.put(1, bulkBuffer()));
    check(state, client.get(2, std::span(&answer, 1)));  // comes after the chunks before it
  }
}

void getRaw(benchmark::State& state) {
  BareTls& bare = peers().bare->client();
  const RawRequest request{RawOp::download, 0};
  for (auto _ : state) {
    bare.send(&request, sizeof(request));
    bare.receive(bulkBuffer().data(), kBulkBytes);
  }
}

void get(benchmark::State& state) {
  ClientConnection& client = *peers().client;
  for (auto _ : state) check(state, client.get(1, bulkBuffer()));
}

void roundTripRaw(benchmark::State& state) {
  BareTls& bare = peers().bare->client();
  std::byte message[sizeof(RawRequest) + kPingBytes] = {};
  const RawRequest request{RawOp::ping, kPingBytes};
  std::memcpy(message, &request, sizeof(request));
  for (auto _ : state) {
    bare.send(message, sizeof(message));
    bare.receive(message + sizeof(request), kPingBytes);
  }
}

void ping(benchmark::State& state, ClientConnection& client) {
  const std::vector<std::byte> batch(kPingBytes);
  for (auto _ : state) {
    Reply reply;
    check(state, client.wait(client.start(batch), reply));
  }
}
void roundTrip(benchmark::State& state) {
  ping(state, *peers().client);
}
void roundTripClear(benchmark::State& state) {
  ping(state, *peers().plain);
}

const RatioRow kRows[] = {
    {"put 16 MiB, TLS", "put", 1, true, ">= 0.95"},
    {"get 16 MiB, TLS", "get", 1, true, ">= 0.95"},
    {"round trip, TLS", "roundTrip", 1, false, "<= 1.2"},
};

}  // namespace
}  // namespace farwarp::bench

int main(int argc, char** argv) {
  using namespace farwarp::bench;
  const struct {
    const char* name;
    void (*run)(benchmark::State&);
  } tasks[] = {{"putRaw", putRaw},
               {"put", put},
               {"getRaw", getRaw},
               {"get", get},
               {"roundTripRaw", roundTripRaw},
               {"roundTrip", roundTrip},
               {"roundTripClear", roundTripClear}};
  for (const auto& task : tasks) {
    benchmark::RegisterBenchmark(task.name, task.run)->UseRealTime();
  }
  MedianReporter reporter;
  if (!runBenchmarks(argc, argv, reporter)) return 1;
  printRatios(reporter, kRows);
  const auto us = [&](const char* name) {
    return reporter.median(name, &MedianReporter::Sample::real_s) * 1e6;
  };
  std::printf("TLS adds %.1f us to a round trip of %.1f us (goal: <= 6 us)\n",
              us("roundTrip") - us("roundTripClear"), us("roundTripClear"));
  return 0;
}
