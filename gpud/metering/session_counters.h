// What a session used, in memory that the worker writes and the supervisor reads.
//
// The memory is a sealed memfd mapped by both, so nothing is lost when a worker dies by SIGKILL.
// The supervisor trusts none of it: numbers are only reported, and strings are cut and cleaned.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <string_view>

namespace farwarp {

// How kernel times were obtained; part of every record. Append only.
enum class MeterMethod : uint32_t {
  none = 0,            // nothing was measured (no device was opened)
  device_stamps = 1,   // exact stamps from the CPU device
  event_brackets = 2,  // a pair of events around each launch: a little more than the kernel itself
  cupti = 3,           // CUPTI activity records
};
const char* meterMethodName(MeterMethod method);

// A short string in shared memory: written by one thread, at most once in a while.
template <size_t kBytes>
struct SharedString {
  std::atomic<uint32_t> length{0};
  char text[kBytes] = {};

  void set(std::string_view value) {
    const size_t bytes = value.size() < kBytes ? value.size() : kBytes;
    length.store(0, std::memory_order_release);
    for (size_t i = 0; i < bytes; ++i) text[i] = value[i];
    length.store(static_cast<uint32_t>(bytes), std::memory_order_release);
  }
  // The string with everything unprintable replaced, whatever the memory holds.
  std::string get() const {
    const uint32_t stored = length.load(std::memory_order_acquire);
    std::string value(text, stored < kBytes ? stored : kBytes);
    for (char& c : value) {
      if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
    }
    return value;
  }
};

struct SessionCounters {
  SharedString<240> program;  // as the client told it in hello
  std::atomic<uint32_t> client_pid{0};
  std::atomic<uint32_t> method{0};   // MeterMethod
  std::atomic<uint32_t> greeted{0};  // 1 when the client's hello came

  std::atomic<uint64_t> calls{0};          // records dispatched
  std::atomic<uint64_t> waiting_calls{0};  // those of them that a client thread waited for
  std::atomic<uint64_t> bytes_in{0};       // from the client, batches and bulk data
  std::atomic<uint64_t> bytes_out{0};      // to the client, replies and bulk data
  std::atomic<uint64_t> launches{0};
  std::atomic<uint64_t> kernel_ns{0};  // sum of kernel durations
  std::atomic<uint64_t> busy_ns{0};    // union of the kernels' intervals, summed over devices

  // Device memory that the session holds now, by the device's ordinal; devices beyond the last are
  // counted with it.
  static constexpr size_t kDevices = 16;
  std::atomic<uint64_t> memory_bytes[kDevices]{};

  SharedString<496>
      end_reason;  // why the worker ended the session; empty when it had no time to say
};

// The counters of one session and the memory they live in. The creator (supervisor) maps them and
// passes `fd` to the worker, which maps the same memory.
class SharedCounters {
 public:
  SharedCounters() = default;
  SharedCounters(SharedCounters&& other) noexcept;
  SharedCounters& operator=(SharedCounters&& other) noexcept;
  ~SharedCounters();

  // New zeroed counters in a sealed memfd. False with errno set when the system has no room.
  [[nodiscard]] bool create();
  // Maps counters that somebody else created. Takes the descriptor. False when it is not such
  // memory.
  [[nodiscard]] bool open(int fd);

  int fd() const { return fd_; }
  SessionCounters* get() const { return counters_; }

 private:
  [[nodiscard]] bool map();
  void close();

  int fd_ = -1;
  SessionCounters* counters_ = nullptr;
};

}  // namespace farwarp
