// Executable graphs: made from the client's nodes, changed, launched.
#include "gpud/worker/graph_execs.h"
#include "gpud/worker/session.h"
#include "worker_dispatch_gen.h"

namespace farwarp::worker::calls {
namespace {

using wire::HandleType;

constexpr char kNotNodes[] = "The nodes of a graph do not decode or do not fit each other.";

// The nodes of a record, or of its transfer. False when the call is over, or waits for the bytes.
template <typename Args>
bool readNodes(Session& session, CallContext& call, const Args& args,
               std::vector<wire::GraphNode>& nodes) {
  std::vector<std::byte> whole;
  std::span<const std::byte> bytes = args.nodes;
  if (args.transfer != 0) {
    if (args.bytes > wire::kGraphBytesMax) {
      call.malformed(kNotNodes);
      return false;
    }
    whole.resize(args.bytes);
    switch (session.uploads().takeWhole(args.transfer, args.bytes, whole)) {
      case Uploads::Progress::waiting:
        call.stall();
        return false;
      case Uploads::Progress::malformed:
        call.malformed("The transfer's bytes do not add up.");
        return false;
      case Uploads::Progress::complete:
        break;
    }
    bytes = whole;
  }
  if (bytes.size() == args.bytes && wire::decodeGraphNodes(bytes, nodes)) return true;
  call.malformed(kNotNodes);
  return false;
}

CUresult findExec(Session& session, uint64_t id, GraphExec*& exec) {
  const CUresult result = session.resolve(HandleType::graphExec, id, &exec);
  return exec == nullptr ? wire::invalidHandleError(HandleType::graphExec) : result;
}

// Bytes of the client's memory into the image, in stream order. False when the call is over, or
// waits for the bytes.
bool uploadImage(Session& session, CallContext& call, const wire::Args_cuGraphLaunch& args,
                 GraphExec& exec, CUstream stream) {
  if (args.bytes == 0) return true;
  if (args.bytes > exec.imageBytes()) {
    call.malformed("A launch has more bytes than its graph has room for.");
    return false;
  }
  const DeviceBox room(exec.image(), args.bytes);
  CUresult result = CUDA_SUCCESS;
  if (args.transfer != 0) {
    switch (session.uploads().copyToDevice(args.transfer, room, stream, result)) {
      case Uploads::Progress::waiting:
        call.stall();
        return false;
      case Uploads::Progress::malformed:
        call.malformed("The transfer's bytes do not add up.");
        return false;
      case Uploads::Progress::complete:
        break;
    }
  } else if (args.data.size() != args.bytes) {
    call.malformed("A launch has fewer bytes than it says.");
    return false;
  } else {
    // The source is pageable memory, which the driver has read when the call returns.
    result = room.write(session.driver(), 0, args.data, stream).result;
  }
  if (result == CUDA_SUCCESS) return true;
  call.finish(result);
  return false;
}

}  // namespace

void cuGraphInstantiateWithParams(Session& session, CallContext& call,
                                  const wire::Args_cuGraphInstantiateWithParams& args) {
  std::vector<wire::GraphNode> nodes;
  if (!readNodes(session, call, args, nodes)) return;
  auto exec = std::make_unique<GraphExec>(session, session.contexts().current());
  bool sane = true;
  CUresult result = exec->make(std::move(nodes), args.image_bytes, args.flags, sane);
  if (!sane) return call.malformed(kNotNodes);
  GraphExec* made = nullptr;
  if (result == CUDA_SUCCESS) {
    made = session.graphExecs().add(std::move(exec));
    result = session.bind(HandleType::graphExec, args.exec, made);
    if (result != CUDA_SUCCESS) session.graphExecs().remove(made);
  }
  call.finish(result);
}

void cuGraphExecUpdate_v2(Session& session, CallContext& call,
                          const wire::Args_cuGraphExecUpdate_v2& args) {
  std::vector<wire::GraphNode> nodes;
  if (!readNodes(session, call, args, nodes)) return;
  GraphExec* exec = nullptr;
  if (CUresult result = findExec(session, args.exec, exec); result != CUDA_SUCCESS) {
    return call.finish(result);
  }
  session.contexts().use(exec->context());
  bool sane = true;
  const CUresult result = exec->update(std::move(nodes), args.image_bytes, sane);
  if (!sane) return call.malformed(kNotNodes);
  call.finish(result);
}

void cuGraphExecDestroy(Session& session, CallContext& call,
                        const wire::Args_cuGraphExecDestroy& args) {
  GraphExec* exec = nullptr;
  const CUresult result = findExec(session, args.exec, exec);
  if (result == CUDA_SUCCESS) {
    session.unbind(HandleType::graphExec, args.exec);
    session.graphExecs().remove(exec);
  }
  call.finish(result);
}

void cuGraphLaunch(Session& session, CallContext& call, const wire::Args_cuGraphLaunch& args) {
  GraphExec* exec = nullptr;
  CUresult result = findExec(session, args.exec, exec);
  CUstream stream = nullptr;
  if (result == CUDA_SUCCESS) result = session.resolveStream(args.stream, call.header, &stream);
  if (result == CUDA_SUCCESS) result = exec->orderImage(stream);
  if (result != CUDA_SUCCESS) return call.finish(result);
  if (!uploadImage(session, call, args, *exec, stream)) return;
  if (args.downloads.size() != exec->downloads().size()) {
    return call.malformed("A launch does not name as many transfers as its graph has copies.");
  }

  KernelMeter& meter = session.meter();
  meter.beforeLaunch(session.contexts().current(), session.contexts().currentDevice(), stream,
                     "(graph)");
  result = session.driver().cuGraphLaunch(exec->exec(), stream);
  meter.afterLaunch(result);
  for (size_t i = 0; i < args.downloads.size() && result == CUDA_SUCCESS; ++i) {
    const DeviceBox& box = exec->downloads()[i];
    if (!session.downloads().mayStart(args.downloads[i], box.bytes())) {
      return call.malformed("The transfer may not be started.");
    }
    result = session.downloads().startAsync(args.downloads[i], box, stream);
  }
  const CUresult marked = exec->imageUsed(stream);
  call.finish(result != CUDA_SUCCESS ? result : marked);
}

void cuGraphUpload(Session& session, CallContext& call, const wire::Args_cuGraphUpload& args) {
  GraphExec* exec = nullptr;
  CUresult result = findExec(session, args.exec, exec);
  CUstream stream = nullptr;
  if (result == CUDA_SUCCESS) result = session.resolveStream(args.stream, call.header, &stream);
  if (result != CUDA_SUCCESS) return call.finish(result);
  call.finish(session.driver().cuGraphUpload(exec->exec(), stream));
}

}  // namespace farwarp::worker::calls
