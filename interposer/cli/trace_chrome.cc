// farwarp trace FILE --chrome OUT: the trace event format of Chrome, which Perfetto reads as well.
//
// Events of one lane must not overlap, so that kernels of several streams get as many lanes as ran
// at once, and each thread a lane for its messages.
#include <algorithm>
#include <cerrno>
#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "driver/error_names.h"
#include "interposer/cli/trace.h"
#include "interposer/cli/trace_reader.h"

namespace farwarp::cli {
namespace {

// Groups of lanes. Devices of gpud follow.
constexpr uint32_t kProgram = 1, kWire = 2, kFirstDevice = 10;
constexpr uint32_t kLanesPerThread = 4;
constexpr size_t kKernelLanesMax = 64;

std::string quotedJson(std::string_view text) {
  return nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

class ChromeWriter final : public TraceVisitor {
 public:
  explicit ChromeWriter(std::FILE* file) : file_(file) {
    std::fputs("{\"displayTimeUnit\":\"ms\",\"traceEvents\":[\n", file_);
  }

  void onFact(std::string_view key, std::string_view value) override {
    if (key == "program") nameGroup(kProgram, std::string(value) + " (calls)");
    facts_.emplace_back(key, value);
  }
  void onCallName(const trace::CallName& call, std::string_view name, std::string_view) override {
    call_names_[call.call] = quotedJson(name);
  }
  void onCall(const trace::Call& call) override {
    nameLane(kProgram, call.thread, "thread " + std::to_string(call.thread));
    begin(call_names_[call.call], kProgram, call.thread, static_cast<int64_t>(call.begin_ns),
          call.duration_ns);
    std::fprintf(file_,
                 ",\"cat\":\"call\",\"args\":{\"waited_us\":%.3f,\"waits\":%u,\"records\":%u,"
                 "\"to_gpud\":%" PRIu64 ",\"from_gpud\":%" PRIu64,
                 microseconds(call.waited_ns), call.waits, call.records, call.bytes_sent,
                 call.bytes_received);
    if (call.result != CUDA_SUCCESS) {
      const char* name = errorName(call.result);
      std::fprintf(file_, ",\"result\":%s",
                   quotedJson(name == nullptr ? std::to_string(call.result) : name).c_str());
    }
    std::fputs("}}", file_);
  }
  void onMessage(const trace::Message& message) override {
    static constexpr const char* kNames[trace::kMessageKinds] = {
        "other", "submit", "call", "put", "get", "host function"};
    static constexpr const char* kLaneNames[kLanesPerThread] = {"", ": control", ": bulk",
                                                                ": host functions"};
    static constexpr uint32_t kLanes[trace::kMessageKinds] = {0, 1, 1, 2, 2, 3};
    auto kind = static_cast<uint32_t>(message.kind);
    if (kind >= trace::kMessageKinds) kind = 0;
    const uint32_t lane = kLanes[kind];
    const uint32_t number = message.thread * kLanesPerThread + lane;
    nameGroup(kWire, "wire");
    nameLane(kWire, number, "thread " + std::to_string(message.thread) + kLaneNames[lane]);
    begin(quotedJson(kNames[kind]), kWire, number, static_cast<int64_t>(message.begin_ns),
          message.duration_ns);
    std::fprintf(file_,
                 ",\"cat\":\"wire\",\"args\":{\"to_gpud\":%" PRIu64 ",\"from_gpud\":%" PRIu64 "}}",
                 message.bytes_sent, message.bytes_received);
  }
  void onKernelName(uint32_t number, std::string_view name) override {
    kernel_names_[number] = quotedJson(name);
  }
  void onKernel(const trace::Kernel& kernel) override { kernels_[kernel.device].push_back(kernel); }

  // Ends the file. False when something could not be written.
  [[nodiscard]] bool finish() {
    for (auto& [device, kernels] : kernels_) writeKernels(device, kernels);
    std::fputs("\n],\"otherData\":{", file_);
    const char* comma = "";
    std::map<std::string, std::string> joined;
    for (const auto& [key, value] : facts_) {
      std::string& text = joined[key];
      text += (text.empty() ? "" : "\n") + value;
    }
    for (const auto& [key, value] : joined) {
      std::fprintf(file_, "%s\n%s:%s", comma, quotedJson(key).c_str(), quotedJson(value).c_str());
      comma = ",";
    }
    std::fputs("}}\n", file_);
    return std::ferror(file_) == 0;
  }

 private:
  static double microseconds(uint64_t ns) { return static_cast<double>(ns) / 1000; }

  void separate() {
    if (any_) std::fputs(",\n", file_);
    any_ = true;
  }

  // All of an event but its arguments; `name` is quoted.
  void begin(const std::string& name, uint32_t group, uint32_t lane, int64_t begin_ns,
             uint64_t duration_ns) {
    separate();
    std::fprintf(file_, "{\"name\":%s,\"ph\":\"X\",\"pid\":%u,\"tid\":%u,\"ts\":%.3f,\"dur\":%.3f",
                 name.empty() ? "\"?\"" : name.c_str(), group, lane,
                 static_cast<double>(begin_ns) / 1000, microseconds(duration_ns));
  }

  void nameGroup(uint32_t group, const std::string& name) {
    if (!groups_.insert(group).second) return;
    separate();
    std::fprintf(file_,
                 "{\"name\":\"process_name\",\"ph\":\"M\",\"pid\":%u,\"args\":{\"name\":%s}},\n"
                 "{\"name\":\"process_sort_index\",\"ph\":\"M\",\"pid\":%u,\"args\":"
                 "{\"sort_index\":%u}}",
                 group, quotedJson(name).c_str(), group, group);
  }

  void nameLane(uint32_t group, uint32_t lane, const std::string& name) {
    if (!lanes_.emplace(group, lane).second) return;
    separate();
    std::fprintf(
        file_,
        "{\"name\":\"thread_name\",\"ph\":\"M\",\"pid\":%u,\"tid\":%u,\"args\":{\"name\":%s}}",
        group, lane, quotedJson(name).c_str());
  }

  void writeKernels(uint32_t device, std::vector<trace::Kernel>& kernels) {
    std::sort(kernels.begin(), kernels.end(),
              [](const auto& a, const auto& b) { return a.begin_ns < b.begin_ns; });
    const uint32_t group = kFirstDevice + device;
    nameGroup(group, "gpud device " + std::to_string(device) + " (kernels)");
    std::vector<int64_t> ends;  // of the last kernel in each lane
    for (const trace::Kernel& kernel : kernels) {
      size_t lane = 0;
      while (lane < ends.size() && ends[lane] > kernel.begin_ns) ++lane;
      if (lane == ends.size()) {
        if (lane == kKernelLanesMax) {
          --lane;
        } else {
          ends.push_back(0);
        }
      }
      ends[lane] =
          static_cast<int64_t>(static_cast<uint64_t>(kernel.begin_ns) + kernel.duration_ns);
      nameLane(group, static_cast<uint32_t>(lane), "kernels " + std::to_string(lane + 1));
      begin(kernel_names_[kernel.name], group, static_cast<uint32_t>(lane), kernel.begin_ns,
            kernel.duration_ns);
      std::fputs(",\"cat\":\"kernel\"}", file_);
    }
  }

  std::FILE* file_;
  bool any_ = false;
  std::vector<std::pair<std::string, std::string>> facts_;
  std::set<uint32_t> groups_;
  std::set<std::pair<uint32_t, uint32_t>> lanes_;
  std::map<uint32_t, std::string> call_names_, kernel_names_;  // quoted
  std::map<uint32_t, std::vector<trace::Kernel>> kernels_;     // by device
};

}  // namespace

bool writeChromeTrace(const std::string& path, const std::string& out, TraceState& state,
                      std::string& why) {
  // First, so that nothing is overwritten for a file that is none.
  if (!isTrace(path, why)) return false;
  std::FILE* file = std::fopen(out.c_str(), "w");
  if (file == nullptr) {
    why = "\"" + out + "\" cannot be written: " + std::strerror(errno) + ".";
    return false;
  }
  ChromeWriter writer(file);
  state = readTrace(path, writer, why);
  const bool written = writer.finish();
  if (std::fclose(file) == 0 && written) return true;
  why = "\"" + out + "\" could not be written to its end: " + std::strerror(errno) + ".";
  return false;
}

}  // namespace farwarp::cli
