// Goal: no sequence of calls tells a remote GPU from a local one. Method: random sequences of calls
// on contexts, streams, events and memory, right ones and wrong ones, beside a model that knows
// what memory must hold. Right calls must succeed, wrong ones must fail and change nothing; every
// byte read back must be the model's; and run_conformance.py compares the result of every call with
// that of the other run. RANDOM_CALLS_SEED starts another run, RANDOM_CALLS_SEQUENCES makes it
// longer.
#include <algorithm>
#include <cstring>
#include <memory>
#include <random>
#include <sstream>

#include "tests/conformance/conformance.h"

namespace farwarp::conformance {
namespace {

constexpr unsigned long kSequences = 150;
constexpr int kCallsPerSequence = 60;
constexpr size_t kBytesMax = 8192;

const char kKernel[] = R"(
.version 7.0
.target sm_70
.address_size 64
.visible .entry add(.param .u64 where_, .param .u32 value_, .param .u32 count_) {
  .reg .u64 %a, %far; .reg .u32 %i, %n, %w, %t, %v, %x; .reg .pred %p;
  ld.param.u64 %a, [where_]; ld.param.u32 %v, [value_]; ld.param.u32 %n, [count_];
  mov.u32 %i, %ctaid.x; mov.u32 %w, %ntid.x; mov.u32 %t, %tid.x;
  mad.lo.u32 %i, %i, %w, %t;
  setp.ge.u32 %p, %i, %n; @%p ret;
  mul.wide.u32 %far, %i, 4; add.u64 %a, %a, %far;
  ld.global.u32 %x, [%a]; add.u32 %x, %x, %v; st.global.u32 [%a], %x;
  ret;
}
)";

unsigned long numberFrom(const char* variable, unsigned long otherwise) {
  const char* text = std::getenv(variable);
  return text == nullptr ? otherwise : std::strtoul(text, nullptr, 10);
}

struct Buffer {
  CUdeviceptr address = 0;
  std::vector<unsigned char> bytes;  // what it must hold
  CUstream last = nullptr;           // the stream that used it last
};

// One sequence: the objects that are alive, those that no longer are, and the random choices.
class Sequence {
 public:
  Sequence(unsigned long seed, CUfunction add) : random_(seed), seed_(seed), add_(add) {}

  void run() {
    for (step_ = 0; step_ < kCallsPerSequence && !testing::Test::HasFailure(); ++step_) once();
    for (size_t i = 0; i < buffers_.size(); ++i) readAll(buffers_[i]);
    for (const Buffer& buffer : buffers_) right("free", cuMemFree_v2(buffer.address));
    for (const CUevent event : events_) right("destroy event", cuEventDestroy_v2(event));
    for (const CUstream stream : streams_) right("destroy stream", cuStreamDestroy_v2(stream));
  }

 private:
  size_t pick(size_t below) { return random_() % below; }
  bool chance(unsigned percent) { return pick(100) < percent; }
  template <typename T>
  T& anyOf(std::vector<T>& from) {
    return from[pick(from.size())];
  }
  // The default stream, or one of ours.
  CUstream anyStream() { return streams_.empty() || chance(30) ? nullptr : anyOf(streams_); }

  std::string place(const char* what) const {
    return "seed " + std::to_string(seed_) + " step " + std::to_string(step_) + " " + what;
  }
  void right(const char* what, CUresult result) {
    EXPECT_EQ(note(place(what).c_str(), result), "CUDA_SUCCESS") << place(what);
  }
  void wrong(const char* what, CUresult result) {
    EXPECT_NE(note(place(what).c_str(), result), "CUDA_SUCCESS") << place(what);
  }

  // Work on `buffer` in `stream` comes after the work that another stream has with it.
  void order(Buffer& buffer, CUstream stream) {
    if (buffer.last == stream) return;
    if (chance(50)) {
      right("synchronize to order", cuStreamSynchronize(buffer.last));
    } else {
      CUevent event = nullptr;
      right("event to order", cuEventCreate(&event, CU_EVENT_DISABLE_TIMING));
      right("record to order", cuEventRecord(event, buffer.last));
      right("wait to order", cuStreamWaitEvent(stream, event, 0));
      right("drop what ordered", cuEventDestroy_v2(event));
    }
    buffer.last = stream;
  }

