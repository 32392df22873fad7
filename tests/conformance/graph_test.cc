// Goal: what streams record and what programs build by hand runs as CUDA says, as often as it is
// launched, and reads and writes the program's memory at the launch and not when it was recorded.
// Method: the driver API alone; contents are compared after each launch, and every result code is
// noted, so that both ways to run the test must give the same.
#include <unistd.h>

#include <cstdio>

#include "tests/conformance/graph_fixture.h"

namespace farwarp::conformance {
namespace {

class GraphTest : public GraphFixture {
 protected:
  CUgraph capture(CUstream stream) { return endCapture(stream); }
};

TEST_F(GraphTest, CapturedKernelsRunAtEachLaunchAndNotBefore) {
  EXPECT_OK(cuStreamBeginCapture_v2(stream_, CU_STREAM_CAPTURE_MODE_GLOBAL));
  EXPECT_OK(launchAdd(stream_, 2));
  EXPECT_OK(cuMemsetD32Async(memory_, 5, 0, stream_));  // nothing
  EXPECT_OK(launchAdd(stream_, 3));
  const CUgraph graph = capture(stream_);
  EXPECT_TRUE(all(0));
  EXPECT_EQ(nodesOf(graph), 2u);
  const CUgraphExec exec = instantiate(graph);
  for (unsigned round = 1; round <= 3; ++round) {
    run(exec);
    EXPECT_TRUE(all(5 * round));
  }
  EXPECT_OK(cuGraphDestroy(graph));
  run(exec);  // the executable graph lives by itself
  EXPECT_TRUE(all(20));
  EXPECT_OK(cuGraphExecDestroy(exec));
  EXPECT_CUDA(cuGraphLaunch(exec, stream_), CUDA_ERROR_INVALID_VALUE);
}

// Pitfall "pinned source filled by earlier stream work", for graphs: host memory is read when the
// graph runs.
TEST_F(GraphTest, CapturedCopiesUseHostMemoryAsItIsAtEachLaunch) {
  std::vector<unsigned> in(kCount, 1), out(kCount, 0);
  void* pinned = nullptr;
  ASSERT_OK(cuMemHostAlloc(&pinned, kBytes, 0));
  auto* pinned_out = static_cast<unsigned*>(pinned);
  EXPECT_OK(cuStreamBeginCapture_v2(stream_, CU_STREAM_CAPTURE_MODE_GLOBAL));
  EXPECT_OK(cuMemcpyHtoDAsync_v2(memory_, in.data(), kBytes, stream_));
  EXPECT_OK(launchAdd(stream_, 10));
  EXPECT_OK(cuMemcpyDtoHAsync_v2(out.data(), memory_, kBytes, stream_));
  EXPECT_OK(cuMemcpyDtoHAsync_v2(pinned, memory_, kBytes, stream_));
  const CUgraph graph = capture(stream_);
  const CUgraphExec exec = instantiate(graph);
  std::fill(in.begin(), in.end(), 7);
  for (unsigned round = 0; round < 3; ++round) {
    std::fill(in.begin(), in.end(), 100 * round);
    run(exec);
    EXPECT_EQ(out, std::vector<unsigned>(kCount, 100 * round + 10));
    EXPECT_TRUE(std::equal(out.begin(), out.end(), pinned_out));
  }
  EXPECT_OK(cuGraphExecDestroy(exec));
  EXPECT_OK(cuGraphDestroy(graph));
  EXPECT_OK(cuMemFreeHost(pinned));
}

// Within one graph, bytes may go through host memory: out, and in again from the same place.
TEST_F(GraphTest, CopiesOfOneGraphMeetInHostMemory) {
  std::vector<unsigned> between(kCount, 77);
  const CUdeviceptr second = allocate(kBytes);
  zero(second, kBytes);
  EXPECT_OK(cuStreamBeginCapture_v2(stream_, CU_STREAM_CAPTURE_MODE_GLOBAL));
  EXPECT_OK(launchAdd(stream_, 4));
  EXPECT_OK(cuMemcpyDtoHAsync_v2(between.data(), memory_, kBytes, stream_));
  EXPECT_OK(cuMemcpyHtoDAsync_v2(second, between.data(), kBytes, stream_));
  const CUgraph graph = capture(stream_);
  const CUgraphExec exec = instantiate(graph);
  run(exec);
  run(exec);
  EXPECT_TRUE(all(8, second));
  EXPECT_EQ(between, std::vector<unsigned>(kCount, 8));
  EXPECT_OK(cuGraphExecDestroy(exec));
  EXPECT_OK(cuGraphDestroy(graph));
}

TEST_F(GraphTest, LargeCopiesAndCopiesOfRows) {
  const size_t width = 3000, rows = 90, pitch = 4096;
  std::vector<unsigned char> in = pattern(pitch * rows, 1);
  std::vector<unsigned char> out(pitch * rows, 0xee);
  const CUdeviceptr device = allocate(pitch * rows);
  zero(device, pitch * rows);
  CUDA_MEMCPY2D copy{};
  copy.srcMemoryType = CU_MEMORYTYPE_HOST;
  copy.srcHost = in.data();
  copy.srcPitch = pitch;
  copy.dstMemoryType = CU_MEMORYTYPE_DEVICE;
  copy.dstDevice = device;
  copy.dstPitch = pitch;
  copy.WidthInBytes = width;
  copy.Height = rows;
  CUDA_MEMCPY2D back{};
  back.srcMemoryType = CU_MEMORYTYPE_DEVICE;
  back.srcDevice = device;
  back.srcPitch = pitch;
  back.dstMemoryType = CU_MEMORYTYPE_HOST;
  back.dstHost = out.data();
  back.dstPitch = pitch;
  back.WidthInBytes = width;
  back.Height = rows;
  EXPECT_OK(cuStreamBeginCapture_v2(stream_, CU_STREAM_CAPTURE_MODE_RELAXED));
  EXPECT_OK(cuMemcpy2DAsync_v2(&copy, stream_));
  EXPECT_OK(cuMemcpy2DAsync_v2(&back, stream_));
  const CUgraph graph = capture(stream_);
  const CUgraphExec exec = instantiate(graph);
  for (unsigned round = 0; round < 2; ++round) {
    const std::vector<unsigned char> fresh = pattern(pitch * rows, 10 + round);
    std::copy(fresh.begin(), fresh.end(), in.begin());
    run(exec);
    for (size_t row = 0; row < rows; ++row) {
      ASSERT_EQ(std::memcmp(&out[row * pitch], &in[row * pitch], width), 0) << row;
      ASSERT_EQ(out[row * pitch + width], 0xee);
    }
  }
  EXPECT_OK(cuGraphExecDestroy(exec));
  EXPECT_OK(cuGraphDestroy(graph));
}

TEST_F(GraphTest, ForksAndJoinsByEvents) {
  CUevent fork = nullptr, join = nullptr;
  ASSERT_OK(cuEventCreate(&fork, CU_EVENT_DISABLE_TIMING));
  ASSERT_OK(cuEventCreate(&join, CU_EVENT_DISABLE_TIMING));
  const CUdeviceptr second = allocate(kBytes);
  zero(second, kBytes);
  EXPECT_OK(cuStreamBeginCapture_v2(stream_, CU_STREAM_CAPTURE_MODE_GLOBAL));
  EXPECT_OK(launchAdd(stream_, 1));
  EXPECT_OK(cuEventRecord(fork, stream_));
  EXPECT_OK(cuStreamWaitEvent(other_, fork, 0));
  CUstreamCaptureStatus status = CU_STREAM_CAPTURE_STATUS_NONE;
  EXPECT_OK(cuStreamIsCapturing(other_, &status));
  EXPECT_EQ(status, CU_STREAM_CAPTURE_STATUS_ACTIVE);
  EXPECT_OK(launchAdd(other_, 2, second));
  EXPECT_OK(launchAdd(stream_, 3));
  EXPECT_OK(cuEventRecord(join, other_));
  EXPECT_OK(cuStreamWaitEvent(stream_, join, 0));
  EXPECT_OK(cuMemcpyDtoDAsync_v2(second, memory_, kBytes / 2, stream_));
  const CUgraph graph = capture(stream_);
  EXPECT_OK(cuStreamIsCapturing(other_, &status));
  EXPECT_EQ(status, CU_STREAM_CAPTURE_STATUS_NONE);
  size_t edges = 0, roots = 0;
  EXPECT_OK(cuGraphGetEdges_v2(graph, nullptr, nullptr, nullptr, &edges));
  EXPECT_OK(cuGraphGetRootNodes(graph, nullptr, &roots));
  EXPECT_EQ(nodesOf(graph), 4u);
  EXPECT_EQ(edges, 4u);
  EXPECT_EQ(roots, 1u);
  const CUgraphExec exec = instantiate(graph);
  run(exec);
  EXPECT_TRUE(all(4));
  std::vector<unsigned> out(kCount);
  EXPECT_OK(cuMemcpyDtoH_v2(out.data(), second, kBytes));
  EXPECT_EQ(out.front(), 4u);
  EXPECT_EQ(out.back(), 2u);
  EXPECT_OK(cuGraphExecDestroy(exec));
  EXPECT_OK(cuGraphDestroy(graph));
}

// --- built by hand ---

class BuiltGraph : public GraphFixture {
 protected:
  void SetUp() override {
    GraphFixture::SetUp();
    ASSERT_OK(cuGraphCreate(&graph_, 0));
  }
  // A node that adds `value` to memory_, behind others.
  CUgraphNode addNode(unsigned value, std::vector<CUgraphNode> after = {}) {
    CUgraphNode node = nullptr;
    const auto params = kernel(value);
    EXPECT_OK(cuGraphAddKernelNode_v2(&node, graph_, after.data(), after.size(), &params));
    return node;
  }
  CUDA_KERNEL_NODE_PARAMS kernel(unsigned value) {
    value_ = value;
    CUDA_KERNEL_NODE_PARAMS params{};
    params.func = add_;
    params.gridDimX = (kCount + 127) / 128;
    params.blockDimX = 128;
    params.gridDimY = params.gridDimZ = params.blockDimY = params.blockDimZ = 1;
    params.kernelParams = params_;
    return params;
  }
  void clear() { zero(memory_, kBytes); }

