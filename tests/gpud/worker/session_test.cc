// Goal: a session executes its log in order, waits out of order, moves bulk data whenever it comes,
// keeps errors for the next reply, and survives everything that a peer can send by ending with a
// reason. Method: a Session without sockets on the mock driver, fed with hand-made batches; a gate
// holds the device's events back, so that "not finished yet" lasts exactly as long as the test
// wants.
#include "gpud/worker/session.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <condition_variable>
#include <cstring>
#include <filesystem>
#include <iostream>
#include <mutex>
#include <optional>
#include <random>

#include "codegen/mock/mock_driver.h"
#include "wire_records_gen.h"

namespace farwarp::worker {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using wire::HandleId;
using wire::HandleType;

// The device finishes nothing while the gate is closed.
struct Gate {
  std::mutex mutex;
  std::condition_variable changed;
  bool open = true;
  int waiting = 0;

  void set(bool now_open) {
    std::lock_guard lock(mutex);
    open = now_open;
    changed.notify_all();
  }
  bool isOpen() {
    std::lock_guard lock(mutex);
    return open;
  }
  void pass() {
    std::unique_lock lock(mutex);
    ++waiting;
    changed.wait(lock, [this] { return open; });
    --waiting;
  }
};
Gate gate;
std::vector<CUstream> copy_streams;   // of cuMemcpyHtoDAsync, in order
std::vector<CUstream> order_streams;  // of cuStreamWaitEvent

CUresult heldEventQuery(CUevent event) {
  return gate.isOpen() ? mockDriverTable().cuEventQuery(event) : CUDA_ERROR_NOT_READY;
}
CUresult heldEventSynchronize(CUevent event) {
  gate.pass();
  return mockDriverTable().cuEventSynchronize(event);
}
CUresult heldStreamQuery(CUstream) {
  return gate.isOpen() ? CUDA_SUCCESS : CUDA_ERROR_NOT_READY;
}
CUresult heldCtxSynchronize() {
  gate.pass();
  return CUDA_SUCCESS;
}
CUresult notedCopy(CUdeviceptr to, const void* from, size_t bytes, CUstream stream) {
  copy_streams.push_back(stream);
  return mockDriverTable().cuMemcpyHtoD_v2(to, from, bytes);
}
CUresult plainCopyBack(void* to, CUdeviceptr from, size_t bytes, CUstream) {
  return mockDriverTable().cuMemcpyDtoH_v2(to, from, bytes);
}
CUresult notedWait(CUstream stream, CUevent, unsigned) {
  order_streams.push_back(stream);
  return CUDA_SUCCESS;
}

struct Answer {
  bool answered = false;
  bool dropped = false;
  std::vector<std::byte> bytes;

  wire::ReplyHeader header() const {
    wire::ReplyHeader header{};
    EXPECT_GE(bytes.size(), sizeof(header));
    if (bytes.size() >= sizeof(header)) std::memcpy(&header, bytes.data(), sizeof(header));
    return header;
  }
  int result() const { return header().result; }
  std::vector<uint64_t> completed() const {
    std::vector<uint64_t> ids(header().completed);
    if (ids.empty()) return ids;
    std::memcpy(ids.data(), bytes.data() + sizeof(wire::ReplyHeader), ids.size() * 8);
    return ids;
  }
  std::span<const std::byte> body() const {
    return std::span(bytes).subspan(sizeof(wire::ReplyHeader) + 8 * header().completed);
  }
};

class FakeReply final : public wire::CallReply {
 public:
  explicit FakeReply(Answer& answer) : answer_(answer) {}
  ~FakeReply() override { answer_.dropped = !answer_.answered; }
  void send(std::span<const std::byte> bytes) override {
    answer_.bytes.assign(bytes.begin(), bytes.end());
    answer_.answered = true;
  }
  std::span<std::byte> buffer(size_t bytes) override {
    answer_.bytes.assign(bytes, std::byte{0});
    return answer_.bytes;
  }
  void sendBuffer() override { answer_.answered = true; }
  void fail(const std::string&) override { answer_.answered = true; }

 private:
  Answer& answer_;
};

// Records one after the other, as a client encodes them.
class BatchBytes {
 public:
  template <typename Args>
  BatchBytes& add(CallId call, const Args& args, uint32_t context = 1, uint32_t thread = 1,
                  uint16_t flags = 0) {
    const size_t at = bytes_.size();
    const size_t body = args.encodedBytes();
    bytes_.resize(at + sizeof(wire::RecordHeader) + body);
    const wire::RecordHeader header{static_cast<uint32_t>(bytes_.size() - at),
                                    static_cast<uint16_t>(call), flags, context, thread};
    std::memcpy(bytes_.data() + at, &header, sizeof(header));
    args.encode(bytes_.data() + at + sizeof(header));
    return *this;
  }
  std::vector<std::byte>& bytes() { return bytes_; }

