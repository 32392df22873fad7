// cuGraphDebugDotPrint: a graph in the language of Graphviz.
#include <cstdio>
#include <memory>

#include "driver/graph/host.h"
#include "graph_calls_gen.h"

namespace farwarp::graph {
namespace {

const char* nameOf(CUgraphNodeType type) {
  switch (type) {
    case CU_GRAPH_NODE_TYPE_KERNEL:
      return "KERNEL";
    case CU_GRAPH_NODE_TYPE_MEMCPY:
      return "MEMCPY";
    case CU_GRAPH_NODE_TYPE_MEMSET:
      return "MEMSET";
    case CU_GRAPH_NODE_TYPE_HOST:
      return "HOST";
    case CU_GRAPH_NODE_TYPE_GRAPH:
      return "GRAPH";
    case CU_GRAPH_NODE_TYPE_EMPTY:
      return "EMPTY";
    case CU_GRAPH_NODE_TYPE_WAIT_EVENT:
      return "WAIT_EVENT";
    case CU_GRAPH_NODE_TYPE_EVENT_RECORD:
      return "EVENT_RECORD";
    case CU_GRAPH_NODE_TYPE_MEM_ALLOC:
      return "MEM_ALLOC";
    case CU_GRAPH_NODE_TYPE_MEM_FREE:
      return "MEM_FREE";
    case CU_GRAPH_NODE_TYPE_BATCH_MEM_OP:
      return "BATCH_MEM_OP";
    case CU_GRAPH_NODE_TYPE_CONDITIONAL:
      return "CONDITIONAL";
    default:
      return "UNKNOWN";
  }
}

bool wants(unsigned flags, unsigned what) {
  return (flags & (CU_GRAPH_DEBUG_DOT_FLAGS_VERBOSE | what)) != 0;
}

void printParams(std::FILE* out, const Node& node, unsigned flags) {
  if (const auto* kernel = node.as<KernelParams>();
      kernel != nullptr && wants(flags, CU_GRAPH_DEBUG_DOT_FLAGS_KERNEL_NODE_PARAMS)) {
    const LaunchShape& shape = kernel->shape;
    std::fprintf(out, "\\n<<<(%u, %u, %u), (%u, %u, %u), %u>>>\\n%p", shape.grid[0], shape.grid[1],
                 shape.grid[2], shape.block[0], shape.block[1], shape.block[2],
                 shape.shared_dynamic, static_cast<const void*>(kernel->launched()));
  }
  if (const auto* copy = node.as<CopyParams>();
      copy != nullptr && wants(flags, CU_GRAPH_DEBUG_DOT_FLAGS_MEMCPY_NODE_PARAMS)) {
    std::fprintf(out, "\\n%zu x %zu x %zu bytes", copy->copy.WidthInBytes, copy->copy.Height,
                 copy->copy.Depth);
  }
  if (const auto* fill = node.as<FillParams>();
      fill != nullptr && wants(flags, CU_GRAPH_DEBUG_DOT_FLAGS_MEMSET_NODE_PARAMS)) {
    std::fprintf(out, "\\n%#llx: %zu x %zu of %u bytes, value %u", fill->fill.dst, fill->fill.width,
                 fill->fill.height, fill->fill.elementSize, fill->fill.value);
  }
  if (const auto* conditional = node.as<ConditionalParams>();
      conditional != nullptr && wants(flags, CU_GRAPH_DEBUG_DOT_FLAGS_CONDITIONAL_NODE_PARAMS)) {
    constexpr const char* kTypes[] = {"IF", "WHILE", "SWITCH"};
    std::fprintf(out, "\\n%s, %zu bodies, handle %#llx", kTypes[conditional->type],
                 conditional->bodies.size(),
                 static_cast<unsigned long long>(conditional->condition->handle));
  }
  if (wants(flags, CU_GRAPH_DEBUG_DOT_FLAGS_HANDLES)) {
    std::fprintf(out, "\\nnode %p", static_cast<const void*>(node.handle));
  }
}

void print(std::FILE* out, const Graph& graph, unsigned flags, unsigned& number,
           const char* keyword) {
  const unsigned own = number++;
  std::fprintf(out, "%s \"%sgraph_%u\" {\n", keyword, own == 0 ? "" : "cluster_", own);
  for (const auto& node : graph.nodes) {
    std::fprintf(out, "  \"graph_%u_node_%u\" [shape=box label=\"%u\\n%s", own, node->index,
                 node->index, nameOf(typeOf(*node->params)));
    printParams(out, *node, flags);
    std::fprintf(out, "\"];\n");
  }
  for (const auto& node : graph.nodes) {
    for (const Dependency& dependency : node->dependencies) {
      std::fprintf(out, "  \"graph_%u_node_%u\" -> \"graph_%u_node_%u\";\n", own,
                   dependency.node->index, own, node->index);
    }
  }
  for (const auto& node : graph.nodes) {
    for (const auto& inner : graphsIn(*node->params)) {
      print(out, *inner, flags, number, "subgraph");
    }
  }
  std::fprintf(out, "}\n");
}

}  // namespace

namespace calls {

CUresult cuGraphDebugDotPrint(Host& host, CUgraph handle, const char* path, unsigned int flags) {
  FARWARP_GRAPH_TRY(host.enter(false));
  constexpr unsigned kFlagsKnown = 2 * CU_GRAPH_DEBUG_DOT_FLAGS_CONDITIONAL_NODE_PARAMS - 1;
  std::lock_guard lock(host.state.mutex);
  const auto graph = host.state.find(handle);
  if (graph == nullptr || path == nullptr || (flags & ~kFlagsKnown) != 0) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  std::unique_ptr<std::FILE, int (*)(std::FILE*)> out(std::fopen(path, "w"), std::fclose);
  if (out == nullptr) return CUDA_ERROR_OPERATING_SYSTEM;
  unsigned number = 0;
  print(out.get(), *graph, flags, number, "digraph");
  return std::ferror(out.get()) == 0 ? CUDA_SUCCESS : CUDA_ERROR_OPERATING_SYSTEM;
}

}  // namespace calls
}  // namespace farwarp::graph
