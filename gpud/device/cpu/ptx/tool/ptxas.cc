// The assembler of the CPU device, for programs that run NVIDIA's ptxas and load what it writes
// (XLA, Triton): it takes the same words, and writes the PTX as it is into an image that the CPU
// device loads (driver/linked_image.h). The device compiles it, and says what is wrong with it,
// when it is loaded. A GPU refuses such an image.
#include <cctype>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "driver/fatbin.h"
#include "driver/linked_image.h"

namespace farwarp {
namespace {

// Of the words that ptxas takes, those with a value in the next word; the value tunes what this
// does not do.
constexpr std::string_view kWithValue[] = {
    "-O", "--opt-level", "-maxrregcount", "--maxrregcount", "-I", "--device-function-maxrregcount",
    "-m", "--machine"};

struct Request {
  bool version = false;
  std::string output = "elf.o";  // as ptxas names it
  std::vector<std::string> inputs;
  uint32_t sm = 0;
};

// Of "sm_90a" the number; 0 of anything else.
uint32_t architectureOf(std::string_view name) {
  if (!name.starts_with("sm_")) return 0;
  return static_cast<uint32_t>(std::strtoul(std::string(name.substr(3)).c_str(), nullptr, 10));
}

// The value of option `name`, in the same word or the next; nothing when `words[at]` is another.
std::optional<std::string> valueOf(std::string_view name, const std::vector<std::string>& words,
                                   size_t& at) {
  const std::string_view word = words[at];
  if (word == name) return at + 1 < words.size() ? words[++at] : "";
  if (word.starts_with(name) && word.substr(name.size()).starts_with("=")) {
    return std::string(word.substr(name.size() + 1));
  }
  return std::nullopt;
}

bool has(const std::string_view (&names)[std::size(kWithValue)], std::string_view word) {
  for (std::string_view name : names) {
    if (name == word) return true;
  }
  return false;
}

Request read(const std::vector<std::string>& words) {
  Request request;
  for (size_t at = 0; at < words.size(); ++at) {
    const std::string& word = words[at];
    if (word == "--version" || word == "-V") {
      request.version = true;
    } else if (auto file = valueOf("-o", words, at)) {
      request.output = *file;
    } else if (auto path = valueOf("--output-file", words, at)) {
      request.output = *path;
    } else if (auto arch = valueOf("-arch", words, at)) {
      request.sm = architectureOf(*arch);
    } else if (auto name = valueOf("--gpu-name", words, at)) {
      request.sm = architectureOf(*name);
    } else if (has(kWithValue, word)) {
      ++at;
    } else if (!word.starts_with("-")) {
      request.inputs.push_back(word);
    }
  }
  return request;
}

int fail(const std::string& why) {
  std::fprintf(stderr, "ptxas fatal   : %s\n", why.c_str());
  return 255;
}

// Programs look for the release in what ptxas says of itself. It is that of the driver.
void printVersion() {
  std::puts(
      "ptxas: NVIDIA (R) Ptx optimizing assembler, in whose place Farwarp's CPU device stands\n"
      "Cuda compilation tools, release 13.0, V13.0.88");
}

int run(const Request& request) {
  if (request.inputs.empty()) return fail("No input files specified");
  std::vector<std::vector<std::byte>> parts;
  for (const std::string& path : request.inputs) {
    std::ifstream file(path, std::ios::binary);
    std::string text{std::istreambuf_iterator<char>(file), {}};
    if (!file || text.empty()) return fail("Could not read the input file '" + path + "'");
    const auto bytes = std::as_bytes(std::span(text.c_str(), text.size() + 1));
    std::string why;
    ModuleImage image;
    if (readImage(bytes, image, &why) != CUDA_SUCCESS || image.form != ImageForm::ptx_text) {
      return fail("'" + path + "' is not PTX. " + why);
    }
    parts.emplace_back(bytes.begin(), bytes.end());
  }
  const std::vector<std::byte> image = packLinked(parts, request.sm);
  std::ofstream out(request.output, std::ios::binary);
  out.write(reinterpret_cast<const char*>(image.data()),
            static_cast<std::streamsize>(image.size()));
  out.close();
  return out ? 0 : fail("Could not write the output file '" + request.output + "'");
}

}  // namespace
}  // namespace farwarp

int main(int argc, char** argv) {
  const farwarp::Request request = farwarp::read({argv + 1, argv + argc});
  if (request.version) {
    farwarp::printVersion();
    return 0;
  }
  return farwarp::run(request);
}
