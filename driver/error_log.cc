#include "driver/error_log.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <deque>
#include <fstream>
#include <map>
#include <mutex>
#include <string>

#include "driver/error_names.h"
#include "driver/graph/host.h"
#include "graph_calls_gen.h"

namespace farwarp {
namespace {

constexpr size_t kLogBytesMax = 25600;  // as CUDA documents
constexpr size_t kCallbacksMax = 1024;
constexpr std::string_view kTruncated = "[CUDA][W] Older messages are lost: the log is full.\n";
constexpr std::string_view kCut = "[CUDA][W] The buffer is too small for all messages.\n";

struct Callback {
  CUlogsCallback function;
  void* data;
};

// Never destroyed: calls fail in programs' exit handlers, too.
struct Log {
  std::mutex mutex;  // guards everything below
  std::deque<std::string> lines;
  size_t bytes = 0;
  uint32_t first = 0;  // the number of the first line; iterators are numbers of lines
  std::map<uintptr_t, Callback> callbacks;
  uintptr_t callbacks_made = 0;

  uint32_t end() const { return first + static_cast<uint32_t>(lines.size()); }

  void add(const std::string& line) {
    lines.push_back(line);
    bytes += line.size();
    while (bytes > kLogBytesMax) {
      bytes -= lines.front().size();
      lines.pop_front();
      ++first;
    }
  }

  // The lines from `*iterator` on, all without one, and whether some before them are lost. The
  // iterator moves to the end.
  std::vector<std::string> take(CUlogIterator* iterator, bool& lost) {
    // Differences, because the numbers may wrap around.
    const auto from = iterator == nullptr ? first : static_cast<uint32_t>(*iterator);
    const uint32_t wanted = std::min(end() - from, uint32_t{INT32_MAX});
    lost = iterator == nullptr ? first != 0 : wanted > lines.size();
    const size_t given = std::min<size_t>(wanted, lines.size());
    if (iterator != nullptr) *iterator = end();
    return {lines.end() - static_cast<ptrdiff_t>(given), lines.end()};
  }
};

Log& theLog() {
  static auto* log = new Log;
  return *log;
}

std::string lineFor(CallId call, CUresult result) {
  const auto now = std::chrono::system_clock::now();
  const std::time_t seconds = std::chrono::system_clock::to_time_t(now);
  const auto part = std::chrono::duration_cast<std::chrono::milliseconds>(now.time_since_epoch());
  std::tm local{};
  localtime_r(&seconds, &local);
  char head[64];
  std::snprintf(head, sizeof head, "[%02d:%02d:%02d.%03d][%d][CUDA][E] ", local.tm_hour,
                local.tm_min, local.tm_sec, static_cast<int>(part.count() % 1000), getpid());
  const char* name = errorName(result);
  const char* text = errorString(result);
  return std::string(head) + callName(call) + " returned " +
         (name != nullptr ? name : std::to_string(result).c_str()) + ": " +
         (text != nullptr ? text : "an error of no known number") + "\n";
}

}  // namespace

void logFailure(CallId call, CUresult result) noexcept {
  if (result == CUDA_ERROR_NOT_READY) return;
  thread_local bool inside = false;  // calls that fail in a callback are logged, and told to nobody
  try {
    std::string line = lineFor(call, result);
    std::vector<Callback> told;
    {
      Log& log = theLog();
      std::lock_guard lock(log.mutex);
      log.add(line);
      if (inside || log.callbacks.empty()) return;
      for (const auto& [handle, callback] : log.callbacks) told.push_back(callback);
    }
    line.pop_back();  // callbacks get a message, not a line
    inside = true;
    for (const Callback& callback : told) {
      callback.function(callback.data, CU_LOG_LEVEL_ERROR, line.data(), line.size());
    }
    inside = false;
  } catch (...) {
    // Without memory a line is lost; the call's own result is not.
    inside = false;
  }
}

namespace graph::calls {

CUresult cuLogsRegisterCallback(Host&, CUlogsCallback function, void* data,
                                CUlogsCallbackHandle* handle) {
  if (function == nullptr) return CUDA_ERROR_INVALID_VALUE;
  Log& log = theLog();
  std::lock_guard lock(log.mutex);
  if (log.callbacks.size() >= kCallbacksMax) return CUDA_ERROR_OUT_OF_MEMORY;
  const uintptr_t made = ++log.callbacks_made;
  log.callbacks.emplace(made, Callback{function, data});
  if (handle != nullptr) *handle = reinterpret_cast<CUlogsCallbackHandle>(made);
  return CUDA_SUCCESS;
}

CUresult cuLogsUnregisterCallback(Host&, CUlogsCallbackHandle handle) {
  Log& log = theLog();
  std::lock_guard lock(log.mutex);
  const bool there = log.callbacks.erase(reinterpret_cast<uintptr_t>(handle)) != 0;
  return there ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuLogsCurrent(Host&, CUlogIterator* iterator, unsigned int flags) {
  if (iterator == nullptr || flags != 0) return CUDA_ERROR_INVALID_VALUE;
  Log& log = theLog();
  std::lock_guard lock(log.mutex);
  *iterator = log.end();
  return CUDA_SUCCESS;
}

CUresult cuLogsDumpToFile(Host&, CUlogIterator* iterator, const char* path, unsigned int flags) {
  if (path == nullptr || flags != 0) return CUDA_ERROR_INVALID_VALUE;
  std::ofstream file(path);
  if (!file) return CUDA_ERROR_INVALID_VALUE;
  bool lost = false;
  std::vector<std::string> lines;
  {
    Log& log = theLog();
    std::lock_guard lock(log.mutex);
    lines = log.take(iterator, lost);
  }
  if (lost) file << kTruncated;
  for (const std::string& line : lines) file << line;
  file.close();
  return file ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

// A message at the head tells when some did not fit; the newest are kept.
CUresult cuLogsDumpToMemory(Host&, CUlogIterator* iterator, char* buffer, size_t* size,
                            unsigned int flags) {
  if (buffer == nullptr || size == nullptr || flags != 0) return CUDA_ERROR_INVALID_VALUE;
  const size_t room = *size;
  *size = 0;
  if (room == 0) return CUDA_ERROR_INVALID_VALUE;
  buffer[0] = '\0';
  Log& log = theLog();
  std::lock_guard lock(log.mutex);
  bool lost = false;
  CUlogIterator moved = iterator != nullptr ? *iterator : 0;
  std::vector<std::string> lines = log.take(iterator != nullptr ? &moved : nullptr, lost);
  if (lines.empty()) return CUDA_SUCCESS;
  if (lost) lines.insert(lines.begin(), std::string(kTruncated));
  size_t bytes = 0;
  for (const std::string& line : lines) bytes += line.size();
  if (bytes >= room) {
    size_t first = 0;
    while (first < lines.size() && bytes + kCut.size() >= room) bytes -= lines[first++].size();
    if (first == lines.size()) return CUDA_ERROR_INVALID_VALUE;
    lines.erase(lines.begin(), lines.begin() + static_cast<ptrdiff_t>(first));
    lines.insert(lines.begin(), std::string(kCut));
  }
  char* at = buffer;
  for (const std::string& line : lines) at = std::copy(line.begin(), line.end(), at);
  *at = '\0';
  *size = static_cast<size_t>(at - buffer);
  if (iterator != nullptr) *iterator = moved;
  return CUDA_SUCCESS;
}

}  // namespace graph::calls
}  // namespace farwarp