  CUgraph graph_ = nullptr;
  unsigned value_ = 0;
  unsigned count_ = kCount;
  void* params_[3] = {&memory_, &count_, &value_};
};

TEST_F(BuiltGraph, RunsItsNodesInOrder) {
  CUgraphNode fill = nullptr, empty = nullptr, copy = nullptr;
  CUDA_MEMSET_NODE_PARAMS filled{memory_, 0, 5, 4, kCount, 1};
  const CUgraphNode last = addNode(1);
  EXPECT_OK(cuGraphAddMemsetNode(&fill, graph_, nullptr, 0, &filled, context_));
  EXPECT_OK(cuGraphAddEmptyNode(&empty, graph_, &fill, 1));
  EXPECT_OK(cuGraphAddDependencies(graph_, &empty, &last, 1));
  std::vector<unsigned> out(kCount, 0);
  CUDA_MEMCPY3D copied{};
  copied.srcMemoryType = CU_MEMORYTYPE_DEVICE;
  copied.srcDevice = memory_;
  copied.dstMemoryType = CU_MEMORYTYPE_HOST;
  copied.dstHost = out.data();
  copied.WidthInBytes = kBytes;
  copied.Height = copied.Depth = 1;
  EXPECT_OK(cuGraphAddMemcpyNode(&copy, graph_, &last, 1, &copied, context_));
  const CUgraphExec exec = instantiate(graph_);
  for (int round = 0; round < 2; ++round) {
    std::fill(out.begin(), out.end(), 0);
    run(exec);
    EXPECT_EQ(out, std::vector<unsigned>(kCount, 6));
  }
  EXPECT_OK(cuGraphExecDestroy(exec));
  EXPECT_OK(cuGraphDestroy(graph_));
}

TEST_F(BuiltGraph, TellsWhatItIsMadeOf) {
  const CUgraphNode first = addNode(1), second = addNode(2, {first}), third = addNode(3, {first});
  CUgraphNode nodes[4];
  size_t count = 4;
  EXPECT_OK(cuGraphGetNodes(graph_, nodes, &count));
  EXPECT_EQ(count, 3u);
  EXPECT_EQ(nodes[3], nullptr);
  CUgraphNode from[4], to[4];
  count = 4;
  EXPECT_OK(cuGraphGetEdges(graph_, from, to, &count));
  ASSERT_EQ(count, 2u);
  EXPECT_EQ(from[0], first);
  EXPECT_EQ(to[1], third);
  count = 1;
  EXPECT_OK(cuGraphNodeGetDependencies(second, nodes, &count));
  EXPECT_EQ(count, 1u);
  EXPECT_EQ(nodes[0], first);
  CUDA_KERNEL_NODE_PARAMS told{};
  EXPECT_OK(cuGraphKernelNodeGetParams_v2(second, &told));
  EXPECT_EQ(told.func, add_);
  EXPECT_EQ(told.blockDimX, 128u);
  EXPECT_EQ(*static_cast<unsigned*>(told.kernelParams[2]), 2u);
  EXPECT_OK(cuGraphRemoveDependencies(graph_, &first, &third, 1));
  EXPECT_CUDA(cuGraphRemoveDependencies(graph_, &first, &third, 1), CUDA_ERROR_INVALID_VALUE);
  EXPECT_OK(cuGraphGetRootNodes(graph_, nullptr, &count));
  EXPECT_EQ(count, 2u);
  EXPECT_OK(cuGraphDestroyNode(first));
  EXPECT_EQ(nodesOf(graph_), 2u);
  EXPECT_BAD_HANDLE(cuGraphDestroyNode(first), CUDA_ERROR_INVALID_VALUE);
  EXPECT_OK(cuGraphDestroy(graph_));
  EXPECT_BAD_HANDLE(cuGraphDestroy(graph_), CUDA_ERROR_INVALID_VALUE);
  EXPECT_BAD_HANDLE(cuGraphKernelNodeGetParams_v2(second, &told), CUDA_ERROR_INVALID_VALUE);
}

TEST_F(BuiltGraph, RefusesWhatMakesNoSense) {
  const CUgraphNode first = addNode(1), second = addNode(2, {first});
  CUgraphNode node = nullptr;
  const CUgraphNode twice[] = {first, first};
  EXPECT_CUDA(cuGraphAddEmptyNode(&node, graph_, twice, 2), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuGraphAddEmptyNode(nullptr, graph_, nullptr, 0), CUDA_ERROR_INVALID_VALUE);
  EXPECT_BAD_HANDLE(cuGraphAddEmptyNode(&node, reinterpret_cast<CUgraph>(stream_), nullptr, 0),
                    CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuGraphAddDependencies(graph_, &first, &second, 1), CUDA_ERROR_INVALID_VALUE);
  auto params = kernel(1);
  params.blockDimX = 5000;
  EXPECT_CUDA(cuGraphAddKernelNode_v2(&node, graph_, nullptr, 0, &params),
              CUDA_ERROR_INVALID_VALUE);
  // A cycle is found when the graph becomes executable.
  EXPECT_OK(cuGraphAddDependencies(graph_, &second, &first, 1));
  CUgraphExec exec = nullptr;
  EXPECT_CUDA(cuGraphInstantiateWithFlags(&exec, graph_, 0), CUDA_ERROR_INVALID_VALUE);
  CUDA_GRAPH_INSTANTIATE_PARAMS how{};
  EXPECT_CUDA(cuGraphInstantiateWithParams(&exec, graph_, &how), CUDA_ERROR_INVALID_VALUE);
  EXPECT_EQ(how.result_out, CUDA_GRAPH_INSTANTIATE_INVALID_STRUCTURE);
  EXPECT_CUDA(cuGraphInstantiateWithFlags(&exec, graph_, 1u << 20), CUDA_ERROR_INVALID_VALUE);
  EXPECT_OK(cuGraphDestroy(graph_));
}

TEST_F(BuiltGraph, UpdatesTakeEffectAtTheNextLaunch) {
  const CUgraphNode first = addNode(1), second = addNode(10, {first});
  const CUgraphExec exec = instantiate(graph_);
  auto params = kernel(2);
  EXPECT_OK(cuGraphExecKernelNodeSetParams_v2(exec, first, &params));
  run(exec);
  EXPECT_TRUE(all(12));
  EXPECT_OK(cuGraphNodeSetEnabled(exec, second, 0));
  unsigned enabled = 1;
  EXPECT_OK(cuGraphNodeGetEnabled(exec, second, &enabled));
  EXPECT_EQ(enabled, 0u);
  clear();
  run(exec);
  EXPECT_TRUE(all(2));
  EXPECT_OK(cuGraphNodeSetEnabled(exec, second, 1));
  clear();
  run(exec);
  EXPECT_TRUE(all(12));
  // The graph itself was not changed; with it, the executable graph is as it was made.
  CUgraphExecUpdateResultInfo info{};
  EXPECT_OK(cuGraphExecUpdate_v2(exec, graph_, &info));
  EXPECT_EQ(info.result, CU_GRAPH_EXEC_UPDATE_SUCCESS);
  clear();
  run(exec);
  EXPECT_TRUE(all(11));
  params = kernel(30);
  EXPECT_OK(cuGraphKernelNodeSetParams_v2(second, &params));
  EXPECT_OK(cuGraphExecUpdate_v2(exec, graph_, &info));
  clear();
  run(exec);
  EXPECT_TRUE(all(31));
  const CUgraphNode third = addNode(5, {second});
  EXPECT_CUDA(cuGraphExecUpdate_v2(exec, graph_, &info), CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE);
  EXPECT_EQ(info.result, CU_GRAPH_EXEC_UPDATE_ERROR_TOPOLOGY_CHANGED);
  EXPECT_CUDA(cuGraphNodeSetEnabled(exec, third, 0), CUDA_ERROR_INVALID_VALUE);
  EXPECT_OK(cuGraphExecDestroy(exec));
  EXPECT_OK(cuGraphDestroy(graph_));
}

TEST_F(BuiltGraph, UpdatedCopiesUseOtherHostMemory) {
  std::vector<unsigned> first(kCount, 3), second(4 * kCount, 4), out(kCount, 0);
  CUDA_MEMCPY3D copy{};
  copy.srcMemoryType = CU_MEMORYTYPE_HOST;
  copy.srcHost = first.data();
  copy.dstMemoryType = CU_MEMORYTYPE_DEVICE;
  copy.dstDevice = memory_;
  copy.WidthInBytes = kBytes;
  copy.Height = copy.Depth = 1;
  CUgraphNode in = nullptr;
  EXPECT_OK(cuGraphAddMemcpyNode(&in, graph_, nullptr, 0, &copy, context_));
  const CUgraphExec exec = instantiate(graph_);
  run(exec);
  EXPECT_TRUE(all(3));
  copy.srcHost = second.data() + kCount;
  EXPECT_OK(cuGraphExecMemcpyNodeSetParams(exec, in, &copy, context_));
  run(exec);
  EXPECT_TRUE(all(4));
  copy.srcMemoryType = CU_MEMORYTYPE_DEVICE;
  copy.srcDevice = memory_;
  EXPECT_CUDA(cuGraphExecMemcpyNodeSetParams(exec, in, &copy, context_), CUDA_ERROR_INVALID_VALUE);
  EXPECT_OK(cuGraphExecDestroy(exec));
  EXPECT_OK(cuGraphDestroy(graph_));
}

TEST_F(BuiltGraph, ClonesAndChildren) {
  const CUgraphNode first = addNode(4);
  CUgraph clone = nullptr, child = nullptr;
  CUgraphNode in_clone = nullptr, nested = nullptr;
  EXPECT_OK(cuGraphClone(&clone, graph_));
  EXPECT_OK(cuGraphNodeFindInClone(&in_clone, first, clone));
  auto params = kernel(7);
  EXPECT_OK(cuGraphKernelNodeSetParams_v2(in_clone, &params));
  EXPECT_OK(cuGraphAddChildGraphNode(&nested, graph_, &first, 1, clone));
  EXPECT_OK(cuGraphDestroy(clone));
  EXPECT_OK(cuGraphChildGraphNodeGetGraph(nested, &child));
  EXPECT_EQ(nodesOf(child), 1u);
  EXPECT_BAD_HANDLE(cuGraphDestroy(child), CUDA_ERROR_INVALID_VALUE);
  const CUgraphExec exec = instantiate(graph_);
  run(exec);
  EXPECT_TRUE(all(11));
  EXPECT_OK(cuGraphExecDestroy(exec));
  EXPECT_OK(cuGraphDestroy(graph_));
}

TEST_F(BuiltGraph, AllocatesMemoryAtEachLaunch) {
  CUDA_MEM_ALLOC_NODE_PARAMS wanted{};
  wanted.poolProps.allocType = CU_MEM_ALLOCATION_TYPE_PINNED;
  wanted.poolProps.location = {CU_MEM_LOCATION_TYPE_DEVICE, device_};
  wanted.bytesize = kBytes;
  CUgraphNode alloc = nullptr, fill = nullptr;
  EXPECT_OK(cuGraphAddMemAllocNode(&alloc, graph_, nullptr, 0, &wanted));
  ASSERT_NE(wanted.dptr, 0u);
  CUDA_MEMSET_NODE_PARAMS filled{wanted.dptr, 0, 8, 4, kCount, 1};
  EXPECT_OK(cuGraphAddMemsetNode(&fill, graph_, &alloc, 1, &filled, context_));
  CUgraph clone = nullptr;
  EXPECT_CUDA(cuGraphClone(&clone, graph_), CUDA_ERROR_NOT_SUPPORTED);
  const CUgraphExec exec = instantiate(graph_);
  run(exec);
  EXPECT_TRUE(all(8, wanted.dptr));
  cuuint64_t used = 0;
  EXPECT_OK(cuDeviceGetGraphMemAttribute(device_, CU_GRAPH_MEM_ATTR_USED_MEM_CURRENT, &used));
  EXPECT_EQ(used, kBytes);
  // What is allocated cannot be allocated again before it is freed.
  EXPECT_CUDA(cuGraphLaunch(exec, stream_), CUDA_ERROR_INVALID_VALUE);
  EXPECT_OK(cuMemFreeAsync(wanted.dptr, stream_));
  run(exec);
  EXPECT_OK(cuMemFree_v2(wanted.dptr));
  EXPECT_OK(cuGraphExecDestroy(exec));
  EXPECT_OK(cuGraphDestroy(graph_));
  EXPECT_OK(cuDeviceGetGraphMemAttribute(device_, CU_GRAPH_MEM_ATTR_RESERVED_MEM_CURRENT, &used));
  EXPECT_EQ(used, 0u);
  EXPECT_OK(cuDeviceGraphMemTrim(device_));
}

TEST_F(BuiltGraph, CapturesAllocations) {
  CUdeviceptr made = 0;
  EXPECT_OK(cuStreamBeginCapture_v2(stream_, CU_STREAM_CAPTURE_MODE_GLOBAL));
  EXPECT_OK(cuMemAllocAsync(&made, kBytes, stream_));
  EXPECT_OK(cuMemsetD32Async(made, 6, kCount, stream_));
  EXPECT_OK(cuMemcpyDtoDAsync_v2(memory_, made, kBytes, stream_));
  EXPECT_OK(cuMemFreeAsync(made, stream_));
  const CUgraph captured = endCapture(stream_);
  const CUgraphExec exec = instantiate(captured);
  run(exec);
  clear();
  run(exec);
  EXPECT_TRUE(all(6));
  EXPECT_OK(cuGraphExecDestroy(exec));
  EXPECT_OK(cuGraphDestroy(captured));
}

// A host node runs in the middle of its graph: it sees what was copied out before it, and what it
// writes is copied in behind it.
TEST_F(BuiltGraph, CallsFunctionsOfTheProgram) {
  struct Shared {
    std::vector<unsigned> seen = std::vector<unsigned>(kCount, 0);
    std::vector<unsigned> given = std::vector<unsigned>(kCount, 0);
  } shared;
  const CUdeviceptr second = allocate(kBytes);
  const auto function = [](void* data) {
    auto& mine = *static_cast<Shared*>(data);
    for (unsigned i = 0; i < kCount; ++i) mine.given[i] = 10 * mine.seen[i];
  };
  EXPECT_OK(cuStreamBeginCapture_v2(stream_, CU_STREAM_CAPTURE_MODE_GLOBAL));
  EXPECT_OK(launchAdd(stream_, 3));
  EXPECT_OK(cuMemcpyDtoHAsync_v2(shared.seen.data(), memory_, kBytes, stream_));
  EXPECT_OK(cuLaunchHostFunc(stream_, function, &shared));
  EXPECT_OK(cuMemcpyHtoDAsync_v2(second, shared.given.data(), kBytes, stream_));
  const CUgraph captured = endCapture(stream_);
  EXPECT_EQ(nodesOf(captured), 4u);
  const CUgraphExec exec = instantiate(captured);
  for (unsigned round = 1; round <= 3; ++round) {
    run(exec);
    EXPECT_TRUE(all(30 * round, second));
  }
  EXPECT_OK(cuGraphExecDestroy(exec));
  EXPECT_OK(cuGraphDestroy(captured));
}

TEST_F(BuiltGraph, KeepsUserObjects) {
  int destroyed = 0;
  CUuserObject object = nullptr;
  const auto destroy = [](void* count) { ++*static_cast<int*>(count); };
  EXPECT_CUDA(cuUserObjectCreate(&object, &destroyed, destroy, 1, 0), CUDA_ERROR_INVALID_VALUE);
  EXPECT_OK(cuUserObjectCreate(&object, &destroyed, destroy, 1, CU_USER_OBJECT_NO_DESTRUCTOR_SYNC));
  EXPECT_OK(cuUserObjectRetain(object, 2));
  EXPECT_OK(cuGraphRetainUserObject(graph_, object, 1, CU_GRAPH_USER_OBJECT_MOVE));
  EXPECT_OK(cuUserObjectRelease(object, 2));
  EXPECT_CUDA(cuUserObjectRelease(object, 1), CUDA_ERROR_INVALID_VALUE);
  const CUgraphExec exec = instantiate(graph_);
  EXPECT_OK(cuGraphDestroy(graph_));
  EXPECT_EQ(destroyed, 0);
  EXPECT_OK(cuGraphExecDestroy(exec));
  EXPECT_EQ(destroyed, 1);
}

TEST_F(BuiltGraph, PrintsItself) {
  addNode(2, {addNode(1)});
  const std::string path = testing::TempDir() + "farwarp_graph_" + std::to_string(getpid());
  EXPECT_OK(cuGraphDebugDotPrint(graph_, path.c_str(), CU_GRAPH_DEBUG_DOT_FLAGS_VERBOSE));
  std::FILE* file = std::fopen(path.c_str(), "r");
  ASSERT_NE(file, nullptr);
  char text[2048] = {};
  EXPECT_GT(std::fread(text, 1, sizeof text - 1, file), 0u);
  std::fclose(file);
  std::remove(path.c_str());
  EXPECT_NE(std::strstr(text, "digraph"), nullptr);
  EXPECT_NE(std::strstr(text, "KERNEL"), nullptr);
  EXPECT_NE(std::strstr(text, "\"graph_0_node_0\" -> \"graph_0_node_1\""), nullptr);
  EXPECT_CUDA(cuGraphDebugDotPrint(graph_, "/no/such/folder/graph", 0),
              CUDA_ERROR_OPERATING_SYSTEM);
  EXPECT_OK(cuGraphDestroy(graph_));
}

}  // namespace
}  // namespace farwarp::conformance
