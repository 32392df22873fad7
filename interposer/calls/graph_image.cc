#include "interposer/calls/graph_image.h"

#include <algorithm>

#include "interposer/calls/host_memory.h"

namespace farwarp::client {
namespace {

constexpr uint64_t kAlign = 256;  // of stretches in the image: what a device likes to copy

bool onHost(Client& client, const CopyEnd& end) {
  if (end.type == CU_MEMORYTYPE_HOST) {
    // Addresses are unified: what is known as the device's is.
    return !client.allocations.findDevice(end.rows.address).has_value();
  }
  return end.type == CU_MEMORYTYPE_UNIFIED &&
         !client.allocations.findDevice(end.rows.address).has_value();
}

CUresult requestOf(const graph::CopyParams& copy, CopyRequest& request) {
  return describeCopy(copy.copy, request);
}

}  // namespace

wire::NodeOperation describeOperation(const CUstreamBatchMemOpParams& operation) {
  const auto type = static_cast<uint32_t>(operation.operation);
  if (operation.operation == CU_STREAM_MEM_OP_BARRIER) {
    return {type, operation.memoryBarrier.flags, 0, 0};
  }
  const auto& value = operation.waitValue;  // those that write have the same fields
  return {type, value.flags, value.address, value.value64};
}

CUresult GraphImage::describe(CallScope& scope, const graph::Graph& graph,
                              std::vector<wire::GraphNode>& nodes) {
  FARWARP_TRY(collect(scope, graph, true));
  layOut();
  return encode(scope, graph, nodes);
}

bool GraphImage::operator==(const GraphImage& other) const {
  return bytes_ == other.bytes_ && read_bytes_ == other.read_bytes_ &&
         std::equal(stretches_.begin(), stretches_.end(), other.stretches_.begin(),
                    other.stretches_.end(), [](const Stretch& a, const Stretch& b) {
                      return a.begin == b.begin && a.end == b.end && a.read == b.read;
                    });
}

CUresult GraphImage::collect(CallScope& scope, const graph::Graph& graph, bool certain) {
  for (const auto& node : graph.nodes) {
    const bool inner_certain = certain && node->as<graph::ConditionalParams>() == nullptr;
    for (const auto& inner : graph::graphsIn(*node->params)) {
      FARWARP_TRY(collect(scope, *inner, inner_certain));
    }
    const auto* copy = node->as<graph::CopyParams>();
    if (copy == nullptr) continue;
    CopyRequest request;
    FARWARP_TRY(requestOf(*copy, request));
    if (onHost(scope.client(), request.from)) {
      const uint64_t begin = request.from.rows.address;
      stretches_.push_back({begin, begin + request.from.span, true, 0});
    }
    if (!onHost(scope.client(), request.to)) continue;
    // Whether the copy ran is not known here, so neither is whether the program's memory changed.
    if (!certain) return CUDA_ERROR_NOT_SUPPORTED;
    const uint64_t begin = request.to.rows.address;
    stretches_.push_back({begin, begin + request.to.span, false, 0});
    if (node->enabled) written_.push_back(request);
  }
  return CUDA_SUCCESS;
}

// Stretches that overlap become one. Those that are read come first, so that they are one run.
void GraphImage::layOut() {
  std::sort(stretches_.begin(), stretches_.end(),
            [](const Stretch& a, const Stretch& b) { return a.begin < b.begin; });
  std::vector<Stretch> merged;
  for (const Stretch& stretch : stretches_) {
    if (!merged.empty() && stretch.begin < merged.back().end) {
      merged.back().end = std::max(merged.back().end, stretch.end);
      merged.back().read |= stretch.read;
    } else {
      merged.push_back(stretch);
    }
  }
  stretches_ = std::move(merged);
  for (bool read : {true, false}) {
    for (Stretch& stretch : stretches_) {
      if (stretch.read != read) continue;
      stretch.offset = (bytes_ + kAlign - 1) / kAlign * kAlign;
      bytes_ = stretch.offset + (stretch.end - stretch.begin);
    }
    if (read) read_bytes_ = bytes_;
  }
}

uint64_t GraphImage::place(uint64_t address) const {
  const auto behind =
      std::upper_bound(stretches_.begin(), stretches_.end(), address,
                       [](uint64_t value, const Stretch& s) { return value < s.begin; });
  const Stretch& stretch = *std::prev(behind);
  return stretch.offset + (address - stretch.begin);
}

CUresult GraphImage::encode(CallScope& scope, const graph::Graph& graph,
                            std::vector<wire::GraphNode>& nodes) {
  for (const auto& node : graph.nodes) {
    wire::GraphNode& to = nodes.emplace_back();
    to.index = node->index;
    to.enabled = node->enabled;
    for (const graph::Dependency& dependency : node->dependencies) {
      to.edges.push_back({dependency.node->index, dependency.edge.from_port,
                          dependency.edge.to_port, dependency.edge.type});
    }
    FARWARP_TRY(encode(scope, *node, to));
  }
  return CUDA_SUCCESS;
}

CUresult GraphImage::encode(CallScope& scope, const graph::Node& node, wire::GraphNode& to) {
  if (const auto* kernel = node.as<graph::KernelParams>()) {
    to.kind = wire::NodeKind::kernel;
    to.context = idOf(kernel->context);
    FARWARP_TRY(scope.use(wire::HandleType::function, kernel->launched(), to.function));
    std::copy_n(kernel->shape.grid, 3, to.grid);
    std::copy_n(kernel->shape.block, 3, to.block);
    to.shared_bytes = kernel->shape.shared_dynamic;
    to.attributes = kernel->attributes;
    to.params = kernel->packed;
    shareReferenced(scope, kernel->packed);
  } else if (const auto* copy = node.as<graph::CopyParams>()) {
    return encodeCopy(scope, *copy, to);
  } else if (const auto* fill = node.as<graph::FillParams>()) {
    to.kind = wire::NodeKind::fill;
    to.context = idOf(fill->fill.ctx);
    to.address = fill->fill.dst;
    to.pitch = fill->fill.pitch;
    to.value = fill->fill.value;
    to.element_bytes = fill->fill.elementSize;
    to.columns = fill->fill.width;
    to.rows = fill->fill.height;
  } else if (const auto* event = node.as<graph::EventParams>()) {
    to.kind = event->record ? wire::NodeKind::eventRecord : wire::NodeKind::eventWait;
    FARWARP_TRY(scope.use(wire::HandleType::event, event->event, to.event));
  } else if (const auto* child = node.as<graph::ChildParams>()) {
    to.kind = wire::NodeKind::child;
    return encode(scope, *child->graph, to.nodes);
  } else if (const auto* conditional = node.as<graph::ConditionalParams>()) {
    to.kind = wire::NodeKind::conditional;
    to.context = idOf(conditional->condition->context);
    to.condition = conditional->condition->handle;
    to.condition_default = conditional->condition->default_value;
    to.condition_flags = conditional->condition->flags;
    to.condition_type = static_cast<uint8_t>(conditional->type);
    for (const auto& body : conditional->bodies) {
      wire::GraphNode& inner = to.nodes.emplace_back();
      inner.index = static_cast<uint32_t>(to.nodes.size() - 1);
      inner.kind = wire::NodeKind::child;
      FARWARP_TRY(encode(scope, *body, inner.nodes));
    }
  } else if (const auto* batch = node.as<graph::BatchParams>()) {
    to.kind = wire::NodeKind::batch;
    to.context = idOf(batch->context);
    for (const CUstreamBatchMemOpParams& operation : batch->operations) {
      to.operations.push_back(describeOperation(operation));
    }
  } else if (node.as<graph::HostParams>() != nullptr) {
    return CUDA_ERROR_NOT_SUPPORTED;
  }
  // An allocation's memory is there as long as the graph is, so it and its end are empty nodes.
  return CUDA_SUCCESS;
}

wire::NodeCopyEnd GraphImage::encodeEnd(CallScope& scope, const CopyEnd& end) const {
  wire::NodeCopyEnd to;
  if (end.type == CU_MEMORYTYPE_ARRAY) {
    to.place = wire::NodeCopyEnd::array;
    to.array_id = idOf(end.array);
    to.x_bytes = end.x_bytes;
    to.y = end.y;
    to.z = end.z;
    return to;
  }
  const bool host = onHost(scope.client(), end);
  to.place = host ? wire::NodeCopyEnd::image : wire::NodeCopyEnd::device;
  to.address = host ? place(end.rows.address) : end.rows.address;
  to.pitch = end.rows.pitch;
  to.slice_rows = end.rows.slice_rows;
  return to;
}

CUresult GraphImage::encodeCopy(CallScope& scope, const graph::CopyParams& copy,
                                wire::GraphNode& to) {
  CopyRequest request;
  FARWARP_TRY(requestOf(copy, request));
  for (const CopyEnd* end : {&request.to, &request.from}) {
    uint64_t id = 0;
    if (end->type == CU_MEMORYTYPE_ARRAY) {
      FARWARP_TRY(scope.use(wire::HandleType::array, end->array, id));
    }
  }
  to.kind = wire::NodeKind::copy;
  to.context = idOf(copy.context);
  to.to = encodeEnd(scope, request.to);
  to.from = encodeEnd(scope, request.from);
  to.width = request.box.width;
  to.height = request.box.height;
  to.depth = request.box.depth;
  to.downloads = to.to.place == wire::NodeCopyEnd::image;
  return CUDA_SUCCESS;
}

}  // namespace farwarp::client
