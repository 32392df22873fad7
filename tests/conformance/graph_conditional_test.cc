// Goal: graphs whose conditional nodes choose or repeat their bodies by values that kernels set run
// the same remotely as locally. Method: kernels count what ran; if, else, while, switch, nested
// bodies, default values, repeated launches, and bodies filled by stream capture; then what CUDA
// refuses.
#include "tests/conformance/graph_fixture.h"

namespace farwarp::conformance {
namespace {

// set(handle, value); countdown(handle, p): the handle's value is --*p.
constexpr char kSetProgram[] = R"(
.version 7.0
.target sm_50
.address_size 64
.extern .func cudaGraphSetConditional(.param .b64 handle, .param .b32 value);
.visible .entry set(.param .u64 handle, .param .u32 value)
{
  .reg .b32 %r<2>;
  .reg .b64 %d<2>;
  ld.param.u64 %d0, [handle];
  ld.param.u32 %r0, [value];
  {
    .param .b64 a;
    .param .b32 b;
    st.param.b64 [a], %d0;
    st.param.b32 [b], %r0;
    call.uni cudaGraphSetConditional, (a, b);
  }
  ret;
}
.visible .entry countdown(.param .u64 handle, .param .u64 p)
{
  .reg .b32 %r<2>;
  .reg .b64 %d<2>;
  ld.param.u64 %d0, [handle];
  ld.param.u64 %d1, [p];
  ld.global.u32 %r0, [%d1];
  sub.u32 %r0, %r0, 1;
  st.global.u32 [%d1], %r0;
  {
    .param .b64 a;
    .param .b32 b;
    st.param.b64 [a], %d0;
    st.param.b32 [b], %r0;
    call.uni cudaGraphSetConditional, (a, b);
  }
  ret;
}
)";

class ConditionalGraph : public GraphFixture {
 protected:
  void SetUp() override {
    GraphFixture::SetUp();
    ASSERT_OK(cuModuleLoadData(&set_module_, kSetProgram));
    ASSERT_OK(cuModuleGetFunction(&set_, set_module_, "set"));
    ASSERT_OK(cuModuleGetFunction(&countdown_, set_module_, "countdown"));
    ASSERT_OK(cuGraphCreate(&graph_, 0));
    counter_ = allocate(sizeof(unsigned));
  }

  CUgraphConditionalHandle handle(unsigned value = 0, unsigned flags = 0) {
    CUgraphConditionalHandle made = 0;
    EXPECT_OK(cuGraphConditionalHandleCreate(&made, graph_, context_, value, flags));
    return made;
  }
  CUgraphNode kernel(CUgraph graph, CUfunction function, void** params, const CUgraphNode* behind,
                     unsigned threads = 1, unsigned blocks = 1) {
    CUgraphNodeParams node{};
    node.type = CU_GRAPH_NODE_TYPE_KERNEL;
    node.kernel.func = function;
    node.kernel.gridDimX = blocks;
    node.kernel.gridDimY = node.kernel.gridDimZ = 1;
    node.kernel.blockDimX = threads;
    node.kernel.blockDimY = node.kernel.blockDimZ = 1;
    node.kernel.kernelParams = params;
    CUgraphNode made = nullptr;
    EXPECT_OK(cuGraphAddNode_v2(&made, graph, behind, nullptr, behind != nullptr ? 1 : 0, &node));
    return made;
  }
  CUgraphNode addSet(CUgraph graph, CUgraphConditionalHandle handle, unsigned value,
                     const CUgraphNode* behind = nullptr) {
    void* params[] = {&handle, &value};
    return kernel(graph, set_, params, behind);
  }
  CUgraphNode addCountdown(CUgraph graph, CUgraphConditionalHandle handle,
                           const CUgraphNode* behind = nullptr) {
    void* params[] = {&handle, &counter_};
    return kernel(graph, countdown_, params, behind);
  }
  // memory_[i] += value
  CUgraphNode addAdd(CUgraph graph, unsigned value, const CUgraphNode* behind = nullptr) {
    unsigned n = kCount;
    void* params[] = {&memory_, &n, &value};
    return kernel(graph, add_, params, behind, 128, (kCount + 127) / 128);
  }
  // A conditional node; `bodies` gets its graphs.
  CUgraphNode conditional(CUgraph graph, CUgraphConditionalHandle handle,
                          CUgraphConditionalNodeType type, unsigned size,
                          std::vector<CUgraph>& bodies, const CUgraphNode* behind = nullptr) {
    CUgraphNodeParams node{};
    node.type = CU_GRAPH_NODE_TYPE_CONDITIONAL;
    node.conditional.handle = handle;
    node.conditional.type = type;
    node.conditional.size = size;
    node.conditional.ctx = context_;
    CUgraphNode made = nullptr;
    EXPECT_OK(cuGraphAddNode_v2(&made, graph, behind, nullptr, behind != nullptr ? 1 : 0, &node));
    bodies.clear();
    if (made != nullptr)
      bodies.assign(node.conditional.phGraph_out, node.conditional.phGraph_out + size);
    return made;
  }
  // Runs the graph once and returns what memory_ grew by.
  unsigned runOnce(CUgraphExec exec) {
    zero(memory_, kBytes);
    run(exec);
    std::vector<unsigned> out(kCount);
    EXPECT_OK(cuMemcpyDtoH_v2(out.data(), memory_, kBytes));
    EXPECT_TRUE(std::all_of(out.begin(), out.end(), [&](unsigned v) { return v == out[0]; }));
    return out[0];
  }

