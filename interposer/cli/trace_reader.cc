#include "interposer/cli/trace_reader.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <span>
#include <vector>

namespace farwarp::cli {
namespace {

using trace::RecordHead;
using trace::RecordKind;

std::string_view textOf(std::span<const char> bytes) {
  std::string_view text(bytes.data(), bytes.size());
  while (text.ends_with('\0')) text.remove_suffix(1);  // padding
  return text;
}

// The fixed part of a record's body; false when the record is too short for it.
template <typename Fixed>
bool take(std::span<const char>& body, Fixed& fixed) {
  if (body.size() < sizeof(fixed)) return false;
  std::memcpy(&fixed, body.data(), sizeof(fixed));
  body = body.subspan(sizeof(fixed));
  return true;
}

void tellFacts(std::string_view lines, TraceVisitor& visitor) {
  while (!lines.empty()) {
    const std::string_view line = lines.substr(0, lines.find('\n'));
    lines.remove_prefix(std::min(lines.size(), line.size() + 1));
    const size_t space = line.find(' ');
    if (space != std::string_view::npos) {
      visitor.onFact(line.substr(0, space), line.substr(space + 1));
    }
  }
}

// False when the body does not fit the kind.
bool tell(RecordKind kind, std::span<const char> body, TraceVisitor& visitor) {
  switch (kind) {
    case RecordKind::session:
    case RecordKind::end:
      tellFacts(textOf(body), visitor);
      return true;
    case RecordKind::call_name: {
      trace::CallName call{};
      if (!take(body, call)) return false;
      const std::string_view text = textOf(body);
      const size_t line = std::min(text.find('\n'), text.size());
      visitor.onCallName(call, text.substr(0, line), text.substr(std::min(line + 1, text.size())));
      return true;
    }
    case RecordKind::call: {
      trace::Call call{};
      if (!take(body, call)) return false;
      visitor.onCall(call);
      return true;
    }
    case RecordKind::message: {
      trace::Message message{};
      if (!take(body, message)) return false;
      visitor.onMessage(message);
      return true;
    }
    case RecordKind::kernel_name: {
      trace::KernelName name{};
      if (!take(body, name)) return false;
      visitor.onKernelName(name.name, textOf(body));
      return true;
    }
    case RecordKind::kernel: {
      trace::Kernel kernel{};
      if (!take(body, kernel)) return false;
      visitor.onKernel(kernel);
      return true;
    }
  }
  return true;  // of a newer version
}

// Opens the file behind its head.
bool openTrace(const std::string& path, std::ifstream& file, trace::FileHead& head,
               std::string& why) {
  file.open(path, std::ios::binary);
  if (!file) {
    why = "\"" + path + "\" cannot be read: " + std::strerror(errno) + ".";
    return false;
  }
  if (!file.read(reinterpret_cast<char*>(&head), sizeof(head)) ||
      std::memcmp(head.magic, trace::kMagic, sizeof(head.magic)) != 0 ||
      head.head_bytes < sizeof(head) || head.head_bytes > trace::kRecordBytesMax) {
    why = "\"" + path + "\" is not a trace of farwarp run --trace, or one of another version.";
    return false;
  }
  file.ignore(head.head_bytes - sizeof(head));
  return true;
}

}  // namespace

bool isTrace(const std::string& path, std::string& why) {
  std::ifstream file;
  trace::FileHead head{};
  return openTrace(path, file, head, why);
}

TraceState readTrace(const std::string& path, TraceVisitor& visitor, std::string& why) {
  const std::string name = "\"" + path + "\"";
  std::ifstream file;
  trace::FileHead head{};
  if (!openTrace(path, file, head, why)) return TraceState::unreadable;
  visitor.onHead(head);

  uint64_t at = head.head_bytes;
  std::vector<char> body;
  RecordHead record{};
  while (file.read(reinterpret_cast<char*>(&record), sizeof(record))) {
    if (record.bytes < sizeof(record) || record.bytes % 8 != 0 ||
        record.bytes > trace::kRecordBytesMax) {
      why = name + " is damaged: the record at byte " + std::to_string(at) + " says that it has " +
            std::to_string(record.bytes) + " bytes; it must be a multiple of 8 from 8 to " +
            std::to_string(trace::kRecordBytesMax) + ".";
      return TraceState::damaged;
    }
    body.resize(record.bytes - sizeof(record));
    if (!file.read(body.data(), static_cast<std::streamsize>(body.size()))) break;
    if (!tell(record.kind, body, visitor)) {
      why = name + " is damaged: the record at byte " + std::to_string(at) + " has " +
            std::to_string(record.bytes) + " bytes, too few for its kind " +
            std::to_string(static_cast<uint32_t>(record.kind)) + ".";
      return TraceState::damaged;
    }
    at += record.bytes;
    if (record.kind == RecordKind::end) return TraceState::whole;
  }
  why = name + " ends early, at byte " + std::to_string(at) +
        ": the process was killed, ended without its exit handlers, or still runs.";
  return TraceState::ends_early;
}

}  // namespace farwarp::cli
