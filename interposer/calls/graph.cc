// What the shared code of graphs (driver/graph/) asks of the client. Graphs and captures are known
// here; gpud gets a graph when it is made executable, and then one record per launch.
#include <cstring>

#include "driver/graph/host.h"
#include "interposer/calls/copies.h"
#include "interposer/calls/graph_image.h"
#include "interposer/calls/graph_replay.h"
#include "interposer/calls/kernels.h"

namespace farwarp::client {
namespace {

using graph::AllocParams;
using graph::Exec;
using graph::KernelLayout;
using graph::Node;
using graph::StreamKey;

// What the client keeps of an executable graph.
struct MadeExec {
  GraphImage image;
  bool replayed = false;  // it has host nodes: gpud does not know it
};

// Encoded nodes in a record, or beside it.
template <typename Args>
CUresult putNodes(CallScope& scope, Args& args, const std::vector<std::byte>& encoded) {
  if (encoded.size() > wire::kGraphBytesMax) return CUDA_ERROR_OUT_OF_MEMORY;
  args.bytes = encoded.size();
  if (encoded.size() <= wire::kInlineDataMax) {
    args.nodes = encoded;
  } else {
    args.transfer = scope.client().transfers.nextNumber();
    scope.upload(args.transfer, encoded);
  }
  return CUDA_SUCCESS;
}

// What a launch reads of host memory, as the image has it.
std::span<const std::byte> packRead(const GraphImage& image, std::vector<std::byte>& room) {
  const auto bytesOf = [](const GraphImage::Stretch& stretch) {
    return reinterpret_cast<const std::byte*>(stretch.begin);
  };
  for (const GraphImage::Stretch& stretch : image.stretches()) {
    if (!stretch.read) continue;
    const uint64_t bytes = stretch.end - stretch.begin;
    if (bytes == image.readBytes()) return {bytesOf(stretch), bytes};  // the only one
    if (room.empty()) room.resize(image.readBytes());
    std::memcpy(room.data() + stretch.offset, bytesOf(stretch), bytes);
  }
  return room;
}

CUresult settleHostMemory(CallScope& scope, const GraphImage& image) {
  if (scope.client().transfers.empty()) return CUDA_SUCCESS;
  for (const GraphImage::Stretch& stretch : image.stretches()) {
    FARWARP_TRY(settlePending(scope, reinterpret_cast<const void*>(stretch.begin),
                              stretch.end - stretch.begin));
  }
  return CUDA_SUCCESS;
}

// Announces the copies into host memory. Those that were announced are taken back on failure.
CUresult announceWritten(CallScope& scope, const GraphImage& image, uint64_t stream,
                         uint16_t record_flags, std::vector<uint64_t>& transfers) {
  for (const CopyRequest& copy : image.written()) {
    Transfers::Pending pending;
    pending.destination = reinterpret_cast<void*>(copy.to.rows.address);
    pending.bytes = copy.to.span;
    pending.box = copy.box;
    pending.pitch = copy.to.rows.pitch;
    pending.slice_rows = copy.to.rows.slice_rows;
    pending.stream = stream;
    pending.flags = record_flags;
    const uint64_t number = scope.client().transfers.nextNumber();
    FARWARP_TRY(announce(scope, number, pending));
    transfers.push_back(number);
  }
  return CUDA_SUCCESS;
}

class ClientGraphHost final : public graph::Host {
 public:
  const DriverTable& table() override { return kClientTable; }
  CUresult enter(bool needs_context) override {
    CallScope scope(CallId::cuGraphCreate);
    return scope.enter(needs_context ? kNeedsInit | kNeedsContext : kNeedsInit);
  }
  CUcontext currentContext() override { return threadState().current(); }
  uint64_t currentThread() override { return threadState().number; }
  CUresult currentDevice(CUdevice& device) override {
    CallScope scope(CallId::cuCtxGetDevice);
    FARWARP_TRY(scope.enter(kNeedsInit | kNeedsContext));
    device = client::currentContext(scope).device;
    return CUDA_SUCCESS;
  }
  CUresult checkDevice(CUdevice device) override {
    return Client::get().devices.find(device) != nullptr ? CUDA_SUCCESS : CUDA_ERROR_INVALID_DEVICE;
  }

