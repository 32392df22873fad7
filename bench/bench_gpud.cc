#include "bench/bench_gpud.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>

namespace farwarp::bench {
namespace {

[[noreturn]] void fail(const char* what) {
  std::fprintf(stderr, "%s: %s.\n", what, std::strerror(errno));
  std::exit(1);
}

// Makes a certificate; returns its fingerprint.
std::string initTls(const std::string& gpud, const std::string& folder) {
  FILE* said = popen((gpud + " init --folder " + folder + " 2>/dev/null").c_str(), "r");
  if (said == nullptr) fail("gpud init cannot be run");
  char text[512] = "";
  const size_t bytes = fread(text, 1, sizeof(text) - 1, said);
  if (pclose(said) != 0) fail("gpud init failed");
  const std::string line(text, bytes);
  const std::string word = "FARWARP_FINGERPRINT=";
  const size_t at = line.find(word);
  if (at == std::string::npos) fail("gpud init printed no fingerprint");
  return line.substr(at + word.size(), line.find('\n', at) - at - word.size());
}

}  // namespace

std::string binaryFolder() {
  return std::filesystem::read_symlink("/proc/self/exe").parent_path();
}

Gpud::Gpud(const std::string& transport, Device device) {
  char folder[] = "/tmp/farwarp-bench-XXXXXX";
  if (mkdtemp(folder) == nullptr) fail("The temporary folder cannot be made");
  folder_ = folder;
  const std::filesystem::path bin = binaryFolder();
  const std::string gpud = bin / "gpud";
  const std::string library =
      bin.parent_path() /
      (device == Device::cpu ? "lib/cpu/libcuda.so.1" : "lib/libfarwarp_empty_driver.so");
  const bool unix_socket = transport == "unix";
  const std::string listen = unix_socket ? "unix:" + folder_ + "/gpud.sock" : "tcp:127.0.0.1:0";
  if (transport == "tls") fingerprint_ = initTls(gpud, tlsFolder());
  const std::string tls_folder = tlsFolder();
  int ready[2];
  if (pipe(ready) != 0) fail("A pipe cannot be made");
  pid_ = fork();
  if (pid_ == 0) {
    prctl(PR_SET_PDEATHSIG, SIGTERM);  // also when a measurement ends the program in its middle
    close(ready[0]);
    const std::string ready_fd = std::to_string(ready[1]);
    std::vector<const char*> arguments = {
        "gpud",         "--device",    "cpu",  "--cpu-device", library.c_str(), "--listen",
        listen.c_str(), "--log-level", "warn", "--ready-fd",   ready_fd.c_str()};
    if (transport == "tls") {
      arguments.insert(arguments.end(), {"--tls-folder", tls_folder.c_str()});
    } else {
      arguments.push_back("--insecure");
    }
    arguments.push_back(nullptr);
    execv(gpud.c_str(), const_cast<char* const*>(arguments.data()));
    _exit(127);
  }
  close(ready[1]);
  std::string said;
  char text[256];
  for (ssize_t n; (n = read(ready[0], text, sizeof(text))) > 0;) said.append(text, n);
  close(ready[0]);
  const std::string word = "listening ";
  const size_t at = said.find(word);
  if (at == std::string::npos) fail("gpud did not become ready");
  endpoint_ = said.substr(at + word.size(), said.find('\n', at) - at - word.size());
}

Gpud::~Gpud() {
  kill(pid_, SIGTERM);
  waitpid(pid_, nullptr, 0);
  std::filesystem::remove_all(folder_);
}

void Gpud::setClientEnvironment() const {
  if (fingerprint_.empty()) {
    setenv("FARWARP_INSECURE", "1", 1);
  } else {
    setenv("FARWARP_FINGERPRINT", fingerprint_.c_str(), 1);
  }
}

std::vector<pid_t> Gpud::workers() const {
  std::vector<pid_t> found;
  const std::string tasks = "/proc/" + std::to_string(pid_) + "/task";
  for (const auto& task : std::filesystem::directory_iterator(tasks)) {
    std::ifstream children(task.path() / "children");
    for (pid_t pid; children >> pid;) found.push_back(pid);
  }
  return found;
}

}  // namespace farwarp::bench
