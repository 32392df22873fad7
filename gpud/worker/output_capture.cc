#include "gpud/worker/output_capture.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <utility>

// A sanitizer's report is for gpud's log.
extern "C" __attribute__((weak)) void __sanitizer_set_report_fd(void* fd);

namespace farwarp::worker {
namespace {

// The reading end is not blocking; the writing end is, so that a driver waits for room.
bool makePipe(int& reading, int& writing) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return false;
  fcntl(ends[0], F_SETFL, O_NONBLOCK);
  reading = ends[0];
  writing = ends[1];
  return true;
}

}  // namespace

bool StandardStreams::replace(std::string& error) {
  const int log = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 16);
  int out_writing = -1, err_writing = -1;
  if (log < 0 || !makePipe(out_, out_writing) || !makePipe(err_, err_writing) ||
      (log_ = fdopen(log, "w")) == nullptr || dup2(out_writing, STDOUT_FILENO) < 0 ||
      dup2(err_writing, STDERR_FILENO) < 0) {
    error = std::string("The standard streams cannot be replaced: ") + strerror(errno) + ".";
    return false;
  }
  close(out_writing);
  close(err_writing);
  setvbuf(log_, nullptr, _IONBF, 0);
  // A driver that prints through the C library must not keep text back.
  setvbuf(stdout, nullptr, _IONBF, 0);
  if (__sanitizer_set_report_fd != nullptr) {
    __sanitizer_set_report_fd(reinterpret_cast<void*>(static_cast<intptr_t>(log)));
  }
  return true;
}

OutputCapture::OutputCapture(int out, int err, std::function<void()> news,
                             std::chrono::milliseconds patience)
    : fds_{out, err},
      stop_fd_(eventfd(0, EFD_CLOEXEC)),
      news_(std::move(news)),
      patience_(patience),
      thread_([this] { run(); }) {}

OutputCapture::~OutputCapture() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  taken_.notify_all();
  eventfd_write(stop_fd_, 1);
  thread_.join();
  close(stop_fd_);
}

bool OutputCapture::readSomeLocked() {
  bool any = false;
  for (const bool to_stderr : {false, true}) {
    char text[kChunkBytes];
    const ssize_t got = read(fds_[to_stderr ? 1 : 0], text, sizeof(text));
    if (got <= 0) continue;
    any = true;
    if (queued_bytes_ >= 4 * kQueuedBytesMax) {
      dropped_bytes_ += static_cast<uint64_t>(got);
      continue;
    }
    queue_.push_back({to_stderr, std::string(text, static_cast<size_t>(got))});
    queued_bytes_ += static_cast<size_t>(got);
  }
  return any;
}

bool OutputCapture::takeLocked(Chunk& chunk) {
  if (queue_.empty()) {
    told_ = false;
    if (dropped_bytes_ == 0) return false;
    chunk = {true, "farwarp: " + std::to_string(std::exchange(dropped_bytes_, 0)) +
                       " bytes of output of kernels are lost: nobody took them in time.\n"};
    return true;
  }
  chunk = std::move(queue_.front());
  queue_.pop_front();
  queued_bytes_ -= chunk.text.size();
  gave_up_ = false;
  taken_.notify_all();
  return true;
}

bool OutputCapture::take(Chunk& chunk) {
  const std::lock_guard lock(mutex_);
  return takeLocked(chunk);
}

std::vector<OutputCapture::Chunk> OutputCapture::takeWritten() {
  std::vector<Chunk> chunks;
  pollfd ready[2] = {{fds_[0], POLLIN, 0}, {fds_[1], POLLIN, 0}};
  const bool written = poll(ready, 2, 0) > 0;
  const std::lock_guard lock(mutex_);
  // A pipe holds 64 KiB; who goes on printing meanwhile is not waited for.
  constexpr int kReadsMax = 4;
  for (int i = 0; written && i < kReadsMax && readSomeLocked(); ++i) {
  }
  Chunk chunk;
  while (takeLocked(chunk)) chunks.push_back(std::move(chunk));
  return chunks;
}

void OutputCapture::run() {
  for (;;) {
    pollfd ready[3] = {{fds_[0], POLLIN, 0}, {fds_[1], POLLIN, 0}, {stop_fd_, POLLIN, 0}};
    if (poll(ready, 3, -1) < 0 && errno != EINTR) return;
    if (ready[2].revents != 0) return;
    bool tell = false;
    {
      std::unique_lock lock(mutex_);
      // Each that is taken is patience renewed.
      while (queued_bytes_ >= kQueuedBytesMax && !gave_up_ && !stopping_) {
        const size_t before = queued_bytes_;
        gave_up_ =
            !taken_.wait_for(lock, patience_, [&] { return stopping_ || queued_bytes_ != before; });
      }
      if (stopping_) return;
      if (readSomeLocked()) tell = !std::exchange(told_, true);
    }
    if (tell) news_();
  }
}

}  // namespace farwarp::worker
