// farwarp trace FILE: what a session did, as tables.
#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <ctime>
#include <map>
#include <string>
#include <vector>

#include "driver/error_names.h"
#include "driver_calls_gen.h"
#include "interposer/cli/trace.h"
#include "interposer/cli/trace_reader.h"
#include "interposer/session/stats_text.h"

namespace farwarp::cli {
namespace {

using client::bytesText;

struct CallTotals {
  std::string name;
  std::string reason;  // why it is not supported
  CallClass call_class = CallClass::local;
  uint64_t calls = 0, waits = 0, records = 0;
  uint64_t duration_ns = 0, waited_ns = 0, bytes_sent = 0, bytes_received = 0;
  std::map<int32_t, uint64_t> failures;  // by result
};

struct Totals {
  uint64_t count = 0, duration_ns = 0, bytes_sent = 0, bytes_received = 0;
};

double milliseconds(uint64_t ns) {
  return static_cast<double>(ns) / 1e6;
}

class Summary final : public TraceVisitor {
 public:
  void onHead(const trace::FileHead& head) override { head_ = head; }
  void onFact(std::string_view key, std::string_view value) override {
    if (key == "stats") {
      stats_.emplace_back(value);
    } else {
      facts_[std::string(key)] = value;
    }
  }
  void onCallName(const trace::CallName& call, std::string_view name,
                  std::string_view reason) override {
    CallTotals& totals = calls_[call.call];
    totals.name = printable(name);
    totals.reason = printable(reason);
    totals.call_class = static_cast<CallClass>(call.call_class);
  }
  void onCall(const trace::Call& call) override {
    CallTotals& totals = calls_[call.call];
    ++totals.calls;
    totals.waits += call.waits;
    totals.records += call.records;
    totals.duration_ns += call.duration_ns;
    totals.waited_ns += call.waited_ns;
    totals.bytes_sent += call.bytes_sent;
    totals.bytes_received += call.bytes_received;
    if (call.result != CUDA_SUCCESS && call.result != CUDA_ERROR_NOT_READY) {
      ++totals.failures[call.result];
    }
    answered_ += call.records == 0;
    waited_ += call.waits != 0;
    end_ns_ = std::max(end_ns_, call.begin_ns + call.duration_ns);
  }
  void onMessage(const trace::Message& message) override {
    const auto kind = static_cast<uint32_t>(message.kind);
    Totals& totals = messages_[kind < trace::kMessageKinds ? kind : 0];
    ++totals.count;
    totals.duration_ns += message.duration_ns;
    totals.bytes_sent += message.bytes_sent;
    totals.bytes_received += message.bytes_received;
  }
  void onKernelName(uint32_t number, std::string_view name) override {
    kernel_names_[number] = printable(name);
  }
  void onKernel(const trace::Kernel& kernel) override {
    Totals& totals = kernels_[kernel.name];
    ++totals.count;
    totals.duration_ns += kernel.duration_ns;
  }

  void print() const {
    printHead();
    printCalls();
    printUnsupported("\nNot supported (CUDA_ERROR_NOT_SUPPORTED)\n", "  ");
    printFailures();
    printMessages();
    printKernels();
  }

  // A line per call: how often, its name, why. Nothing when every call was supported.
  void printUnsupported(const char* title, const char* indent) const {
    for (const auto& [number, call] : calls_) {
      const auto found = call.failures.find(CUDA_ERROR_NOT_SUPPORTED);
      if (found == call.failures.end()) continue;
      std::printf("%s%s%8" PRIu64 "  %s  %s\n", title, indent, found->second, call.name.c_str(),
                  call.reason.c_str());
      title = "";
    }
  }

 private:
  std::string fact(const char* key) const {
    const auto found = facts_.find(key);
    return found == facts_.end() ? "?" : printable(found->second);
  }

  static std::string printable(std::string_view text) {
    std::string kept(text);
    for (char& c : kept) {
      const auto byte = static_cast<unsigned char>(c);
      if (byte < 0x20 || byte > 0x7e) c = '?';
    }
    return kept;
  }

