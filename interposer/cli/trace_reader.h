// Reads a trace (interposer/trace/trace_format.h). What is in the file is not trusted.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "interposer/trace/trace_format.h"

namespace farwarp::cli {

// What a trace holds, record by record, in the order of the file.
class TraceVisitor {
 public:
  virtual ~TraceVisitor() = default;
  virtual void onHead(const trace::FileHead& head) { (void)head; }
  // One line of the records `session` and `end`.
  virtual void onFact(std::string_view key, std::string_view value) { (void)key, (void)value; }
  // `reason`: why the call is not supported; empty for one that is.
  virtual void onCallName(const trace::CallName& call, std::string_view name,
                          std::string_view reason) {
    (void)call, (void)name, (void)reason;
  }
  virtual void onCall(const trace::Call& call) { (void)call; }
  virtual void onMessage(const trace::Message& message) { (void)message; }
  virtual void onKernelName(uint32_t number, std::string_view name) { (void)number, (void)name; }
  virtual void onKernel(const trace::Kernel& kernel) { (void)kernel; }
};

enum class TraceState {
  whole,
  ends_early,  // the process was killed, or still runs; all that was read is right
  damaged,     // something else is in the file from a place on; what was before it was told
  unreadable,  // no trace at all; nothing was told
};

// Whether `path` begins like a trace; otherwise `why` gets a sentence.
[[nodiscard]] bool isTrace(const std::string& path, std::string& why);

// `why` gets a sentence unless the trace is whole.
TraceState readTrace(const std::string& path, TraceVisitor& visitor, std::string& why);

}  // namespace farwarp::cli
