#include "gpud/options.h"

#include <fmt/format.h>

#include <toml++/toml.h>
#include <CLI/CLI.hpp>

#include <cstdlib>
#include <iostream>
#include <limits>
#include <variant>

#include "protocol/compression_mode.h"

namespace farwarp {
namespace {

using Member = std::variant<std::string Options::*, std::vector<std::string> Options::*,
                            uint64_t Options::*, bool Options::*>;

// One setting: the key in the TOML file is the long option with underscores.
struct Setting {
  const char* key;
  Member member;
  uint64_t min;  // of numbers
  uint64_t max;
  bool for_children;  // workers and probes get it too
  const char* help;
};

constexpr uint64_t kGiB = uint64_t{1} << 30;

const Setting kSettings[] = {
    {"device", &Options::device, 0, 0, true,
     "Device that sessions run on: cuda (the NVIDIA driver of this machine) or cpu (the CPU "
     "device). "
     "There is no default and no fallback from one to the other."},
    {"listen", &Options::listen, 0, 0, false,
     "Where to listen: tcp:ADDRESS:PORT or unix:PATH. May be given several times. Port 0 lets the "
     "system choose; see --print-ports."},
    {"cuda_driver", &Options::cuda_driver, 0, 0, false,
     "Driver library for --device cuda: a path, or a name as the dynamic linker takes it."},
    {"cpu_device", &Options::cpu_device, 0, 0, false,
     "Driver library for --device cpu. Default: ../lib/cpu/libcuda.so.1 beside this program."},
    {"session_log", &Options::session_log, 0, 0, false,
     "File that gets one JSON line for each session that ended."},
    {"log_level", &Options::log_level, 0, 0, true,
     "How much to log to stderr: trace, debug, info, warn, error or off."},
    {"max_sessions", &Options::max_sessions, 1, 4096, false,
     "Sessions at one time; further clients are told that the server is busy."},
    {"max_pending_connections", &Options::max_pending_connections, 1, 4096, false,
     "Connections that have not yet said who they are; beyond it the oldest is closed."},
    {"preamble_timeout_ms", &Options::preamble_timeout_ms, 10, 600000, true,
     "Time that a new connection has to say who it is, and then again for TLS and its greeting."},
    {"insecure", &Options::insecure, 0, 0, false,
     "Speak without TLS on TCP. Everyone on the network can then read and change what programs "
     "send "
     "and compute, and use the devices. Unix sockets never have TLS."},
    {"tls_folder", &Options::tls_folder, 0, 0, true,
     "Folder with the certificate and key that gpud init made. Default: farwarp/tls below "
     "XDG_CONFIG_HOME or ~/.config."},
    {"warm_workers", &Options::warm_workers, 0, 64, false,
     "Workers that have opened the device and wait for the next session."},
    {"content_folder", &Options::content_folder, 0, 0, true,
     "Folder that keeps module images of clients over TCP, so that they are not sent again. "
     "Default: "
     "farwarp/content below XDG_CACHE_HOME or ~/.cache."},
    {"content_bytes_max", &Options::content_bytes_max, 0, 1024 * kGiB, true,
     "Bytes that are kept there; 0: none."},
    {"compression", &Options::compression, 0, 0, true,
     "Compress bulk data: auto (on networks that are slower than that), off, or on. A client can "
     "say "
     "off as well."},
    {"stop_grace_ms", &Options::stop_grace_ms, 0, 600000, false,
     "Time that sessions have to end when gpud is told to stop, before their workers are killed."},
    {"worker_env", &Options::worker_env, 0, 0, false,
     "NAME=VALUE sets a variable in the workers' environment; NAME passes gpud's own value."},
    {"wait_threads_max", &Options::wait_threads_max, 1, 1024, true,
     "Threads of one session that wait for the device."},
    {"handles_max", &Options::handles_max, 64, 1u << 24, true, "Live handles of one session."},
    {"staging_bytes_max", &Options::staging_bytes_max, 16u << 20, 64 * kGiB, true,
     "Bytes of one session that are staged between network and device before the sender is slowed "
     "down."},
    {"bulk_bytes_max", &Options::bulk_bytes_max, 16u << 20, 1024 * kGiB, true,
     "Bytes of one session that may be staged at all; asynchronous copies to the host beyond it "
     "fail "
     "with CUDA_ERROR_OUT_OF_MEMORY."},
    {"host_memory_bytes_max", &Options::host_memory_bytes_max, 0, 1024 * kGiB, true,
     "Bytes of managed and of page-locked host memory of one session that its kernels may use."},
};

std::string flagOf(const Setting& setting) {
  std::string flag = std::string("--") + setting.key;
  std::replace(flag.begin(), flag.end(), '_', '-');
  return flag;
}

const char* const kLogLevels[] = {"trace", "debug", "info", "warn", "error", "off"};

bool checkLimits(const Options& options, std::string& error) {
  for (const Setting& setting : kSettings) {
    const auto* member = std::get_if<uint64_t Options::*>(&setting.member);
    if (member == nullptr) continue;
    const uint64_t value = options.**member;
    if (value < setting.min || value > setting.max) {
      error = fmt::format("{} is {}; it must be from {} to {}.", flagOf(setting), value,
                          setting.min, setting.max);
      return false;
    }
  }
  const auto* level = std::find_if(std::begin(kLogLevels), std::end(kLogLevels),
                                   [&](const char* name) { return options.log_level == name; });
  if (level == std::end(kLogLevels)) {
    error = fmt::format("--log-level is \"{}\"; it must be trace, debug, info, warn, error or off.",
                        options.log_level);
    return false;
  }
  if (wire::CompressionMode mode; !wire::parseCompressionMode(options.compression, mode)) {
    error =
        fmt::format("--compression is \"{}\"; it must be auto, off or on.", options.compression);
    return false;
  }
  return true;
}

bool checkSupervisor(const Options& options, std::string& error) {
  if (options.device != "cuda" && options.device != "cpu") {
    error = options.device.empty()
                ? "No device was chosen. Say --device cuda (the NVIDIA driver of this machine) or "
                  "--device cpu (the CPU device)."
                : fmt::format("--device is \"{}\"; it must be cuda or cpu.", options.device);
    return false;
  }
  if (options.listen.empty()) {
    error = "Nowhere to listen. Say --listen tcp:ADDRESS:PORT or --listen unix:PATH.";
    return false;
  }
  return true;
}

// Puts one value of the file into its place. False when it is of another type.
bool assign(const toml::node& node, const Member& member, Options& options, std::string& wanted) {
  if (const auto* text = std::get_if<std::string Options::*>(&member)) {
    wanted = "a string";
    if (const auto value = node.value_exact<std::string>()) return options.**text = *value, true;
    return false;
  }
  if (const auto* number = std::get_if<uint64_t Options::*>(&member)) {
    wanted = "a whole number that is not negative";
    const auto value = node.value_exact<int64_t>();
    if (!value || *value < 0) return false;
    return options.**number = static_cast<uint64_t>(*value), true;
  }
  if (const auto* flag = std::get_if<bool Options::*>(&member)) {
    wanted = "true or false";
    const auto value = node.value_exact<bool>();
    if (!value) return false;
    return options.**flag = *value, true;
  }
  const auto list = std::get<std::vector<std::string> Options::*>(member);
  wanted = "a string or a list of strings";
  std::vector<std::string> values;
  if (const auto value = node.value_exact<std::string>()) {
    values.push_back(*value);
  } else if (const toml::array* array = node.as_array()) {
    for (const toml::node& item : *array) {
      const auto value_of_item = item.value_exact<std::string>();
      if (!value_of_item) return false;
      values.push_back(*value_of_item);
    }
  } else {
    return false;
  }
  return options.*list = std::move(values), true;
}

// A list given on the command line replaces the file's; CLI11 would append to it.
void addSetting(CLI::App& app, const Setting& setting, Options& options) {
  const std::string flag = flagOf(setting);
  if (const auto* text = std::get_if<std::string Options::*>(&setting.member)) {
    app.add_option(flag, options.**text, setting.help)->capture_default_str();
  } else if (const auto* number = std::get_if<uint64_t Options::*>(&setting.member)) {
    app.add_option(flag, options.**number, setting.help)->capture_default_str();
  } else if (const auto* on = std::get_if<bool Options::*>(&setting.member)) {
    app.add_flag(flag, options.**on, setting.help);
  } else {
    const auto list = std::get<std::vector<std::string> Options::*>(setting.member);
    app.add_option(flag, options.*list, setting.help)->take_all()->allow_extra_args(false);
  }
}

}  // namespace

TlsFiles tlsFilesIn(const std::string& folder) {
  return {folder + "/ca.crt", folder + "/ca.key", folder + "/server.crt", folder + "/server.key"};
}

namespace {

// `inside` below the folder that `variable` names, or below `at_home` in the home folder, or
// `otherwise`.
std::string userFolder(const char* variable, const char* at_home, const char* inside,
                       const char* otherwise) {
  const char* named = std::getenv(variable);
  if (named != nullptr && *named == '/') return std::string(named) + inside;
  const char* home = std::getenv("HOME");
  if (home != nullptr && *home == '/') return std::string(home) + at_home + inside;
  return otherwise;
}

}  // namespace

std::string defaultTlsFolder() {
  return userFolder("XDG_CONFIG_HOME", "/.config", "/farwarp/tls", "/etc/farwarp/tls");
}

std::string defaultContentFolder() {
  return userFolder("XDG_CACHE_HOME", "/.cache", "/farwarp/content", "/var/cache/farwarp/content");
}

bool readConfigFile(const std::string& path, Options& options, std::string& error) {
  toml::table table;
  try {
    table = toml::parse_file(path);
  } catch (const toml::parse_error& failure) {
    error = fmt::format("{}:{}: {}.", path, failure.source().begin.line,
                        std::string(failure.description()));
    return false;
  }
  for (const auto& [key, node] : table) {
    const auto line = node.source().begin.line;
    const std::string name(key.str());
    const auto* setting = std::find_if(std::begin(kSettings), std::end(kSettings),
                                       [&](const Setting& s) { return name == s.key; });
    if (setting == std::end(kSettings)) {
      error =
          fmt::format("{}:{}: \"{}\" is not a setting of gpud; see gpud --help.", path, line, name);
      return false;
    }
    std::string wanted;
    if (!assign(node, setting->member, options, wanted)) {
      error = fmt::format("{}:{}: \"{}\" must be {}.", path, line, name, wanted);
      return false;
    }
  }
  return true;
}

bool parseOptions(int argc, char** argv, Options& options, int& status) {
  CLI::App app{
      "gpud runs the CUDA calls of programs on other machines: on the GPUs of this machine, or on "
      "the "
      "CPU device. \"gpud init\" makes the certificate that TCP needs.\nEvery setting can also "
      "stand in the TOML file that --config names, under its "
      "name "
      "with underscores; the command line wins.\nSIGTERM and SIGINT end gpud in good order.",
      "gpud"};
  for (const Setting& setting : kSettings) addSetting(app, setting, options);
  app.add_option("--config", options.config, "TOML file with settings.");
  app.add_flag("--print-ports", options.print_ports,
               "Print one line \"listening ENDPOINT\" per place on stdout, then \"ready\".");
  app.add_option("--ready-fd", options.ready_fd,
                 "The same lines on this descriptor, which is then closed.");
  app.add_flag("--worker", options.worker)->group("");
  app.add_flag("--probe", options.probe)->group("");
  app.add_flag("--answer-status", options.answer_status)->group("");
  app.add_option("--device-library", options.device_library)->group("");
  app.add_option("--supervisor-pid", options.supervisor_pid)->group("");
  app.set_version_flag("--version", "gpud " FARWARP_VERSION);
  status = 2;
  try {
    app.parse(argc, argv);
    if (!options.config.empty()) {
      // Once more on top of the file, because the command line wins.
      Options from_file;
      std::string error;
      if (!readConfigFile(options.config, from_file, error)) {
        std::cerr << "gpud: " << error << '\n';
        return false;
      }
      for (const Setting& setting : kSettings) {
        if (app.count(flagOf(setting)) != 0) continue;
        std::visit([&](auto member) { options.*member = from_file.*member; }, setting.member);
      }
    }
  } catch (const CLI::ParseError& failure) {
    status = app.exit(failure) == 0 ? 0 : 2;
    return false;
  }
  std::string error;
  const bool child = options.worker || options.probe || options.answer_status;
  if (!checkLimits(options, error) || (!child && !checkSupervisor(options, error))) {
    std::cerr << "gpud: " << error << '\n';
    return false;
  }
  status = 0;
  return true;
}

std::vector<std::string> childArguments(const Options& options) {
  std::vector<std::string> arguments;
  for (const Setting& setting : kSettings) {
    if (!setting.for_children) continue;
    if (const auto* text = std::get_if<std::string Options::*>(&setting.member)) {
      if ((options.**text).empty()) continue;
      arguments.push_back(flagOf(setting) + "=" + options.**text);
    } else if (const auto* number = std::get_if<uint64_t Options::*>(&setting.member)) {
      arguments.push_back(fmt::format("{}={}", flagOf(setting), options.**number));
    }
  }
  arguments.push_back("--device-library=" + options.device_library);
  return arguments;
}

}  // namespace farwarp
