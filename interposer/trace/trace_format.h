// The file that FARWARP_TRACE makes: what a session did, in the order in which it ended.
//
// A head, then records. All numbers are little endian; times are nanoseconds since the trace began.
// A record is a multiple of 8 bytes; a reader skips the kinds that it does not know. The file stays
// readable when the process is killed: it then lacks the record `end`. Names travel in the file, so
// that a reader needs no table of the version that wrote it.
#pragma once

#include <cstdint>

namespace farwarp::trace {

inline constexpr char kMagic[8] = {'F', 'W', 'T', 'R', 'A', 'C', 'E', '1'};
inline constexpr uint32_t kRecordBytesMax = 64u << 10;

struct FileHead {
  char magic[8];
  uint32_t head_bytes;  // sizeof(FileHead); the first record follows
  uint32_t pid;
  uint64_t began_unix_ns;  // wall-clock time at time 0 of the trace
};
static_assert(sizeof(FileHead) == 24);

enum class RecordKind : uint32_t {
  session = 1,      // text: lines "key value"
  call_name = 2,    // CallName and text: the name, a newline, why it is not supported or nothing
  call = 3,         // Call
  message = 4,      // Message
  kernel_name = 5,  // KernelName and text
  kernel = 6,       // Kernel
  end = 7,          // text: lines "key value"; the last record
};

struct RecordHead {
  RecordKind kind;
  uint32_t bytes;  // of the whole record
};
static_assert(sizeof(RecordHead) == 8);

// One call that the program made.
struct Call {
  uint64_t begin_ns;
  uint64_t duration_ns;
  uint64_t waited_ns;       // of the duration, waiting for gpud
  uint64_t bytes_sent;      // records and bulk data
  uint64_t bytes_received;  // replies and bulk data
  uint32_t call;            // named by a CallName before it
  uint32_t thread;          // the client's number, from 1
  int32_t result;           // CUresult
  uint16_t records;         // records that the call put into the log; saturating
  uint16_t waits;           // those whose reply it waited for; saturating
};
static_assert(sizeof(Call) == 56);

struct CallName {
  uint32_t call;
  uint32_t call_class;  // farwarp::CallClass
};

enum class MessageKind : uint32_t {
  submit = 1,  // a batch that nobody waits for, from the call until its bytes are on their way
  call = 2,    // a batch and the reply to its last record
  put = 3,     // bulk data to gpud
  get = 4,     // bulk data from gpud
  host_function = 5,  // a function of the program that a stream called
};
inline constexpr uint32_t kMessageKinds = 6;

struct Message {
  uint64_t begin_ns;
  uint64_t duration_ns;
  uint64_t bytes_sent;
  uint64_t bytes_received;
  MessageKind kind;
  uint32_t thread;
};
static_assert(sizeof(Message) == 40);

struct KernelName {
  uint32_t name;
  uint32_t reserved;  // 0
};

// One kernel that ran in gpud, on the client's clock.
struct Kernel {
  int64_t begin_ns;  // may be a little before 0 when the clocks are not known well
  uint64_t duration_ns;
  uint32_t device;
  uint32_t name;
};
static_assert(sizeof(Kernel) == 24);

}  // namespace farwarp::trace
