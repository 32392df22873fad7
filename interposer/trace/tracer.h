// Records what the program's calls do, for farwarp trace. Part of the client; off unless
// FARWARP_TRACE names a file.
//
// When it is off, nothing on the way of a call looks at it but one pointer of the thread that is
// null: the table of entry points that the program gets is another one while tracing
// (traced_calls_gen.cc).
#pragma once

#include <cuda.h>

#include <atomic>
#include <bitset>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <string>
#include <vector>

#include "driver_calls_gen.h"
#include "interposer/trace/trace_format.h"
#include "protocol/kernel_timeline.h"

namespace farwarp::client {

class Tracer {
 public:
  // Beyond this the file does not grow; what is left out is counted.
  static constexpr uint64_t kFileBytesMax = uint64_t{2} << 30;

  // Makes the file. When `path` exists, because another process of the same program traces there,
  // path.PID is made instead. False with a sentence in `why` when neither can be made.
  [[nodiscard]] bool open(const std::string& path, std::string& why);

  bool enabled() const { return enabled_.load(std::memory_order_relaxed); }

  // Nanoseconds since the trace began.
  uint64_t now() const;

  // "key value" lines of the record `session`.
  void session(const std::string& lines);
  void call(CallId call, const trace::Call& record);
  void message(const trace::Message& record);
  // Kernels that gpud tells. Its clock reads `offset_ns` more than that of the trace.
  void kernels(const wire::KernelTimeline& timeline, int64_t offset_ns);

  // Writes what is in memory, so that it survives the process.
  void flush();
  // Writes the record `end` with `lines` and closes the trace.
  void finish(const std::string& lines);
  // In a forked child: the file belongs to the parent. Takes no lock.
  void abandonAfterFork() { enabled_.store(false); }

 private:
  static constexpr size_t kBufferBytes = 128u << 10;

  void add(trace::RecordKind kind, const void* fixed, size_t fixed_bytes, std::string_view text);
  void flushLocked();

  std::atomic<bool> enabled_{false};
  uint64_t began_ns_ = 0;  // monotonic clock

  std::mutex mutex_;  // guards everything below; a leaf lock
  int fd_ = -1;
  std::vector<std::byte> buffer_;
  uint64_t written_ = 0;
  uint64_t left_out_ = 0;  // records
  uint32_t kernel_names_ = 0;
  std::bitset<kDriverFunctionCount + 1> named_;
};

// The call of the program that the thread is in, while tracing. On the stack of the entry point.
struct CallSpan {
  explicit CallSpan(CallId id);
  CallSpan(const CallSpan&) = delete;
  CallSpan& operator=(const CallSpan&) = delete;
  // Records the call; returns `result`.
  CUresult end(CUresult result);
  // The call puts a record of `bytes` into the log.
  void sends(uint32_t bytes) {
    record.bytes_sent += bytes;
    if (record.records != UINT16_MAX) ++record.records;
  }

  CallId call;
  trace::Call record{};
  uint32_t messages = 0;      // that the thread is in; a put lies inside a call
  CallSpan* outer = nullptr;  // the program called out of a call, such as a destructor's
};

// Times one message while tracing, and counts it to the call that the thread is in.
class MessageSpan {
 public:
  explicit MessageSpan(trace::MessageKind kind);
  MessageSpan(const MessageSpan&) = delete;
  MessageSpan& operator=(const MessageSpan&) = delete;
  ~MessageSpan() {
    if (tracer_ != nullptr) [[unlikely]]
      end();
  }

  void sent(uint64_t bytes) { record_.bytes_sent += bytes; }
  void received(uint64_t bytes) { record_.bytes_received += bytes; }

 private:
  void end();

  Tracer* tracer_;  // null when not tracing
  trace::Message record_{};
};

// A table whose entries record themselves and go on to kClientTable.
extern const DriverTable kTracedTable;

}  // namespace farwarp::client
