// What a generated client body does, in the order it does it: enter, translate handles, send.
//
// Hand-written bodies in interposer/calls use the same class. One CallScope lives on the stack for
// the time of one call; it allocates nothing.
#pragma once

#include <cuda.h>

#include <memory>
#include <span>
#include <vector>

#include "driver_calls_gen.h"  // enum class CallId : uint16_t
#include "protocol/client_connection.h"
#include "protocol/handle_id.h"
#include "protocol/record.h"
#include "wire_records_gen.h"

namespace farwarp::client {

class Client;        // the process root, client.h
struct ThreadState;  // per calling thread, thread_state.h

// Bits of what a call needs before it may be sent; generated bodies pass them to enter().
enum CallNeeds : uint32_t {
  kNeedsInit = 1,     // cuInit was called (else CUDA_ERROR_NOT_INITIALIZED)
  kNeedsContext = 2,  // the thread has a current context (else CUDA_ERROR_INVALID_CONTEXT)
};

class CallScope {
 public:
  explicit CallScope(CallId call, uint16_t flags = 0) : call_(call), flags_(flags) {}
  CallScope(const CallScope&) = delete;
  CallScope& operator=(const CallScope&) = delete;

  // Checks fork, initialisation, a lost connection and the current context.
  [[nodiscard]] CUresult enter(uint32_t needs);

  // Translates a handle that the program passed. `allow_null`: 0 passes as 0. A value that is not a
  // live id of `type` gives the error CUDA gives for that type (the generated table in
  // handle_types_gen.h). Streams also accept 0, 1 and 2. Function handles accept kernels.
  [[nodiscard]] CUresult use(wire::HandleType type, const void* handle, uint64_t& wire_id,
                             bool allow_null = false);

  // Chooses the id of an object that this call creates, and takes it back if the call fails. It
  // ends with the current context, or with `parent`, a live id, if that is given; parent 0: with
  // nothing.
  [[nodiscard]] CUresult create(wire::HandleType type, uint64_t& wire_id);
  [[nodiscard]] CUresult create(wire::HandleType type, uint64_t& wire_id, uint64_t parent,
                                void* object);
  void abandon(uint64_t wire_id);
  // The object is gone; its id is never valid again.
  void destroy(uint64_t wire_id);

  // Bytes that belong to the next record but travel on the bulk connection, as `transfer`. They are
  // sent right behind the record and may be reused when submit or call returns.
  void upload(uint64_t transfer, std::span<const std::byte> data) {
    transfer_ = transfer;
    upload_ = data;
  }

  // The call reads or writes memory that gpud shares with the program (shared_memory.h).
  void touchesShared() { touches_shared_ = true; }

  // Appends the call to the session's batch and returns without waiting (class async).
  template <typename Args>
  [[nodiscard]] CUresult submit(const Args& args) {
    const size_t bytes = args.encodedBytes();
    std::byte* at = nullptr;
    if (CUresult r = beginRecord(bytes, at); r != CUDA_SUCCESS) return r;
    args.encode(at);
    return endRecord();
  }

  // Sends the pending batch and the call, waits for the reply, and decodes it (class sync). Spans
  // in `reply` stay valid as long as this scope. Returns the call's result, or an error kept from
  // an earlier asynchronous call when the call itself succeeded.
  template <typename Args, typename Reply>
  [[nodiscard]] CUresult call(const Args& args, Reply& reply) {
    const size_t bytes = args.encodedBytes();
    std::byte* at = nullptr;
    if (CUresult r = beginRecord(bytes, at); r != CUDA_SUCCESS) return r;
    args.encode(at);
    std::span<const std::byte> body;
    CUresult result = endRecordAndWait(body);
    // A call that failed need not fill its reply.
    if (transport_failed_ || (body.empty() && result != CUDA_SUCCESS)) return result;
    if (!reply.decode(body)) return malformedReply();
    return result;
  }

  // The same with a record of another call, for bodies that end in a call which has a record.
  void sendAs(CallId call) { call_ = call; }
  void sendAs(CallId call, uint16_t flags) { call_ = call, flags_ = flags; }

  // Valid after enter().
  Client& client() { return *client_; }
  ThreadState& thread() { return *thread_; }

 private:
  // Waits for the contexts in which host functions are pending.
  void settleHostFunctions();
  CUresult connectionTrouble(wire::Trouble trouble);
  // Makes room for a record with `bytes` of body: in the log, which is locked until end*(), or
  // beside it once memory is shared.
  CUresult beginRecord(size_t bytes, std::byte*& at);
  CUresult beginInLog(std::byte*& at);
  CUresult moveIntoLog();
  CUresult waitForHost();
  CUresult waitUntilIssued();
  void afterWait(CUresult result);
  CUresult endRecord();
  CUresult endRecordAndWait(std::span<const std::byte>& body);
  wire::Trouble sendAndWait(wire::ClientConnection& connection);
  wire::Trouble putUpload(wire::ClientConnection& connection);
  CUresult malformedReply();

  CallId call_;
  uint16_t flags_;
  bool transport_failed_ = false;
  Client* client_ = nullptr;
  ThreadState* thread_ = nullptr;
  uint64_t transfer_ = 0;
  std::span<const std::byte> upload_;
  // With shared memory (shared_memory.h):
  size_t record_bytes_ = 0;
  std::unique_ptr<std::byte[]> early_;  // the record until it enters the log
  std::vector<std::byte> copied_upload_;
  bool touches_shared_ = false;
  bool device_work_ = false;
  uint64_t work_issued_ = 0;
  wire::Reply reply_;  // owner of the bytes that `call` decoded from
};

}  // namespace farwarp::client