  CUresult findStream(CUstream stream, uint16_t record_flags, StreamKey& key) override {
    CallScope scope(CallId::cuStreamIsCapturing);
    FARWARP_TRY(scope.enter(kNeedsInit));
    uint64_t id = 0;
    FARWARP_TRY(scope.use(wire::HandleType::stream, stream, id, true));
    const bool per_thread =
        id == 2 || (id == 0 && (record_flags & wire::kPerThreadDefaultStream) != 0);
    if (per_thread || id <= 1) {
      key = {per_thread ? 2u : 1u, currentContext(), per_thread ? currentThread() : 0};
    } else {
      const auto* green = static_cast<const GreenContext*>(scope.client().handles.object(id));
      const uint64_t owner =
          green != nullptr ? green->context_id : scope.client().handles.parent(id);
      key = {id, handleOf<CUcontext>(owner), 0};
    }
    return CUDA_SUCCESS;
  }
  CUresult isBlocking(const StreamKey& key, bool& blocking) override {
    blocking = true;
    if (key.stream <= 2) return CUDA_SUCCESS;
    unsigned flags = 0;
    FARWARP_TRY(kClientTable.cuStreamGetFlags(handleOf<CUstream>(key.stream), &flags));
    blocking = (flags & CU_STREAM_NON_BLOCKING) == 0;
    return CUDA_SUCCESS;
  }
  CUresult checkEvent(CUevent event) override {
    CallScope scope(CallId::cuGraphAddEventRecordNode);
    FARWARP_TRY(scope.enter(kNeedsInit));
    uint64_t id = 0;
    return scope.use(wire::HandleType::event, event, id);
  }
  CUresult checkContext(CUcontext& context) override {
    if (context == nullptr) context = currentContext();
    const Context* found = context == nullptr ? nullptr : Client::get().contexts.find(context);
    return found != nullptr && found->usable() ? CUDA_SUCCESS : CUDA_ERROR_INVALID_CONTEXT;
  }

  CUresult kernelLayout(CUfunction function, KernelLayout& layout) override {
    CallScope scope(CallId::cuGraphAddKernelNode_v2);
    FARWARP_TRY(scope.enter(kNeedsInit));
    Kernel* kernel = nullptr;
    FARWARP_TRY(findFunction(scope, function, kernel));
    layout.bytes = kernel->param_bytes;
    for (const wire::KernelParam& param : kernel->info->params) {
      layout.params.push_back({param.offset, param.bytes});
    }
    return CUDA_SUCCESS;
  }
  CUresult checkShape(CUfunction function, const LaunchShape& shape) override {
    CallScope scope(CallId::cuGraphAddKernelNode_v2);
    FARWARP_TRY(scope.enter(kNeedsInit | kNeedsContext));
    Kernel* kernel = nullptr;
    FARWARP_TRY(findFunction(scope, function, kernel));
    const Device* device = scope.client().devices.find(client::currentContext(scope).device);
    if (device == nullptr) return CUDA_ERROR_INVALID_CONTEXT;
    return checkLaunch(device->limits(), kernel->limits(), shape);
  }

  // Page-locked memory of the program is not the device's, so nothing there could be waited for.
  CUresult checkOperand(CUdeviceptr address, size_t bytes) override {
    Client& client = Client::get();
    if (placeOf(client, address, bytes) == Place::inside) return CUDA_SUCCESS;
    return isPinned(client, reinterpret_cast<const void*>(address), bytes)
               ? CUDA_ERROR_NOT_SUPPORTED
               : CUDA_ERROR_INVALID_VALUE;
  }
  CUresult operate(CUstream stream, uint16_t record_flags,
                   std::span<const CUstreamBatchMemOpParams> operations) override {
    CallScope scope(CallId::cuStreamBatchMemOp_v2, record_flags);
    FARWARP_TRY(scope.enter(kNeedsInit | kNeedsContext));
    wire::Args_cuStreamBatchMemOp_v2 args;
    FARWARP_TRY(scope.use(wire::HandleType::stream, stream, args.stream, true));
    std::vector<uint32_t> types, flags;
    std::vector<uint64_t> addresses, values;
    for (const CUstreamBatchMemOpParams& operation : operations) {
      const wire::NodeOperation given = describeOperation(operation);
      types.push_back(given.operation);
      flags.push_back(given.flags);
      addresses.push_back(given.address);
      values.push_back(given.value);
    }
    args.types = types;
    args.flags = flags;
    args.addresses = addresses;
    args.values = values;
    return scope.submit(args);
  }

