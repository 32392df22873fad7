// gpud's settings: one table of them, read from the command line and from a TOML file alike.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace farwarp {

struct Options {
  std::string device;               // "cuda" or "cpu"
  std::vector<std::string> listen;  // endpoints, as protocol/endpoint.h takes them
  std::string cuda_driver = "libcuda.so.1";
  std::string cpu_device;  // empty: ../lib/cpu/libcuda.so.1 beside the executable
  std::string session_log;
  std::string log_level = "info";
  uint64_t max_sessions = 64;
  uint64_t max_pending_connections = 64;
  uint64_t preamble_timeout_ms = 10000;
  uint64_t stop_grace_ms = 3000;
  std::vector<std::string> worker_env;  // NAME=VALUE, or NAME to pass gpud's own value
  uint64_t wait_threads_max = 64;
  uint64_t handles_max = 1u << 20;
  uint64_t staging_bytes_max = 256u << 20;
  uint64_t bulk_bytes_max = 2048ull << 20;
  uint64_t host_memory_bytes_max = 64ull << 30;
  uint64_t warm_workers = 1;
  std::string content_folder;  // empty: defaultContentFolder()
  uint64_t content_bytes_max = 1ull << 30;
  std::string compression = "auto";  // wire::parseCompressionMode
  bool insecure = false;
  std::string tls_folder;  // empty: defaultTlsFolder()

  // Command line only.
  std::string config;
  bool print_ports = false;
  int ready_fd = -1;

  // Hidden: how the supervisor starts its children.
  bool worker = false;
  bool probe = false;
  bool answer_status = false;
  std::string device_library;
  int supervisor_pid = 0;
};

// The files in a folder of TLS keys (gpud init).
struct TlsFiles {
  std::string authority, authority_key, certificate, key;
};
TlsFiles tlsFilesIn(const std::string& folder);
// farwarp/tls in the user's folder of settings, or /etc/farwarp/tls without one.
std::string defaultTlsFolder();
// farwarp/content in the user's folder of caches, or /var/cache/farwarp/content without one.
std::string defaultContentFolder();

// Reads the command line, and the file that --config names; the command line wins. False when the
// process must end now, with its exit status in `status`: help or version was printed (0), or a
// full sentence about what is wrong (2).
[[nodiscard]] bool parseOptions(int argc, char** argv, Options& options, int& status);

// Reads one TOML file into `options`. False with a full sentence that names the file, line and key.
[[nodiscard]] bool readConfigFile(const std::string& path, Options& options, std::string& error);

// The settings that a worker or a probe needs, as command-line arguments.
std::vector<std::string> childArguments(const Options& options);

}  // namespace farwarp
