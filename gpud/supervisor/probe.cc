#include "gpud/supervisor/probe.h"

#include <errno.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <filesystem>
#include <vector>

#include "gpud/device/driver_table.h"
#include "gpud/device/kernel_records.h"
#include "gpud/supervisor/worker_process.h"

namespace farwarp {
namespace {

constexpr int kProbeTimeoutMs = 60000;  // a machine with many GPUs and no persistence mode is slow
constexpr size_t kAnswerBytesMax = 64u << 10;

std::string errorName(const DriverTable& driver, CUresult result) {
  const char* name = nullptr;
  if (driver.cuGetErrorName(result, &name) == CUDA_SUCCESS && name != nullptr) {
    return fmt::format("{} ({})", name, static_cast<int>(result));
  }
  return fmt::format("error {}", static_cast<int>(result));
}

// Reads until the child closes its end. False when it takes too long.
bool readAnswer(int fd, std::string& answer) {
  const auto deadline =
      std::chrono::steady_clock::now() + std::chrono::milliseconds(kProbeTimeoutMs);
  for (;;) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        deadline - std::chrono::steady_clock::now());
    pollfd waiting{fd, POLLIN, 0};
    if (left.count() <= 0 || poll(&waiting, 1, static_cast<int>(left.count())) == 0) return false;
    char part[4096];
    const ssize_t got = read(fd, part, sizeof(part));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return true;
    if (answer.size() + static_cast<size_t>(got) <= kAnswerBytesMax) answer.append(part, got);
  }
}

std::string advice(const Options& options) {
  if (options.device == "cuda") {
    return " Install the NVIDIA driver, or, in a container, start it with access to the GPUs. To "
           "run on "
           "the CPU device instead, say --device cpu.";
  }
  return " Build the target farwarp_cpu_device, or name the library with --cpu-device.";
}

// The device's line of protocol/status.h.
std::string statusLine(const DriverTable& table, int ordinal, CUdevice device, const char* name,
                       size_t bytes) {
  CUuuid uuid{};
  if (table.cuDeviceGetUuid_v2(&uuid, device) != CUDA_SUCCESS) table.cuDeviceGetUuid(&uuid, device);
  char pci[64] = {};
  table.cuDeviceGetPCIBusId(pci, sizeof(pci) - 1, device);
  int major = 0;
  int minor = 0;
  table.cuDeviceGetAttribute(&major, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, device);
  table.cuDeviceGetAttribute(&minor, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, device);
  std::string hex;
  for (char byte : uuid.bytes) hex += fmt::format("{:02x}", static_cast<unsigned char>(byte));
  return fmt::format("\ndevice {} {} {} {} {} {} {}", ordinal, hex, bytes, *pci == '\0' ? "-" : pci,
                     major, minor, name);
}

// One line for people, then the lines for the status.
bool describeDevices(const Driver& driver, std::string& text) {
  const DriverTable& table = driver.table();
  int version = 0;
  int count = 0;
  table.cuDriverGetVersion(&version);
  if (CUresult r = table.cuDeviceGetCount(&count); r != CUDA_SUCCESS || count == 0) {
    text = r == CUDA_SUCCESS
               ? "The driver reports no device."
               : fmt::format("The driver cannot count its devices: {}.", errorName(table, r));
    return false;
  }
  text = fmt::format("driver version {}.{}, {} device{}:", version / 1000, version % 1000 / 10,
                     count, count == 1 ? "" : "s");
  std::string status = fmt::format("\ndriver {}", version);
  for (int ordinal = 0; ordinal < count; ++ordinal) {
    CUdevice device = 0;
    char name[256] = {};
    size_t bytes = 0;
    table.cuDeviceGet(&device, ordinal);
    table.cuDeviceGetName(name, sizeof(name) - 1, device);
    table.cuDeviceTotalMem_v2(&bytes, device);
    text += fmt::format("{} {} ({} MiB)", ordinal == 0 ? "" : ",", name, bytes >> 20);
    status += statusLine(table, ordinal, device, name, bytes);
  }
  text += status;
  return true;
}

}  // namespace

