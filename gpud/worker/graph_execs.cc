#include "gpud/worker/graph_execs.h"

#include <algorithm>
#include <cstring>

#include "gpud/worker/launch_config.h"
#include "gpud/worker/session.h"

namespace farwarp::worker {

using wire::HandleType;
using wire::NodeKind;

namespace {

CUgraphNodeParams emptyParams(CUgraphNodeType type) {
  CUgraphNodeParams params;
  std::memset(&params, 0, sizeof params);
  params.type = type;
  return params;
}

}  // namespace

bool toOperations(const std::vector<wire::NodeOperation>& all,
                  std::vector<CUstreamBatchMemOpParams>& operations) {
  operations.clear();
  for (const wire::NodeOperation& given : all) {
    CUstreamBatchMemOpParams& operation = operations.emplace_back();
    std::memset(&operation, 0, sizeof operation);
    switch (given.operation) {
      case CU_STREAM_MEM_OP_WAIT_VALUE_32:
      case CU_STREAM_MEM_OP_WAIT_VALUE_64:
      case CU_STREAM_MEM_OP_WRITE_VALUE_32:
      case CU_STREAM_MEM_OP_WRITE_VALUE_64:
        operation.waitValue.address = given.address;
        operation.waitValue.value64 = given.value;
        operation.waitValue.flags = given.flags;
        break;
      case CU_STREAM_MEM_OP_BARRIER:
        operation.memoryBarrier.flags = given.flags;
        break;
      default:
        return false;
    }
    operation.operation = static_cast<CUstreamBatchMemOpType>(given.operation);
  }
  return true;
}

GraphExec::~GraphExec() {
  const DriverTable& driver = session_.driver();
  session_.contexts().use(context_);
  if (exec_ != nullptr) driver.cuGraphExecDestroy(exec_);
  if (graph_ != nullptr) driver.cuGraphDestroy(graph_);
  if (image_free_ != nullptr) driver.cuEventDestroy_v2(image_free_);
  if (image_ != 0) driver.cuMemFree_v2(image_);
  for (CUdeviceptr image : old_images_) driver.cuMemFree_v2(image);
}

CUresult GraphExec::makeImage(uint64_t bytes) {
  if (bytes <= image_bytes_) return CUDA_SUCCESS;
  CUdeviceptr image = 0;
  const CUresult result = session_.driver().cuMemAlloc_v2(&image, bytes);
  if (result != CUDA_SUCCESS) return result;
  if (image_ != 0) old_images_.push_back(image_);
  image_ = image;
  image_bytes_ = bytes;
  return CUDA_SUCCESS;
}

CUresult GraphExec::contextOf(uint64_t id, CUcontext& context) {
  if (id == 0) {
    context = context_;
    return CUDA_SUCCESS;
  }
  return session_.resolve(HandleType::context, id, &context);
}

CUresult GraphExec::make(std::vector<wire::GraphNode> nodes, uint64_t image_bytes, uint64_t flags,
                         bool& sane) {
  const DriverTable& driver = session_.driver();
  CUresult result = makeImage(image_bytes);
  if (result != CUDA_SUCCESS) return result;
  result = driver.cuGraphCreate(&graph_, 0);
  if (result != CUDA_SUCCESS) return result;
  nodes_ = std::move(nodes);
  result = makeConditions(nodes_, sane);
  if (result != CUDA_SUCCESS || !sane) return result;
  putConditions(nodes_);
  result = buildGraph(nodes_, graph_, &made_, sane);
  if (result != CUDA_SUCCESS || !sane) return result;
  sane = collectDownloads(nodes_);
  if (!sane) return CUDA_ERROR_INVALID_VALUE;
  result = driver.cuGraphInstantiateWithFlags(&exec_, graph_, flags);
  if (result != CUDA_SUCCESS) return result;
  for (const wire::GraphNode& node : nodes_) {
    if (node.enabled) continue;
    result = driver.cuGraphNodeSetEnabled(exec_, made_[node.index], 0);
    if (result != CUDA_SUCCESS) return result;
  }
  return CUDA_SUCCESS;
}

CUresult GraphExec::makeConditions(const std::vector<wire::GraphNode>& nodes, bool& sane) {
  for (const wire::GraphNode& node : nodes) {
    if (node.kind == NodeKind::conditional) {
      for (size_t i = 0; i < node.nodes.size(); ++i) sane = sane && node.nodes[i].index == i;
      auto [made, fresh] = conditions_.try_emplace(node.condition, 0);
      sane = sane && fresh;
      if (!sane) return CUDA_ERROR_INVALID_VALUE;
      CUcontext context = nullptr;
      CUresult result = contextOf(node.context, context);
      if (result == CUDA_SUCCESS) {
        result = session_.driver().cuGraphConditionalHandleCreate(
            &made->second, graph_, context, node.condition_default, node.condition_flags);
      }
      if (result != CUDA_SUCCESS) return result;
    }
    const CUresult result = makeConditions(node.nodes, sane);
    if (result != CUDA_SUCCESS || !sane) return result;
  }
  return CUDA_SUCCESS;
}

// A parameter of eight bytes that is one of the client's handles; these look like nothing else.
void GraphExec::putConditions(std::vector<wire::GraphNode>& nodes) const {
  if (conditions_.empty()) return;
  for (wire::GraphNode& node : nodes) {
    putConditions(node.nodes);
    for (size_t at = 0; at + sizeof(uint64_t) <= node.params.size(); at += sizeof(uint64_t)) {
      uint64_t value = 0;
      std::memcpy(&value, node.params.data() + at, sizeof value);
      const auto found = conditions_.find(value);
      if (found != conditions_.end()) {
        std::memcpy(node.params.data() + at, &found->second, sizeof found->second);
      }
    }
  }
}

CUresult GraphExec::buildGraph(const std::vector<wire::GraphNode>& nodes, CUgraph graph,
                               std::vector<CUgraphNode>* made_out, bool& sane) {
  const DriverTable& driver = session_.driver();
  std::vector<CUgraphNode> made;
  std::vector<CUgraphNode> from, to;
  std::vector<CUgraphEdgeData> edges;
  for (const wire::GraphNode& node : nodes) {
    sane = sane && node.index == made.size();
    if (!sane) return CUDA_ERROR_INVALID_VALUE;
    CUgraphNodeParams params;
    CUgraph child = nullptr;
    CUresult result = fillParams(node, params, child, sane);
    CUgraphNode& mine = made.emplace_back();
    if (result == CUDA_SUCCESS && sane) {
      result = driver.cuGraphAddNode_v2(&mine, graph, nullptr, nullptr, 0, &params);
    }
    if (child != nullptr) driver.cuGraphDestroy(child);
    if (result != CUDA_SUCCESS || !sane) return result;
    if (node.kind == NodeKind::conditional) {
      if (params.conditional.phGraph_out == nullptr) return CUDA_ERROR_UNKNOWN;
      for (const wire::GraphNode& body : node.nodes) {
        result = buildGraph(body.nodes, params.conditional.phGraph_out[body.index], nullptr, sane);
        if (result != CUDA_SUCCESS || !sane) return result;
      }
    }
    for (const CUlaunchAttribute& attribute : node.attributes) {
      result = driver.cuGraphKernelNodeSetAttribute(mine, attribute.id, &attribute.value);
      if (result != CUDA_SUCCESS) return result;
    }
  }
  for (const wire::GraphNode& node : nodes) {
    for (const wire::NodeEdge& edge : node.edges) {
      sane = sane && edge.from < made.size() && edge.from != node.index;
      if (!sane) return CUDA_ERROR_INVALID_VALUE;
      from.push_back(made[edge.from]);
      to.push_back(made[node.index]);
      edges.push_back({edge.from_port, edge.to_port, edge.type, {}});
    }
  }
  if (made_out != nullptr) *made_out = std::move(made);
  if (from.empty()) return CUDA_SUCCESS;
  return driver.cuGraphAddDependencies_v2(graph, from.data(), to.data(), edges.data(), from.size());
}

CUresult GraphExec::fillParams(const wire::GraphNode& node, CUgraphNodeParams& params,
                               CUgraph& child, bool& sane) {
  CUresult result = CUDA_SUCCESS;
  switch (node.kind) {
    case NodeKind::empty:
      params = emptyParams(CU_GRAPH_NODE_TYPE_EMPTY);
      return CUDA_SUCCESS;
    case NodeKind::kernel:
      return fillKernel(node, params);
    case NodeKind::copy:
      return fillCopy(node, params, sane);
    case NodeKind::fill:
      params = emptyParams(CU_GRAPH_NODE_TYPE_MEMSET);
      params.memset = {node.address, node.pitch, node.value, node.element_bytes,
                       node.columns, node.rows,  nullptr};
      return contextOf(node.context, params.memset.ctx);
    case NodeKind::eventRecord:
      params = emptyParams(CU_GRAPH_NODE_TYPE_EVENT_RECORD);
      result = session_.resolve(HandleType::event, node.event, &params.eventRecord.event);
      return params.eventRecord.event == nullptr ? CUDA_ERROR_INVALID_HANDLE : result;
    case NodeKind::eventWait:
      params = emptyParams(CU_GRAPH_NODE_TYPE_WAIT_EVENT);
      result = session_.resolve(HandleType::event, node.event, &params.eventWait.event);
      return params.eventWait.event == nullptr ? CUDA_ERROR_INVALID_HANDLE : result;
    case NodeKind::child:
      params = emptyParams(CU_GRAPH_NODE_TYPE_GRAPH);
      result = session_.driver().cuGraphCreate(&child, 0);
      if (result == CUDA_SUCCESS) result = buildGraph(node.nodes, child, nullptr, sane);
      params.graph.graph = child;
      return result;
    case NodeKind::batch:
      return fillBatch(node, params, sane);
    case NodeKind::conditional:
      params = emptyParams(CU_GRAPH_NODE_TYPE_CONDITIONAL);
      params.conditional.handle = conditions_.at(node.condition);
      params.conditional.type = static_cast<CUgraphConditionalNodeType>(node.condition_type);
      params.conditional.size = static_cast<unsigned>(node.nodes.size());
      return contextOf(node.context, params.conditional.ctx);
  }
  sane = false;
  return CUDA_ERROR_INVALID_VALUE;
}

CUresult GraphExec::fillKernel(const wire::GraphNode& node, CUgraphNodeParams& params) {
  params = emptyParams(CU_GRAPH_NODE_TYPE_KERNEL);
  CUDA_KERNEL_NODE_PARAMS_v3& kernel = params.kernel;
  if (node.function == 0) return CUDA_ERROR_INVALID_HANDLE;
  if (!holdNoPointers(node.attributes)) return CUDA_ERROR_NOT_SUPPORTED;
  CUfunction function = nullptr;
  CUresult result = session_.resolve(HandleType::function, node.function, &function);
  if (result != CUDA_SUCCESS) return result;
  // A kernel of a library has no context of its own.
  if (wire::HandleId(node.function).type() == HandleType::kernel) {
    kernel.kern = reinterpret_cast<CUkernel>(function);
    result = contextOf(node.context, kernel.ctx);
    if (result != CUDA_SUCCESS) return result;
  } else {
    kernel.func = function;
  }
  kernel.gridDimX = node.grid[0];
  kernel.gridDimY = node.grid[1];
  kernel.gridDimZ = node.grid[2];
  kernel.blockDimX = node.block[0];
  kernel.blockDimY = node.block[1];
  kernel.blockDimZ = node.block[2];
  kernel.sharedMemBytes = node.shared_bytes;
  param_bytes_ = node.params.size();
  extra_ = {CU_LAUNCH_PARAM_BUFFER_POINTER, const_cast<std::byte*>(node.params.data()),
            CU_LAUNCH_PARAM_BUFFER_SIZE, &param_bytes_, CU_LAUNCH_PARAM_END};
  if (param_bytes_ != 0) kernel.extra = extra_.data();
  return CUDA_SUCCESS;
}

CUresult GraphExec::fillCopy(const wire::GraphNode& node, CUgraphNodeParams& params, bool& sane) {
  params = emptyParams(CU_GRAPH_NODE_TYPE_MEMCPY);
  CUDA_MEMCPY3D& copy = params.memcpy.copyParams;
  const CopyBox box{node.width, node.height, node.depth};
  const auto assign = [&](const wire::NodeCopyEnd& end, DeviceBox& to) {
    if (end.place == wire::NodeCopyEnd::array) {
      CUarray array = nullptr;
      const CUresult result = session_.resolve(HandleType::array, end.array_id, &array);
      if (result != CUDA_SUCCESS || array == nullptr) return CUDA_ERROR_INVALID_HANDLE;
      sane = sane && to.assign(array, end.x_bytes, end.y, end.z, box);
      return CUDA_SUCCESS;
    }
    Rows rows{end.address, end.pitch, end.slice_rows};
    uint64_t span = 0;
    sane = sane && !box.empty() && spanOf(rows, box, span);
    if (sane && end.place == wire::NodeCopyEnd::image) {
      sane = span <= image_bytes_ && end.address <= image_bytes_ - span;
      rows.address += image_;
    }
    sane = sane && to.assign(rows, box);
    return CUDA_SUCCESS;
  };
  DeviceBox to, from;
  CUresult result = assign(node.to, to);
  if (result == CUDA_SUCCESS) result = assign(node.from, from);
  if (result != CUDA_SUCCESS || !sane) return result;
  to.putDestination(copy);
  from.putSource(copy);
  copy.WidthInBytes = node.width;
  copy.Height = node.height;
  copy.Depth = node.depth;
  return contextOf(node.context, params.memcpy.copyCtx);
}

CUresult GraphExec::fillBatch(const wire::GraphNode& node, CUgraphNodeParams& params, bool& sane) {
  params = emptyParams(CU_GRAPH_NODE_TYPE_BATCH_MEM_OP);
  sane = sane && toOperations(node.operations, operations_);
  if (!sane) return CUDA_ERROR_INVALID_VALUE;
  params.memOp.count = static_cast<unsigned>(operations_.size());
  params.memOp.paramArray = operations_.data();
  return contextOf(node.context, params.memOp.ctx);
}

bool GraphExec::collectDownloads(const std::vector<wire::GraphNode>& nodes) {
  for (const wire::GraphNode& node : nodes) {
    if (!collectDownloads(node.nodes)) return false;
    if (!node.downloads || !node.enabled) continue;
    DeviceBox& box = downloads_.emplace_back();
    const Rows rows{image_ + node.to.address, node.to.pitch, node.to.slice_rows};
    if (node.to.place != wire::NodeCopyEnd::image ||
        !box.assign(rows, {node.width, node.height, node.depth})) {
      return false;
    }
  }
  return true;
}

CUresult GraphExec::update(std::vector<wire::GraphNode> nodes, uint64_t image_bytes, bool& sane) {
  const DriverTable& driver = session_.driver();
  CUresult result = makeImage(image_bytes);
  if (result != CUDA_SUCCESS) return result;
  putConditions(nodes);
  for (wire::GraphNode& node : nodes) {
    // What is inside of a conditional node stays as it is.
    sane = sane && node.index < nodes_.size() && nodes_[node.index].kind == node.kind &&
           node.kind != NodeKind::conditional;
    if (!sane) return CUDA_ERROR_INVALID_VALUE;
    CUgraphNodeParams params;
    CUgraph child = nullptr;
    result = fillParams(node, params, child, sane);
    if (result == CUDA_SUCCESS && sane) {
      result = driver.cuGraphExecNodeSetParams(exec_, made_[node.index], &params);
    }
    if (child != nullptr) driver.cuGraphDestroy(child);
    if (result != CUDA_SUCCESS || !sane) return result;
    wire::GraphNode& mine = nodes_[node.index];
    if (mine.enabled != node.enabled) {
      result = driver.cuGraphNodeSetEnabled(exec_, made_[node.index], node.enabled);
      if (result != CUDA_SUCCESS) return result;
    }
    mine = std::move(node);
  }
  downloads_.clear();
  sane = collectDownloads(nodes_);
  return CUDA_SUCCESS;
}

CUresult GraphExec::orderImage(CUstream stream) {
  if (image_ == 0 || image_free_ == nullptr) return CUDA_SUCCESS;
  return session_.driver().cuStreamWaitEvent(stream, image_free_, 0);
}

CUresult GraphExec::imageUsed(CUstream stream) {
  if (image_ == 0) return CUDA_SUCCESS;
  const DriverTable& driver = session_.driver();
  if (image_free_ == nullptr) {
    const CUresult result = driver.cuEventCreate(&image_free_, CU_EVENT_DISABLE_TIMING);
    if (result != CUDA_SUCCESS) return result;
  }
  return driver.cuEventRecord(image_free_, stream);
}

}  // namespace farwarp::worker
