// Copies between the client and device memory, as all the copy functions use them.
#pragma once

#include <cuda.h>

#include <functional>
#include <span>

#include "gpud/worker/call_context.h"
#include "gpud/worker/completion.h"
#include "gpud/worker/device_box.h"
#include "gpud/worker/session.h"

namespace farwarp::worker {

// Where the bytes of a copy from the client are: in bulk transfer `transfer`, or when that is 0 in
// the record itself.
struct ClientBytes {
  uint64_t transfer;
  std::span<const std::byte> data;
};

// Copies the client's bytes to the device in `stream` and ends the call. `host_waits`: CUDA has the
// program wait for this copy, so what it issues next may rely on it.
void copyFromClient(Session& session, CallContext& call, const DeviceBox& to,
                    const ClientBytes& from, CUstream stream, bool host_waits);

// Copies to a client that waits: with `transfer` 0 the bytes, at most kInlineDataMax, go to `send`
// together with the result; otherwise they are fetched as that transfer, and `send` gets none.
using SendBytes =
    std::function<void(Completion& completion, CUresult result, std::span<const std::byte> data)>;
void copyToClient(Session& session, CallContext& call, const DeviceBox& from, uint64_t transfer,
                  CUstream stream, SendBytes send);

// The same for a call whose reply is the bytes.
template <typename Reply>
void copyToClient(Session& session, CallContext& call, const DeviceBox& from, uint64_t transfer,
                  CUstream stream) {
  copyToClient(session, call, from, transfer, stream,
               [](Completion& completion, CUresult result, std::span<const std::byte> data) {
                 Reply reply;
                 reply.data = data;
                 completion.finish(result, reply);
               });
}

// Copies to a client that does not wait, as `transfer`, and ends the call.
void copyToClientLater(Session& session, CallContext& call, const DeviceBox& from,
                       uint64_t transfer, CUstream stream);

}  // namespace farwarp::worker
