// What kernels print, on its way to the client: a driver writes the text of device printf and of
// failed assertions to the standard streams of its process, which is the worker. They become pipes,
// and what comes out of them goes to the client, in order with the replies to its calls.
//
// A thread empties the pipes, because the driver may also write on the thread that would otherwise
// do it. It reads no further while the client is behind (back pressure reaches the kernels), unless
// the worker's loop itself stands still: then text is dropped, as CUDA drops it when the buffer of
// printf overflows.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdio>
#include <deque>
#include <functional>
#include <mutex>
#include <span>
#include <string>
#include <thread>
#include <vector>

namespace farwarp::worker {

// The standard streams of this process, replaced. Made before the driver and the log are.
class StandardStreams {
 public:
  // Replaces them. False with a sentence in `error`; the streams are as before then.
  [[nodiscard]] bool replace(std::string& error);
  // Where stderr went before, for the log.
  std::FILE* log() const { return log_ != nullptr ? log_ : stderr; }
  int outEnd() const { return out_; }  // reading ends; -1 before replace()
  int errEnd() const { return err_; }

 private:
  std::FILE* log_ = nullptr;
  int out_ = -1, err_ = -1;
};

class OutputCapture {
 public:
  static constexpr size_t kQueuedBytesMax = 1u << 20;
  static constexpr size_t kChunkBytes = 32u << 10;

  // Reads the descriptors, which outlive the capture. `news` is called on the thread, without a
  // lock, when there is something that nobody was told of. `patience`: how long the thread waits
  // for one who takes nothing, before it drops text.
  OutputCapture(int out, int err, std::function<void()> news,
                std::chrono::milliseconds patience = std::chrono::seconds(2));
  ~OutputCapture();
  OutputCapture(const OutputCapture&) = delete;
  OutputCapture& operator=(const OutputCapture&) = delete;

  struct Chunk {
    bool to_stderr = false;
    std::string text;
  };
  // Takes the oldest chunk. False when there is none.
  bool take(Chunk& chunk);
  // All that was written to the streams before this call.
  std::vector<Chunk> takeWritten();

 private:
  void run();
  bool readSomeLocked();
  bool takeLocked(Chunk& chunk);

  const int fds_[2];
  const int stop_fd_;
  const std::function<void()> news_;
  const std::chrono::milliseconds patience_;
  std::mutex mutex_;  // guards the rest
  std::condition_variable taken_;
  std::deque<Chunk> queue_;
  size_t queued_bytes_ = 0;
  uint64_t dropped_bytes_ = 0;
  bool gave_up_ = false;  // nobody took anything for too long, and nobody has since
  bool told_ = false;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace farwarp::worker