  CUmodule set_module_ = nullptr;
  CUfunction set_ = nullptr, countdown_ = nullptr;
  CUgraph graph_ = nullptr;
  CUdeviceptr counter_ = 0;
};

TEST_F(ConditionalGraph, IfAndElse) {
  for (unsigned value : {0u, 1u, 77u}) {
    for (unsigned size : {1u, 2u}) {
      ASSERT_OK(cuGraphCreate(&graph_, 0));
      const auto condition = handle();
      const CUgraphNode set = addSet(graph_, condition, value);
      std::vector<CUgraph> bodies;
      const CUgraphNode node =
          conditional(graph_, condition, CU_GRAPH_COND_TYPE_IF, size, bodies, &set);
      ASSERT_EQ(bodies.size(), size);
      addAdd(bodies[0], 10);
      if (size == 2) addAdd(bodies[1], 20);
      addAdd(graph_, 1, &node);
      const CUgraphExec exec = instantiate(graph_);
      const unsigned expected = 1 + (value != 0 ? 10u : size == 2 ? 20u : 0u);
      EXPECT_EQ(runOnce(exec), expected) << value << " of " << size;
      EXPECT_EQ(runOnce(exec), expected);
      EXPECT_OK(cuGraphExecDestroy(exec));
      EXPECT_OK(cuGraphDestroy(graph_));
    }
  }
}

TEST_F(ConditionalGraph, WhileRunsUntilItsConditionIsZero) {
  const auto condition = handle(1, CU_GRAPH_COND_ASSIGN_DEFAULT);
  std::vector<CUgraph> bodies;
  const CUgraphNode node = conditional(graph_, condition, CU_GRAPH_COND_TYPE_WHILE, 1, bodies);
  const CUgraphNode added = addAdd(bodies[0], 3);
  addCountdown(bodies[0], condition, &added);
  addAdd(graph_, 100, &node);
  const CUgraphExec exec = instantiate(graph_);
  for (unsigned rounds : {1u, 2u, 25u}) {
    ASSERT_OK(cuMemsetD32_v2(counter_, rounds, 1));
    EXPECT_EQ(runOnce(exec), 100 + 3 * rounds);
  }
  // Launches of one graph do not mix, and work behind them comes after their last round.
  ASSERT_OK(cuMemsetD32_v2(counter_, 40, 1));
  zero(memory_, kBytes);
  EXPECT_OK(cuGraphLaunch(exec, stream_));
  EXPECT_OK(cuMemsetD32Async(counter_, 2, 1, stream_));
  EXPECT_OK(cuGraphLaunch(exec, stream_));
  EXPECT_OK(cuStreamSynchronize(stream_));
  EXPECT_TRUE(all(2 * 100 + 3 * 42));
  EXPECT_OK(cuGraphExecDestroy(exec));
}

TEST_F(ConditionalGraph, SwitchChoosesOneBodyOrNone) {
  const auto condition = handle();
  void* params[] = {nullptr, nullptr};
  CUgraphConditionalHandle given = condition;
  unsigned value = 0;
  params[0] = &given;
  params[1] = &value;
  const CUgraphNode set = kernel(graph_, set_, params, nullptr);
  std::vector<CUgraph> bodies;
  conditional(graph_, condition, CU_GRAPH_COND_TYPE_SWITCH, 3, bodies, &set);
  for (unsigned i = 0; i < 3; ++i) addAdd(bodies[i], 1 + i);
  const CUgraphExec exec = instantiate(graph_);
  for (value = 0; value < 5; ++value) {
    // Another parameter of the executable graph; the handle in it goes along.
    CUDA_KERNEL_NODE_PARAMS changed{};
    changed.func = set_;
    changed.gridDimX = changed.gridDimY = changed.gridDimZ = 1;
    changed.blockDimX = changed.blockDimY = changed.blockDimZ = 1;
    changed.kernelParams = params;
    EXPECT_OK(cuGraphExecKernelNodeSetParams_v2(exec, set, &changed));
    EXPECT_EQ(runOnce(exec), value < 3 ? 1 + value : 0u) << value;
  }
  EXPECT_OK(cuGraphExecDestroy(exec));
}

// A loop whose body has a choice and a child graph.
TEST_F(ConditionalGraph, NestedBodies) {
  const auto loop = handle(1, CU_GRAPH_COND_ASSIGN_DEFAULT);
  const auto choice = handle(1, CU_GRAPH_COND_ASSIGN_DEFAULT);
  std::vector<CUgraph> round, branches;
  conditional(graph_, loop, CU_GRAPH_COND_TYPE_WHILE, 1, round);
  const CUgraphNode inner = conditional(round[0], choice, CU_GRAPH_COND_TYPE_IF, 2, branches);
  const CUgraphNode first = addAdd(branches[0], 1000);  // the first round
  addSet(branches[0], choice, 0, &first);
  CUgraph child = nullptr;
  ASSERT_OK(cuGraphCreate(&child, 0));
  addAdd(child, 1);
  CUgraphNode nested = nullptr;
  ASSERT_OK(cuGraphAddChildGraphNode(&nested, branches[1], nullptr, 0, child));
  addCountdown(round[0], loop, &inner);
  const CUgraphExec exec = instantiate(graph_);
  ASSERT_OK(cuMemsetD32_v2(counter_, 6, 1));
  EXPECT_EQ(runOnce(exec), 1005u);
  ASSERT_OK(cuMemsetD32_v2(counter_, 1, 1));
  EXPECT_EQ(runOnce(exec), 1000u);
  EXPECT_OK(cuGraphExecDestroy(exec));
}

TEST_F(ConditionalGraph, ABodyMayBeCaptured) {
  const auto condition = handle(1, CU_GRAPH_COND_ASSIGN_DEFAULT);
  std::vector<CUgraph> bodies;
  conditional(graph_, condition, CU_GRAPH_COND_TYPE_IF, 1, bodies);
  ASSERT_OK(cuStreamBeginCaptureToGraph(stream_, bodies[0], nullptr, nullptr, 0,
                                        CU_STREAM_CAPTURE_MODE_GLOBAL));
  EXPECT_OK(launchAdd(stream_, 4));
  EXPECT_OK(launchAdd(stream_, 5));
  CUgraph ended = nullptr;
  EXPECT_OK(cuStreamEndCapture(stream_, &ended));
  EXPECT_EQ(ended, bodies[0]);
  EXPECT_EQ(nodesOf(bodies[0]), 2u);
  const CUgraphExec exec = instantiate(graph_);
  EXPECT_EQ(runOnce(exec), 9u);
  EXPECT_OK(cuGraphExecDestroy(exec));
}

TEST_F(ConditionalGraph, WhatIsKnownOfIt) {
  const auto condition = handle();
  std::vector<CUgraph> bodies;
  const CUgraphNode node = conditional(graph_, condition, CU_GRAPH_COND_TYPE_IF, 2, bodies);
  CUgraphNodeType type = CU_GRAPH_NODE_TYPE_EMPTY;
  EXPECT_OK(cuGraphNodeGetType(node, &type));
  EXPECT_EQ(type, CU_GRAPH_NODE_TYPE_CONDITIONAL);
  EXPECT_NE(bodies[0], bodies[1]);
  EXPECT_EQ(nodesOf(bodies[1]), 0u);
  EXPECT_CUDA(cuGraphDestroy(bodies[0]), CUDA_ERROR_INVALID_VALUE);
  CUgraph clone = nullptr;
  EXPECT_CUDA(cuGraphClone(&clone, graph_), CUDA_ERROR_NOT_SUPPORTED);
  CUgraph parent = nullptr;
  ASSERT_OK(cuGraphCreate(&parent, 0));
  CUgraphNode child = nullptr;
  EXPECT_CUDA(cuGraphAddChildGraphNode(&child, parent, nullptr, 0, graph_),
              CUDA_ERROR_NOT_SUPPORTED);
  EXPECT_OK(cuGraphDestroyNode(node));
}

TEST_F(ConditionalGraph, RefusesWhatMakesNoSense) {
  CUgraphConditionalHandle made = 0;
  EXPECT_CUDA(cuGraphConditionalHandleCreate(nullptr, graph_, context_, 0, 0),
              CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuGraphConditionalHandleCreate(&made, graph_, context_, 0, 2),
              CUDA_ERROR_INVALID_VALUE);
  EXPECT_BAD_HANDLE(cuGraphConditionalHandleCreate(&made, nullptr, context_, 0, 0),
                    CUDA_ERROR_INVALID_VALUE);
  const auto condition = handle();
  const struct {
    CUgraphConditionalNodeType type;
    unsigned size;
  } wrong[] = {{CU_GRAPH_COND_TYPE_IF, 0},
               {CU_GRAPH_COND_TYPE_IF, 3},
               {CU_GRAPH_COND_TYPE_WHILE, 2},
               {CU_GRAPH_COND_TYPE_SWITCH, 0},
               {static_cast<CUgraphConditionalNodeType>(3), 1}};
  CUgraphNode node = nullptr;
  CUgraphNodeParams params{};
  params.type = CU_GRAPH_NODE_TYPE_CONDITIONAL;
  params.conditional.handle = condition;
  params.conditional.ctx = context_;
  for (const auto& given : wrong) {
    params.conditional.type = given.type;
    params.conditional.size = given.size;
    EXPECT_CUDA(cuGraphAddNode_v2(&node, graph_, nullptr, nullptr, 0, &params),
                CUDA_ERROR_INVALID_VALUE);
  }
  params.conditional.type = CU_GRAPH_COND_TYPE_IF;
  params.conditional.size = 1;
  params.conditional.handle = 12345;
  EXPECT_BAD_HANDLE(cuGraphAddNode_v2(&node, graph_, nullptr, nullptr, 0, &params),
                    CUDA_ERROR_INVALID_VALUE);
  // A handle that no node asks, and a body with a node that a device cannot run by itself.
  CUDA_GRAPH_INSTANTIATE_PARAMS how{};
  CUgraphExec exec = nullptr;
  EXPECT_CUDA(cuGraphInstantiateWithParams(&exec, graph_, &how), CUDA_ERROR_INVALID_VALUE);
  EXPECT_EQ(how.result_out, CUDA_GRAPH_INSTANTIATE_CONDITIONAL_HANDLE_UNUSED);
  std::vector<CUgraph> bodies;
  conditional(graph_, condition, CU_GRAPH_COND_TYPE_IF, 1, bodies);
  CUevent event = nullptr;
  ASSERT_OK(cuEventCreate(&event, 0));
  EXPECT_OK(cuGraphAddEventRecordNode(&node, bodies[0], nullptr, 0, event));
  EXPECT_CUDA(cuGraphInstantiateWithParams(&exec, graph_, &how), CUDA_ERROR_INVALID_VALUE);
  EXPECT_EQ(how.result_out, CUDA_GRAPH_INSTANTIATE_NODE_OPERATION_NOT_SUPPORTED);
}

}  // namespace
}  // namespace farwarp::conformance
