// ptx_fuzz_corpus FOLDER FILE...: what the fuzzer begins with. Writes one module for each form of
// instruction that the engine knows, and one for each kernel of the PTX files given.
#include <cstdio>
#include <fstream>
#include <iterator>

#include "gpud/device/cpu/ptx/tool/forms.h"
#include "tests/ptx/exercise.h"

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fputs("Usage: ptx_fuzz_corpus FOLDER FILE...\n", stderr);
    return 2;
  }
  size_t count = 0;
  auto write = [&](const std::string& text) {
    std::ofstream(std::string(argv[1]) + "/seed" + std::to_string(count++) + ".ptx") << text;
  };
  for (const farwarp::ptx::InstructionForms& row : farwarp::ptx::instructionForms()) {
    for (const std::string& instruction : farwarp::ptx::expandForms(row.pattern)) {
      write(farwarp::ptx::runnableModuleOf(instruction));
    }
  }
  for (int k = 2; k < argc; ++k) {
    std::ifstream file(argv[k]);
    std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
    size_t head = text.find("\n.visible .entry");
    for (size_t at = head; at != std::string::npos;) {
      size_t next = text.find("\n.visible .entry", at + 1);
      write(text.substr(0, head) + text.substr(at, next - at));
      at = next;
    }
  }
  std::printf("%zu seeds\n", count);
  return 0;
}
