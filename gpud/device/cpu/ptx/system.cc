// Functions that the CUDA device runtime provides and compilers only declare: vprintf, malloc,
// free,
// __assertfail.
#include <bit>
#include <cstdio>
#include <cstring>
#include <string>
#include <string_view>

#include "gpud/device/cpu/ptx/control.h"
#include "gpud/device/cpu/ptx/machine.h"
#include "gpud/device/cpu/ptx/system_call.h"

namespace farwarp::ptx::op {
namespace {

constexpr size_t kTextMax = 64 * 1024;

// One byte of the kernel's memory, checked like a load.
char loadByte(Warp& w, const Inst* i, uint32_t lane, uint64_t address) {
  w.pc = i;
  w.address[lane] = address;
  checkAddresses(w, i, 1u << lane, 1, Space::generic);
  return *reinterpret_cast<const volatile char*>(w.address[lane]);
}

// A fixed buffer, because errors leave these functions by a jump.
struct Text {
  char data[2048];
  size_t size = 0;
  void add(char c) {
    if (size < sizeof(data)) data[size++] = c;
  }
  void add(const char* s) {
    while (*s != '\0') add(*s++);
  }
};

void addString(Warp& w, const Inst* i, uint32_t lane, uint64_t address, Text& text) {
  for (size_t n = 0; n < kTextMax; ++n) {
    char c = loadByte(w, i, lane, address + n);
    if (c == '\0') return;
    text.add(c);
  }
}

struct Arguments {
  Warp& w;
  const Inst* i;
  uint32_t lane;
  uint64_t at;
  uint64_t next(uint32_t bytes) {
    at = (at + bytes - 1) & ~uint64_t{bytes - 1};
    uint64_t value = 0;
    for (uint32_t k = 0; k < bytes; ++k) {
      value |= uint64_t{static_cast<unsigned char>(loadByte(w, i, lane, at + k))} << (8 * k);
    }
    at += bytes;
    return value;
  }
};

// One conversion of a format, from '%' to its letter, with `*` replaced by their values.
void formatOne(Arguments& arguments, const char* format, size_t size, Text& text) {
  char spec[64];
  size_t n = 0;
  char letter = format[size - 1];
  uint32_t bytes = 4;
  for (size_t k = 0; k + 1 < size && n < sizeof(spec) - 16; ++k) {
    char c = format[k];
    if (c == '*') {
      int width = static_cast<int32_t>(arguments.next(4));
      width = width > 512 ? 512 : width < -512 ? -512 : width;
      n += static_cast<size_t>(std::snprintf(spec + n, 16, "%d", width));
    } else if (c == 'l' || c == 'j' || c == 'z' || c == 't' || c == 'q' || c == 'L') {
      bytes = 8;
    } else if (c == 'h') {
      bytes = format[k + 1] == 'h' || (k > 0 && format[k - 1] == 'h') ? 1 : 2;
    } else {
      spec[n++] = c;
    }
  }
  char out[1100];
  out[0] = '\0';
  switch (letter) {
    case 'd':
    case 'i': {
      int64_t v = static_cast<int64_t>(arguments.next(bytes == 8 ? 8 : 4));
      if (bytes == 4) v = static_cast<int32_t>(v);
      if (bytes == 2) v = static_cast<int16_t>(v);
      if (bytes == 1) v = static_cast<int8_t>(v);
      std::memcpy(spec + n, "lld", 4);
      std::snprintf(out, sizeof(out), spec, static_cast<long long>(v));
      break;
    }
    case 'u':
    case 'x':
    case 'X':
    case 'o': {
      uint64_t v = arguments.next(bytes == 8 ? 8 : 4);
      if (bytes < 4) v &= bytes == 2 ? 0xffff : 0xff;
      spec[n] = spec[n + 1] = 'l';
      spec[n + 2] = letter;
      spec[n + 3] = '\0';
      std::snprintf(out, sizeof(out), spec, static_cast<unsigned long long>(v));
      break;
    }
    case 'c':
      std::memcpy(spec + n, "c", 2);
      std::snprintf(out, sizeof(out), spec, static_cast<int>(arguments.next(4)));
      break;
    case 'p':
      std::memcpy(spec + n, "p", 2);
      std::snprintf(out, sizeof(out), spec, reinterpret_cast<void*>(arguments.next(8)));
      break;
    case 's': {
      uint64_t address = arguments.next(8);
      Text inner;
      if (address == 0)
        inner.add("(null)");
      else
        addString(arguments.w, arguments.i, arguments.lane, address, inner);
      inner.data[inner.size < sizeof(inner.data) ? inner.size : sizeof(inner.data) - 1] = '\0';
      std::memcpy(spec + n, "s", 2);
      if (n == 1) return text.add(inner.data);
      std::snprintf(out, sizeof(out), spec, inner.data);
      break;
    }
    default:
      spec[n] = letter;
      spec[n + 1] = '\0';
      std::snprintf(out, sizeof(out), spec, std::bit_cast<double>(arguments.next(8)));
      break;
  }
  text.add(out);
}

// The number of arguments formatted, or -1.
int32_t formatText(Warp& w, const Inst* i, uint32_t lane, uint64_t format, uint64_t buffer,
                   Text& text) {
  Arguments arguments{w, i, lane, buffer};
  int32_t count = 0;
  for (size_t n = 0; n < kTextMax; ++n) {
    char c = loadByte(w, i, lane, format++);
    if (c == '\0') break;
    if (c != '%') {
      text.add(c);
      continue;
    }
    char spec[48];
    size_t size = 0;
    spec[size++] = '%';
    char letter = '\0';
    // Flags, width, precision and size; what else stands there ends the conversion, so that nothing
    // reaches the host's printf that takes more than the one argument, or writes (%n).
    while (size < sizeof(spec)) {
      letter = loadByte(w, i, lane, format++);
      if (letter == '\0') return count;
      spec[size++] = letter;
      if (std::string_view("-+ #0123456789.*hljztqL").find(letter) == std::string_view::npos) break;
    }
    if (letter == '%') {
      text.add('%');
    } else if (std::string_view("diouxXeEfFgGaAcsp").find(letter) != std::string_view::npos) {
      formatOne(arguments, spec, size, text);
      ++count;
    } else {
      for (size_t k = 0; k < size; ++k) text.add(spec[k]);
    }
  }
  return count;
}

const Inst* vprintfCall(Warp& w, const Inst* i) {
  const CallSite& site = siteOf(i);
  forLanes(w.mask, [&](uint32_t lane) {
    Text text;
    int32_t count = formatText(w, i, lane, argument<uint64_t>(w, site, 0, lane),
                               argument<uint64_t>(w, site, 1, lane), text);
    w.block->launch->environment->print({text.data, text.size});
    giveResult<int32_t>(w, site, lane, count);
  });
  return i + 1;
}

const Inst* mallocCall(Warp& w, const Inst* i) {
  const CallSite& site = siteOf(i);
  forLanes(w.mask, [&](uint32_t lane) {
    uint64_t bytes = argument<uint64_t>(w, site, 0, lane);
    giveResult(w, site, lane, bytes == 0 ? 0 : w.block->launch->environment->allocate(bytes));
  });
  return i + 1;
}

const Inst* freeCall(Warp& w, const Inst* i) {
  forLanes(w.mask, [&](uint32_t lane) {
    uint64_t address = argument<uint64_t>(w, siteOf(i), 0, lane);
    if (address != 0) w.block->launch->environment->release(address);
  });
  return i + 1;
}

// void __assertfail(const char* message, const char* file, unsigned line, const char* function,
// size_t char_bytes)
const Inst* assertCall(Warp& w, const Inst* i) {
  const CallSite& site = siteOf(i);
  const Block& block = *w.block;
  uint32_t first = static_cast<uint32_t>(std::countr_zero(w.mask));
  forLanes(w.mask, [&](uint32_t lane) {
    Text text;
    addString(w, i, lane, argument<uint64_t>(w, site, 1, lane), text);
    char number[160];
    std::snprintf(number, sizeof(number), ":%u: ", argument<uint32_t>(w, site, 2, lane));
    text.add(number);
    addString(w, i, lane, argument<uint64_t>(w, site, 3, lane), text);
    const Extent& shape = block.launch->shape.block;
    uint32_t thread = w.index * kLanes + lane;
    std::snprintf(number, sizeof(number), ": block: [%u,%u,%u], thread: [%u,%u,%u] Assertion `",
                  block.ctaid[0], block.ctaid[1], block.ctaid[2], thread % shape.x,
                  thread / shape.x % shape.y, thread / (shape.x * shape.y));
    text.add(number);
    addString(w, i, lane, argument<uint64_t>(w, site, 0, lane), text);
    text.add("` failed.\n");
    block.launch->environment->printAssertion({text.data, text.size});
  });
  raise(w, i, LaunchStatus::assertion, first);
}

// void cudaGraphSetConditional(uint64_t handle, unsigned value)
const Inst* setConditionCall(Warp& w, const Inst* i) {
  const CallSite& site = siteOf(i);
  forLanes(w.mask, [&](uint32_t lane) {
    w.block->launch->environment->setCondition(argument<uint64_t>(w, site, 0, lane),
                                               argument<uint32_t>(w, site, 1, lane));
  });
  return i + 1;
}

}  // namespace

Handler systemCall(std::string_view name) {
  if (name == "vprintf") return vprintfCall;
  if (name == "malloc") return mallocCall;
  if (name == "free") return freeCall;
  if (name == "__assertfail") return assertCall;
  if (name == "cudaGraphSetConditional") return setConditionCall;
  return deviceRuntimeCall(name);
}

}  // namespace farwarp::ptx::op