  // The bodies themselves, because a capture would refuse these calls to the program.
  CUresult allocate(const AllocParams& wanted, CUdeviceptr& address,
                    std::shared_ptr<void>& memory) override {
    CUdevice device = 0;
    FARWARP_TRY(currentDevice(device));
    // Memory of another device than the current one would need a context there.
    if (wanted.properties.location.id != device) return CUDA_ERROR_NOT_SUPPORTED;
    FARWARP_TRY(calls::cuMemAlloc_v2(&address, wanted.bytes));
    const CUcontext context = currentContext();
    memory = std::shared_ptr<void>(nullptr, [address, context](void*) {
      threadState().contexts.push_back(context);
      static_cast<void>(calls::cuMemFree_v2(address));
      threadState().contexts.pop_back();
    });
    return CUDA_SUCCESS;
  }

  CUresult instantiate(Exec& exec) override {
    CallScope scope(CallId::cuGraphInstantiateWithParams);
    FARWARP_TRY(scope.enter(kNeedsInit | kNeedsContext));
    auto made = std::make_shared<MadeExec>();
    if (exec.graph->has<graph::HostParams>()) {
      // The calls that its nodes stand for have none for a condition.
      if (exec.graph->has<graph::ConditionalParams>()) return CUDA_ERROR_NOT_SUPPORTED;
      uint64_t id = 0;
      FARWARP_TRY(scope.create(wire::HandleType::graphExec, id));
      made->replayed = true;
      exec.handle = handleOf<CUgraphExec>(id);
      exec.made = std::move(made);
      return CUDA_SUCCESS;
    }
    std::vector<wire::GraphNode> nodes;
    FARWARP_TRY(made->image.describe(scope, *exec.graph, nodes));
    FARWARP_TRY(checkImage(made->image));
    const std::vector<std::byte> encoded = wire::encodeGraphNodes(nodes);
    wire::Args_cuGraphInstantiateWithParams args;
    args.flags = exec.flags & ~uint64_t{CUDA_GRAPH_INSTANTIATE_FLAG_UPLOAD};
    args.image_bytes = made->image.bytes();
    FARWARP_TRY(putNodes(scope, args, encoded));
    FARWARP_TRY(scope.create(wire::HandleType::graphExec, args.exec));
    wire::Reply_cuGraphInstantiateWithParams reply;
    if (CUresult result = scope.call(args, reply); result != CUDA_SUCCESS) {
      scope.abandon(args.exec);
      return result;
    }
    exec.handle = handleOf<CUgraphExec>(args.exec);
    exec.made = std::move(made);
    return CUDA_SUCCESS;
  }

  CUresult update(Exec& exec, std::span<Node* const> changed) override {
    if (replayed(exec)) return CUDA_SUCCESS;
    CallScope scope(CallId::cuGraphExecUpdate_v2);
    FARWARP_TRY(scope.enter(kNeedsInit));
    wire::Args_cuGraphExecUpdate_v2 args;
    FARWARP_TRY(scope.use(wire::HandleType::graphExec, exec.handle, args.exec));
    GraphImage image;
    std::vector<wire::GraphNode> nodes, sent;
    FARWARP_TRY(image.describe(scope, *exec.graph, nodes));
    FARWARP_TRY(checkImage(image));
    auto& made = *static_cast<MadeExec*>(exec.made.get());
    if (image == made.image) {
      for (const Node* node : changed) sent.push_back(std::move(nodes[node->index]));
    } else if (exec.graph->has<graph::ConditionalParams>()) {
      return CUDA_ERROR_NOT_SUPPORTED;  // what is inside of these nodes stays as it is
    } else {
      // The layout is another, so every node that may use it is.
      for (wire::GraphNode& node : nodes) {
        const bool uses_image =
            node.kind == wire::NodeKind::copy || node.kind == wire::NodeKind::child;
        bool is_changed = false;
        for (const Node* other : changed) is_changed |= other->index == node.index;
        if (uses_image || is_changed) sent.push_back(std::move(node));
      }
    }
    const std::vector<std::byte> encoded = wire::encodeGraphNodes(sent);
    args.image_bytes = image.bytes();
    FARWARP_TRY(putNodes(scope, args, encoded));
    FARWARP_TRY(scope.submit(args));
    made.image = std::move(image);
    return CUDA_SUCCESS;
  }

