// Goal: sessions work through whole processes, do not see each other, and end alone: by their
// client's end, their client's death, nonsense, or the worker's death, each with its figures in the
// session log. Method: the real client connection with hand-made batches against gpud on the mock
// driver; forked clients are killed with SIGKILL, workers too.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <fstream>

#include "driver_calls_gen.h"
#include "protocol/handle_id.h"
#include "protocol/record.h"
#include "tests/gpud/gpud_process.h"
#include "wire_records_gen.h"

namespace farwarp {
namespace {

using testing::HasSubstr;
using wire::HandleId;
using wire::HandleType;
using wire::Trouble;

// A client that calls the driver with one record per batch.
class TestClient {
 public:
  explicit TestClient(const std::string& endpoint, const std::string& program = "test-program") {
    wire::ConnectionError error;
    connection_ = openSession(endpoint, error, program);
    EXPECT_NE(connection_, nullptr) << error.sentence;
    if (!connection_) return;
    wire::Args_cuDevicePrimaryCtxRetain args;
    args.context = HandleId(HandleType::context, 1, 1).bits;
    submit(CallId::cuDevicePrimaryCtxRetain, args);
  }

  template <typename Args>
  static std::vector<std::byte> record(CallId call, const Args& args) {
    std::vector<std::byte> bytes(sizeof(wire::RecordHeader) + args.encodedBytes());
    const wire::RecordHeader header{static_cast<uint32_t>(bytes.size()),
                                    static_cast<uint16_t>(call), 0, 1, 1};
    std::memcpy(bytes.data(), &header, sizeof(header));
    args.encode(bytes.data() + sizeof(header));
    return bytes;
  }
  template <typename Args>
  void submit(CallId call, const Args& args) {
    EXPECT_EQ(connection_->submit(record(call, args)), Trouble::none);
  }
  template <typename Reply, typename Args>
  Reply call(CallId id, const Args& args) {
    Reply reply;
    EXPECT_EQ(connection_->wait(connection_->start(record(id, args)), reply_), Trouble::none);
    wire::ReplyHeader header{};
    const auto bytes = reply_.bytes();
    if (bytes.size() < sizeof(header)) return reply;
    std::memcpy(&header, bytes.data(), sizeof(header));
    EXPECT_EQ(header.result, CUDA_SUCCESS);
    EXPECT_TRUE(reply.decode(bytes.subspan(sizeof(header) + 8 * header.completed)));
    return reply;
  }

  uint64_t allocate(uint64_t bytes) {
    wire::Args_cuMemAlloc_v2 args;
    args.bytes = bytes;
    return call<wire::Reply_cuMemAlloc_v2>(CallId::cuMemAlloc_v2, args).address;
  }
  void upload(uint64_t to, std::span<const std::byte> data, uint64_t transfer) {
    wire::Args_cuMemcpyHtoD_v2 args;
    args.dst = to;
    args.bytes = data.size();
    args.transfer = transfer;
    submit(CallId::cuMemcpyHtoD_v2, args);
    EXPECT_EQ(connection_->put(transfer, data), Trouble::none);
  }
  std::vector<std::byte> download(uint64_t from, uint64_t bytes, uint64_t transfer) {
    wire::Args_cuMemcpyDtoH_v2 args;
    args.src = from;
    args.bytes = bytes;
    args.transfer = transfer;
    call<wire::Reply_cuMemcpyDtoH_v2>(CallId::cuMemcpyDtoH_v2, args);
    std::vector<std::byte> data(bytes);
    EXPECT_EQ(connection_->get(transfer, data), Trouble::none);
    return data;
  }
  void launchOnce() {
    const uint64_t module = HandleId(HandleType::module, 1, 1).bits;
    const uint64_t function = HandleId(HandleType::function, 1, 1).bits;
    const std::string image = ".version 9.0";
    wire::Args_cuModuleLoadDataEx load;
    load.module = module;
    load.image = std::as_bytes(std::span(image));
    load.image_bytes = image.size();
    call<wire::Reply_cuModuleLoadDataEx>(CallId::cuModuleLoadDataEx, load);
    wire::Args_cuModuleGetFunction get;
    get.module = module;
    get.function = function;
    get.name = "kernel";
    submit(CallId::cuModuleGetFunction, get);
    wire::Args_cuLaunchKernelEx launch;
    launch.function = function;
    launch.grid_x = launch.grid_y = launch.grid_z = 1;
    launch.block_x = launch.block_y = launch.block_z = 1;
    const std::vector<std::byte> params(8);
    launch.params = params;
    submit(CallId::cuLaunchKernelEx, launch);
    call<wire::Reply_cuMemGetInfo_v2>(CallId::cuMemGetInfo_v2, wire::Args_cuMemGetInfo_v2{});
  }

