// Goal: a node of every kind is made, asked and changed with the same results remotely as locally,
// in a graph and in an executable one. Method: small graphs with one node of the kind, run after
// each change.
#include "tests/conformance/graph_fixture.h"

namespace farwarp::conformance {
namespace {

class GraphNodesTest : public GraphFixture {
 protected:
  void SetUp() override {
    GraphFixture::SetUp();
    ASSERT_OK(cuGraphCreate(&graph_, 0));
  }
  void TearDown() override {
    if (exec_ != nullptr) {
      EXPECT_OK(cuGraphExecDestroy(exec_));
    }
    EXPECT_OK(cuGraphDestroy(graph_));
    GraphFixture::TearDown();
  }

  // add(memory_, kCount, value); the pointers in it stay valid until the next call.
  CUDA_KERNEL_NODE_PARAMS_v1 kernel(unsigned value) {
    where_ = memory_;
    value_ = value;
    CUDA_KERNEL_NODE_PARAMS_v1 params{};
    params.func = add_;
    params.gridDimX = (kCount + 127) / 128;
    params.gridDimY = params.gridDimZ = params.blockDimY = params.blockDimZ = 1;
    params.blockDimX = 128;
    params.kernelParams = arguments_;
    return params;
  }
  CUDA_MEMSET_NODE_PARAMS fill(unsigned value) { return {memory_, 0, value, 4, kCount, 1}; }
  CUDA_MEMCPY3D copyOut(void* to) {
    CUDA_MEMCPY3D copy{};
    copy.srcMemoryType = CU_MEMORYTYPE_DEVICE;
    copy.srcDevice = memory_;
    copy.dstMemoryType = CU_MEMORYTYPE_HOST;
    copy.dstHost = to;
    copy.WidthInBytes = kBytes;
    copy.Height = copy.Depth = 1;
    return copy;
  }
  CUevent event() {
    CUevent event = nullptr;
    EXPECT_OK(cuEventCreate(&event, CU_EVENT_DISABLE_TIMING));
    return event;
  }
  void runGraph() {
    exec_ = instantiate(graph_);
    run(exec_);
  }
  // memory_ is zeroed, and the executable graph runs.
  void again() {
    zero(memory_, kBytes);
    run(exec_);
  }