  void readAll(Buffer& buffer) {
    order(buffer, nullptr);
    std::vector<unsigned char> bytes(buffer.bytes.size());
    right("read all", cuMemcpyDtoH_v2(bytes.data(), buffer.address, bytes.size()));
    EXPECT_EQ(bytes, buffer.bytes) << place("holds other bytes than the model");
  }

  void once() {
    using Step = void (Sequence::*)();
    static constexpr Step kSteps[] = {
        &Sequence::allocate,   &Sequence::upload,     &Sequence::upload,  &Sequence::download,
        &Sequence::copy,       &Sequence::set,        &Sequence::launch,  &Sequence::launch,
        &Sequence::makeStream, &Sequence::makeEvent,  &Sequence::timing,  &Sequence::wait,
        &Sequence::destroy,    &Sequence::freeBuffer, &Sequence::mistake, &Sequence::mistake,
        &Sequence::contexts};
    (this->*kSteps[pick(std::size(kSteps))])();
  }

  void allocate() {
    if (buffers_.size() >= 6) return;
    Buffer buffer;
    buffer.bytes.resize(4 * (1 + pick(kBytesMax / 4)));
    right("allocate", cuMemAlloc_v2(&buffer.address, buffer.bytes.size()));
    right("clear", cuMemsetD8_v2(buffer.address, 0, buffer.bytes.size()));
    buffers_.push_back(std::move(buffer));
  }

  // A random part of a buffer; `unit` is the least step of its ends.
  struct Part {
    size_t at, bytes;
  };
  Part partOf(const Buffer& buffer, size_t unit = 1) {
    const size_t units = buffer.bytes.size() / unit;
    const size_t from = pick(units), count = 1 + pick(units - from);
    return {from * unit, count * unit};
  }

  void upload() {
    if (buffers_.empty()) return;
    Buffer& buffer = anyOf(buffers_);
    const Part part = partOf(buffer);
    std::vector<unsigned char> bytes(part.bytes);
    for (auto& byte : bytes) byte = static_cast<unsigned char>(random_());
    const CUstream stream = anyStream();
    order(buffer, stream);
    if (stream == nullptr && chance(50)) {
      right("upload", cuMemcpyHtoD_v2(buffer.address + part.at, bytes.data(), part.bytes));
    } else {
      right("upload in stream",
            cuMemcpyHtoDAsync_v2(buffer.address + part.at, bytes.data(), part.bytes, stream));
    }
    // Pageable memory may change as soon as the call is over.
    std::copy(bytes.begin(), bytes.end(), buffer.bytes.begin() + static_cast<long>(part.at));
    std::fill(bytes.begin(), bytes.end(), static_cast<unsigned char>(0xdd));
  }

  void download() {
    if (buffers_.empty()) return;
    Buffer& buffer = anyOf(buffers_);
    const Part part = partOf(buffer);
    std::vector<unsigned char> bytes(part.bytes);
    const CUstream stream = anyStream();
    order(buffer, stream);
    if (stream == nullptr && chance(50)) {
      right("download", cuMemcpyDtoH_v2(bytes.data(), buffer.address + part.at, part.bytes));
    } else {
      right("download in stream",
            cuMemcpyDtoHAsync_v2(bytes.data(), buffer.address + part.at, part.bytes, stream));
      right("download arrived", cuStreamSynchronize(stream));
    }
    EXPECT_TRUE(
        std::equal(bytes.begin(), bytes.end(), buffer.bytes.begin() + static_cast<long>(part.at)))
        << place("downloaded other bytes than the model has");
  }

  void copy() {
    if (buffers_.size() < 2) return;
    const size_t from = pick(buffers_.size());
    const size_t to = (from + 1 + pick(buffers_.size() - 1)) % buffers_.size();
    const size_t bytes = 1 + pick(std::min(buffers_[from].bytes.size(), buffers_[to].bytes.size()));
    const CUstream stream = anyStream();
    order(buffers_[from], stream);
    order(buffers_[to], stream);
    right("copy on the device",
          cuMemcpyDtoDAsync_v2(buffers_[to].address, buffers_[from].address, bytes, stream));
    std::copy_n(buffers_[from].bytes.begin(), bytes, buffers_[to].bytes.begin());
  }

