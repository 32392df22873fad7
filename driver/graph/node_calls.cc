// Nodes: added with their parameters, and those parameters read and changed.
#include <cstring>

#include "driver/graph/node_params.h"
#include "graph_calls_gen.h"

namespace farwarp::graph {
namespace {

using Lock = std::unique_lock<std::mutex>;

CUresult makeChild(Host& host, const CUDA_CHILD_GRAPH_NODE_PARAMS& from, SharedParams& to) {
  if (from.ownership == CU_GRAPH_CHILD_GRAPH_OWNERSHIP_MOVE) return CUDA_ERROR_NOT_SUPPORTED;
  std::lock_guard lock(host.state.mutex);
  const auto graph = host.state.find(from.graph);
  if (graph == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (graph->has<AllocParams>() || graph->has<FreeParams>() || graph->has<ConditionalParams>()) {
    return CUDA_ERROR_NOT_SUPPORTED;
  }
  auto copy = graph->clone();
  copy->user_objects = graph->user_objects;
  to = share(ChildParams{std::move(copy)});
  return CUDA_SUCCESS;
}

CUresult makeEvent(Host& host, CUevent event, bool is_record, SharedParams& to) {
  FARWARP_GRAPH_TRY(host.checkEvent(event));
  to = share(EventParams{event, is_record});
  return CUDA_SUCCESS;
}

template <typename T, typename Make>
CUresult makeShared(SharedParams& to, Make make) {
  T made;
  FARWARP_GRAPH_TRY(make(made));
  to = share(std::move(made));
  return CUDA_SUCCESS;
}

// The parameters of any node. An allocation writes its address back.
CUresult makeParams(Host& host, CUgraphNodeParams& from, SharedParams& to) {
  switch (from.type) {
    case CU_GRAPH_NODE_TYPE_KERNEL:
      return makeShared<KernelParams>(
          to, [&](KernelParams& made) { return makeKernel(host, from.kernel, {}, made); });
    case CU_GRAPH_NODE_TYPE_MEMCPY:
      return makeShared<CopyParams>(to, [&](CopyParams& made) {
        return makeCopy(host, &from.memcpy.copyParams, from.memcpy.copyCtx, made);
      });
    case CU_GRAPH_NODE_TYPE_MEMSET:
      return makeShared<FillParams>(
          to, [&](FillParams& made) { return makeFill(host, from.memset, made); });
    case CU_GRAPH_NODE_TYPE_HOST:
      if (from.host.fn == nullptr) return CUDA_ERROR_INVALID_VALUE;
      to = share(HostParams{from.host.fn, from.host.userData});
      return CUDA_SUCCESS;
    case CU_GRAPH_NODE_TYPE_GRAPH:
      return makeChild(host, from.graph, to);
    case CU_GRAPH_NODE_TYPE_EMPTY:
      to = share(EmptyParams{});
      return CUDA_SUCCESS;
    case CU_GRAPH_NODE_TYPE_WAIT_EVENT:
      return makeEvent(host, from.eventWait.event, false, to);
    case CU_GRAPH_NODE_TYPE_EVENT_RECORD:
      return makeEvent(host, from.eventRecord.event, true, to);
    case CU_GRAPH_NODE_TYPE_MEM_ALLOC:
      return makeAlloc(host, from.alloc, to);
    case CU_GRAPH_NODE_TYPE_MEM_FREE:
      return makeFree(host, from.free.dptr, to);
    case CU_GRAPH_NODE_TYPE_BATCH_MEM_OP:
      return makeShared<BatchParams>(
          to, [&](BatchParams& made) { return makeBatch(host, from.memOp, made); });
    case CU_GRAPH_NODE_TYPE_CONDITIONAL:
      return makeConditional(host, from.conditional, to);
    case CU_GRAPH_NODE_TYPE_EXT_SEMAS_SIGNAL:
    case CU_GRAPH_NODE_TYPE_EXT_SEMAS_WAIT:
      return CUDA_ERROR_NOT_SUPPORTED;
    default:
      return CUDA_ERROR_INVALID_VALUE;
  }
}

CUresult addNode(Host& host, CUgraphNode* out, CUgraph handle, const CUgraphNode* dependencies,
                 const CUgraphEdgeData* edges, size_t count, CUgraphNodeParams& params) {
  FARWARP_GRAPH_TRY(host.enter(false));
  if (out == nullptr) return CUDA_ERROR_INVALID_VALUE;
  {
    std::lock_guard lock(host.state.mutex);
    if (host.state.find(handle) == nullptr) return CUDA_ERROR_INVALID_VALUE;
  }
  SharedParams made;
  FARWARP_GRAPH_TRY(makeParams(host, params, made));
  std::lock_guard lock(host.state.mutex);
  const auto graph = host.state.find(handle);
  if (graph == nullptr) return CUDA_ERROR_INVALID_VALUE;
  std::vector<Dependency> behind;
  FARWARP_GRAPH_TRY(findDependencies(host.state, *graph, dependencies, edges, count, behind));
  Node* node = graph->add(std::move(made), behind);
  if (node == nullptr) return CUDA_ERROR_OUT_OF_MEMORY;
  for (const auto& inner : graphsIn(*node->params)) inner->owner = node;
  host.state.adopt(node);
  if (node->as<ConditionalParams>() != nullptr) {
    for (const auto& body : graphsIn(*node->params)) node->shown_bodies.push_back(body->handle);
    params.conditional.phGraph_out = node->shown_bodies.data();
  }
  *out = node->handle;
  return CUDA_SUCCESS;
}

// The parameters of a node, or of the node of an executable graph that stands for it.
CUresult setParams(Host& host, CUgraphNode handle, CUgraphNodeParams& params,
                   CUgraphExec exec_handle = nullptr) {
  FARWARP_GRAPH_TRY(host.enter(false));
  CUgraphNodeType type;
  {
    std::lock_guard lock(host.state.mutex);
    const Node* node = host.state.find(handle);
    if (node == nullptr) return CUDA_ERROR_INVALID_VALUE;
    type = typeOf(*node->params);
  }
  // Memory nodes and conditional nodes keep what they are.
  if (type != params.type || type == CU_GRAPH_NODE_TYPE_MEM_ALLOC ||
      type == CU_GRAPH_NODE_TYPE_MEM_FREE || type == CU_GRAPH_NODE_TYPE_CONDITIONAL) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  SharedParams made;
  FARWARP_GRAPH_TRY(makeParams(host, params, made));
  if (exec_handle != nullptr) return setExecParams(host, exec_handle, handle, std::move(made));
  std::lock_guard lock(host.state.mutex);
  Node* node = host.state.find(handle);
  if (node == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (const auto* kernel = node->as<KernelParams>()) {
    // The structure has no attributes, so the node keeps those that it has.
    auto with = std::get<KernelParams>(*made);
    with.attributes = kernel->attributes;
    std::memcpy(with.shape.cluster, kernel->shape.cluster, sizeof with.shape.cluster);
    with.shape.cooperative = kernel->shape.cooperative;
    made = share(std::move(with));
  }
  // Children of a node are handles of their own, so they end with the old parameters.
  host.state.forget(*node);
  const CUgraphNode kept = node->handle;
  node->params = std::move(made);
  host.state.adopt(node, kept);
  if (const auto* child = node->as<ChildParams>()) child->graph->owner = node;
  return CUDA_SUCCESS;
}

// Finds a node whose parameters are a T. Locks.
template <typename T>
CUresult findNode(Host& host, CUgraphNode handle, const void* out, Lock& lock, Node*& node,
                  const T*& params) {
  FARWARP_GRAPH_TRY(host.enter(false));
  lock = Lock(host.state.mutex);
  node = host.state.find(handle);
  if (node == nullptr || out == nullptr) return CUDA_ERROR_INVALID_VALUE;
  params = node->as<T>();
  return params != nullptr ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUgraphNodeParams paramsOf(CUgraphNodeType type) {
  CUgraphNodeParams params;
  std::memset(&params, 0, sizeof params);
  params.type = type;
  return params;
}

CUgraphNodeParams kernelParams(const CUDA_KERNEL_NODE_PARAMS_v2& from) {
  CUgraphNodeParams params = paramsOf(CU_GRAPH_NODE_TYPE_KERNEL);
  static_assert(sizeof params.kernel == sizeof from);
  std::memcpy(&params.kernel, &from, sizeof from);
  return params;
}

CUgraphNodeParams kernelParams(const CUDA_KERNEL_NODE_PARAMS_v1& from) {
  CUgraphNodeParams params = paramsOf(CU_GRAPH_NODE_TYPE_KERNEL);
  params.kernel = {from.func,         from.gridDimX,  from.gridDimY,  from.gridDimZ,
                   from.blockDimX,    from.blockDimY, from.blockDimZ, from.sharedMemBytes,
                   from.kernelParams, from.extra,     nullptr,        nullptr};
  return params;
}

CUgraphNodeParams copyParams(const CUDA_MEMCPY3D& copy, CUcontext context) {
  CUgraphNodeParams params = paramsOf(CU_GRAPH_NODE_TYPE_MEMCPY);
  params.memcpy.copyCtx = context;
  params.memcpy.copyParams = copy;
  return params;
}

CUgraphNodeParams fillParams(const CUDA_MEMSET_NODE_PARAMS& fill, CUcontext context) {
  CUgraphNodeParams params = paramsOf(CU_GRAPH_NODE_TYPE_MEMSET);
  params.memset = {fill.dst,   fill.pitch,  fill.value, fill.elementSize,
                   fill.width, fill.height, context};
  return params;
}

CUgraphNodeParams hostParams(const CUDA_HOST_NODE_PARAMS& from) {
  CUgraphNodeParams params = paramsOf(CU_GRAPH_NODE_TYPE_HOST);
  params.host.fn = from.fn;
  params.host.userData = from.userData;
  return params;
}

CUgraphNodeParams eventParams(CUevent event, bool is_record) {
  CUgraphNodeParams params =
      paramsOf(is_record ? CU_GRAPH_NODE_TYPE_EVENT_RECORD : CU_GRAPH_NODE_TYPE_WAIT_EVENT);
  (is_record ? params.eventRecord.event : params.eventWait.event) = event;
  return params;
}

CUgraphNodeParams batchParams(const CUDA_BATCH_MEM_OP_NODE_PARAMS& from) {
  CUgraphNodeParams params = paramsOf(CU_GRAPH_NODE_TYPE_BATCH_MEM_OP);
  params.memOp = {from.ctx, from.count, from.paramArray, from.flags};
  return params;
}

CUgraphNodeParams childParams(CUgraph graph) {
  CUgraphNodeParams params = paramsOf(CU_GRAPH_NODE_TYPE_GRAPH);
  params.graph.graph = graph;
  return params;
}

}  // namespace

namespace calls {

CUresult cuGraphAddNode_v2(Host& host, CUgraphNode* out, CUgraph graph,
                           const CUgraphNode* dependencies, const CUgraphEdgeData* edges,
                           size_t count, CUgraphNodeParams* params) {
  if (params == nullptr) return CUDA_ERROR_INVALID_VALUE;
  return addNode(host, out, graph, dependencies, edges, count, *params);
}

CUresult cuGraphAddNode(Host& host, CUgraphNode* out, CUgraph graph,
                        const CUgraphNode* dependencies, size_t count, CUgraphNodeParams* params) {
  return calls::cuGraphAddNode_v2(host, out, graph, dependencies, nullptr, count, params);
}

CUresult cuGraphNodeSetParams(Host& host, CUgraphNode node, CUgraphNodeParams* params) {
  return params == nullptr ? CUDA_ERROR_INVALID_VALUE : setParams(host, node, *params);
}

CUresult cuGraphExecNodeSetParams(Host& host, CUgraphExec exec, CUgraphNode node,
                                  CUgraphNodeParams* params) {
  if (params == nullptr || exec == nullptr) return CUDA_ERROR_INVALID_VALUE;
  return setParams(host, node, *params, exec);
}

// The older functions, one set per kind of node, as the general ones.
#define FARWARP_ADD(given, make)                           \
  if ((given) == nullptr) return CUDA_ERROR_INVALID_VALUE; \
  CUgraphNodeParams whole = make;                          \
  return addNode(host, out, graph, dependencies, nullptr, count, whole)
#define FARWARP_SET(given, make)                           \
  if ((given) == nullptr) return CUDA_ERROR_INVALID_VALUE; \
  CUgraphNodeParams whole = make;                          \
  return setParams(host, node, whole)
#define FARWARP_SET_EXEC(given, make)                                         \
  if ((given) == nullptr || exec == nullptr) return CUDA_ERROR_INVALID_VALUE; \
  CUgraphNodeParams whole = make;                                             \
  return setParams(host, node, whole, exec)

CUresult cuGraphAddKernelNode_v2(Host& host, CUgraphNode* out, CUgraph graph,
                                 const CUgraphNode* dependencies, size_t count,
                                 const CUDA_KERNEL_NODE_PARAMS* params) {
  FARWARP_ADD(params, kernelParams(*params));
}
CUresult cuGraphAddKernelNode(Host& host, CUgraphNode* out, CUgraph graph,
                              const CUgraphNode* dependencies, size_t count,
                              const CUDA_KERNEL_NODE_PARAMS_v1* params) {
  FARWARP_ADD(params, kernelParams(*params));
}
CUresult cuGraphKernelNodeSetParams_v2(Host& host, CUgraphNode node,
                                       const CUDA_KERNEL_NODE_PARAMS* params) {
  FARWARP_SET(params, kernelParams(*params));
}
CUresult cuGraphKernelNodeSetParams(Host& host, CUgraphNode node,
                                    const CUDA_KERNEL_NODE_PARAMS_v1* params) {
  FARWARP_SET(params, kernelParams(*params));
}
CUresult cuGraphExecKernelNodeSetParams_v2(Host& host, CUgraphExec exec, CUgraphNode node,
                                           const CUDA_KERNEL_NODE_PARAMS* params) {
  FARWARP_SET_EXEC(params, kernelParams(*params));
}
CUresult cuGraphExecKernelNodeSetParams(Host& host, CUgraphExec exec, CUgraphNode node,
                                        const CUDA_KERNEL_NODE_PARAMS_v1* params) {
  FARWARP_SET_EXEC(params, kernelParams(*params));
}

CUresult cuGraphAddMemcpyNode(Host& host, CUgraphNode* out, CUgraph graph,
                              const CUgraphNode* dependencies, size_t count,
                              const CUDA_MEMCPY3D* params, CUcontext context) {
  FARWARP_ADD(params, copyParams(*params, context));
}
CUresult cuGraphMemcpyNodeSetParams(Host& host, CUgraphNode node, const CUDA_MEMCPY3D* params) {
  FARWARP_SET(params, copyParams(*params, nullptr));
}
CUresult cuGraphExecMemcpyNodeSetParams(Host& host, CUgraphExec exec, CUgraphNode node,
                                        const CUDA_MEMCPY3D* params, CUcontext context) {
  FARWARP_SET_EXEC(params, copyParams(*params, context));
}

CUresult cuGraphAddMemsetNode(Host& host, CUgraphNode* out, CUgraph graph,
                              const CUgraphNode* dependencies, size_t count,
                              const CUDA_MEMSET_NODE_PARAMS* params, CUcontext context) {
  FARWARP_ADD(params, fillParams(*params, context));
}
CUresult cuGraphMemsetNodeSetParams(Host& host, CUgraphNode node,
                                    const CUDA_MEMSET_NODE_PARAMS* params) {
  FARWARP_SET(params, fillParams(*params, nullptr));
}
CUresult cuGraphExecMemsetNodeSetParams(Host& host, CUgraphExec exec, CUgraphNode node,
                                        const CUDA_MEMSET_NODE_PARAMS* params, CUcontext context) {
  FARWARP_SET_EXEC(params, fillParams(*params, context));
}

CUresult cuGraphAddHostNode(Host& host, CUgraphNode* out, CUgraph graph,
                            const CUgraphNode* dependencies, size_t count,
                            const CUDA_HOST_NODE_PARAMS* params) {
  FARWARP_ADD(params, hostParams(*params));
}
CUresult cuGraphHostNodeSetParams(Host& host, CUgraphNode node,
                                  const CUDA_HOST_NODE_PARAMS* params) {
  FARWARP_SET(params, hostParams(*params));
}
CUresult cuGraphExecHostNodeSetParams(Host& host, CUgraphExec exec, CUgraphNode node,
                                      const CUDA_HOST_NODE_PARAMS* params) {
  FARWARP_SET_EXEC(params, hostParams(*params));
}

CUresult cuGraphAddChildGraphNode(Host& host, CUgraphNode* out, CUgraph graph,
                                  const CUgraphNode* dependencies, size_t count, CUgraph child) {
  FARWARP_ADD(child, childParams(child));
}
CUresult cuGraphExecChildGraphNodeSetParams(Host& host, CUgraphExec exec, CUgraphNode node,
                                            CUgraph child) {
  FARWARP_SET_EXEC(child, childParams(child));
}

CUresult cuGraphAddEmptyNode(Host& host, CUgraphNode* out, CUgraph graph,
                             const CUgraphNode* dependencies, size_t count) {
  FARWARP_ADD(graph, paramsOf(CU_GRAPH_NODE_TYPE_EMPTY));
}

CUresult cuGraphAddEventRecordNode(Host& host, CUgraphNode* out, CUgraph graph,
                                   const CUgraphNode* dependencies, size_t count, CUevent event) {
  FARWARP_ADD(graph, eventParams(event, true));
}
CUresult cuGraphEventRecordNodeSetEvent(Host& host, CUgraphNode node, CUevent event) {
  FARWARP_SET(node, eventParams(event, true));
}
CUresult cuGraphExecEventRecordNodeSetEvent(Host& host, CUgraphExec exec, CUgraphNode node,
                                            CUevent event) {
  FARWARP_SET_EXEC(node, eventParams(event, true));
}
CUresult cuGraphAddEventWaitNode(Host& host, CUgraphNode* out, CUgraph graph,
                                 const CUgraphNode* dependencies, size_t count, CUevent event) {
  FARWARP_ADD(graph, eventParams(event, false));
}
CUresult cuGraphEventWaitNodeSetEvent(Host& host, CUgraphNode node, CUevent event) {
  FARWARP_SET(node, eventParams(event, false));
}
CUresult cuGraphExecEventWaitNodeSetEvent(Host& host, CUgraphExec exec, CUgraphNode node,
                                          CUevent event) {
  FARWARP_SET_EXEC(node, eventParams(event, false));
}

CUresult cuGraphAddBatchMemOpNode(Host& host, CUgraphNode* out, CUgraph graph,
                                  const CUgraphNode* dependencies, size_t count,
                                  const CUDA_BATCH_MEM_OP_NODE_PARAMS* params) {
  FARWARP_ADD(params, batchParams(*params));
}
CUresult cuGraphBatchMemOpNodeSetParams(Host& host, CUgraphNode node,
                                        const CUDA_BATCH_MEM_OP_NODE_PARAMS* params) {
  FARWARP_SET(params, batchParams(*params));
}
CUresult cuGraphExecBatchMemOpNodeSetParams(Host& host, CUgraphExec exec, CUgraphNode node,
                                            const CUDA_BATCH_MEM_OP_NODE_PARAMS* params) {
  FARWARP_SET_EXEC(params, batchParams(*params));
}

CUresult cuGraphAddMemAllocNode(Host& host, CUgraphNode* out, CUgraph graph,
                                const CUgraphNode* dependencies, size_t count,
                                CUDA_MEM_ALLOC_NODE_PARAMS* params) {
  if (params == nullptr) return CUDA_ERROR_INVALID_VALUE;
  CUgraphNodeParams whole = paramsOf(CU_GRAPH_NODE_TYPE_MEM_ALLOC);
  whole.alloc = {params->poolProps, params->accessDescs, params->accessDescCount, params->bytesize,
                 0};
  FARWARP_GRAPH_TRY(addNode(host, out, graph, dependencies, nullptr, count, whole));
  params->dptr = whole.alloc.dptr;
  return CUDA_SUCCESS;
}

CUresult cuGraphAddMemFreeNode(Host& host, CUgraphNode* out, CUgraph graph,
                               const CUgraphNode* dependencies, size_t count, CUdeviceptr address) {
  CUgraphNodeParams whole = paramsOf(CU_GRAPH_NODE_TYPE_MEM_FREE);
  whole.free.dptr = address;
  return addNode(host, out, graph, dependencies, nullptr, count, whole);
}

#undef FARWARP_ADD
#undef FARWARP_SET
#undef FARWARP_SET_EXEC

// --- reading ---

CUresult cuGraphKernelNodeGetParams_v2(Host& host, CUgraphNode handle,
                                       CUDA_KERNEL_NODE_PARAMS* out) {
  Lock lock;
  Node* node = nullptr;
  const KernelParams* params = nullptr;
  FARWARP_GRAPH_TRY(findNode(host, handle, out, lock, node, params));
  node->shown_params.clear();
  for (uint32_t offset : params->offsets) {
    node->shown_params.push_back(const_cast<std::byte*>(params->packed.data()) + offset);
  }
  const LaunchShape& shape = params->shape;
  *out = {params->function,
          shape.grid[0],
          shape.grid[1],
          shape.grid[2],
          shape.block[0],
          shape.block[1],
          shape.block[2],
          shape.shared_dynamic,
          node->shown_params.empty() ? nullptr : node->shown_params.data(),
          nullptr,
          params->kernel,
          params->context};
  return CUDA_SUCCESS;
}

CUresult cuGraphKernelNodeGetParams(Host& host, CUgraphNode node, CUDA_KERNEL_NODE_PARAMS_v1* out) {
  if (out == nullptr) return CUDA_ERROR_INVALID_VALUE;
  CUDA_KERNEL_NODE_PARAMS_v2 newer;
  FARWARP_GRAPH_TRY(calls::cuGraphKernelNodeGetParams_v2(host, node, &newer));
  *out = {newer.func != nullptr ? newer.func : reinterpret_cast<CUfunction>(newer.kern),
          newer.gridDimX,
          newer.gridDimY,
          newer.gridDimZ,
          newer.blockDimX,
          newer.blockDimY,
          newer.blockDimZ,
          newer.sharedMemBytes,
          newer.kernelParams,
          newer.extra};
  return CUDA_SUCCESS;
}

CUresult cuGraphMemcpyNodeGetParams(Host& host, CUgraphNode handle, CUDA_MEMCPY3D* out) {
  Lock lock;
  Node* node = nullptr;
  const CopyParams* params = nullptr;
  FARWARP_GRAPH_TRY(findNode(host, handle, out, lock, node, params));
  *out = params->copy;
  return CUDA_SUCCESS;
}

CUresult cuGraphMemsetNodeGetParams(Host& host, CUgraphNode handle, CUDA_MEMSET_NODE_PARAMS* out) {
  Lock lock;
  Node* node = nullptr;
  const FillParams* params = nullptr;
  FARWARP_GRAPH_TRY(findNode(host, handle, out, lock, node, params));
  const CUDA_MEMSET_NODE_PARAMS_v2& fill = params->fill;
  *out = {fill.dst, fill.pitch, fill.value, fill.elementSize, fill.width, fill.height};
  return CUDA_SUCCESS;
}

CUresult cuGraphHostNodeGetParams(Host& host, CUgraphNode handle, CUDA_HOST_NODE_PARAMS* out) {
  Lock lock;
  Node* node = nullptr;
  const HostParams* params = nullptr;
  FARWARP_GRAPH_TRY(findNode(host, handle, out, lock, node, params));
  *out = {params->function, params->data};
  return CUDA_SUCCESS;
}

CUresult cuGraphChildGraphNodeGetGraph(Host& host, CUgraphNode handle, CUgraph* out) {
  Lock lock;
  Node* node = nullptr;
  const ChildParams* params = nullptr;
  FARWARP_GRAPH_TRY(findNode(host, handle, out, lock, node, params));
  *out = params->graph->handle;
  return CUDA_SUCCESS;
}

namespace {

CUresult eventOf(Host& host, CUgraphNode handle, CUevent* out, bool is_record) {
  Lock lock;
  Node* node = nullptr;
  const EventParams* params = nullptr;
  FARWARP_GRAPH_TRY(findNode(host, handle, out, lock, node, params));
  if (params->record != is_record) return CUDA_ERROR_INVALID_VALUE;
  *out = params->event;
  return CUDA_SUCCESS;
}

}  // namespace

CUresult cuGraphEventRecordNodeGetEvent(Host& host, CUgraphNode node, CUevent* out) {
  return eventOf(host, node, out, true);
}
CUresult cuGraphEventWaitNodeGetEvent(Host& host, CUgraphNode node, CUevent* out) {
  return eventOf(host, node, out, false);
}

CUresult cuGraphBatchMemOpNodeGetParams(Host& host, CUgraphNode handle,
                                        CUDA_BATCH_MEM_OP_NODE_PARAMS* out) {
  Lock lock;
  Node* node = nullptr;
  const BatchParams* params = nullptr;
  FARWARP_GRAPH_TRY(findNode(host, handle, out, lock, node, params));
  *out = {params->context, static_cast<unsigned>(params->operations.size()),
          const_cast<CUstreamBatchMemOpParams*>(params->operations.data()), params->flags};
  return CUDA_SUCCESS;
}

CUresult cuGraphMemAllocNodeGetParams(Host& host, CUgraphNode handle,
                                      CUDA_MEM_ALLOC_NODE_PARAMS* out) {
  Lock lock;
  Node* node = nullptr;
  const AllocParams* params = nullptr;
  FARWARP_GRAPH_TRY(findNode(host, handle, out, lock, node, params));
  *out = {params->properties, params->access.data(), params->access.size(), params->bytes,
          params->address};
  return CUDA_SUCCESS;
}

CUresult cuGraphMemFreeNodeGetParams(Host& host, CUgraphNode handle, CUdeviceptr* out) {
  Lock lock;
  Node* node = nullptr;
  const FreeParams* params = nullptr;
  FARWARP_GRAPH_TRY(findNode(host, handle, out, lock, node, params));
  *out = params->address;
  return CUDA_SUCCESS;
}

// --- attributes of kernel nodes ---

CUresult cuGraphKernelNodeSetAttribute(Host& host, CUgraphNode handle, CUkernelNodeAttrID id,
                                       const CUkernelNodeAttrValue* value) {
  Lock lock;
  Node* node = nullptr;
  const KernelParams* params = nullptr;
  FARWARP_GRAPH_TRY(findNode(host, handle, value, lock, node, params));
  KernelParams changed = *params;
  std::erase_if(changed.attributes, [id](const auto& attribute) { return attribute.id == id; });
  CUlaunchAttribute given{};
  given.id = id;
  given.value = *value;
  FARWARP_GRAPH_TRY(readAttributes({&given, 1}, changed.attributes, changed.shape));
  node->params = share(std::move(changed));
  return CUDA_SUCCESS;
}

CUresult cuGraphKernelNodeGetAttribute(Host& host, CUgraphNode handle, CUkernelNodeAttrID id,
                                       CUkernelNodeAttrValue* value) {
  Lock lock;
  Node* node = nullptr;
  const KernelParams* params = nullptr;
  FARWARP_GRAPH_TRY(findNode(host, handle, value, lock, node, params));
  std::memset(value, 0, sizeof *value);
  // Of an attribute that was not set, what CUDA takes for it; that one is known at all is checked
  // by reading it.
  std::vector<CUlaunchAttribute> known;
  LaunchShape shape{};
  CUlaunchAttribute probe{};
  probe.id = id;
  FARWARP_GRAPH_TRY(readAttributes({&probe, 1}, known, shape));
  for (const CUlaunchAttribute& attribute : params->attributes) {
    if (attribute.id == id) *value = attribute.value;
  }
  return CUDA_SUCCESS;
}

CUresult cuGraphKernelNodeCopyAttributes(Host& host, CUgraphNode to, CUgraphNode from) {
  Lock lock;
  Node* node = nullptr;
  const KernelParams* source = nullptr;
  FARWARP_GRAPH_TRY(findNode(host, from, to, lock, node, source));
  node = host.state.find(to);
  if (node == nullptr || node->as<KernelParams>() == nullptr) return CUDA_ERROR_INVALID_VALUE;
  KernelParams changed = *node->as<KernelParams>();
  changed.attributes = source->attributes;
  std::memcpy(changed.shape.cluster, source->shape.cluster, sizeof changed.shape.cluster);
  changed.shape.cooperative = source->shape.cooperative;
  node->params = share(std::move(changed));
  return CUDA_SUCCESS;
}

}  // namespace calls
}  // namespace farwarp::graph