  CUgraph graph_ = nullptr;
  CUgraphExec exec_ = nullptr;
  CUdeviceptr where_ = 0;
  unsigned count_ = kCount, value_ = 0;
  void* arguments_[3] = {&where_, &count_, &value_};
};

TEST_F(GraphNodesTest, Kernels) {
  CUgraphNode first = nullptr, second = nullptr;
  CUDA_KERNEL_NODE_PARAMS_v1 params = kernel(3), told{};
  ASSERT_OK(cuGraphAddKernelNode(&first, graph_, nullptr, 0, &params));
  ASSERT_OK(cuGraphAddKernelNode(&second, graph_, &first, 1, &params));
  EXPECT_OK(cuGraphKernelNodeGetParams(first, &told));
  EXPECT_EQ(told.blockDimX, 128u);
  EXPECT_EQ(*static_cast<unsigned*>(told.kernelParams[2]), 3u);
  params = kernel(4);
  EXPECT_OK(cuGraphKernelNodeSetParams(first, &params));
  runGraph();
  EXPECT_TRUE(all(7));
  params = kernel(10);
  EXPECT_OK(cuGraphExecKernelNodeSetParams(exec_, second, &params));
  again();
  EXPECT_TRUE(all(14));
  CUkernelNodeAttrValue value{}, same{};
  value.priority = 0;
  EXPECT_OK(cuGraphKernelNodeSetAttribute(first, CU_KERNEL_NODE_ATTRIBUTE_PRIORITY, &value));
  EXPECT_OK(cuGraphKernelNodeGetAttribute(first, CU_KERNEL_NODE_ATTRIBUTE_PRIORITY, &same));
  EXPECT_EQ(same.priority, 0);
  EXPECT_OK(cuGraphKernelNodeCopyAttributes(second, first));
  EXPECT_CUDA(cuGraphKernelNodeGetParams(first, nullptr), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuGraphAddKernelNode(&first, graph_, nullptr, 0, nullptr), CUDA_ERROR_INVALID_VALUE);
}

TEST_F(GraphNodesTest, FillsAndCopies) {
  CUgraphNode filled = nullptr, copied = nullptr;
  std::vector<unsigned> out(kCount), other(kCount);
  CUDA_MEMSET_NODE_PARAMS params = fill(5), told{};
  CUDA_MEMCPY3D copy = copyOut(out.data()), told_copy{};
  ASSERT_OK(cuGraphAddMemsetNode(&filled, graph_, nullptr, 0, &params, context_));
  ASSERT_OK(cuGraphAddMemcpyNode(&copied, graph_, &filled, 1, &copy, context_));
  EXPECT_OK(cuGraphMemsetNodeGetParams(filled, &told));
  EXPECT_EQ(told.value, 5u);
  EXPECT_EQ(told.width, kCount);
  EXPECT_OK(cuGraphMemcpyNodeGetParams(copied, &told_copy));
  EXPECT_EQ(told_copy.dstHost, out.data());
  EXPECT_EQ(told_copy.WidthInBytes, kBytes);
  params = fill(6);
  EXPECT_OK(cuGraphMemsetNodeSetParams(filled, &params));
  copy = copyOut(other.data());
  EXPECT_OK(cuGraphMemcpyNodeSetParams(copied, &copy));
  runGraph();
  EXPECT_EQ(other, std::vector<unsigned>(kCount, 6));
  EXPECT_EQ(out[0], 0u);
  params = fill(9);
  EXPECT_OK(cuGraphExecMemsetNodeSetParams(exec_, filled, &params, context_));
  run(exec_);
  EXPECT_EQ(other, std::vector<unsigned>(kCount, 9));
  EXPECT_CUDA(cuGraphMemsetNodeGetParams(copied, &told), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuGraphMemcpyNodeGetParams(filled, &told_copy), CUDA_ERROR_INVALID_VALUE);
}

TEST_F(GraphNodesTest, HostFunctions) {
  int calls = 0, others = 0;
  const CUhostFn count = [](void* data) { ++*static_cast<int*>(data); };
  CUDA_HOST_NODE_PARAMS params{count, &calls}, told{};
  CUgraphNode node = nullptr;
  ASSERT_OK(cuGraphAddHostNode(&node, graph_, nullptr, 0, &params));
  EXPECT_OK(cuGraphHostNodeGetParams(node, &told));
  EXPECT_EQ(told.userData, &calls);
  runGraph();
  EXPECT_EQ(calls, 1);
  params.userData = &others;
  EXPECT_OK(cuGraphExecHostNodeSetParams(exec_, node, &params));
  run(exec_);
  EXPECT_EQ(others, 1);
  EXPECT_OK(cuGraphHostNodeSetParams(node, &params));
  EXPECT_OK(cuGraphHostNodeGetParams(node, &told));
  EXPECT_EQ(told.userData, &others);
  EXPECT_EQ(calls, 1);
  EXPECT_CUDA(cuGraphAddHostNode(&node, graph_, nullptr, 0, nullptr), CUDA_ERROR_INVALID_VALUE);
}

TEST_F(GraphNodesTest, Events) {
  const CUevent first = event(), second = event();
  CUgraphNode recorded = nullptr, waited = nullptr;
  ASSERT_OK(cuGraphAddEventRecordNode(&recorded, graph_, nullptr, 0, first));
  ASSERT_OK(cuGraphAddEventWaitNode(&waited, graph_, &recorded, 1, first));
  CUevent told = nullptr;
  EXPECT_OK(cuGraphEventRecordNodeGetEvent(recorded, &told));
  EXPECT_EQ(told, first);
  EXPECT_OK(cuGraphEventWaitNodeGetEvent(waited, &told));
  EXPECT_EQ(told, first);
  EXPECT_OK(cuGraphEventRecordNodeSetEvent(recorded, second));
  EXPECT_OK(cuGraphEventWaitNodeSetEvent(waited, second));
  EXPECT_OK(cuGraphEventRecordNodeGetEvent(recorded, &told));
  EXPECT_EQ(told, second);
  runGraph();
  EXPECT_OK(cuEventQuery(second));
  EXPECT_OK(cuGraphExecEventRecordNodeSetEvent(exec_, recorded, first));
  EXPECT_OK(cuGraphExecEventWaitNodeSetEvent(exec_, waited, first));
  run(exec_);
  EXPECT_OK(cuEventQuery(first));
  EXPECT_CUDA(cuGraphEventRecordNodeGetEvent(waited, &told), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuGraphEventWaitNodeGetEvent(waited, nullptr), CUDA_ERROR_INVALID_VALUE);
  EXPECT_OK(cuEventDestroy_v2(first));
  EXPECT_OK(cuEventDestroy_v2(second));
}

TEST_F(GraphNodesTest, OperationsOnValues) {
  CUstreamBatchMemOpParams write{};
  write.writeValue.operation = CU_STREAM_MEM_OP_WRITE_VALUE_32;
  write.writeValue.address = memory_;
  write.writeValue.value = 11;
  CUDA_BATCH_MEM_OP_NODE_PARAMS params{context_, 1, &write, 0}, told{};
  CUgraphNode node = nullptr;
  ASSERT_OK(cuGraphAddBatchMemOpNode(&node, graph_, nullptr, 0, &params));
  EXPECT_OK(cuGraphBatchMemOpNodeGetParams(node, &told));
  EXPECT_EQ(told.count, 1u);
  const auto first = [this] {
    unsigned value = 0;
    EXPECT_OK(cuMemcpyDtoH_v2(&value, memory_, sizeof(value)));
    return value;
  };
  runGraph();
  EXPECT_EQ(first(), 11u);
  write.writeValue.value = 12;
  EXPECT_OK(cuGraphExecBatchMemOpNodeSetParams(exec_, node, &params));
  again();
  EXPECT_EQ(first(), 12u);
  EXPECT_OK(cuGraphBatchMemOpNodeSetParams(node, &params));
  EXPECT_CUDA(cuGraphAddBatchMemOpNode(&node, graph_, nullptr, 0, nullptr),
              CUDA_ERROR_INVALID_VALUE);
}

TEST_F(GraphNodesTest, Memory) {
  CUDA_MEM_ALLOC_NODE_PARAMS wanted{}, told{};
  wanted.poolProps.allocType = CU_MEM_ALLOCATION_TYPE_PINNED;
  wanted.poolProps.location = {CU_MEM_LOCATION_TYPE_DEVICE, device_};
  wanted.bytesize = kBytes;
  CUgraphNode made = nullptr, freed = nullptr;
  ASSERT_OK(cuGraphAddMemAllocNode(&made, graph_, nullptr, 0, &wanted));
  ASSERT_OK(cuGraphAddMemFreeNode(&freed, graph_, &made, 1, wanted.dptr));
  EXPECT_OK(cuGraphMemAllocNodeGetParams(made, &told));
  EXPECT_EQ(told.dptr, wanted.dptr);
  CUdeviceptr address = 0;
  EXPECT_OK(cuGraphMemFreeNodeGetParams(freed, &address));
  EXPECT_EQ(address, wanted.dptr);
  runGraph();
  cuuint64_t peak = 1, none = 0;
  EXPECT_OK(cuDeviceGetGraphMemAttribute(device_, CU_GRAPH_MEM_ATTR_USED_MEM_HIGH, &peak));
  EXPECT_OK(cuDeviceSetGraphMemAttribute(device_, CU_GRAPH_MEM_ATTR_USED_MEM_HIGH, &none));
  EXPECT_CUDA(cuDeviceSetGraphMemAttribute(device_, CU_GRAPH_MEM_ATTR_USED_MEM_CURRENT, &none),
              CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuGraphMemAllocNodeGetParams(freed, &told), CUDA_ERROR_INVALID_VALUE);
}

TEST_F(GraphNodesTest, ChildrenAreExchanged) {
  CUgraph child = nullptr;
  CUgraphNode in_child = nullptr, node = nullptr;
  ASSERT_OK(cuGraphCreate(&child, 0));
  CUDA_KERNEL_NODE_PARAMS_v1 params = kernel(2);
  ASSERT_OK(cuGraphAddKernelNode(&in_child, child, nullptr, 0, &params));
  ASSERT_OK(cuGraphAddChildGraphNode(&node, graph_, nullptr, 0, child));
  runGraph();
  EXPECT_TRUE(all(2));
  params = kernel(5);
  EXPECT_OK(cuGraphKernelNodeSetParams(in_child, &params));
  EXPECT_OK(cuGraphExecChildGraphNodeSetParams(exec_, node, child));
  again();
  EXPECT_TRUE(all(5));
  EXPECT_OK(cuGraphDestroy(child));
}

TEST_F(GraphNodesTest, NodesOfAnyKindByOneFunction) {
  CUgraphNodeParams params{};
  params.type = CU_GRAPH_NODE_TYPE_MEMSET;
  params.memset.dst = memory_;
  params.memset.value = 3;
  params.memset.elementSize = 4;
  params.memset.width = kCount;
  params.memset.height = 1;
  params.memset.ctx = context_;
  CUgraphNode node = nullptr;
  ASSERT_OK(cuGraphAddNode(&node, graph_, nullptr, 0, &params));
  params.memset.value = 4;
  EXPECT_OK(cuGraphNodeSetParams(node, &params));
  runGraph();
  EXPECT_TRUE(all(4));
  params.memset.value = 8;
  EXPECT_OK(cuGraphExecNodeSetParams(exec_, node, &params));
  run(exec_);
  EXPECT_TRUE(all(8));
  EXPECT_CUDA(cuGraphAddNode(&node, graph_, nullptr, 0, nullptr), CUDA_ERROR_INVALID_VALUE);
}

TEST_F(GraphNodesTest, EdgesWithData) {
  CUgraphNode first = nullptr, second = nullptr;
  ASSERT_OK(cuGraphAddEmptyNode(&first, graph_, nullptr, 0));
  ASSERT_OK(cuGraphAddEmptyNode(&second, graph_, nullptr, 0));
  EXPECT_OK(cuGraphAddDependencies_v2(graph_, &first, &second, nullptr, 1));
  CUgraphNode found = nullptr;
  CUgraphEdgeData edge{};
  size_t count = 1;
  EXPECT_OK(cuGraphNodeGetDependencies_v2(second, &found, &edge, &count));
  EXPECT_EQ(count, 1u);
  EXPECT_EQ(found, first);
  count = 1;
  EXPECT_OK(cuGraphNodeGetDependentNodes_v2(first, &found, &edge, &count));
  EXPECT_EQ(found, second);
  EXPECT_OK(cuGraphRemoveDependencies_v2(graph_, &first, &second, nullptr, 1));
  EXPECT_OK(cuGraphNodeGetDependencies_v2(second, nullptr, nullptr, &count));
  EXPECT_EQ(count, 0u);
}

TEST_F(GraphNodesTest, OldWaysToInstantiateAndToUpdate) {
  CUgraphNode node = nullptr;
  CUDA_MEMSET_NODE_PARAMS params = fill(2);
  ASSERT_OK(cuGraphAddMemsetNode(&node, graph_, nullptr, 0, &params, context_));
  CUgraphExec old = nullptr;
  CUgraphNode wrong = nullptr;
  char log[64] = "";
  ASSERT_OK(cuGraphInstantiate(&old, graph_, &wrong, log, sizeof(log)));
  EXPECT_OK(cuGraphExecDestroy(old));
  ASSERT_OK(cuGraphInstantiate_v2(&exec_, graph_, &wrong, log, sizeof(log)));
  cuuint64_t flags = 77;
  EXPECT_OK(cuGraphExecGetFlags(exec_, &flags));
  EXPECT_EQ(flags, 0u);
  EXPECT_OK(cuGraphUpload(exec_, stream_));
  run(exec_);
  EXPECT_TRUE(all(2));
  params = fill(3);
  EXPECT_OK(cuGraphMemsetNodeSetParams(node, &params));
  CUgraphExecUpdateResult result = CU_GRAPH_EXEC_UPDATE_ERROR;
  EXPECT_OK(cuGraphExecUpdate(exec_, graph_, &wrong, &result));
  EXPECT_EQ(result, CU_GRAPH_EXEC_UPDATE_SUCCESS);
  run(exec_);
  EXPECT_TRUE(all(3));
  EXPECT_CUDA(cuGraphExecGetFlags(exec_, nullptr), CUDA_ERROR_INVALID_VALUE);
}

TEST_F(GraphNodesTest, UserObjectsAreGivenBack) {
  int destroyed = 0;
  CUuserObject object = nullptr;
  ASSERT_OK(cuUserObjectCreate(
      &object, &destroyed, [](void* count) { ++*static_cast<int*>(count); }, 1,
      CU_USER_OBJECT_NO_DESTRUCTOR_SYNC));
  EXPECT_OK(cuGraphRetainUserObject(graph_, object, 1, CU_GRAPH_USER_OBJECT_MOVE));
  EXPECT_OK(cuGraphReleaseUserObject(graph_, object, 1));
  EXPECT_EQ(destroyed, 1);
  EXPECT_BAD_HANDLE(cuGraphReleaseUserObject(graph_, object, 1), CUDA_ERROR_INVALID_VALUE);
}

TEST_F(GraphNodesTest, CapturesUnderTheirOldNames) {
  EXPECT_OK(cuStreamBeginCapture(stream_));
  EXPECT_OK(launchAdd(stream_, 1));
  // What comes next depends on nothing.
  EXPECT_OK(cuStreamUpdateCaptureDependencies_v2(stream_, nullptr, nullptr, 0,
                                                 CU_STREAM_SET_CAPTURE_DEPENDENCIES));
  EXPECT_OK(cuMemsetD16Async(memory_, 0, 2 * kCount, stream_));
  const CUgraph captured = endCapture(stream_);
  size_t roots = 0;
  EXPECT_OK(cuGraphGetRootNodes(captured, nullptr, &roots));
  EXPECT_EQ(roots, 2u);
  EXPECT_OK(cuGraphDestroy(captured));
}

}  // namespace
}  // namespace farwarp::conformance
