// Stands in for interposer/session/call_scope.h: a record goes straight to worker::dispatch.
#pragma once

#include <cuda.h>

#include <cstring>
#include <set>
#include <utility>
#include <vector>

#include "gpud/worker/session.h"
#include "protocol/handle_id.h"
#include "wire_records_gen.h"
#include "worker_dispatch_gen.h"

namespace farwarp::client {

enum CallNeeds : uint32_t { kNeedsInit = 1, kNeedsContext = 2 };

// What the test sets and looks at.
struct Loopback {
  worker::Session session;
  uint32_t allowed = kNeedsInit | kNeedsContext;  // what the calling thread has
  std::set<uint64_t> live;
  uint32_t last_index = 0;
  wire::RecordHeader last_record{};
  uint64_t records = 0;
  std::vector<CallId> unsupported;
  bool throw_on_enter = false;
};
inline Loopback* loopback = nullptr;

class CallScope {
 public:
  explicit CallScope(CallId call, uint16_t flags = 0) : call_(call), flags_(flags) {}

  CUresult enter(uint32_t needs) {
    if (loopback->throw_on_enter) throw 1;
    if (needs & ~loopback->allowed & kNeedsInit) return CUDA_ERROR_NOT_INITIALIZED;
    return needs & ~loopback->allowed ? CUDA_ERROR_INVALID_CONTEXT : CUDA_SUCCESS;
  }

  CUresult use(wire::HandleType type, const void* handle, uint64_t& id, bool allow_null = false) {
    id = reinterpret_cast<uint64_t>(handle);
    if (wire::isSpecialHandle(type, id) || (id == 0 && allow_null)) return CUDA_SUCCESS;
    const bool good =
        loopback->live.count(id) != 0 && wire::handleTypeAccepts(type, wire::HandleId(id).type());
    return good ? CUDA_SUCCESS : wire::invalidHandleError(type);
  }

  CUresult create(wire::HandleType type, uint64_t& id) {
    id = wire::HandleId(type, 1, ++loopback->last_index).bits;
    loopback->live.insert(id);
    return CUDA_SUCCESS;
  }
  void abandon(uint64_t id) { loopback->live.erase(id); }
  void destroy(uint64_t id) { loopback->live.erase(id); }

  template <typename Args>
  CUresult submit(const Args& args) {
    return send(args).first == CUDA_SUCCESS ? CUDA_SUCCESS : CUDA_ERROR_UNKNOWN;
  }

  template <typename Args, typename Reply>
  CUresult call(const Args& args, Reply& reply) {
    const auto [result, bytes] = send(args);
    if (result != CUDA_SUCCESS) return result;
    return reply.decode(bytes) ? CUDA_SUCCESS : CUDA_ERROR_UNKNOWN;
  }

 private:
  template <typename Args>
  std::pair<CUresult, std::vector<std::byte>> send(const Args& args) {
    std::vector<std::byte> body(args.encodedBytes());
    args.encode(body.data());
    wire::RecordHeader header{};
    header.bytes = sizeof(header) + body.size();
    header.call = static_cast<uint16_t>(call_);
    header.flags = flags_;
    loopback->last_record = header;
    ++loopback->records;
    worker::CallContext context(header, body);
    worker::dispatch(loopback->session, context);
    if (context.ends != 1 || !context.reason.empty()) return {CUDA_ERROR_UNKNOWN, {}};
    return {context.result, context.reply};
  }

  CallId call_;
  uint16_t flags_;
};

}  // namespace farwarp::client
