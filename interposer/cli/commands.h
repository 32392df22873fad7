// The subcommands of farwarp. Each returns the exit status of the process.
#pragma once

#include <string>
#include <vector>

namespace farwarp::cli {

inline constexpr int kExitUsage = 2;
inline constexpr int kExitCannotRun = 126;  // as a shell gives it
inline constexpr int kExitNotFound = 127;

struct RunOptions {
  std::string server;  // empty: what FARWARP_SERVER says
  bool stats = false;
  bool insecure = false;
  std::string trace;                 // file that records the session; empty: none
  std::vector<std::string> program;  // and its arguments
};

// Replaces this process with the program, prepared to use gpud. Returns only on failure.
int runProgram(const RunOptions& options);

struct BenchOptions {
  std::string server;          // empty: what FARWARP_SERVER says
  std::string local = "auto";  // driver library to compare with; "auto", "none" or a path
  std::string report;          // HTML file to write; empty: none
  bool quick = false;
};

// Measures calls, copies, launches and a small step of kernels here and under a gpud, and prints
// both side by side.
int runBench(const BenchOptions& options);

struct TraceOptions {
  std::string file;          // of farwarp run --trace
  std::string chrome;        // JSON file to write; empty: print tables
  bool unsupported = false;  // print only the calls that are not supported
};

// Shows a trace, or turns it into one that Chrome and Perfetto show.
int showTrace(const TraceOptions& options);

// Prints the sessions in a log that gpud wrote, one line each and a line of sums.
int printSessions(const std::string& path);

}  // namespace farwarp::cli
