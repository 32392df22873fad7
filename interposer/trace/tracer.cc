#include "interposer/trace/tracer.h"

#include <fcntl.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "interposer/session/client.h"
#include "interposer/session/thread_state.h"

namespace farwarp::client {

using trace::RecordKind;

namespace {

constexpr size_t kTextBytesMax = 8u << 10;  // longer names are cut

uint64_t clockNs(clockid_t clock) {
  timespec now{};
  clock_gettime(clock, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000u + static_cast<uint64_t>(now.tv_nsec);
}

bool writeAll(int fd, const std::byte* at, size_t bytes) {
  while (bytes != 0) {
    const ssize_t written = ::write(fd, at, bytes);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return false;
    at += written;
    bytes -= static_cast<size_t>(written);
  }
  return true;
}

int create(const std::string& path) {
  return ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
}

}  // namespace

bool Tracer::open(const std::string& path, std::string& why) {
  fd_ = create(path);
  if (fd_ < 0 && errno == EEXIST) fd_ = create(path + "." + std::to_string(getpid()));
  if (fd_ < 0) {
    why =
        "FARWARP_TRACE names \"" + path + "\", which cannot be made: " + std::strerror(errno) + ".";
    return false;
  }
  buffer_.reserve(kBufferBytes);
  began_ns_ = clockNs(CLOCK_MONOTONIC);
  trace::FileHead head{};
  std::memcpy(head.magic, trace::kMagic, sizeof(head.magic));
  head.head_bytes = sizeof(head);
  head.pid = static_cast<uint32_t>(getpid());
  head.began_unix_ns = clockNs(CLOCK_REALTIME);
  const auto* bytes = reinterpret_cast<const std::byte*>(&head);
  buffer_.insert(buffer_.end(), bytes, bytes + sizeof(head));
  enabled_.store(true);
  return true;
}

uint64_t Tracer::now() const {
  return clockNs(CLOCK_MONOTONIC) - began_ns_;
}

// With the mutex held.
void Tracer::add(RecordKind kind, const void* fixed, size_t fixed_bytes, std::string_view text) {
  text = text.substr(0, kTextBytesMax);
  const size_t bytes = wire::padded(sizeof(trace::RecordHead) + fixed_bytes + text.size());
  if (written_ + buffer_.size() + bytes > kFileBytesMax && kind != RecordKind::end) {
    ++left_out_;
    return;
  }
  if (buffer_.size() + bytes > kBufferBytes) flushLocked();
  const trace::RecordHead head{kind, static_cast<uint32_t>(bytes)};
  const size_t at = buffer_.size();
  buffer_.resize(at + bytes);  // zeros behind the text
  std::memcpy(buffer_.data() + at, &head, sizeof(head));
  if (fixed_bytes != 0) std::memcpy(buffer_.data() + at + sizeof(head), fixed, fixed_bytes);
  if (!text.empty()) {
    std::memcpy(buffer_.data() + at + sizeof(head) + fixed_bytes, text.data(), text.size());
  }
}

void Tracer::flushLocked() {
  if (fd_ >= 0 && !buffer_.empty()) {
    if (writeAll(fd_, buffer_.data(), buffer_.size())) {
      written_ += buffer_.size();
    } else {
      // The disk is full, or the file is on one that is gone. The program goes on.
      printLine(std::string("The trace ends here, because it cannot be written: ") +
                std::strerror(errno) + ".");
      enabled_.store(false);
      ::close(fd_);
      fd_ = -1;
    }
  }
  buffer_.clear();
}

void Tracer::session(const std::string& lines) {
  const std::lock_guard lock(mutex_);
  add(RecordKind::session, nullptr, 0, lines);
}

void Tracer::call(CallId call, const trace::Call& record) {
  const auto number = static_cast<size_t>(call);
  const std::lock_guard lock(mutex_);
  if (fd_ < 0) return;
  if (number < named_.size() && !named_.test(number)) {
    named_.set(number);
    const trace::CallName name{static_cast<uint32_t>(call), static_cast<uint32_t>(callClass(call))};
    add(RecordKind::call_name, &name, sizeof(name),
        std::string(callName(call)) + "\n" + unsupportedReason(call));
  }
  add(RecordKind::call, &record, sizeof(record), {});
}

void Tracer::message(const trace::Message& record) {
  const std::lock_guard lock(mutex_);
  if (fd_ >= 0) add(RecordKind::message, &record, sizeof(record), {});
}

void Tracer::kernels(const wire::KernelTimeline& timeline, int64_t offset_ns) {
  const std::lock_guard lock(mutex_);
  for (const std::string& text : timeline.names) {
    const trace::KernelName name{kernel_names_++, 0};
    add(RecordKind::kernel_name, &name, sizeof(name), text);
  }
  for (const wire::KernelInterval& kernel : timeline.kernels) {
    const trace::Kernel record{
        static_cast<int64_t>(kernel.start_ns) - offset_ns - static_cast<int64_t>(began_ns_),
        kernel.duration_ns, kernel.device, kernel.name};
    add(RecordKind::kernel, &record, sizeof(record), {});
  }
}

void Tracer::flush() {
  if (!enabled()) return;
  const std::lock_guard lock(mutex_);
  flushLocked();
}

void Tracer::finish(const std::string& lines) {
  if (!enabled_.exchange(false)) return;
  const uint64_t duration = now();
  const std::lock_guard lock(mutex_);
  add(RecordKind::end, nullptr, 0,
      "duration_ns " + std::to_string(duration) + "\nleft_out " + std::to_string(left_out_) + "\n" +
          lines);
  flushLocked();
  if (fd_ >= 0) ::close(fd_);
  fd_ = -1;
}

CallSpan::CallSpan(CallId id) : call(id) {
  ThreadState& thread = threadState();
  record.call = static_cast<uint32_t>(id);
  record.thread = thread.number;
  record.begin_ns = Client::get().tracer.now();
  outer = thread.span;
  thread.span = this;
}

CUresult CallSpan::end(CUresult result) {
  threadState().span = outer;
  Tracer& tracer = Client::get().tracer;
  if (tracer.enabled()) {
    record.duration_ns = tracer.now() - record.begin_ns;
    record.result = result;
    tracer.call(call, record);
  }
  return result;
}

MessageSpan::MessageSpan(trace::MessageKind kind) {
  Tracer& tracer = Client::get().tracer;
  tracer_ = tracer.enabled() ? &tracer : nullptr;
  if (tracer_ == nullptr) [[likely]]
    return;
  record_.kind = kind;
  record_.begin_ns = tracer.now();
  if (CallSpan* span = threadState().span) ++span->messages;
}

void MessageSpan::end() {
  using trace::MessageKind;
  ThreadState& thread = threadState();
  record_.duration_ns = tracer_->now() - record_.begin_ns;
  record_.thread = thread.number;
  tracer_->message(record_);
  CallSpan* span = thread.span;
  if (span == nullptr) return;
  const bool outermost = --span->messages == 0;
  // The records of a batch are counted where they are appended: some may be other threads'.
  if (record_.kind == MessageKind::submit || record_.kind == MessageKind::host_function) return;
  trace::Call& call = span->record;
  if (outermost) call.waited_ns += record_.duration_ns;
  call.bytes_received += record_.bytes_received;
  if (record_.kind == MessageKind::put) call.bytes_sent += record_.bytes_sent;
  if (record_.kind == MessageKind::call && call.waits != UINT16_MAX) ++call.waits;
}

}  // namespace farwarp::client
