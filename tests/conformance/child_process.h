// Starts the test program itself once more, for what takes two processes.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

namespace farwarp::conformance {

// Where a child finds what it says to its parent, and what it was given.
inline constexpr int kToParentFd = 20;
inline constexpr int kFromParentFd = 21;
inline constexpr int kGivenFd = 22;

// True in a child, whose tests are named "Child" something.
inline bool isChild() {
  return std::getenv("FARWARP_TEST_CHILD") != nullptr;
}

inline bool writeAll(int fd, const void* data, size_t bytes) {
  return write(fd, data, bytes) == static_cast<ssize_t>(bytes);
}

inline bool readAll(int fd, void* data, size_t bytes) {
  for (size_t done = 0; done < bytes;) {
    const ssize_t got = read(fd, static_cast<char*>(data) + done, bytes - done);
    if (got <= 0) return false;
    done += static_cast<size_t>(got);
  }
  return true;
}

class Child {
 public:
  using Variables = std::vector<std::pair<const char*, const char*>>;

  // Runs the tests that `filter` names. A variable whose value is null is unset there. `given` is a
  // descriptor for the child, or -1.
  explicit Child(const std::string& filter, int given = -1, const Variables& variables = {}) {
    int to_parent[2], from_parent[2];
    if (pipe2(to_parent, O_CLOEXEC) != 0 || pipe2(from_parent, O_CLOEXEC) != 0) return;
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, to_parent[1], kToParentFd);
    posix_spawn_file_actions_adddup2(&actions, from_parent[0], kFromParentFd);
    if (given >= 0) posix_spawn_file_actions_adddup2(&actions, given, kGivenFd);
    Variables changed = variables;
    changed.insert(changed.end(),
                   {{"FARWARP_TEST_CHILD", "1"}, {"FARWARP_CONFORMANCE_NOTES", nullptr}});
    std::vector<std::pair<const char*, std::string>> before;
    for (const auto& [name, value] : changed) {
      const char* old = std::getenv(name);
      before.emplace_back(name, old == nullptr ? "" : old);
      value == nullptr ? unsetenv(name) : setenv(name, value, 1);
    }
    char program[] = "/proc/self/exe";
    std::string argument = "--gtest_filter=" + filter;
    char* arguments[] = {program, argument.data(), nullptr};
    if (posix_spawn(&process_, program, &actions, nullptr, arguments, environ) != 0) process_ = 0;
    for (const auto& [name, value] : before) {
      value.empty() ? unsetenv(name) : setenv(name, value.c_str(), 1);
    }
    posix_spawn_file_actions_destroy(&actions);
    close(to_parent[1]);
    close(from_parent[0]);
    from_child_ = to_parent[0];
    to_child_ = from_parent[1];
  }
  ~Child() {
    if (from_child_ >= 0) close(from_child_);
    if (to_child_ >= 0) close(to_child_);
    if (process_ != 0) waitpid(process_, nullptr, 0);
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  bool send(const void* data, size_t bytes) { return writeAll(to_child_, data, bytes); }
  bool receive(void* data, size_t bytes) { return readAll(from_child_, data, bytes); }
  std::string receiveRest() {
    std::string all;
    char some[256];
    for (ssize_t bytes; (bytes = read(from_child_, some, sizeof(some))) > 0;) {
      all.append(some, static_cast<size_t>(bytes));
    }
    return all;
  }
  // Waits for its end. True when all its tests passed.
  bool passed() {
    close(std::exchange(to_child_, -1));
    int status = -1;
    const pid_t process = std::exchange(process_, 0);
    return process != 0 && waitpid(process, &status, 0) == process && status == 0;
  }

 private:
  pid_t process_ = 0;
  int from_child_ = -1;
  int to_child_ = -1;
};

}  // namespace farwarp::conformance
