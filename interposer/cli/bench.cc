// farwarp bench: the same measurements where the program is and under a gpud, side by side.
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "interposer/cli/bench_report.h"
#include "interposer/cli/commands.h"
#include "interposer/cli/paths.h"

namespace farwarp::cli {
namespace {

using nlohmann::ordered_json;

int fail(int status, const std::string& sentence) {
  std::fprintf(stderr, "farwarp bench: %s\n", sentence.c_str());
  return status;
}

// Runs `command` and gives its stdout; its stderr is ours, or nobody's if `quiet`. With `alone` the
// variables that lead CUDA calls elsewhere are taken out. Returns the exit status, 127 when it
// could not be run.
int capture(const std::vector<std::string>& command, bool alone, bool quiet, std::string& out) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return 127;
  const pid_t child = fork();
  if (child == 0) {
    dup2(ends[1], STDOUT_FILENO);
    if (quiet) dup2(open("/dev/null", O_WRONLY | O_CLOEXEC), STDERR_FILENO);
    if (alone) {
      for (const char* name : {"LD_PRELOAD", "FARWARP_SERVER", "FARWARP_STATS"}) unsetenv(name);
    }
    std::vector<char*> words;
    for (const std::string& word : command) words.push_back(const_cast<char*>(word.c_str()));
    words.push_back(nullptr);
    execv(words[0], words.data());
    _exit(127);
  }
  close(ends[1]);
  char bytes[4096];
  for (ssize_t n; (n = read(ends[0], bytes, sizeof(bytes))) != 0;) {
    if (n < 0 && errno != EINTR) break;
    if (n > 0) out.append(bytes, static_cast<size_t>(n));
  }
  close(ends[0]);
  int status = 0;
  while (child > 0 && waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return child > 0 && WIFEXITED(status) ? WEXITSTATUS(status) : 127;
}

// Parses what farwarp-bench printed. False when it did not end well.
bool measured(int status, const std::string& text, BenchRun& run) {
  if (status != 0) return false;
  const auto json = ordered_json::parse(text, nullptr, false);
  if (json.is_discarded() || !json.contains("figures") || !json.contains("device")) return false;
  run.device = json["device"];
  for (const auto& figure : json["figures"]) {
    run.figures.push_back({figure["name"], figure["unit"], figure["less_is_better"],
                           figure["median"], figure["least"], figure["greatest"]});
  }
  return true;
}

struct Program {
  std::string folder;  // of the farwarp command
  std::vector<std::string> words(bool quick) const {
    std::vector<std::string> out = {folder + "/farwarp-bench"};
    if (quick) out.push_back("--quick");
    return out;
  }
};

// The side that is compared with: a driver named by the user, else this machine's, else the CPU
// device.
bool runLocal(const BenchOptions& options, const Program& program, BenchRun& run,
              std::string& why) {
  std::vector<std::string> drivers = {options.local};
  if (options.local == "auto") {
    drivers = {"libcuda.so.1", program.folder + "/../lib/cpu/libcuda.so.1"};
  }
  for (const std::string& driver : drivers) {
    if (options.local == "auto" && driver.find('/') != std::string::npos &&
        !std::filesystem::exists(driver)) {
      continue;
    }
    std::vector<std::string> command = program.words(options.quick);
    command.insert(command.end(), {"--driver", driver});
    std::string text;
    if (measured(capture(command, true, options.local == "auto", text), text, run)) return true;
  }
  why = options.local == "auto"
            ? "Neither the CUDA driver of this machine nor the CPU device can be used."
            : "The driver \"" + options.local + "\" cannot be used.";
  return false;
}

void printTable(const BenchRun& local, const BenchRun& remote) {
  std::printf("local:  %s\nremote: %s\n\n", local.device.c_str(), remote.device.c_str());
  std::printf("%-48s %14s %14s %9s\n", "", "local", "remote", "remote is");
  for (const BenchFigure& there : remote.figures) {
    const BenchFigure* here = local.find(there.name);
    if (here == nullptr) {
      std::printf("%-43s %4s %14s %14.5g\n", there.name.c_str(), there.unit.c_str(), "",
                  there.median);
    } else {
      std::printf("%-43s %4s %14.5g %14.5g %8.2fx %s\n", there.name.c_str(), there.unit.c_str(),
                  here->median, there.median, slowdown(*here, there),
                  slowdown(*here, there) >= 1 ? "slower" : "as slow");
    }
  }
}

}  // namespace

int runBench(const BenchOptions& options) {
  std::error_code ignored;
  const auto self = std::filesystem::read_symlink("/proc/self/exe", ignored);
  const Program program = {self.parent_path()};
  if (!std::filesystem::exists(program.folder + "/farwarp-bench")) {
    return fail(kExitNotFound,
                "The program farwarp-bench is not beside " + self.string() + ", where it belongs.");
  }
  BenchRun local, remote;
  std::string why;
  if (options.local != "none" && !runLocal(options, program, local, why)) {
    return fail(kExitCannotRun, why + " Use --local none to measure the remote side only.");
  }
  std::vector<std::string> command = {self.string(), "run"};
  if (!options.server.empty()) command.insert(command.end(), {"--server", options.server});
  command.push_back("--");
  for (const std::string& word : program.words(options.quick)) command.push_back(word);
  std::string text;
  if (const int status = capture(command, false, false, text); !measured(status, text, remote)) {
    return fail(status == 0 ? kExitCannotRun : status,
                "The remote run ended with " + std::to_string(status) + ".");
  }
  printTable(local, remote);
  if (!options.report.empty() && !writeBenchReport(options.report, local, remote, why)) {
    return fail(1, why);
  }
  return 0;
}

}  // namespace farwarp::cli