  wire::ClientConnection& connection() { return *connection_; }
  void close() {
    reply_ = {};  // must not outlive the connection
    connection_.reset();
  }

 private:
  std::unique_ptr<wire::ClientConnection> connection_;
  wire::Reply reply_;
};

std::vector<std::byte> pattern(size_t bytes, unsigned step) {
  std::vector<std::byte> data(bytes);
  for (size_t i = 0; i < bytes; ++i) data[i] = static_cast<std::byte>(i * step + (i >> 9));
  return data;
}

TEST(Worker, MovesDataBothWays) {
  GpudProcess gpud;
  for (const std::string& endpoint : {gpud.tcp(), gpud.unixSocket()}) {
    TestClient client(endpoint);
    const auto data = pattern((9u << 20) + 12345, 7);
    const uint64_t memory = client.allocate(data.size());
    client.upload(memory, data, 1);
    EXPECT_EQ(client.download(memory, data.size(), 2), data);
  }
}

TEST(Worker, ReportsTheSessionsFigures) {
  GpudProcess gpud;
  {
    TestClient client(gpud.tcp(), "vectorAdd");
    const auto data = pattern(1u << 20, 3);
    const uint64_t memory = client.allocate(data.size());
    client.upload(memory, data, 1);
    client.launchOnce();
    wire::SessionStats stats;
    ASSERT_EQ(client.connection().stats(stats), Trouble::none);
    EXPECT_EQ(stats.calls, 7u);
    EXPECT_EQ(stats.waiting_calls, 3u);
    EXPECT_EQ(stats.launches, 1u);
    EXPECT_EQ(stats.method, "events");
    EXPECT_GT(stats.bytes_in, data.size());
    ASSERT_EQ(client.connection().close(stats), Trouble::none);
  }
  const auto session = gpud.sessions(1)[0];
  EXPECT_EQ(session["program"], "vectorAdd");
  EXPECT_EQ(session["client_pid"], getpid());
  EXPECT_EQ(session["calls"], 7);
  EXPECT_EQ(session["waiting_calls"], 3);
  EXPECT_EQ(session["launches"], 1);
  EXPECT_EQ(session["method"], "events");
  EXPECT_GT(session["bytes_in"], 1u << 20);
  EXPECT_GT(session["bytes_out"], 0u);
  EXPECT_EQ(session["end"], "The client closed the session.");
  EXPECT_TRUE(gpud.logHas("program \"vectorAdd\""));
}

TEST(Worker, SessionsDoNotSeeEachOther) {
  GpudProcess gpud;
  TestClient first(gpud.tcp(), "first");
  TestClient second(gpud.tcp(), "second");
  const auto ones = pattern(300000, 1);
  const auto twos = pattern(300000, 2);
  const uint64_t first_memory = first.allocate(ones.size());
  const uint64_t second_memory = second.allocate(twos.size());
  first.upload(first_memory, ones, 1);
  second.upload(second_memory, twos, 1);
  EXPECT_EQ(first.download(first_memory, ones.size(), 2), ones);
  EXPECT_EQ(second.download(second_memory, twos.size(), 2), twos);
  // What the second says cannot end the first.
  std::vector<std::byte> nonsense(64, std::byte{0xff});
  (void)second.connection().submit(nonsense);
  const auto session = gpud.sessions(1)[0];
  EXPECT_EQ(session["program"], "second");
  EXPECT_THAT(session["end"].get<std::string>(), HasSubstr("nonsense"));
  EXPECT_EQ(first.download(first_memory, ones.size(), 3), ones);
}

TEST(Worker, EndsWithAClientThatIsKilled) {
  GpudProcess gpud;
  int ready[2];
  ASSERT_EQ(pipe(ready), 0);
  const pid_t child = fork();
  if (child == 0) {
    TestClient client(gpud.tcp(), "killed");
    client.allocate(100);
    if (write(ready[1], "r", 1) != 1) _exit(1);
    for (;;) pause();
  }
  char c;
  ASSERT_EQ(read(ready[0], &c, 1), 1);
  close(ready[0]);
  close(ready[1]);
  gpud.workers(1);
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  gpud.workers(0);
  const auto session = gpud.sessions(1)[0];
  EXPECT_EQ(session["program"], "killed");
  EXPECT_EQ(session["calls"], 2);
}

TEST(Worker, IsKilledWhenItDoesNotNoticeThatItsClientIsGone) {
  GpudProcess gpud;
  auto client = std::make_unique<TestClient>(gpud.tcp());
  client->allocate(100);
  const pid_t worker = gpud.workers(1)[0];
  kill(worker, SIGSTOP);  // as if it were stuck in the driver
  client->close();
  gpud.workers(0);
  EXPECT_THAT(gpud.sessions(1)[0]["end"].get<std::string>(), HasSubstr("it was killed"));
}

TEST(Worker, ItsDeathEndsOnlyItsSessionAndLosesNoFigures) {
  GpudProcess gpud;
  TestClient first(gpud.tcp(), "first");
  TestClient second(gpud.tcp(), "second");
  first.launchOnce();
  second.allocate(10);
  const auto workers = gpud.workers(2);
  kill(workers[0], SIGKILL);  // the first session's: workers are listed in the order of their start
  gpud.workers(1);
  wire::SessionStats stats;
  EXPECT_NE(first.connection().stats(stats), Trouble::none);
  EXPECT_TRUE(first.connection().dead());
  const auto session = gpud.sessions(1)[0];
  EXPECT_EQ(session["program"], "first");
  EXPECT_EQ(session["launches"], 1);
  EXPECT_EQ(session["calls"], 5);
  EXPECT_THAT(session["end"].get<std::string>(), HasSubstr("signal 9"));
  EXPECT_EQ(second.connection().stats(stats), Trouble::none);
}

// True once the process is gone, or dead and only not yet reaped by whoever inherited it.
bool processEnds(pid_t pid) {
  for (;;) {
    std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
    std::string text;
    if (!std::getline(file, text)) return true;
    if (text.find(") Z ") != std::string::npos) return true;
    usleep(1000);
  }
}

TEST(Worker, DoesNotOutliveTheSupervisor) {
  GpudProcess gpud;
  TestClient client(gpud.tcp());
  const pid_t worker = gpud.workers(1)[0];
  gpud.signal(SIGKILL);
  EXPECT_EQ(gpud.wait(), 128 + SIGKILL);
  wire::SessionStats stats;
  EXPECT_NE(client.connection().stats(stats), Trouble::none);  // returns when the worker is gone
  EXPECT_TRUE(processEnds(worker));
}

TEST(Worker, RefusesNewerClients) {
  GpudProcess gpud;
  wire::ClientHello hello;
  hello.spec_version = kDriverFunctionCount + 1;
  wire::ConnectionError error;
  EXPECT_EQ(wire::ClientConnection::open(gpud.tcp(), hello, clientOptions(), error), nullptr);
  EXPECT_EQ(error.kind, Trouble::refused);
  EXPECT_THAT(error.sentence, HasSubstr("newer than this gpud"));
}

}  // namespace
}  // namespace farwarp