  void set() {
    if (buffers_.empty()) return;
    Buffer& buffer = anyOf(buffers_);
    const CUstream stream = anyStream();
    order(buffer, stream);
    const auto value = static_cast<uint32_t>(random_());
    const bool words = chance(50);
    const Part part = partOf(buffer, words ? 4 : 1);
    right("set", words ? cuMemsetD32Async(buffer.address + part.at, value, part.bytes / 4, stream)
                       : cuMemsetD8Async(buffer.address + part.at,
                                         static_cast<unsigned char>(value), part.bytes, stream));
    for (size_t i = 0; i < part.bytes; ++i) {
      buffer.bytes[part.at + i] =
          static_cast<unsigned char>(words ? value >> (8 * (i % 4)) : value);
    }
  }

  void launch() {
    if (buffers_.empty()) return;
    Buffer& buffer = anyOf(buffers_);
    const CUstream stream = anyStream();
    order(buffer, stream);
    const Part part = partOf(buffer, 4);
    CUdeviceptr where = buffer.address + part.at;
    auto value = static_cast<uint32_t>(random_());
    auto count = static_cast<uint32_t>(part.bytes / 4);
    void* params[] = {&where, &value, &count};
    right("launch",
          cuLaunchKernel(add_, (count + 63) / 64, 1, 1, 64, 1, 1, 0, stream, params, nullptr));
    for (size_t i = 0; i < count; ++i) {
      uint32_t word = 0;
      std::memcpy(&word, &buffer.bytes[part.at + 4 * i], 4);
      word += value;
      std::memcpy(&buffer.bytes[part.at + 4 * i], &word, 4);
    }
  }

  void makeStream() {
    if (streams_.size() >= 4) return;
    CUstream stream = nullptr;
    // A stream that does not wait for the default stream is ordered by order() alone.
    right("create stream",
          cuStreamCreate(&stream, chance(50) ? CU_STREAM_NON_BLOCKING : CU_STREAM_DEFAULT));
    streams_.push_back(stream);
  }

  void makeEvent() {
    if (events_.size() >= 4) return;
    CUevent event = nullptr;
    right("create event", cuEventCreate(&event, CU_EVENT_DEFAULT));
    events_.push_back(event);
  }

  void timing() {
    if (events_.empty()) return;
    const CUevent from = anyOf(events_), to = anyOf(events_);
    const CUstream stream = anyStream();
    right("record", cuEventRecord(from, stream));
    right("record again", cuEventRecord(to, stream));
    right("wait for event", cuEventSynchronize(to));
    right("query event", cuEventQuery(to));
    float ms = -1;
    right("elapsed", cuEventElapsedTime_v2(&ms, from, to));
    EXPECT_GE(ms, 0) << place("time ran backwards");
  }

  void wait() {
    switch (pick(3)) {
      case 0:
        right("synchronize context", cuCtxSynchronize());
        return;
      case 1: {
        const CUstream stream = anyStream();
        right("synchronize stream", cuStreamSynchronize(stream));
        // Nothing came since, unless the default stream waits for others.
        if (stream != nullptr) right("query stream", cuStreamQuery(stream));
        return;
      }
      default: {
        const CUresult result = cuStreamQuery(anyStream());
        EXPECT_TRUE(result == CUDA_SUCCESS || result == CUDA_ERROR_NOT_READY) << place("query");
      }
    }
  }

  void destroy() {
    if (!events_.empty() && chance(50)) {
      const size_t at = pick(events_.size());
      right("destroy event", cuEventDestroy_v2(events_[at]));
      dead_events_.push_back(events_[at]);
      events_.erase(events_.begin() + static_cast<long>(at));
    } else if (!streams_.empty()) {
      const size_t at = pick(streams_.size());
      const CUstream stream = streams_[at];
      for (Buffer& buffer : buffers_) {
        if (buffer.last == stream) order(buffer, nullptr);
      }
      right("destroy stream", cuStreamDestroy_v2(stream));
      streams_.erase(streams_.begin() + static_cast<long>(at));
    }
  }

  void freeBuffer() {
    if (buffers_.empty()) return;
    const size_t at = pick(buffers_.size());
    readAll(buffers_[at]);
    right("free", cuMemFree_v2(buffers_[at].address));
    if (chance(50)) wrong("free again", cuMemFree_v2(buffers_[at].address));
    buffers_.erase(buffers_.begin() + static_cast<long>(at));
  }

