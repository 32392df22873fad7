#include "interposer/cli/paths.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <string_view>
#include <system_error>

namespace farwarp::cli {
namespace fs = std::filesystem;
namespace {

bool isRunnableFile(const std::string& path) {
  struct stat info;
  return stat(path.c_str(), &info) == 0 && S_ISREG(info.st_mode) && access(path.c_str(), X_OK) == 0;
}

}  // namespace

bool findInstallation(Installation& out, std::string& why) {
  std::error_code error;
  const fs::path self = fs::read_symlink("/proc/self/exe", error);
  if (error) {
    why = "The path of the farwarp command cannot be read from /proc/self/exe: " + error.message();
    return false;
  }
  const fs::path prefix = self.parent_path().parent_path();
  for (const char* folder : {"lib", "lib/farwarp"}) {
    const fs::path lib = prefix / folder;
    if (!fs::exists(lib / "libfarwarp.so", error)) continue;
    out.stub = (lib / "libfarwarp.so").string();
    out.links = (lib / "farwarp-links").string();
    if (fs::exists(out.links + "/libcuda.so.1", error)) return true;
    why = "The folder " + out.links +
          " with the links to libfarwarp.so is missing; the installation "
          "is not complete.";
    return false;
  }
  why = "libfarwarp.so is neither in " + (prefix / "lib").string() + " nor in " +
        (prefix / "lib/farwarp").string() + "; the installation is not complete.";
  return false;
}

std::string findProgram(const std::string& program, std::string& why) {
  if (program.find('/') != std::string::npos) {
    if (isRunnableFile(program)) return program;
    std::error_code error;
    why = fs::exists(program, error) ? "\"" + program + "\" is not an executable file."
                                     : "There is no file \"" + program + "\".";
    return {};
  }
  const char* path = std::getenv("PATH");
  std::string_view rest = path == nullptr ? "/usr/local/bin:/usr/bin:/bin" : path;
  while (true) {
    const size_t colon = rest.find(':');
    std::string folder(rest.substr(0, colon));
    if (folder.empty()) folder = ".";
    std::string candidate = folder + "/" + program;
    if (isRunnableFile(candidate)) return candidate;
    if (colon == std::string_view::npos) break;
    rest.remove_prefix(colon + 1);
  }
  why = "There is no program \"" + program + "\" in the folders of PATH.";
  return {};
}

}  // namespace farwarp::cli
