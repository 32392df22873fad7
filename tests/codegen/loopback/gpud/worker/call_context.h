// Stands in for gpud/worker/call_context.h: the part that generated handlers use.
#pragma once

#include <cuda.h>

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "driver_calls_gen.h"
#include "handle_types_gen.h"
#include "protocol/record.h"

namespace farwarp::worker {

class Session;

class CallContext {
 public:
  CallContext(const wire::RecordHeader& header, std::span<const std::byte> args)
      : header(header), args(args) {}

  const wire::RecordHeader header;
  const std::span<const std::byte> args;

  void finish(CUresult r) { result = r, ++ends; }
  template <typename Reply>
  void finish(CUresult r, const Reply& fields) {
    finish(r);
    reply.resize(fields.encodedBytes());
    fields.encode(reply.data());
  }
  void malformed(std::string_view why) { reason = why, ++ends; }

  int ends = 0;  // a handler ends exactly once
  CUresult result = CUDA_SUCCESS;
  std::string reason;  // empty unless malformed
  std::vector<std::byte> reply;
};

}  // namespace farwarp::worker