bool findDeviceLibrary(const Options& options, std::string& library, std::string& error) {
  if (options.device == "cuda") {
    library = options.cuda_driver;
    return true;
  }
  namespace fs = std::filesystem;
  std::error_code failure;
  library = options.cpu_device;
  if (library.empty()) {
    const fs::path executable = fs::read_symlink("/proc/self/exe", failure);
    library = (executable.parent_path().parent_path() / "lib/cpu/libcuda.so.1").string();
  }
  const fs::path absolute = fs::absolute(library, failure);
  library = absolute.string();
  if (fs::exists(absolute, failure)) return true;
  error = fmt::format("The CPU device's library {} does not exist.{}", library, advice(options));
  return false;
}

bool probeDevice(const Options& options, std::string& facts, std::string& status,
                 std::string& error) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) {
    error = fmt::format("A pipe cannot be made: {}.", strerror(errno));
    return false;
  }
  std::vector<std::string> arguments{"gpud", "--probe"};
  for (std::string& argument : childArguments(options)) arguments.push_back(std::move(argument));
  std::vector<std::string> environment = workerEnvironment(options.worker_env);
  std::vector<char*> argument_pointers;
  for (std::string& argument : arguments) argument_pointers.push_back(argument.data());
  argument_pointers.push_back(nullptr);
  std::vector<char*> environment_pointers;
  for (std::string& variable : environment) environment_pointers.push_back(variable.data());
  environment_pointers.push_back(nullptr);

  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
  pid_t child = 0;
  const int spawned = posix_spawn(&child, "/proc/self/exe", &actions, nullptr,
                                  argument_pointers.data(), environment_pointers.data());
  posix_spawn_file_actions_destroy(&actions);
  close(ends[1]);
  if (spawned != 0) {
    close(ends[0]);
    error =
        fmt::format("The process that asks the device cannot be started: {}.", strerror(spawned));
    return false;
  }
  std::string answer;
  const bool in_time = readAnswer(ends[0], answer);
  close(ends[0]);
  if (!in_time) kill(child, SIGKILL);
  int exit = 0;
  while (waitpid(child, &exit, 0) < 0 && errno == EINTR) {
  }
  while (!answer.empty() && answer.back() == '\n') answer.pop_back();
  if (in_time && WIFEXITED(exit) && WEXITSTATUS(exit) == 0) {
    const size_t line = answer.find('\n');
    status = line == std::string::npos ? "" : answer.substr(line + 1) + "\n";
    facts = answer.substr(0, line);
    return true;
  }
  if (!in_time) {
    answer = fmt::format("The driver did not answer within {} s.", kProbeTimeoutMs / 1000);
  } else if (WIFSIGNALED(exit)) {
    answer = fmt::format("The driver crashed while it was asked for its devices (signal {}).",
                         WTERMSIG(exit));
  }
  error = fmt::format("--device {} cannot be used. {}{}", options.device, answer, advice(options));
  return false;
}

int runProbe(const Options& options) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  Driver driver;
  std::string text;
  bool ok = driver.load(options.device_library, text);
  if (ok) {
    const CUresult result = driver.table().cuInit(0);
    ok = result == CUDA_SUCCESS;
    if (!ok) {
      text = fmt::format("{} was loaded, but cuInit failed: {}.", options.device_library,
                         errorName(driver.table(), result));
    }
  }
  if (ok) ok = describeDevices(driver, text);
  // The CPU device stands in for a GPU only when it was asked for by name.
  const void* records = nullptr;
  if (ok && options.device == "cuda" &&
      driver.table().cuGetExportTable(&records, &kKernelRecordsTableId) == CUDA_SUCCESS) {
    text =
        fmt::format("{} is Farwarp's CPU device, not the NVIDIA driver.", options.device_library);
    ok = false;
  }
  std::puts(text.c_str());
  std::fflush(stdout);
  _exit(ok ? 0 : 1);  // a driver's exit handlers are of no use here
}

}  // namespace farwarp
