#include "gpud/init.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <ifaddrs.h>
#include <netdb.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <CLI/CLI.hpp>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "gpud/certificates.h"
#include "gpud/options.h"

namespace farwarp {
namespace {

constexpr std::time_t kDay = 86400;
constexpr std::time_t kClockTolerance = 3600;  // of a client whose clock is late
constexpr int kAuthorityDays = 3650;

bool readFile(const std::string& path, std::string& text) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return false;
  std::stringstream content;
  content << file.rdbuf();
  text = content.str();
  return !text.empty();
}

// Replaces the file in one step, so that nobody reads half of it.
bool writeFile(const std::string& path, const std::string& text, mode_t mode, std::string& error) {
  const std::string fresh = path + ".new";
  unlink(fresh.c_str());
  const int fd = open(fresh.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
  const bool ok = fd >= 0 && fchmod(fd, mode) == 0 &&
                  write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size()) &&
                  fsync(fd) == 0 && rename(fresh.c_str(), path.c_str()) == 0;
  if (!ok) error = fmt::format("{} cannot be written: {}.", path, strerror(errno));
  if (fd >= 0) close(fd);
  if (!ok) unlink(fresh.c_str());
  return ok;
}

bool makeFolder(const std::string& folder, std::string& error) {
  namespace fs = std::filesystem;
  std::error_code failure;
  fs::create_directories(folder, failure);
  if (!failure && chmod(folder.c_str(), 0700) == 0) return true;
  error = fmt::format("The folder {} cannot be made: {}.", folder,
                      failure ? failure.message() : strerror(errno));
  return false;
}

void add(std::vector<std::string>& names, const std::string& name) {
  if (!whyNotName(name).empty()) return;
  if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
}

// What a client may call this machine: its name, and the addresses of its interfaces.
std::vector<std::string> ownNames() {
  std::vector<std::string> names;
  char host[256] = {};
  if (gethostname(host, sizeof(host) - 1) == 0) add(names, host);
  add(names, "localhost");
  ifaddrs* interfaces = nullptr;
  if (getifaddrs(&interfaces) == 0) {
    for (const ifaddrs* at = interfaces; at != nullptr; at = at->ifa_next) {
      if (at->ifa_addr == nullptr) continue;
      const int family = at->ifa_addr->sa_family;
      if (family != AF_INET && family != AF_INET6) continue;
      char text[NI_MAXHOST];
      const socklen_t bytes = family == AF_INET ? sizeof(sockaddr_in) : sizeof(sockaddr_in6);
      if (getnameinfo(at->ifa_addr, bytes, text, sizeof(text), nullptr, 0, NI_NUMERICHOST) == 0) {
        add(names, text);  // link-local addresses carry an interface and do not fit
      }
    }
    freeifaddrs(interfaces);
  }
  add(names, "127.0.0.1");
  add(names, "::1");
  return names;
}

struct InitOptions {
  std::string folder;
  std::vector<std::string> names;
  int days = 730;
};

// The authority that is there, or a new one. Its certificate may have expired; then both are new.
bool authorityIn(const TlsFiles& files, KeyPair& authority, bool& made, std::string& error) {
  made = false;
  if (readFile(files.authority, authority.certificate) &&
      readFile(files.authority_key, authority.key)) {
    return true;
  }
  made = true;
  char host[256] = {};
  gethostname(host, sizeof(host) - 1);
  const std::time_t now = std::time(nullptr);
  return makeAuthority(std::string("Farwarp authority of ") + host,
                       {now - kClockTolerance, now + kAuthorityDays * kDay}, authority, error) &&
         writeFile(files.authority_key, authority.key, 0600, error) &&
         writeFile(files.authority, authority.certificate, 0644, error);
}

int init(const InitOptions& options) {
  const std::string folder = options.folder.empty() ? defaultTlsFolder() : options.folder;
  const TlsFiles files = tlsFilesIn(folder);
  const std::vector<std::string> names = options.names.empty() ? ownNames() : options.names;
  const std::time_t now = std::time(nullptr);
  std::string error;
  KeyPair authority, server;
  bool made = false;
  if (!makeFolder(folder, error) || !authorityIn(files, authority, made, error) ||
      !makeServerCertificate(authority, names, {now - kClockTolerance, now + options.days * kDay},
                             server, error) ||
      !writeFile(files.key, server.key, 0600, error) ||
      !writeFile(files.certificate, server.certificate, 0644, error)) {
    fmt::print(stderr, "gpud: {}\n", error);
    return 1;
  }
  fmt::print(stderr,
             "{} authority in {}, and a new certificate, valid for {} days, for: {}.\n"
             "Clients need one of FARWARP_CA=<a copy of {}> and this line:\n",
             made ? "There is a new" : "Kept the", folder, options.days, fmt::join(names, ", "),
             files.authority);
  fmt::print("FARWARP_FINGERPRINT={}\n", fingerprintOf(authority.certificate));
  return 0;
}

}  // namespace

int runInit(int argc, char** argv) {
  InitOptions options;
  CLI::App app{
      "Makes the keys with which gpud speaks TLS: an authority of its own when the folder has "
      "none, "
      "and a certificate that it signs. Run it again to renew the certificate; what clients have "
      "stays right as long as the authority is kept.",
      "gpud init"};
  app.add_option("--folder", options.folder,
                 "Where the keys go. Default: farwarp/tls below XDG_CONFIG_HOME or ~/.config.");
  app.add_option("--name", options.names,
                 "A name or address by which clients reach this gpud; several times. Default: the "
                 "host's name and the addresses of its interfaces.")
      ->take_all()
      ->allow_extra_args(false);
  app.add_option("--days", options.days, "How long the certificate is valid.")
      ->check(CLI::Range(1, 3650))
      ->capture_default_str();
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& failure) {
    return app.exit(failure) == 0 ? 0 : 2;
  }
  for (const std::string& name : options.names) {
    if (const std::string why = whyNotName(name); !why.empty()) {
      fmt::print(stderr, "gpud: {}\n", why);
      return 2;
    }
  }
  return init(options);
}

}  // namespace farwarp
