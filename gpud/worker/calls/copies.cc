#include "gpud/worker/calls/copies.h"

namespace farwarp::worker {

void copyFromClient(Session& session, CallContext& call, const DeviceBox& to,
                    const ClientBytes& from, CUstream stream, bool host_waits) {
  CUresult result = CUDA_SUCCESS;
  if (from.transfer != 0) {
    switch (session.uploads().copyToDevice(from.transfer, to, stream, result)) {
      case Uploads::Progress::waiting:
        return call.stall();
      case Uploads::Progress::malformed:
        return call.malformed("The transfer's bytes do not add up.");
      case Uploads::Progress::complete:
        break;
    }
  } else {
    if (from.data.size() != to.bytes() || to.bytes() > wire::kInlineDataMax) {
      return call.malformed("The copy's bytes do not add up.");
    }
    // The source is pageable memory, which the driver has read when the call returns.
    result = to.write(session.driver(), 0, from.data, stream).result;
  }
  if (host_waits && result == CUDA_SUCCESS) session.contexts().copyIssued(stream);
  call.finish(result);
}

namespace {

// A few bytes travel in the reply itself.
void copySmallToClient(Session& session, CallContext& call, const DeviceBox& from, CUstream stream,
                       SendBytes send) {
  const CUcontext context = session.contexts().current();
  const StagingBuffer buffer = session.staging().take(context);
  if (buffer == nullptr) return call.finish(CUDA_ERROR_OUT_OF_MEMORY);
  const size_t bytes = from.bytes();
  const DeviceBox::Outcome copied = from.read(session.driver(), 0, {buffer, bytes}, stream);
  Marker marker;
  CUresult result = copied.result;
  if (result == CUDA_SUCCESS) result = session.waits().mark(context, stream, marker);
  if (result != CUDA_SUCCESS) {
    if (copied.begun) {
      session.staging().giveAfter(context, stream, buffer);
    } else {
      session.staging().give(buffer);
    }
    return call.finish(result);
  }
  Completion completion = call.detach();
  session.waits().whenReached(
      marker, [&session, marker, buffer, bytes, completion, send](CUresult reached) mutable {
        session.waits().release(marker);
        send(completion, reached, {buffer, bytes});
        session.staging().give(buffer);
      });
}

}  // namespace

void copyToClient(Session& session, CallContext& call, const DeviceBox& from, uint64_t transfer,
                  CUstream stream, SendBytes send) {
  if (transfer == 0) {
    if (from.bytes() > wire::kInlineDataMax) {
      return call.malformed("The copy is too long for a reply.");
    }
    return copySmallToClient(session, call, from, stream, std::move(send));
  }
  if (!session.downloads().mayStart(transfer, from.bytes())) {
    return call.malformed("The transfer may not be started.");
  }
  Completion completion = call.detach();
  const CUresult result = session.downloads().startWaited(
      transfer, from, stream,
      [completion, send](CUresult started) mutable { send(completion, started, {}); });
  if (result != CUDA_SUCCESS) completion.finish(result);
}

void copyToClientLater(Session& session, CallContext& call, const DeviceBox& from,
                       uint64_t transfer, CUstream stream) {
  if (!session.downloads().mayStart(transfer, from.bytes())) {
    return call.malformed("The transfer may not be started.");
  }
  call.finish(session.downloads().startAsync(transfer, from, stream));
}

}  // namespace farwarp::worker
