// farwarp sessions: gpud's session log as a table.
#include <cinttypes>
#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>

#include "interposer/cli/commands.h"

namespace farwarp::cli {
namespace {

using nlohmann::json;

struct Row {
  std::string program;
  uint64_t calls = 0;
  uint64_t waiting_calls = 0;
  uint64_t bytes_in = 0;   // client to gpud
  uint64_t bytes_out = 0;  // gpud to client
  uint64_t launches = 0;
  uint64_t kernel_ns = 0;
};

uint64_t number(const json& object, const char* key) {
  auto at = object.find(key);
  return at != object.end() && at->is_number() ? at->get<uint64_t>() : 0;
}

std::string text(const json& object, const char* key) {
  auto at = object.find(key);
  return at != object.end() && at->is_string() ? at->get<std::string>() : std::string();
}

std::string bytesForPeople(uint64_t bytes) {
  static constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  double value = static_cast<double>(bytes);
  size_t unit = 0;
  while (value >= 1024 && unit + 1 < std::size(kUnits)) value /= 1024, ++unit;
  char line[32];
  std::snprintf(line, sizeof(line), unit == 0 ? "%.0f %s" : "%.1f %s", value, kUnits[unit]);
  return line;
}

void printRow(const Row& row) {
  std::printf("%-24.24s %10" PRIu64 " %9" PRIu64 " %11s %11s %9" PRIu64 " %14.3f\n",
              row.program.c_str(), row.calls, row.waiting_calls,
              bytesForPeople(row.bytes_in).c_str(), bytesForPeople(row.bytes_out).c_str(),
              row.launches, static_cast<double>(row.kernel_ns) / 1e6);
}

Row readRow(const json& line) {
  Row row;
  row.program = text(line, "program");
  row.calls = number(line, "calls");
  row.waiting_calls = number(line, "waiting_calls");
  row.bytes_in = number(line, "bytes_in");
  row.bytes_out = number(line, "bytes_out");
  row.launches = number(line, "launches");
  row.kernel_ns = number(line, "kernel_ns");
  return row;
}

void add(Row& sum, const Row& row) {
  sum.calls += row.calls;
  sum.waiting_calls += row.waiting_calls;
  sum.bytes_in += row.bytes_in;
  sum.bytes_out += row.bytes_out;
  sum.launches += row.launches;
  sum.kernel_ns += row.kernel_ns;
}

}  // namespace

int printSessions(const std::string& path) {
  std::ifstream file(path);
  if (!file) {
    std::fprintf(stderr, "farwarp: The session log \"%s\" cannot be read.\n", path.c_str());
    return 1;
  }
  std::printf("%-24s %10s %9s %11s %11s %9s %14s\n", "program", "calls", "waiting", "to gpud",
              "from gpud", "launches", "kernel time ms");
  Row sum;
  sum.program = "sum";
  std::string line;
  uint64_t line_number = 0, bad_lines = 0;
  while (std::getline(file, line)) {
    ++line_number;
    if (line.empty()) continue;
    const json parsed = json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (!parsed.is_object()) {
      std::fprintf(stderr, "farwarp: Line %" PRIu64 " of \"%s\" is not a JSON object.\n",
                   line_number, path.c_str());
      ++bad_lines;
      continue;
    }
    const Row row = readRow(parsed);
    printRow(row);
    add(sum, row);
  }
  printRow(sum);
  return bad_lines == 0 ? 0 : 1;
}

}  // namespace farwarp::cli