  void printHead() const {
    const auto seconds = static_cast<time_t>(head_.began_unix_ns / 1'000'000'000u);
    tm utc{};
    gmtime_r(&seconds, &utc);
    char when[32];
    std::strftime(when, sizeof(when), "%Y-%m-%d %H:%M:%S UTC", &utc);
    uint64_t calls = 0;
    for (const auto& [number, call] : calls_) calls += call.calls;
    std::printf("%s (process %" PRIu32 ") on %s, %s\n", fact("program").c_str(), head_.pid,
                fact("server").c_str(), when);
    std::printf("client %s, gpud %s, %s\n\n", fact("client").c_str(), fact("gpud").c_str(),
                fact("device").c_str());
    std::printf("  time from the first call to the last  %.3f ms\n", milliseconds(end_ns_));
    std::printf("  calls                                 %" PRIu64 " (%" PRIu64
                " answered in the program, %" PRIu64 " sent, %" PRIu64 " waited for)\n",
                calls, answered_, calls - answered_, waited_);
    if (const auto left = facts_.find("left_out"); left != facts_.end() && left->second != "0") {
      std::printf("  records that the file has no room for %s\n", fact("left_out").c_str());
    }
    for (const std::string& line : stats_) std::printf("  %s\n", printable(line).c_str());
  }

  void printCalls() const {
    static constexpr const char* kClasses[] = {"unsupported", "local", "cached", "async", "sync"};
    std::vector<const CallTotals*> order;
    for (const auto& [number, call] : calls_) order.push_back(&call);
    std::sort(order.begin(), order.end(), [](const CallTotals* a, const CallTotals* b) {
      return std::pair(a->waited_ns, a->duration_ns) > std::pair(b->waited_ns, b->duration_ns);
    });
    std::printf("\n%9s %9s %12s %12s %11s %11s %-11s %s\n", "calls", "waits", "waited ms",
                "total ms", "to gpud", "from gpud", "class", "name");
    for (const CallTotals* call : order) {
      const auto index = static_cast<size_t>(call->call_class);
      std::printf("%9" PRIu64 " %9" PRIu64 " %12.3f %12.3f %11s %11s %-11s %s\n", call->calls,
                  call->waits, milliseconds(call->waited_ns), milliseconds(call->duration_ns),
                  bytesText(call->bytes_sent).c_str(), bytesText(call->bytes_received).c_str(),
                  index < std::size(kClasses) ? kClasses[index] : "?", call->name.c_str());
    }
  }

  void printFailures() const {
    const char* title = "\nFailed\n";
    for (const auto& [number, call] : calls_) {
      for (const auto& [result, times] : call.failures) {
        if (result == CUDA_ERROR_NOT_SUPPORTED) continue;
        const char* name = errorName(result);
        std::printf("%s  %8" PRIu64 "  %s  %s\n", title, times, call.name.c_str(),
                    name == nullptr ? std::to_string(result).c_str() : name);
        title = "";
      }
    }
  }

  void printMessages() const {
    static constexpr const char* kKinds[trace::kMessageKinds] = {
        "other",        "batch, nobody waits", "batch and reply",
        "bulk to gpud", "bulk from gpud",      "host function"};
    std::printf("\n%9s %12s %11s %11s %s\n", "messages", "total ms", "to gpud", "from gpud",
                "kind");
    for (size_t kind = 0; kind < std::size(kKinds); ++kind) {
      const Totals& totals = messages_[kind];
      if (totals.count == 0) continue;
      std::printf("%9" PRIu64 " %12.3f %11s %11s %s\n", totals.count,
                  milliseconds(totals.duration_ns), bytesText(totals.bytes_sent).c_str(),
                  bytesText(totals.bytes_received).c_str(), kKinds[kind]);
    }
  }

  void printKernels() const {
    if (kernels_.empty()) return;
    std::vector<std::pair<uint64_t, uint32_t>> order;  // longest first
    for (const auto& [name, totals] : kernels_) order.emplace_back(totals.duration_ns, name);
    std::sort(order.rbegin(), order.rend());
    std::printf("\n%9s %12s %12s %s\n", "kernels", "total ms", "mean ms", "name");
    for (const auto& [duration_ns, name] : order) {
      const Totals& totals = kernels_.at(name);
      const auto named = kernel_names_.find(name);
      std::printf("%9" PRIu64 " %12.3f %12.3f %s\n", totals.count, milliseconds(duration_ns),
                  milliseconds(duration_ns) / static_cast<double>(totals.count),
                  named == kernel_names_.end() ? "?" : named->second.c_str());
    }
    if (const auto lost = facts_.find("kernels_lost");
        lost != facts_.end() && lost->second != "0") {
      std::printf("%9s earlier kernels that gpud had no room for\n", fact("kernels_lost").c_str());
    }
  }

  trace::FileHead head_{};
  std::map<std::string, std::string> facts_;
  std::vector<std::string> stats_;
  std::map<uint32_t, CallTotals> calls_;
  std::map<uint32_t, std::string> kernel_names_;
  std::map<uint32_t, Totals> kernels_;
  Totals messages_[trace::kMessageKinds];
  uint64_t answered_ = 0, waited_ = 0, end_ns_ = 0;
};

}  // namespace

TraceState printTraceSummary(const std::string& path, bool unsupported_only, std::string& why) {
  Summary summary;
  const TraceState state = readTrace(path, summary, why);
  if (state == TraceState::unreadable) return state;
  if (unsupported_only) {
    summary.printUnsupported("", "");
  } else {
    summary.print();
  }
  return state;
}

}  // namespace farwarp::cli