 private:
  std::vector<std::byte> bytes_;
};

std::vector<std::byte> pattern(size_t bytes, unsigned seed) {
  std::vector<std::byte> out(bytes);
  std::minstd_rand random(seed);
  for (std::byte& b : out) b = static_cast<std::byte>(random() >> 8);
  return out;
}

const uint64_t kContext = HandleId(HandleType::context, 1, 1).bits;

class SessionTest : public testing::Test {
 protected:
  SessionTest() : scope_(port_.eventLoop()) {
    mock::reset();
    spdlog::set_level(spdlog::level::off);
    gate.set(true);
    copy_streams.clear();
    order_streams.clear();
    driver_ = mockDriverTable();
    driver_.cuEventQuery = heldEventQuery;
    driver_.cuEventSynchronize = heldEventSynchronize;
    driver_.cuStreamQuery = heldStreamQuery;
    driver_.cuCtxSynchronize = heldCtxSynchronize;
    driver_.cuMemcpyHtoDAsync_v2 = notedCopy;
    driver_.cuMemcpyDtoHAsync_v2 = plainCopyBack;
    driver_.cuStreamWaitEvent = notedWait;
    driver_.cuInit(0);
    EXPECT_TRUE(shared_.create());
    settings_.staging_bytes_max = 8u << 20;
    settings_.bulk_bytes_max = 32u << 20;
    start();
  }
  ~SessionTest() noexcept override { gate.set(true); }

  void start() {
    session_.reset();
    session_ = std::make_unique<Session>(driver_, port_, *shared_.get(), settings_);
    ended_ = false;
    watch_ = session_->whenEnded().then([this] { ended_ = true; }).eagerlyEvaluate(nullptr);
    BatchBytes retain;
    wire::Args_cuDevicePrimaryCtxRetain args;
    args.context = kContext;
    submit(retain.add(CallId::cuDevicePrimaryCtxRetain, args, 0));
  }

  // The session refers to the bytes until the batch is done; the test keeps them all.
  std::span<const std::byte> keep(BatchBytes& batch) {
    kept_.push_back(std::make_unique<std::vector<std::byte>>(batch.bytes()));
    return *kept_.back();
  }
  void submit(BatchBytes& batch) {
    session_->submit(++seq_, keep(batch), kj::heap<wire::BatchLease>());
  }
  Answer& call(BatchBytes& batch) {
    answers_.push_back(std::make_unique<Answer>());
    session_->call(++seq_, keep(batch), kj::heap<FakeReply>(*answers_.back()));
    return *answers_.back();
  }
  template <typename Args>
  Answer& call(CallId id, const Args& args, uint32_t thread = 1, uint16_t flags = 0,
               uint32_t context = 1) {
    BatchBytes batch;
    return call(batch.add(id, args, context, thread, flags));
  }
  template <typename Args>
  void submit(CallId id, const Args& args, uint32_t thread = 1, uint16_t flags = 0) {
    BatchBytes batch;
    submit(batch.add(id, args, 1, thread, flags));
  }

  template <typename Condition>
  void runUntil(Condition condition) {
    scope_.poll();
    while (!condition()) {
      port_.wait();
      scope_.poll();
    }
  }
  void settle() {
    for (int i = 0; i < 10; ++i) scope_.poll();
  }

  uint64_t allocate(uint64_t bytes) {
    wire::Args_cuMemAlloc_v2 args;
    args.bytes = bytes;
    Answer& answer = call(CallId::cuMemAlloc_v2, args);
    runUntil([&] { return answer.answered; });
    EXPECT_EQ(answer.result(), CUDA_SUCCESS);
    wire::Reply_cuMemAlloc_v2 reply;
    EXPECT_TRUE(reply.decode(answer.body()));
    return reply.address;
  }
  Answer& memGetInfo(uint32_t thread = 1) {
    return call(CallId::cuMemGetInfo_v2, wire::Args_cuMemGetInfo_v2{}, thread);
  }
  Answer& synchronize(uint64_t stream = 0, uint32_t thread = 1) {
    wire::Args_cuStreamSynchronize args;
    args.hStream = stream;
    return call(CallId::cuStreamSynchronize, args, thread);
  }
  void put(uint64_t transfer, uint64_t offset, std::span<const std::byte> data) {
    const auto to = session_->destinationFor(transfer, offset, static_cast<uint32_t>(data.size()));
    ASSERT_EQ(to.size(), data.size());
    std::memcpy(to.data(), data.data(), data.size());
    puts_.push_back(session_->putArrived(transfer, offset, static_cast<uint32_t>(data.size()))
                        .eagerlyEvaluate(nullptr));
  }
  std::vector<std::byte> get(uint64_t transfer, uint64_t offset, uint32_t length) {
    auto result = session_->get(transfer, offset, length).wait(scope_);
    return {result.bytes.begin(), result.bytes.end()};
  }
  // Shares memory with the session, as a client on this machine does.
  void share() {
    auto ours = wire::SharedRegion::create();
    ASSERT_TRUE(ours);
    region_.emplace(std::move(*ours));
    std::string why;
    auto theirs = wire::SharedRegion::adopt(dup(region_->fd()), why);
    ASSERT_TRUE(theirs) << why;
    ASSERT_TRUE(session_->shareMemory(std::move(*theirs)));
  }
  // What session_ answers to a getShared: the place, or -1 for none, or -2 before the answer.
  std::shared_ptr<int64_t> getShared(uint64_t transfer, uint64_t offset, uint32_t length) {
    struct Reply final : wire::SharedReply {
      explicit Reply(std::shared_ptr<int64_t> place) : place(std::move(place)) {}
      ~Reply() noexcept(false) override {
        if (*place == -2) *place = -1;
      }
      void at(uint32_t where) override { *place = where; }
      void fail(const std::string&) override { *place = -3; }
      std::shared_ptr<int64_t> place;
    };
    const auto place = std::make_shared<int64_t>(-2);
    session_->getShared(transfer, offset, length, kj::heap<Reply>(place));
    return place;
  }

  std::string endReason() { return shared_.get()->end_reason.get(); }

