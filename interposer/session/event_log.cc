#include "interposer/session/event_log.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <ctime>

namespace farwarp::client {
namespace {

void writeAll(int fd, const std::string& text) {
  ssize_t written = 0;
  do {
    written = ::write(fd, text.data(), text.size());
  } while (written < 0 && errno == EINTR);
}

}  // namespace

void EventLog::open(const std::string& path) {
  if (path.empty()) return;
  if (path == "stderr") {
    fd_ = STDERR_FILENO;
    return;
  }
  fd_ = ::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (fd_ < 0) {
    printLine("FARWARP_LOG names \"" + path +
              "\", which cannot be written: " + std::strerror(errno) + ".");
  }
}

void EventLog::write(std::string_view line) {
  if (fd_ < 0) return;
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  tm utc{};
  gmtime_r(&now.tv_sec, &utc);
  char head[64];
  size_t length = std::strftime(head, sizeof(head), "%Y-%m-%dT%H:%M:%S", &utc);
  std::snprintf(head + length, sizeof(head) - length, ".%06ldZ [%d] ", now.tv_nsec / 1000,
                getpid());
  std::string text(head);
  text.append(line).append("\n");
  writeAll(fd_, text);
}

void printLine(std::string_view line) {
  std::string text("farwarp: ");
  text.append(line).append("\n");
  writeAll(STDERR_FILENO, text);
}

}  // namespace farwarp::client