  CUresult launch(const std::shared_ptr<Exec>& exec, CUstream stream,
                  uint16_t record_flags) override {
    if (replayed(*exec)) return replay(*exec, stream, record_flags);
    CallScope scope(CallId::cuGraphLaunch, record_flags);
    FARWARP_TRY(scope.enter(kNeedsInit | kNeedsContext));
    wire::Args_cuGraphLaunch args;
    FARWARP_TRY(scope.use(wire::HandleType::graphExec, exec->handle, args.exec));
    FARWARP_TRY(scope.use(wire::HandleType::stream, stream, args.stream, true));
    const GraphImage& image = static_cast<const MadeExec*>(exec->made.get())->image;
    FARWARP_TRY(settleHostMemory(scope, image));
    std::vector<std::byte> room;
    const std::span<const std::byte> read = packRead(image, room);
    args.bytes = read.size();
    if (read.size() <= wire::kInlineDataMax) {
      args.data = read;
    } else {
      args.transfer = scope.client().transfers.nextNumber();
      scope.upload(args.transfer, read);
    }
    std::vector<uint64_t> transfers;
    CUresult result = announceWritten(scope, image, args.stream, record_flags, transfers);
    args.downloads = transfers;
    if (result == CUDA_SUCCESS) result = scope.submit(args);
    if (result != CUDA_SUCCESS) {
      for (uint64_t transfer : transfers) scope.client().transfers.forget(transfer);
      return result;
    }
    scope.client().launches.fetch_add(1, std::memory_order_relaxed);
    return CUDA_SUCCESS;
  }

  CUresult upload(Exec& exec, CUstream stream, uint16_t record_flags) override {
    CallScope scope(CallId::cuGraphUpload, record_flags);
    FARWARP_TRY(scope.enter(kNeedsInit | kNeedsContext));
    wire::Args_cuGraphUpload args;
    FARWARP_TRY(scope.use(wire::HandleType::graphExec, exec.handle, args.exec));
    FARWARP_TRY(scope.use(wire::HandleType::stream, stream, args.stream, true));
    return replayed(exec) ? CUDA_SUCCESS : scope.submit(args);
  }

  CUresult destroy(Exec& exec) override {
    CallScope scope(CallId::cuGraphExecDestroy);
    FARWARP_TRY(scope.enter(kNeedsInit));
    wire::Args_cuGraphExecDestroy args;
    // It may be gone with its context.
    if (scope.use(wire::HandleType::graphExec, exec.handle, args.exec) != CUDA_SUCCESS) {
      return CUDA_SUCCESS;
    }
    if (!replayed(exec)) FARWARP_TRY(scope.submit(args));
    scope.destroy(args.exec);
    return CUDA_SUCCESS;
  }

 private:
  static bool replayed(const Exec& exec) {
    return static_cast<const MadeExec*>(exec.made.get())->replayed;
  }
  CUresult replay(const Exec& exec, CUstream stream, uint16_t record_flags) {
    CallScope scope(CallId::cuGraphLaunch, record_flags);
    FARWARP_TRY(scope.enter(kNeedsInit | kNeedsContext));
    uint64_t id = 0;
    FARWARP_TRY(scope.use(wire::HandleType::graphExec, exec.handle, id));
    FARWARP_TRY(scope.use(wire::HandleType::stream, stream, id, true));
    return replayGraph(*exec.graph, *this, stream, record_flags);
  }

  // Each copy into host memory is a transfer of each launch.
  static CUresult checkImage(const GraphImage& image) {
    return image.written().size() <= wire::kPendingTransfersMax / 4 ? CUDA_SUCCESS
                                                                    : CUDA_ERROR_NOT_SUPPORTED;
  }
};

}  // namespace

// Never destroyed: programs destroy their graphs after our own destructors would have run.
graph::Host& graphHost() {
  static auto* host = new ClientGraphHost;
  return *host;
}

}  // namespace farwarp::client