  // Calls that CUDA refuses; the model does not change.
  void mistake() {
    unsigned char bytes[64] = {};
    Buffer none;
    Buffer& buffer = buffers_.empty() ? none : anyOf(buffers_);
    const size_t size = buffer.bytes.size();
    CUdeviceptr address = 0;
    CUevent event = nullptr;
    switch (pick(14)) {
      case 0:
        return wrong("allocate nothing", cuMemAlloc_v2(&address, 0));
      case 1:
        return wrong("allocate without a result", cuMemAlloc_v2(nullptr, 64));
      case 2:
        return wrong("allocate too much", cuMemAlloc_v2(&address, size_t{1} << 50));
      case 3:
        return wrong("upload to null", cuMemcpyHtoD_v2(0, bytes, sizeof(bytes)));
      case 4:
        if (size == 0) return;
        return wrong("upload past the end",
                     cuMemcpyHtoD_v2(buffer.address + size - 1, bytes, sizeof(bytes)));
      case 5:
        if (size == 0) return;
        return wrong("upload from null", cuMemcpyHtoD_v2(buffer.address, nullptr, 1));
      case 6:
        if (size == 0) return;
        return wrong("set past the end", cuMemsetD8_v2(buffer.address, 1, size + kBytesMax * 1024));
      case 7:
        if (size == 0) return;
        return wrong("free inside", cuMemFree_v2(buffer.address + 1));
      case 8:
        if (dead_events_.empty() || realDriver()) return;
        return wrong("record a dead event", cuEventRecord(anyOf(dead_events_), nullptr));
      case 9:
        if (events_.empty() || realDriver()) return;
        return wrong("an event as a stream",
                     cuStreamSynchronize(reinterpret_cast<CUstream>(anyOf(events_))));
      case 10:
        return wrong("launch no blocks",
                     cuLaunchKernel(add_, 0, 1, 1, 64, 1, 1, 0, nullptr, nullptr, nullptr));
      case 11:
        return wrong("launch huge blocks",
                     cuLaunchKernel(add_, 1, 1, 1, 2048, 1, 1, 0, nullptr, nullptr, nullptr));
      case 12:
        return wrong("event with unknown flags", cuEventCreate(&event, 0x4000));
      default:
        return wrong("stream without a result", cuStreamCreate(nullptr, 0));
    }
  }

  // Another context for a moment; what belongs to this one stays as it is.
  void contexts() {
    CUcontext before = nullptr, now = nullptr, other = nullptr;
    right("current", cuCtxGetCurrent(&before));
    CUdevice device = 0;
    right("device", cuCtxGetDevice(&device));
    right("create context", cuCtxCreate_v2(&other, 0, device));
    right("current", cuCtxGetCurrent(&now));
    EXPECT_EQ(now, other) << place("a new context is current");
    CUdeviceptr address = 0;
    right("allocate there", cuMemAlloc_v2(&address, 256));
    right("set there", cuMemsetD32_v2(address, 7, 64));
    if (chance(50)) right("free there", cuMemFree_v2(address));
    if (chance(50)) {
      right("pop", cuCtxPopCurrent_v2(&now));
      EXPECT_EQ(now, other) << place("the popped context");
    }
    right("destroy context", cuCtxDestroy_v2(other));
    right("current", cuCtxGetCurrent(&now));
    EXPECT_EQ(now, before) << place("the context below");
    wrong("a dead context", cuCtxSetCurrent(other));
  }

  std::mt19937_64 random_;
  const unsigned long seed_;
  const CUfunction add_;
  int step_ = 0;
  std::vector<Buffer> buffers_;
  std::vector<CUstream> streams_;
  std::vector<CUevent> events_, dead_events_;
};

class RandomCalls : public ConformanceTest {};

TEST_F(RandomCalls, GiveWhatTheModelSays) {
  const unsigned long seed = numberFrom("RANDOM_CALLS_SEED", 1);
  const unsigned long sequences = numberFrom("RANDOM_CALLS_SEQUENCES", kSequences);
  std::printf("Seeds %lu to %lu.\n", seed, seed + sequences - 1);
  CUmodule module = nullptr;
  CUfunction add = nullptr;
  ASSERT_OK(cuModuleLoadData(&module, kKernel));
  ASSERT_OK(cuModuleGetFunction(&add, module, "add"));
  for (unsigned long i = 0; i < sequences && !HasFailure(); ++i) Sequence(seed + i, add).run();
}

}  // namespace
}  // namespace farwarp::conformance
