// farwarp-ptx check FILE...   which kernels of PTX files, fatbins and programs the engine takes
// farwarp-ptx table           docs/ptx.md: the forms of instructions and what becomes of them
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iterator>

#include "driver/fatbin.h"
#include "gpud/device/cpu/ptx/check.h"
#include "gpud/device/cpu/ptx/tool/forms.h"

namespace farwarp::ptx {
namespace {

constexpr uint32_t kNewestSm = 999;  // newer than any PTX: none is passed over
constexpr uint32_t kFatbinMagic = 0xba55ed50;

struct Totals {
  size_t loaded = 0, refused = 0;
  bool unreadable = false;
};

void checkOne(const std::string& where, std::string_view text, Totals& totals) {
  TextCheck check = checkText(text);
  if (!check.log.text.empty()) {
    ++totals.refused;
    std::printf("%s: refused at line %u: %s\n", where.c_str(), check.log.line,
                check.log.text.c_str());
  }
  for (const FunctionCheck& function : check.functions) {
    if (!function.is_kernel) continue;
    bool loads = function.status == CompileStatus::ok;
    ++(loads ? totals.loaded : totals.refused);
    if (loads) {
      std::printf("%s: %s: loads\n", where.c_str(), function.name.c_str());
    } else {
      std::printf("%s: %s: refused at line %u: %s\n", where.c_str(), function.name.c_str(),
                  function.line, function.reason.c_str());
    }
  }
}

void checkNewest(const std::string& where, const std::vector<ImageEntry>& entries, Totals& totals) {
  const ImageTarget target{.sm = kNewestSm, .takes_cubin = false, .takes_ptx = true};
  const ImageEntry* entry = chooseEntry(entries, target);
  if (entry == nullptr) {
    std::printf("%s: no PTX\n", where.c_str());
    return;
  }
  std::string text, why;
  if (unpackEntry(*entry, text, &why) != CUDA_SUCCESS) {
    std::printf("%s: %s\n", where.c_str(), why.c_str());
    totals.unreadable = true;
    return;
  }
  checkOne(where, text, totals);
}

// The newest PTX of one image; false when the bytes are no image.
bool checkImage(const std::string& where, std::span<const std::byte> bytes, Totals& totals) {
  ModuleImage image;
  if (readImage(bytes, image) != CUDA_SUCCESS) return false;
  checkNewest(where, image.entries, totals);
  return true;
}

// Each part of an image that the CPU device linked; false when the bytes are none.
bool checkLinked(const std::string& where, std::span<const std::byte> bytes, Totals& totals) {
  ModuleImage image;
  if (readImage(bytes, image) != CUDA_SUCCESS || image.form != ImageForm::linked) return false;
  for (const auto& part : image.relocatable) checkNewest(where, part, totals);
  return true;
}

// A program or library: every fatbin that lies in it.
bool checkProgram(const std::string& path, std::span<const std::byte> bytes, Totals& totals) {
  bool found = false;
  for (size_t at = 0; at + 16 <= bytes.size(); at += 8) {
    uint32_t magic;
    uint64_t size;
    std::memcpy(&magic, &bytes[at], sizeof(magic));
    if (magic != kFatbinMagic) continue;
    std::memcpy(&size, &bytes[at + 8], sizeof(size));
    if (size > bytes.size() - at - 16) continue;
    std::string where = path + " at " + std::to_string(at);
    if (!checkImage(where, bytes.subspan(at, size + 16), totals)) continue;
    found = true;
    at += size & ~uint64_t{7};
  }
  return found;
}

void checkFile(const std::string& path, Totals& totals) {
  std::ifstream file(path, std::ios::binary);
  std::vector<char> data{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  std::span<const std::byte> bytes(reinterpret_cast<const std::byte*>(data.data()), data.size());
  if (path.ends_with(".ptx")) return checkOne(path, {data.data(), data.size()}, totals);
  bool is_program = data.size() > 4 && std::memcmp(data.data(),
                                                   "\x7f"
                                                   "ELF",
                                                   4) == 0;
  if (file && (is_program ? checkLinked(path, bytes, totals) || checkProgram(path, bytes, totals)
                          : checkImage(path, bytes, totals))) {
    return;
  }
  std::printf("%s: cannot be read, or holds no PTX and no fatbin\n", path.c_str());
  totals.unreadable = true;
}

int check(int count, char** paths) {
  Totals totals;
  for (int k = 0; k < count; ++k) checkFile(paths[k], totals);
  std::printf("%zu kernels load, %zu are refused\n", totals.loaded, totals.refused);
  return totals.unreadable ? 2 : totals.refused != 0 ? 1 : 0;
}

}  // namespace
}  // namespace farwarp::ptx

int main(int argc, char** argv) {
  if (argc > 2 && std::strcmp(argv[1], "check") == 0) {
    return farwarp::ptx::check(argc - 2, argv + 2);
  }
  if (argc == 2 && std::strcmp(argv[1], "table") == 0) {
    std::string table = farwarp::ptx::formsTable();
    std::fputs(table.c_str(), stdout);
    return 0;
  }
  std::fputs(
      "Usage: farwarp-ptx check FILE...   kernels that load, kernels that are refused and why\n"
      "       farwarp-ptx table           the forms of instructions and their status\n"
      "FILE is PTX text (.ptx), a fatbin, what a link gave, or a program or library with fatbins.\n"
      "The exit status of check is 0 when all load, 1 when some are refused, 2 when a file cannot "
      "be read.\n",
      stderr);
  return 2;
}