  wire::UvEventPort port_;
  kj::WaitScope scope_;
  DriverTable driver_;
  SharedCounters shared_;
  SessionSettings settings_;
  std::optional<wire::SharedRegion> region_;
  std::vector<std::unique_ptr<std::vector<std::byte>>> kept_;
  std::vector<std::unique_ptr<Answer>> answers_;
  std::unique_ptr<Session> session_;
  std::vector<kj::Promise<void>> puts_;
  kj::Promise<void> watch_ = nullptr;
  bool ended_ = false;
  uint64_t seq_ = 0;
};

wire::Args_cuMemcpyHtoDAsync_v2 copyIn(uint64_t to, std::span<const std::byte> data,
                                       uint64_t stream = 0) {
  wire::Args_cuMemcpyHtoDAsync_v2 args;
  args.dst = to;
  args.bytes = data.size();
  args.stream = stream;
  args.data = data;
  return args;
}

wire::Args_cuMemcpyDtoH_v2 copyOut(uint64_t from, uint64_t bytes, uint64_t transfer = 0) {
  wire::Args_cuMemcpyDtoH_v2 args;
  args.src = from;
  args.bytes = bytes;
  args.transfer = transfer;
  return args;
}

TEST_F(SessionTest, CopiesThereAndBackInOneBatch) {
  const uint64_t memory = allocate(4096);
  const auto data = pattern(4000, 1);
  BatchBytes batch;
  batch.add(CallId::cuMemcpyHtoDAsync_v2, copyIn(memory, data));
  Answer& answer = call(batch.add(CallId::cuMemcpyDtoH_v2, copyOut(memory, data.size())));
  runUntil([&] { return answer.answered; });
  ASSERT_EQ(answer.result(), CUDA_SUCCESS);
  wire::Reply_cuMemcpyDtoH_v2 reply;
  ASSERT_TRUE(reply.decode(answer.body()));
  EXPECT_TRUE(std::equal(reply.data.begin(), reply.data.end(), data.begin(), data.end()));
  EXPECT_EQ(shared_.get()->calls, 4u);  // with the retain and the allocation
  EXPECT_EQ(shared_.get()->waiting_calls, 2u);
}

TEST_F(SessionTest, FailuresOfAsyncCallsComeWithTheNextReplyOnce) {
  wire::Args_cuMemFree_v2 args;
  args.address = 0x1234;
  submit(CallId::cuMemFree_v2, args);
  args.address = 0;
  submit(CallId::cuMemFree_v2, args);
  Answer& first = memGetInfo();
  EXPECT_EQ(first.result(), CUDA_SUCCESS);
  EXPECT_EQ(first.header().deferred, CUDA_ERROR_INVALID_VALUE);
  EXPECT_EQ(memGetInfo().header().deferred, CUDA_SUCCESS);
}

TEST_F(SessionTest, FreesOnlyWhatItAllocated) {
  const uint64_t memory = allocate(4096);
  wire::Args_cuMemFree_v2 args;
  args.address = memory + 8;
  submit(CallId::cuMemFree_v2, args);
  EXPECT_EQ(memGetInfo().header().deferred, CUDA_ERROR_INVALID_VALUE);
  args.address = memory;
  submit(CallId::cuMemFree_v2, args);
  EXPECT_EQ(memGetInfo().header().deferred, CUDA_SUCCESS);
  submit(CallId::cuMemFree_v2, args);
  EXPECT_EQ(memGetInfo().header().deferred, CUDA_ERROR_INVALID_VALUE);
}

TEST_F(SessionTest, OneThreadsWaitDoesNotHoldUpAnothersCalls) {
  gate.set(false);
  Answer& waiting = synchronize(0, 1);
  Answer& context_waiting = call(CallId::cuCtxSynchronize, wire::Args_cuCtxSynchronize{}, 3);
  Answer& other = memGetInfo(2);
  settle();
  EXPECT_TRUE(other.answered);
  EXPECT_FALSE(waiting.answered);
  EXPECT_FALSE(context_waiting.answered);
  gate.set(true);
  runUntil([&] { return waiting.answered && context_waiting.answered; });
  EXPECT_EQ(waiting.result(), CUDA_SUCCESS);
}

TEST_F(SessionTest, StallsForBulkDataAndGoesOnWhenItArrives) {
  const auto data = pattern((2u << 20) + 17, 2);
  const uint64_t memory = allocate(data.size());
  wire::Args_cuMemcpyHtoD_v2 args;
  args.dst = memory;
  args.bytes = data.size();
  args.transfer = 9;
  submit(CallId::cuMemcpyHtoD_v2, args);
  Answer& after = memGetInfo();
  const std::span<const std::byte> all(data);
  put(9, 1u << 20, all.subspan(1u << 20, 1u << 20));  // not in order
  settle();
  EXPECT_FALSE(after.answered);
  put(9, 0, all.first(1u << 20));
  EXPECT_FALSE(after.answered);
  put(9, 2u << 20, all.subspan(2u << 20));
  EXPECT_TRUE(after.answered);
  EXPECT_EQ(std::memcmp(reinterpret_cast<const void*>(memory), data.data(), data.size()), 0);
  settle();
  EXPECT_EQ(session_->uploads().transfers(), 0u);
  session_->staging().collect();
  EXPECT_EQ(session_->staging().bytesInUse(), 0u);
}

TEST_F(SessionTest, TakesBulkDataThatComesBeforeItsCall) {
  const auto data = pattern(100000, 3);
  const uint64_t memory = allocate(data.size());
  put(5, 0, data);
  wire::Args_cuMemcpyHtoD_v2 args;
  args.dst = memory;
  args.bytes = data.size();
  args.transfer = 5;
  submit(CallId::cuMemcpyHtoD_v2, args);
  EXPECT_TRUE(memGetInfo().answered);
  EXPECT_EQ(std::memcmp(reinterpret_cast<const void*>(memory), data.data(), data.size()), 0);
}

TEST_F(SessionTest, AModuleThatWasSentOnceNeedNotBeSentAgain) {
  std::string name = testing::TempDir() + "session_content.XXXXXX";
  settings_.content_folder = std::string(mkdtemp(name.data())) + "/kept";
  settings_.content_bytes_max = 1 << 20;
  const auto image = pattern(200000, 4);
  const wire::ContentDigest digest = wire::digestOf(image);
  wire::Args_offerContent offer;
  offer.bytes = image.size();
  offer.digest = std::as_bytes(std::span(digest));
  wire::Args_cuModuleLoadDataEx load;
  load.module = HandleId(HandleType::module, 1, 1).bits;
  load.image_bytes = image.size();
  for (const bool again : {false, true}) {  // in a session of its own each
    seq_ = 0;
    start();
    offer.transfer = load.transfer = again ? 8 : 6;
    Answer& offered = call(CallId::offerContent, offer);
    wire::Reply_offerContent reply;
    ASSERT_TRUE(offered.answered);
    ASSERT_TRUE(reply.decode(offered.body()));
    ASSERT_EQ(reply.here, again ? 1u : 0u);
    Answer& loaded = call(CallId::cuModuleLoadDataEx, load);
    if (!again) put(6, 0, image);
    ASSERT_TRUE(loaded.answered);
    EXPECT_EQ(loaded.result(), CUDA_SUCCESS);
  }
  // An offer for a transfer that has begun ends the session; so does one without sense.
  put(9, 0, image);
  offer.transfer = 9;
  call(CallId::offerContent, offer);
  settle();
  EXPECT_TRUE(ended_);
  for (const size_t bytes : {size_t{0}, size_t{31}, size_t{33}}) {
    seq_ = 0;
    start();
    const std::vector<std::byte> wrong(bytes);
    offer.digest = wrong;
    call(CallId::offerContent, offer);
    settle();
    EXPECT_TRUE(ended_);
  }
  std::filesystem::remove_all(name);
}

TEST_F(SessionTest, LoadsAModuleFromABulkTransfer) {
  const auto image = pattern(200000, 4);
  wire::Args_cuModuleLoadDataEx args;
  args.module = HandleId(HandleType::module, 1, 1).bits;
  args.transfer = 6;
  args.image_bytes = image.size();
  Answer& answer = call(CallId::cuModuleLoadDataEx, args);
  EXPECT_FALSE(answer.answered);
  put(6, 0, image);
  ASSERT_TRUE(answer.answered);
  ASSERT_EQ(answer.result(), CUDA_SUCCESS);
  EXPECT_FALSE(answer.body().empty());
  // Functions go with their module.
  wire::Args_cuModuleGetFunction function;
  function.module = args.module;
  function.function = HandleId(HandleType::function, 1, 1).bits;
  function.name = "kernel";
  submit(CallId::cuModuleGetFunction, function);
  wire::Args_cuLaunchKernelEx launch;
  launch.function = function.function;
  launch.grid_x = launch.grid_y = launch.grid_z = 1;
  launch.block_x = launch.block_y = launch.block_z = 1;
  const auto params = pattern(8, 1);
  launch.params = params;
  submit(CallId::cuLaunchKernelEx, launch);
  EXPECT_EQ(memGetInfo().header().deferred, CUDA_SUCCESS);
  EXPECT_EQ(shared_.get()->launches, 1u);
  wire::Args_cuModuleUnload unload;
  unload.hmod = args.module;
  submit(CallId::cuModuleUnload, unload);
  submit(CallId::cuLaunchKernelEx, launch);
  EXPECT_NE(memGetInfo().header().deferred, CUDA_SUCCESS);
  EXPECT_EQ(shared_.get()->launches, 1u);
}

TEST_F(SessionTest, AsyncDownloadsAreToldWhenCompleteAndFetched) {
  const auto data = pattern(3u << 20, 5);
  const uint64_t memory = allocate(data.size());
  std::memcpy(reinterpret_cast<void*>(memory), data.data(), data.size());
  gate.set(false);
  wire::Args_cuMemcpyDtoHAsync_v2 args;
  args.src = memory;
  args.bytes = data.size();
  args.transfer = 11;
  submit(CallId::cuMemcpyDtoHAsync_v2, args);
  EXPECT_TRUE(memGetInfo().completed().empty());
  gate.set(true);
  // Again until fetched: another thread of the client may act on the first telling, and later.
  EXPECT_THAT(memGetInfo().completed(), ElementsAre(11));
  EXPECT_THAT(memGetInfo().completed(), ElementsAre(11));
  for (uint32_t offset = 0; offset < data.size(); offset += 1u << 20) {
    const auto part = get(11, offset, 1u << 20);
    EXPECT_TRUE(std::equal(part.begin(), part.end(), data.begin() + offset));
  }
  EXPECT_TRUE(memGetInfo().completed().empty());
  EXPECT_EQ(session_->downloads().transfers(), 0u);
  EXPECT_EQ(session_->staging().bytesInUse(), 0u);
}

TEST_F(SessionTest, WaitedDownloadsPassThroughAWindow) {
  const auto data = pattern((7u << 20) + 100, 6);  // the window is 2 MiB
  const uint64_t memory = allocate(data.size());
  std::memcpy(reinterpret_cast<void*>(memory), data.data(), data.size());
  Answer& answer = call(CallId::cuMemcpyDtoH_v2, copyOut(memory, data.size(), 12));
  runUntil([&] { return answer.answered; });
  ASSERT_EQ(answer.result(), CUDA_SUCCESS);
  EXPECT_LE(session_->staging().bytesInUse(), 2u << 20);
  // Chunks of another size than gpud's, so that fetches lie across its edges.
  std::vector<std::byte> received;
  while (received.size() < data.size()) {
    const auto length = std::min<size_t>(700000, data.size() - received.size());
    const auto part = get(12, received.size(), static_cast<uint32_t>(length));
    received.insert(received.end(), part.begin(), part.end());
  }
  EXPECT_EQ(received, data);
  EXPECT_EQ(session_->staging().bytesInUse(), 0u);
}

// Shared memory is the client's again when the device has read it, and not before.
TEST_F(SessionTest, UploadsThroughSharedMemory) {
  share();
  struct Lease final : wire::BatchLease {
    explicit Lease(std::shared_ptr<int> ended) : ended(std::move(ended)) {}
    ~Lease() noexcept(false) override { ++*ended; }
    const std::shared_ptr<int> ended;  // the last goes with the session
  };
  const auto data = pattern(2 * wire::kUploadSlotBytes, 4);
  const uint64_t memory = allocate(data.size());
  std::memcpy(region_->uploads().data(), data.data(), data.size());
  wire::Args_cuMemcpyHtoDAsync_v2 args;
  args.dst = memory;
  args.bytes = data.size();
  args.transfer = 21;
  submit(CallId::cuMemcpyHtoDAsync_v2, args);
  gate.set(false);
  const auto ended = std::make_shared<int>(0);
  const auto part = session_->staging().uploadPart();
  for (size_t at = 0; at < data.size(); at += wire::kUploadSlotBytes) {
    EXPECT_TRUE(session_->putShared(21, at, part.subspan(at, wire::kUploadSlotBytes),
                                    kj::heap<Lease>(ended)));
  }
  EXPECT_TRUE(memGetInfo().answered);
  EXPECT_EQ(std::memcmp(reinterpret_cast<const void*>(memory), data.data(), data.size()), 0);
  EXPECT_EQ(*ended, 0);
  gate.set(true);
  runUntil([&] { return *ended == 2; });
  EXPECT_EQ(session_->staging().bytesInUse(), 0u);
  // The same bytes again belong to no transfer that is there.
  EXPECT_TRUE(session_->putShared(22, 0, part.first(100), kj::heap<Lease>(ended)));
  EXPECT_FALSE(session_->putShared(22, 50, part.first(100), kj::heap<Lease>(ended)));
}

TEST_F(SessionTest, DownloadsThroughSharedMemory) {
  share();
  const size_t chunk = wire::kDownloadSlotBytes;
  const auto data = pattern((wire::kDownloadSlots + 3) * chunk + 100, 8);
  const uint64_t memory = allocate(data.size());
  std::memcpy(reinterpret_cast<void*>(memory), data.data(), data.size());
  Answer& answer = call(CallId::cuMemcpyDtoH_v2, copyOut(memory, data.size(), 23));
  runUntil([&] { return answer.answered; });
  std::vector<std::byte> received;
  while (received.size() < data.size()) {
    const auto length = static_cast<uint32_t>(std::min(chunk, data.size() - received.size()));
    const auto place = getShared(23, received.size(), length);
    runUntil([&] { return *place != -2; });
    ASSERT_GE(*place, 0);
    const auto there = region_->downloads().subspan(static_cast<size_t>(*place), length);
    received.insert(received.end(), there.begin(), there.end());
    // Nobody else gets what is lent.
    EXPECT_EQ(*getShared(23, received.size() - length, length), -3);
    EXPECT_TRUE(session_->takenShared(static_cast<uint32_t>(*place)));
    EXPECT_FALSE(session_->takenShared(static_cast<uint32_t>(*place)));
  }
  EXPECT_EQ(received, data);
  EXPECT_EQ(session_->downloads().transfers(), 0u);
  EXPECT_EQ(session_->staging().bytesInUse(), 0u);
}

// A client that takes nothing is served over the socket.
TEST_F(SessionTest, SharedMemoryMayBeFull) {
  share();
  const uint64_t memory = allocate(wire::kDownloadSlotBytes);
  for (uint64_t transfer = 1; transfer <= wire::kDownloadSlots; ++transfer) {
    wire::Args_cuMemcpyDtoHAsync_v2 args;
    args.src = memory;
    args.bytes = 1000;
    args.transfer = transfer;
    submit(CallId::cuMemcpyDtoHAsync_v2, args);
    EXPECT_TRUE(memGetInfo().answered);
    EXPECT_GE(*getShared(transfer, 0, 1000), 0);
  }
  wire::Args_cuMemcpyDtoHAsync_v2 args;
  args.src = memory;
  args.bytes = 1000;
  args.transfer = 100;
  submit(CallId::cuMemcpyDtoHAsync_v2, args);
  EXPECT_TRUE(memGetInfo().answered);
  EXPECT_EQ(*getShared(100, 0, 1000), -1);
  EXPECT_EQ(get(100, 0, 1000).size(), 1000u);
}

TEST_F(SessionTest, FetchesWaitForTheirBytes) {
  const auto data = pattern(1u << 20, 7);
  const uint64_t memory = allocate(data.size());
  std::memcpy(reinterpret_cast<void*>(memory), data.data(), data.size());
  gate.set(false);
  Answer& answer = call(CallId::cuMemcpyDtoH_v2, copyOut(memory, data.size(), 13));
  bool fetched = false;
  auto fetch = session_->get(13, 0, 1u << 20)
                   .then([&](wire::GetResult) { fetched = true; })
                   .eagerlyEvaluate(nullptr);
  settle();
  EXPECT_FALSE(fetched);
  EXPECT_FALSE(answer.answered);
  gate.set(true);
  runUntil([&] { return fetched; });
  EXPECT_TRUE(answer.answered);
}

TEST_F(SessionTest, RefusesFetchesOutsideOfATransfer) {
  const uint64_t memory = allocate(1000);
  EXPECT_ANY_THROW(get(1, 0, 1));
  wire::Args_cuMemcpyDtoHAsync_v2 args;
  args.src = memory;
  args.bytes = 1000;
  args.transfer = 14;
  submit(CallId::cuMemcpyDtoHAsync_v2, args);
  EXPECT_ANY_THROW(get(14, 0, 1001));
  EXPECT_ANY_THROW(get(14, ~uint64_t{0}, 2));
  EXPECT_ANY_THROW(get(14, 0, 0));
  EXPECT_EQ(get(14, 0, 1000).size(), 1000u);
  EXPECT_ANY_THROW(get(14, 0, 1000));
}

TEST_F(SessionTest, BoundsStagedBytes) {
  const uint64_t memory = allocate(64u << 20);
  wire::Args_cuMemcpyDtoHAsync_v2 args;
  args.src = memory;
  args.bytes = 40u << 20;  // the limit is 32 MiB
  args.transfer = 15;
  submit(CallId::cuMemcpyDtoHAsync_v2, args);
  EXPECT_EQ(memGetInfo().header().deferred, CUDA_ERROR_OUT_OF_MEMORY);
  session_->staging().collect();
  EXPECT_EQ(session_->staging().bytesInUse(), 0u);
  for (uint64_t i = 0; i < 32; ++i) {
    EXPECT_FALSE(session_->destinationFor(16, i << 20, 1u << 20).empty());
  }
  EXPECT_TRUE(session_->destinationFor(16, 32u << 20, 1u << 20).empty());
  runUntil([&] { return ended_; });
  EXPECT_THAT(endReason(), HasSubstr("cannot be taken"));
}

TEST_F(SessionTest, ThreadsHaveTheirOwnDefaultStreams) {
  const uint64_t memory = allocate(64);
  const auto data = pattern(64, 8);
  submit(CallId::cuMemcpyHtoDAsync_v2, copyIn(memory, data), 1, wire::kPerThreadDefaultStream);
  submit(CallId::cuMemcpyHtoDAsync_v2, copyIn(memory, data), 2, wire::kPerThreadDefaultStream);
  submit(CallId::cuMemcpyHtoDAsync_v2, copyIn(memory, data, 2), 1);  // CU_STREAM_PER_THREAD
  submit(CallId::cuMemcpyHtoDAsync_v2, copyIn(memory, data, 1), 1);  // CU_STREAM_LEGACY
  submit(CallId::cuMemcpyHtoDAsync_v2, copyIn(memory, data), 1);
  ASSERT_EQ(copy_streams.size(), 5u);
  EXPECT_NE(copy_streams[0], nullptr);
  EXPECT_NE(copy_streams[0], copy_streams[1]);
  EXPECT_EQ(copy_streams[0], copy_streams[2]);
  EXPECT_EQ(copy_streams[3], nullptr);
  EXPECT_EQ(copy_streams[4], nullptr);
}

TEST_F(SessionTest, OtherStreamsSeeASynchronousCopy) {
  const uint64_t memory = allocate(64);
  const auto data = pattern(64, 9);
  wire::Args_cuMemcpyHtoD_v2 args;
  args.dst = memory;
  args.bytes = data.size();
  args.data = data;
  gate.set(false);
  submit(CallId::cuMemcpyHtoD_v2, args);
  submit(CallId::cuMemcpyHtoDAsync_v2, copyIn(memory, data), 1);  // legacy: in order by itself
  EXPECT_TRUE(order_streams.empty());
  submit(CallId::cuMemcpyHtoDAsync_v2, copyIn(memory, data), 2, wire::kPerThreadDefaultStream);
  submit(CallId::cuMemcpyHtoDAsync_v2, copyIn(memory, data), 2, wire::kPerThreadDefaultStream);
  EXPECT_THAT(order_streams, ElementsAre(copy_streams.back()));
}

TEST_F(SessionTest, ObjectsGoWithTheirContext) {
  wire::Args_cuCtxCreate_v2 create;
  create.context = HandleId(HandleType::context, 1, 2).bits;
  ASSERT_EQ(call(CallId::cuCtxCreate_v2, create).result(), CUDA_SUCCESS);
  wire::Args_cuStreamCreate stream;
  stream.phStream = HandleId(HandleType::stream, 1, 1).bits;
  ASSERT_EQ(call(CallId::cuStreamCreate, stream, 1, 0, 2).result(), CUDA_SUCCESS);
  wire::Args_cuStreamSynchronize sync;
  sync.hStream = stream.phStream;
  EXPECT_EQ(call(CallId::cuStreamSynchronize, sync, 1, 0, 2).result(), CUDA_SUCCESS);
  wire::Args_cuCtxDestroy_v2 destroy;
  destroy.context = create.context;
  EXPECT_EQ(call(CallId::cuCtxDestroy_v2, destroy).result(), CUDA_SUCCESS);
  EXPECT_EQ(call(CallId::cuStreamSynchronize, sync).result(), CUDA_ERROR_INVALID_HANDLE);
  EXPECT_EQ(call(CallId::cuCtxDestroy_v2, destroy).result(),
            wire::invalidHandleError(HandleType::context));
}

TEST_F(SessionTest, MalformedBatchesEndTheSessionWithAReason) {
  BatchBytes good;
  good.add(CallId::cuMemGetInfo_v2, wire::Args_cuMemGetInfo_v2{});
  struct Case {
    const char* reason;
    std::function<void(std::vector<std::byte>&)> spoil;
  };
  const auto header = [](std::vector<std::byte>& bytes) {
    return reinterpret_cast<wire::RecordHeader*>(bytes.data());
  };
  const Case cases[] = {
      {"bad length", [&](auto& bytes) { header(bytes)->bytes = 8; }},
      {"bad length", [&](auto& bytes) { header(bytes)->bytes += 8; }},
      {"bad length", [&](auto& bytes) { header(bytes)->bytes = 0xfffffff8; }},
      {"bad length", [&](auto& bytes) { bytes.resize(8); }},
      {"does not cross the wire", [&](auto& bytes) { header(bytes)->call = 0; }},
      {"does not cross the wire", [&](auto& bytes) { header(bytes)->call = 0xffff; }},
      {"without a record", [&](auto& bytes) { bytes.clear(); }},
      {"do not decode",
       [&](auto& bytes) { header(bytes)->call = static_cast<uint16_t>(CallId::cuMemAlloc_v2); }},
  };
  for (const Case& c : cases) {
    start();
    BatchBytes bad = good;
    c.spoil(bad.bytes());
    Answer& answer = call(bad);
    runUntil([&] { return ended_; });
    EXPECT_THAT(endReason(), HasSubstr(c.reason));
    EXPECT_FALSE(answer.answered);
  }
}

TEST_F(SessionTest, CopiesOfImpossibleRowsEndTheSession) {
  wire::Args_cuMemcpy3D_v2 good;
  good.dst = 0x10000, good.dst_pitch = 16, good.dst_rows = 4;
  good.width = 8, good.height = 4, good.depth = 2;
  const std::vector<std::byte> data(8 * 4 * 2);
  good.data = data;
  using Spoil = std::function<void(wire::Args_cuMemcpy3D_v2&)>;
  const Spoil cases[] = {
      [](auto& args) { args.width = 0; },
      [](auto& args) { args.width = ~uint64_t{0}; },
      [](auto& args) { args.dst_pitch = 7; },
      [](auto& args) { args.dst_rows = 3; },
      [](auto& args) { args.depth = uint64_t{1} << 62; },
      [](auto& args) { args.dst = ~uint64_t{0} - 20; },
      [](auto& args) { args.height = 5; },                  // more than the bytes that came
      [](auto& args) { args.data = args.data.first(63); },  // fewer
      [](auto& args) { args.src = args.dst, args.src_pitch = 4; },
  };
  for (const Spoil& spoil : cases) {
    start();
    wire::Args_cuMemcpy3D_v2 args = good;
    spoil(args);
    EXPECT_FALSE(call(CallId::cuMemcpy3D_v2, args).answered);
    runUntil([&] { return ended_; });
    EXPECT_THAT(endReason(), HasSubstr("cuMemcpy3D_v2"));
  }
  start();
  EXPECT_EQ(call(CallId::cuMemcpy3D_v2, good).result(), CUDA_SUCCESS);
}

TEST_F(SessionTest, ArraysAreCheckedBeforeTheDriverSeesThem) {
  wire::Args_cuArray3DCreate_v2 create;
  create.array = HandleId(HandleType::array, 1, 1).bits;
  create.width = 8, create.height = 4, create.channels = 1;
  create.format = CU_AD_FORMAT_FLOAT;
  wire::Args_cuArray3DCreate_v2 bad = create;
  bad.width = ~uint64_t{0};
  EXPECT_EQ(call(CallId::cuArray3DCreate_v2, bad).result(), CUDA_ERROR_INVALID_VALUE);
  bad = create;
  bad.channels = 0;
  EXPECT_EQ(call(CallId::cuArray3DCreate_v2, bad).result(), CUDA_ERROR_INVALID_VALUE);

  wire::Args_cuMemcpy3D_v2 copy;
  copy.dst_array = create.array;
  copy.width = 32, copy.height = 1, copy.depth = 1;
  const std::vector<std::byte> data(32);
  copy.data = data;
  EXPECT_EQ(call(CallId::cuMemcpy3D_v2, copy).result(), CUDA_ERROR_INVALID_HANDLE);
  EXPECT_EQ(call(CallId::cuArray3DCreate_v2, create).result(), CUDA_SUCCESS);
  EXPECT_EQ(call(CallId::cuMemcpy3D_v2, copy).result(), CUDA_SUCCESS);
  copy.dst_x = ~uint64_t{0} - 8;
  EXPECT_FALSE(call(CallId::cuMemcpy3D_v2, copy).answered);
  runUntil([&] { return ended_; });
  EXPECT_THAT(endReason(), HasSubstr("cuMemcpy3D_v2"));
}

TEST_F(SessionTest, NonsenseAboutMemoryPoolsEndsTheSession) {
  const uint64_t id = HandleId(HandleType::memPool, 1, 1).bits;
  wire::Args_cuMemPoolCreate create;
  create.pool = id;
  const int32_t devices[] = {0, 0};
  const uint32_t flags[] = {CU_MEM_ACCESS_FLAGS_PROT_READWRITE, 0xffffffff};

  EXPECT_EQ(call(CallId::cuMemPoolCreate, create).result(), CUDA_SUCCESS);
  EXPECT_FALSE(call(CallId::cuMemPoolCreate, create).answered);  // its id is taken
  runUntil([&] { return ended_; });
  EXPECT_THAT(endReason(), HasSubstr("cuMemPoolCreate"));

  for (size_t count : {size_t{1}, size_t{2}}) {
    start();
    EXPECT_EQ(call(CallId::cuMemPoolCreate, create).result(), CUDA_SUCCESS);
    wire::Args_cuMemPoolSetAccess access;
    access.pool = id;
    access.devices = std::span(devices, count);  // fewer than flags, or with flags that are none
    access.flags = flags;
    EXPECT_FALSE(call(CallId::cuMemPoolSetAccess, access).answered);
    runUntil([&] { return ended_; });
    EXPECT_THAT(endReason(), HasSubstr("cuMemPoolSetAccess"));
  }

  start();
  wire::Args_cuMemFreeAsync free;
  free.address = 0x1234;  // never allocated
  EXPECT_EQ(call(CallId::cuMemFreeAsync, free).result(), CUDA_ERROR_INVALID_VALUE);
  wire::Args_cuMemAllocFromPoolAsync allocate;
  allocate.bytes = 16;
  allocate.pool = id;  // of the session before
  EXPECT_EQ(call(CallId::cuMemAllocFromPoolAsync, allocate).result(), CUDA_ERROR_INVALID_VALUE);
}

TEST_F(SessionTest, IdsThatAreTakenEndTheSession) {
  wire::Args_cuStreamCreate args;
  args.phStream = HandleId(HandleType::stream, 1, 1).bits;
  EXPECT_EQ(call(CallId::cuStreamCreate, args).result(), CUDA_SUCCESS);
  call(CallId::cuStreamCreate, args);
  runUntil([&] { return ended_; });
  EXPECT_THAT(endReason(), HasSubstr("nonsense in cuStreamCreate"));
}

TEST_F(SessionTest, SurvivesMutatedBatches) {
  const unsigned seed = std::random_device{}();
  std::cout << "seed " << seed << '\n';
  std::mt19937 random(seed);
  const auto data = pattern(64, 10);
  for (int round = 0; round < 600; ++round) {
    start();
    const uint64_t memory = allocate(4096);
    BatchBytes batch;
    batch.add(CallId::cuMemcpyHtoDAsync_v2, copyIn(memory, data));
    wire::Args_cuStreamCreate stream;
    stream.phStream = HandleId(HandleType::stream, 1, 1).bits;
    batch.add(CallId::cuStreamCreate, stream);
    wire::Args_cuMemcpyDtoHAsync_v2 out;
    out.src = memory;
    out.bytes = 4096;
    out.stream = stream.phStream;
    out.transfer = 3;
    batch.add(CallId::cuMemcpyDtoHAsync_v2, out);
    wire::Args_cuModuleLoadDataEx module;
    module.module = HandleId(HandleType::module, 1, 1).bits;
    module.image = data;
    module.image_bytes = data.size();
    batch.add(CallId::cuModuleLoadDataEx, module);
    wire::Args_cuMemFree_v2 release;
    release.address = memory;
    batch.add(CallId::cuMemFree_v2, release);
    batch.add(CallId::cuMemGetInfo_v2, wire::Args_cuMemGetInfo_v2{});
    std::vector<std::byte>& bytes = batch.bytes();
    for (int i = 0; i < 3; ++i)
      bytes[random() % bytes.size()] ^= static_cast<std::byte>(1 << random() % 8);
    if (random() % 4 == 0) bytes.resize(random() % bytes.size());
    Answer& answer = call(batch);
    // It is answered, or the session ends, or it waits for bulk data that the mutation asks for.
    runUntil([&] { return answer.answered || ended_ || session_->waitsForData(); });
    if (ended_) {
      EXPECT_NE(endReason(), "") << "round " << round;
    }
  }
}

// A client may only name what it shared; anything else would be this process's own memory.
TEST_F(SessionTest, PagesThatAreNotSharedEndTheSession) {
  std::vector<std::byte> own(8192);
  const auto address = reinterpret_cast<uint64_t>(own.data());
  const std::vector<std::vector<uint64_t>> hostile = {
      {address, 8}, {address}, {address, 0}, {0, 8}, {~uint64_t{7}, 8}, {address, ~uint64_t{0}}};
  for (const std::vector<uint64_t>& spans : hostile) {
    start();
    wire::Args_writeShared write;
    write.spans = spans;
    const auto data = pattern(8, 3);
    write.data = data;
    submit(CallId::writeShared, write);
    runUntil([&] { return ended_; });
    EXPECT_NE(endReason().find("writeShared"), std::string::npos) << endReason();
    // What is asked for is refused, or is nonsense as well; it is never read.
    start();
    wire::Args_readShared read;
    read.spans = spans;
    Answer& answer = call(CallId::readShared, read);
    runUntil([&] { return ended_ || answer.answered; });
    if (answer.answered) {
      EXPECT_EQ(answer.result(), CUDA_ERROR_INVALID_VALUE);
    }
  }
  EXPECT_EQ(own, std::vector<std::byte>(8192));
}

}  // namespace
}  // namespace farwarp::worker
