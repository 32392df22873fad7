// farwarp run: sets the environment up and becomes the program.
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "interposer/cli/commands.h"
#include "interposer/cli/paths.h"
#include "interposer/cli/program_check.h"
#include "interposer/cli/trace_reader.h"
#include "interposer/session/options.h"

namespace farwarp::cli {
namespace {

int fail(int status, const std::string& sentence) {
  std::fprintf(stderr, "farwarp: %s\n", sentence.c_str());
  return status;
}

// Puts `first` in front of what the list variable `name` holds.
void prepend(const char* name, const std::string& first) {
  const char* old = std::getenv(name);
  const std::string value = old == nullptr || *old == '\0' ? first : first + ":" + old;
  setenv(name, value.c_str(), 1);
}

// Takes an older trace out of the way and names the new one to the program, which may change its
// folder. A sentence that says why not, or nothing.
std::string prepareTrace(const std::string& file) {
  std::error_code error;
  const std::filesystem::path path = std::filesystem::absolute(file, error);
  if (error) return "\"" + file + "\" is no name for a trace: " + error.message() + ".";
  if (std::filesystem::exists(path, error)) {
    std::string why;
    if (!isTrace(path, why)) return why + " It is not overwritten.";
    if (!std::filesystem::remove(path, error)) {
      return "\"" + file + "\" cannot be replaced: " + error.message() + ".";
    }
  }
  if (!std::filesystem::is_directory(path.parent_path(), error)) {
    return "The trace \"" + file + "\" cannot be made: there is no folder " +
           path.parent_path().string() + ".";
  }
  setenv("FARWARP_TRACE", path.c_str(), 1);
  return {};
}

}  // namespace

int runProgram(const RunOptions& options) {
  const char* from_environment = std::getenv("FARWARP_SERVER");
  std::string server = options.server;
  if (server.empty() && from_environment != nullptr) server = from_environment;
  if (server.empty()) {
    return fail(kExitUsage,
                "No server is given. Use --server HOST:PORT or --server unix:PATH, or set "
                "FARWARP_SERVER.");
  }
  if (std::string why = client::whyNotServer(server); !why.empty()) return fail(kExitUsage, why);

  Installation installation;
  std::string why;
  if (!findInstallation(installation, why)) return fail(kExitCannotRun, why);
  const std::string program = findProgram(options.program.front(), why);
  if (program.empty()) return fail(kExitNotFound, why);
  if (why = whyNotPreloadable(program); !why.empty()) return fail(kExitCannotRun, why);

  if (!options.trace.empty()) {
    if (why = prepareTrace(options.trace); !why.empty()) return fail(kExitUsage, why);
  }
  prepend("LD_PRELOAD", installation.stub);
  prepend("LD_LIBRARY_PATH", installation.links);
  setenv("FARWARP_SERVER", server.c_str(), 1);
  if (options.stats) setenv("FARWARP_STATS", "1", 1);
  if (options.insecure) setenv("FARWARP_INSECURE", "1", 1);

  std::vector<char*> arguments;
  for (const std::string& word : options.program)
    arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  execv(program.c_str(), arguments.data());
  return fail(kExitCannotRun, "\"" + program + "\" cannot be run: " + std::strerror(errno) + ".");
}

}  // namespace farwarp::cli
