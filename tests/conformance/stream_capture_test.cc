// Goal: while a stream captures, calls are recorded, allowed or refused as CUDA documents, and a
// capture that was disturbed says so until it is ended. Method: the driver API alone; each case
// makes one call that CUDA names, and looks at its result, at the capture's status and at what
// cuStreamEndCapture says.
#include <thread>

#include "tests/conformance/graph_fixture.h"

namespace farwarp::conformance {
namespace {

class StreamCapture : public GraphFixture {
 protected:
  void TearDown() override {
    for (CUstream stream : {stream_, other_}) abandon(stream);
    GraphFixture::TearDown();
  }
  void begin(CUstream stream, CUstreamCaptureMode mode = CU_STREAM_CAPTURE_MODE_GLOBAL) {
    ASSERT_OK(cuStreamBeginCapture_v2(stream, mode));
  }
  CUstreamCaptureStatus status(CUstream stream) {
    CUstreamCaptureStatus found = CU_STREAM_CAPTURE_STATUS_NONE;
    EXPECT_OK(cuStreamIsCapturing(stream, &found));
    return found;
  }
  // The capture was disturbed: everything says so, and ending it makes the stream usable again.
  void expectInvalidated(CUstream stream) {
    EXPECT_EQ(status(stream), CU_STREAM_CAPTURE_STATUS_INVALIDATED);
    EXPECT_CUDA(launchAdd(stream, 1), CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
    CUgraph graph = reinterpret_cast<CUgraph>(1);
    EXPECT_CUDA(cuStreamEndCapture(stream, &graph), CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
    EXPECT_EQ(graph, nullptr);
    EXPECT_EQ(status(stream), CU_STREAM_CAPTURE_STATUS_NONE);
    EXPECT_OK(cuStreamSynchronize(stream));
  }
  void expectGood(CUstream stream, size_t nodes) {
    EXPECT_EQ(status(stream), CU_STREAM_CAPTURE_STATUS_ACTIVE);
    const CUgraph graph = endCapture(stream);
    EXPECT_EQ(nodesOf(graph), nodes);
    EXPECT_OK(cuGraphDestroy(graph));
  }

 private:
  static void abandon(CUstream stream) {
    CUstreamCaptureStatus found = CU_STREAM_CAPTURE_STATUS_NONE;
    CUgraph graph = nullptr;
    if (cuStreamIsCapturing(stream, &found) != CUDA_SUCCESS ||
        found == CU_STREAM_CAPTURE_STATUS_NONE) {
      return;
    }
    if (cuStreamEndCapture(stream, &graph) == CUDA_SUCCESS) cuGraphDestroy(graph);
  }
};

TEST_F(StreamCapture, BeginsOnceAndEndsWhereItBegan) {
  CUgraph graph = nullptr;
  EXPECT_CUDA(cuStreamEndCapture(stream_, &graph), CUDA_ERROR_ILLEGAL_STATE);
  begin(stream_);
  EXPECT_CUDA(cuStreamBeginCapture_v2(stream_, CU_STREAM_CAPTURE_MODE_RELAXED),
              CUDA_ERROR_ILLEGAL_STATE);
  EXPECT_CUDA(cuStreamEndCapture(stream_, nullptr), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuStreamEndCapture(other_, &graph), CUDA_ERROR_ILLEGAL_STATE);
  expectGood(stream_, 0);
  EXPECT_CUDA(cuStreamBeginCapture_v2(CU_STREAM_LEGACY, CU_STREAM_CAPTURE_MODE_GLOBAL),
              CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
  EXPECT_CUDA(cuStreamBeginCapture_v2(nullptr, CU_STREAM_CAPTURE_MODE_GLOBAL),
              CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
  EXPECT_CUDA(cuStreamBeginCapture_v2(stream_, static_cast<CUstreamCaptureMode>(3)),
              CUDA_ERROR_INVALID_VALUE);
}

TEST_F(StreamCapture, TellsAboutItself) {
  cuuint64_t id = 0, second_id = 0;
  CUgraph graph = nullptr;
  const CUgraphNode* tips = nullptr;
  const CUgraphEdgeData* edges = nullptr;
  size_t count = 77;
  CUstreamCaptureStatus found = CU_STREAM_CAPTURE_STATUS_ACTIVE;
  EXPECT_OK(cuStreamGetCaptureInfo_v3(stream_, &found, &id, &graph, &tips, &edges, &count));
  EXPECT_EQ(found, CU_STREAM_CAPTURE_STATUS_NONE);
  begin(stream_);
  EXPECT_OK(cuStreamGetCaptureInfo_v3(stream_, &found, &id, &graph, &tips, &edges, &count));
  EXPECT_EQ(found, CU_STREAM_CAPTURE_STATUS_ACTIVE);
  EXPECT_EQ(count, 0u);
  EXPECT_NE(graph, nullptr);
  EXPECT_OK(launchAdd(stream_, 1));
  EXPECT_OK(cuStreamGetCaptureInfo_v2(stream_, &found, &id, &graph, &tips, &count));
  ASSERT_EQ(count, 1u);
  CUgraphNodeType type = CU_GRAPH_NODE_TYPE_EMPTY;
  EXPECT_OK(cuGraphNodeGetType(tips[0], &type));
  EXPECT_EQ(type, CU_GRAPH_NODE_TYPE_KERNEL);
  // A node of the program's own, which the next recorded one waits for.
  CUgraphNode own = nullptr;
  EXPECT_OK(cuGraphAddEmptyNode(&own, graph, tips, count));
  EXPECT_OK(
      cuStreamUpdateCaptureDependencies(stream_, &own, 1, CU_STREAM_SET_CAPTURE_DEPENDENCIES));
  EXPECT_OK(launchAdd(stream_, 2));
  EXPECT_OK(cuStreamGetCaptureInfo(stream_, &found, &second_id));
  EXPECT_EQ(id, second_id);
  const CUgraph ended = endCapture(stream_);
  EXPECT_EQ(ended, graph);
  size_t dependents = 0;
  EXPECT_OK(cuGraphNodeGetDependentNodes(own, nullptr, &dependents));
  EXPECT_EQ(dependents, 1u);
  EXPECT_EQ(nodesOf(ended), 3u);
  const CUgraphExec exec = instantiate(ended);
  run(exec);
  EXPECT_TRUE(all(3));
  EXPECT_OK(cuGraphExecDestroy(exec));
  EXPECT_OK(cuGraphDestroy(ended));
}

TEST_F(StreamCapture, WhatCannotBeRecordedEndsIt) {
  begin(stream_);
  EXPECT_CUDA(cuStreamSynchronize(stream_), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
  expectInvalidated(stream_);
  begin(stream_);
  EXPECT_CUDA(cuStreamQuery(stream_), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
  expectInvalidated(stream_);
  begin(stream_);
  EXPECT_CUDA(cuCtxSynchronize(), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
  expectInvalidated(stream_);
}

TEST_F(StreamCapture, ModesDecideAboutUnsafeCalls) {
  CUdeviceptr made = 0;
  begin(stream_);
  EXPECT_CUDA(cuMemAlloc_v2(&made, 100), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
  expectInvalidated(stream_);
  begin(stream_, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL);
  EXPECT_CUDA(cuMemAlloc_v2(&made, 100), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
  expectInvalidated(stream_);
  begin(stream_, CU_STREAM_CAPTURE_MODE_RELAXED);
  EXPECT_OK(cuMemAlloc_v2(&made, 100));
  expectGood(stream_, 0);
  // A thread may say that its unsafe calls are none.
  begin(stream_);
  CUstreamCaptureMode mode = CU_STREAM_CAPTURE_MODE_RELAXED;
  EXPECT_OK(cuThreadExchangeStreamCaptureMode(&mode));
  EXPECT_EQ(mode, CU_STREAM_CAPTURE_MODE_GLOBAL);
  EXPECT_OK(cuMemFree_v2(made));
  EXPECT_OK(cuThreadExchangeStreamCaptureMode(&mode));
  EXPECT_EQ(mode, CU_STREAM_CAPTURE_MODE_RELAXED);
  expectGood(stream_, 0);
}

TEST_F(StreamCapture, OtherThreadsDisturbOnlyGlobalCaptures) {
  const auto allocateElsewhere = [this](CUstreamCaptureMode mode) {
    CUresult result = CUDA_ERROR_UNKNOWN;
    std::thread([&] {
      CUdeviceptr made = 0;
      cuCtxSetCurrent(context_);
      cuThreadExchangeStreamCaptureMode(&mode);
      result = cuMemAlloc_v2(&made, 100);
    }).join();
    return result;
  };
  begin(stream_);
  EXPECT_OK(allocateElsewhere(CU_STREAM_CAPTURE_MODE_THREAD_LOCAL));
  EXPECT_CUDA(allocateElsewhere(CU_STREAM_CAPTURE_MODE_GLOBAL),
              CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
  expectInvalidated(stream_);
  begin(stream_, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL);
  EXPECT_OK(allocateElsewhere(CU_STREAM_CAPTURE_MODE_GLOBAL));
  expectGood(stream_, 0);
}

TEST_F(StreamCapture, OnlyTheThreadThatBeganItEndsIt) {
  const auto endElsewhere = [this](CUgraph& graph) {
    CUresult result = CUDA_ERROR_UNKNOWN;
    std::thread([&] {
      cuCtxSetCurrent(context_);
      result = cuStreamEndCapture(stream_, &graph);
    }).join();
    return result;
  };
  CUgraph graph = nullptr;
  begin(stream_);
  EXPECT_CUDA(endElsewhere(graph), CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD);
  expectGood(stream_, 0);
  begin(stream_, CU_STREAM_CAPTURE_MODE_RELAXED);
  EXPECT_OK(endElsewhere(graph));
  EXPECT_OK(cuGraphDestroy(graph));
}

TEST_F(StreamCapture, TheLegacyStreamWaitsForBlockingStreams) {
  CUstream blocking = nullptr;
  ASSERT_OK(cuStreamCreate(&blocking, CU_STREAM_DEFAULT));
  begin(blocking, CU_STREAM_CAPTURE_MODE_RELAXED);
  CUstreamCaptureStatus found;
  EXPECT_CUDA(cuStreamIsCapturing(nullptr, &found), CUDA_ERROR_STREAM_CAPTURE_IMPLICIT);
  EXPECT_EQ(status(blocking), CU_STREAM_CAPTURE_STATUS_ACTIVE);
  EXPECT_CUDA(launchAdd(nullptr, 1), CUDA_ERROR_STREAM_CAPTURE_IMPLICIT);
  expectInvalidated(blocking);
  begin(blocking, CU_STREAM_CAPTURE_MODE_RELAXED);
  EXPECT_CUDA(cuMemsetD8_v2(memory_, 0, 4), CUDA_ERROR_STREAM_CAPTURE_IMPLICIT);
  expectInvalidated(blocking);
  // A stream that is not ordered with the legacy one does not mind.
  begin(stream_, CU_STREAM_CAPTURE_MODE_RELAXED);
  EXPECT_OK(launchAdd(nullptr, 1));
  expectGood(stream_, 0);
  EXPECT_OK(cuStreamDestroy_v2(blocking));
}

TEST_F(StreamCapture, EventsBelongToTheirCapture) {
  CUevent event = nullptr, outside = nullptr;
  ASSERT_OK(cuEventCreate(&event, CU_EVENT_DEFAULT));
  ASSERT_OK(cuEventCreate(&outside, CU_EVENT_DEFAULT));
  EXPECT_OK(cuEventRecord(outside, other_));
  // Work from outside cannot be waited for.
  begin(stream_);
  EXPECT_CUDA(cuStreamWaitEvent(stream_, outside, 0), CUDA_ERROR_STREAM_CAPTURE_ISOLATION);
  expectInvalidated(stream_);
  // Nobody can ask for an event that a capture recorded.
  begin(stream_);
  EXPECT_OK(cuEventRecord(event, stream_));
  EXPECT_CUDA(cuEventQuery(event), CUDA_ERROR_CAPTURED_EVENT);
  expectInvalidated(stream_);
  EXPECT_CUDA(cuEventSynchronize(event), CUDA_ERROR_CAPTURED_EVENT);
  EXPECT_OK(cuEventRecord(event, stream_));
  EXPECT_OK(cuEventSynchronize(event));
  // Two captures cannot become one.
  begin(stream_);
  begin(other_);
  EXPECT_OK(cuEventRecord(event, stream_));
  EXPECT_CUDA(cuStreamWaitEvent(other_, event, 0), CUDA_ERROR_STREAM_CAPTURE_MERGE);
  expectInvalidated(stream_);
  expectInvalidated(other_);
}

TEST_F(StreamCapture, ForksMustBeJoinedWhereTheyBegan) {
  CUevent event = nullptr;
  ASSERT_OK(cuEventCreate(&event, CU_EVENT_DISABLE_TIMING));
  CUgraph graph = nullptr;
  begin(stream_);
  EXPECT_OK(cuEventRecord(event, stream_));
  EXPECT_OK(cuStreamWaitEvent(other_, event, 0));
  EXPECT_OK(launchAdd(other_, 1));
  EXPECT_CUDA(cuStreamEndCapture(other_, &graph), CUDA_ERROR_STREAM_CAPTURE_UNMATCHED);
  expectInvalidated(stream_);
  EXPECT_EQ(status(other_), CU_STREAM_CAPTURE_STATUS_NONE);
  begin(stream_);
  EXPECT_OK(cuEventRecord(event, stream_));
  EXPECT_OK(cuStreamWaitEvent(other_, event, 0));
  EXPECT_OK(launchAdd(other_, 1));
  EXPECT_CUDA(cuStreamEndCapture(stream_, &graph), CUDA_ERROR_STREAM_CAPTURE_UNJOINED);
  EXPECT_EQ(graph, nullptr);
  EXPECT_EQ(status(stream_), CU_STREAM_CAPTURE_STATUS_NONE);
  EXPECT_EQ(status(other_), CU_STREAM_CAPTURE_STATUS_NONE);
}

TEST_F(StreamCapture, ExternalEventsBecomeNodes) {
  CUevent event = nullptr;
  ASSERT_OK(cuEventCreate(&event, CU_EVENT_DEFAULT));
  EXPECT_CUDA(cuEventRecordWithFlags(event, stream_, CU_EVENT_RECORD_EXTERNAL),
              CUDA_ERROR_ILLEGAL_STATE);
  begin(stream_);
  EXPECT_OK(cuStreamWaitEvent(stream_, event, CU_EVENT_WAIT_EXTERNAL));
  EXPECT_OK(launchAdd(stream_, 6));
  EXPECT_OK(cuEventRecordWithFlags(event, stream_, CU_EVENT_RECORD_EXTERNAL));
  const CUgraph graph = endCapture(stream_);
  EXPECT_EQ(nodesOf(graph), 3u);
  const CUgraphExec exec = instantiate(graph);
  EXPECT_OK(cuGraphLaunch(exec, stream_));
  EXPECT_OK(cuEventSynchronize(event));
  EXPECT_OK(cuGraphLaunch(exec, stream_));
  EXPECT_OK(cuStreamSynchronize(stream_));
  EXPECT_TRUE(all(12));
  EXPECT_OK(cuGraphExecDestroy(exec));
  EXPECT_OK(cuGraphDestroy(graph));
}

TEST_F(StreamCapture, GoesOnInAGraphOfTheProgram) {
  CUgraph graph = nullptr;
  CUgraphNode first = nullptr;
  ASSERT_OK(cuGraphCreate(&graph, 0));
  ASSERT_OK(cuGraphAddEmptyNode(&first, graph, nullptr, 0));
  EXPECT_OK(cuStreamBeginCaptureToGraph(stream_, graph, &first, nullptr, 1,
                                        CU_STREAM_CAPTURE_MODE_GLOBAL));
  EXPECT_OK(launchAdd(stream_, 9));
  EXPECT_EQ(endCapture(stream_), graph);
  size_t dependents = 0;
  EXPECT_OK(cuGraphNodeGetDependentNodes(first, nullptr, &dependents));
  EXPECT_EQ(dependents, 1u);
  // Who has the graph need not be told it again; who has not must be.
  EXPECT_OK(cuStreamBeginCaptureToGraph(stream_, graph, &first, nullptr, 1,
                                        CU_STREAM_CAPTURE_MODE_GLOBAL));
  EXPECT_OK(cuStreamEndCapture(stream_, nullptr));
  begin(stream_);
  EXPECT_CUDA(cuStreamEndCapture(stream_, nullptr), CUDA_ERROR_INVALID_VALUE);
  EXPECT_OK(cuGraphDestroy(endCapture(stream_)));
  const CUgraphExec exec = instantiate(graph);
  run(exec);
  EXPECT_TRUE(all(9));
  EXPECT_OK(cuGraphExecDestroy(exec));
  EXPECT_OK(cuGraphDestroy(graph));
}

// A launch of an executable graph is recorded as a graph within the graph.
TEST_F(StreamCapture, RecordsLaunchesOfGraphs) {
  begin(stream_);
  EXPECT_OK(launchAdd(stream_, 2));
  const CUgraph inner = endCapture(stream_);
  const CUgraphExec inner_exec = instantiate(inner);
  begin(stream_);
  EXPECT_OK(cuGraphLaunch(inner_exec, stream_));
  EXPECT_OK(launchAdd(stream_, 3));
  EXPECT_OK(cuGraphLaunch(inner_exec, stream_));
  const CUgraph outer = endCapture(stream_);
  EXPECT_EQ(nodesOf(outer), 3u);
  const CUgraphExec exec = instantiate(outer);
  run(exec);
  EXPECT_TRUE(all(7));
  EXPECT_OK(cuGraphExecDestroy(exec));
  EXPECT_OK(cuGraphExecDestroy(inner_exec));
  EXPECT_OK(cuGraphDestroy(outer));
  EXPECT_OK(cuGraphDestroy(inner));
}

}  // namespace
}  // namespace farwarp::conformance
