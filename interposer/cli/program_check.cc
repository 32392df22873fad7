#include "interposer/cli/program_check.h"

#include <elf.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cstring>
#include <fstream>
#include <string_view>

#include "interposer/cli/paths.h"

namespace farwarp::cli {
namespace {

constexpr int kScriptDepthMax = 5;      // as the kernel follows them
constexpr size_t kScriptLineMax = 256;  // BINPRM_BUF_SIZE
constexpr uint32_t kProgramHeadersMax = 512;

std::string whyPrivileged(const std::string& path) {
  struct stat info;
  if (stat(path.c_str(), &info) != 0) return {};
  const bool other_user = (info.st_mode & S_ISUID) != 0 && info.st_uid != getuid();
  const bool other_group = (info.st_mode & S_ISGID) != 0 && info.st_gid != getgid();
  if (other_user || other_group) {
    return "\"" + path + "\" is " + (other_user ? "setuid" : "setgid") +
           "; the dynamic linker ignores LD_PRELOAD in it. Run a copy without that bit.";
  }
  if (getuid() != 0 && getxattr(path.c_str(), "security.capability", nullptr, 0) > 0) {
    return "\"" + path +
           "\" has file capabilities; the dynamic linker ignores LD_PRELOAD in it. "
           "Run a copy without them.";
  }
  return {};
}

std::string whyNotElf(const std::string& path, std::ifstream& file) {
  Elf64_Ehdr header;
  file.seekg(0);
  if (!file.read(reinterpret_cast<char*>(&header), sizeof(header))) return {};
  if (header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_machine != EM_X86_64) {
    return "\"" + path + "\" is not a 64-bit x86 program; the libraries of this installation are.";
  }
  if (header.e_phentsize != sizeof(Elf64_Phdr) || header.e_phnum > kProgramHeadersMax) return {};
  file.seekg(static_cast<std::streamoff>(header.e_phoff));
  for (unsigned i = 0; i < header.e_phnum; ++i) {
    Elf64_Phdr segment;
    if (!file.read(reinterpret_cast<char*>(&segment), sizeof(segment))) return {};
    if (segment.p_type == PT_INTERP) return {};
  }
  return "\"" + path +
         "\" is statically linked, so no library can be loaded into it. Link it "
         "dynamically (the CUDA runtime inside it may stay static).";
}

std::string check(const std::string& path, int depth) {
  if (std::string why = whyPrivileged(path); !why.empty()) return why;
  std::ifstream file(path, std::ios::binary);
  char magic[4] = {};
  if (!file.read(magic, sizeof(magic))) return {};
  if (std::memcmp(magic, ELFMAG, SELFMAG) == 0) return whyNotElf(path, file);
  if (magic[0] != '#' || magic[1] != '!' || depth == 0) return {};
  char line[kScriptLineMax] = {};
  file.seekg(2);
  file.read(line, sizeof(line) - 1);
  std::string_view text(line);
  text = text.substr(0, text.find('\n'));
  const size_t start = text.find_first_not_of(" \t");
  if (start == std::string_view::npos) return {};
  text.remove_prefix(start);
  std::string interpreter(text.substr(0, text.find_first_of(" \t\r")));
  if (interpreter.ends_with("/env")) {
    // "env NAME": what matters is the program that env finds.
    const size_t space = text.find_first_of(" \t");
    if (space == std::string_view::npos) return {};
    text.remove_prefix(space);
    const size_t name = text.find_first_not_of(" \t");
    if (name == std::string_view::npos || text[name] == '-') return {};
    text.remove_prefix(name);
    std::string ignored;
    interpreter = findProgram(std::string(text.substr(0, text.find_first_of(" \t\r"))), ignored);
  }
  return interpreter.empty() ? std::string() : check(interpreter, depth - 1);
}

}  // namespace

std::string whyNotPreloadable(const std::string& path) {
  return check(path, kScriptDepthMax);
}

}  // namespace farwarp::cli
