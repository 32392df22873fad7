// Goal: streams wait for values, write them, and copy in batches, in stream order. Method: the
// driver API alone; one stream waits for what another writes, so that only the right order ends.
#include "tests/conformance/graph_fixture.h"

namespace farwarp::conformance {
namespace {

class StreamMemoryOperations : public GraphFixture {};

TEST_F(StreamMemoryOperations, AStreamWaitsForWhatAnotherWrites) {
  const CUdeviceptr flag = allocate(16);
  zero(flag, 16);
  EXPECT_OK(cuStreamWaitValue32_v2(stream_, flag, 3, CU_STREAM_WAIT_VALUE_GEQ));
  EXPECT_OK(launchAdd(stream_, 1));
  EXPECT_CUDA(cuStreamQuery(stream_), CUDA_ERROR_NOT_READY);
  EXPECT_OK(cuStreamWriteValue32_v2(other_, flag, 5, CU_STREAM_WRITE_VALUE_DEFAULT));
  EXPECT_OK(cuStreamSynchronize(stream_));
  EXPECT_TRUE(all(1));
  EXPECT_OK(cuStreamWaitValue64_v2(stream_, flag + 8, 1ull << 40, CU_STREAM_WAIT_VALUE_EQ));
  EXPECT_OK(cuStreamWriteValue64_v2(other_, flag + 8, 1ull << 40, 0));
  EXPECT_OK(cuStreamSynchronize(stream_));
  CUstreamBatchMemOpParams batch[2]{};
  batch[0].waitValue.operation = CU_STREAM_MEM_OP_WAIT_VALUE_32;
  batch[0].waitValue.address = flag;
  batch[0].waitValue.value = 4;
  batch[0].waitValue.flags = CU_STREAM_WAIT_VALUE_AND;
  batch[1].writeValue.operation = CU_STREAM_MEM_OP_WRITE_VALUE_32;
  batch[1].writeValue.address = flag + 4;
  batch[1].writeValue.value = 77;
  EXPECT_OK(cuStreamBatchMemOp_v2(stream_, 2, batch, 0));
  EXPECT_OK(cuStreamSynchronize(stream_));
  const auto bytes = download(flag, 8);
  EXPECT_EQ(bytes[0], 5);
  EXPECT_EQ(bytes[4], 77);
}

TEST_F(StreamMemoryOperations, RefuseWhatIsNoPlaceForAValue) {
  EXPECT_CUDA(cuStreamWaitValue32_v2(stream_, memory_ + 1, 0, 0), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuStreamWaitValue64_v2(stream_, memory_ + 4, 0, 0), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuStreamWriteValue32_v2(stream_, 0, 0, 0), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuStreamWriteValue32_v2(stream_, memory_, 0, 8), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuStreamBatchMemOp_v2(stream_, 1, nullptr, 0), CUDA_ERROR_INVALID_VALUE);
}

TEST_F(StreamMemoryOperations, BecomeNodesOfGraphs) {
  EXPECT_OK(cuStreamBeginCapture_v2(stream_, CU_STREAM_CAPTURE_MODE_GLOBAL));
  EXPECT_OK(cuStreamWriteValue32_v2(stream_, memory_ + 4, 9, 0));
  EXPECT_OK(cuStreamWaitValue32_v2(stream_, memory_ + 4, 9, CU_STREAM_WAIT_VALUE_EQ));
  const CUgraph graph = endCapture(stream_);
  EXPECT_EQ(nodesOf(graph), 2u);
  const CUgraphExec exec = instantiate(graph);
  run(exec);
  EXPECT_EQ(download(memory_, 8)[4], 9);
  EXPECT_OK(cuGraphExecDestroy(exec));
  EXPECT_OK(cuGraphDestroy(graph));
}

TEST_F(StreamMemoryOperations, CopiesComeInBatches) {
  std::vector<unsigned> in(kCount, 12), out(kCount, 0);
  const CUdeviceptr second = allocate(kBytes);
  CUdeviceptr to[] = {memory_, second};
  CUdeviceptr from[] = {reinterpret_cast<CUdeviceptr>(in.data()),
                        reinterpret_cast<CUdeviceptr>(in.data())};
  size_t sizes[] = {kBytes, kBytes / 2};
  size_t first = 0;
  CUmemcpyAttributes how{};
  how.srcAccessOrder = CU_MEMCPY_SRC_ACCESS_ORDER_STREAM;
  EXPECT_OK(cuMemcpyBatchAsync_v2(to, from, sizes, 2, &how, &first, 1, stream_));
  CUdeviceptr back = reinterpret_cast<CUdeviceptr>(out.data());
  EXPECT_OK(cuMemcpyBatchAsync_v2(&back, &memory_, sizes, 1, &how, &first, 1, stream_));
  EXPECT_OK(cuStreamSynchronize(stream_));
  EXPECT_EQ(out, in);
  EXPECT_CUDA(cuMemcpyBatchAsync_v2(to, from, sizes, 0, &how, &first, 1, stream_),
              CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuMemcpyBatchAsync_v2(to, from, sizes, 2, &how, &first, 1, nullptr),
              CUDA_ERROR_INVALID_VALUE);
  CUDA_MEMCPY3D_BATCH_OP box{};
  box.src.type = box.dst.type = CU_MEMCPY_OPERAND_TYPE_POINTER;
  box.src.op.ptr.ptr = memory_;
  box.dst.op.ptr.ptr = second;
  box.extent = {kBytes, 1, 1};
  box.srcAccessOrder = CU_MEMCPY_SRC_ACCESS_ORDER_STREAM;
  EXPECT_OK(cuMemcpy3DBatchAsync_v2(1, &box, 0, stream_));
  EXPECT_OK(cuStreamSynchronize(stream_));
  EXPECT_TRUE(all(12, second));
}

TEST_F(StreamMemoryOperations, StreamsKeepTheirAttributes) {
  CUstreamAttrValue value{};
  EXPECT_OK(cuStreamGetAttribute(stream_, CU_STREAM_ATTRIBUTE_SYNCHRONIZATION_POLICY, &value));
  EXPECT_EQ(value.syncPolicy, CU_SYNC_POLICY_AUTO);
  value.syncPolicy = CU_SYNC_POLICY_YIELD;
  EXPECT_OK(cuStreamSetAttribute(stream_, CU_STREAM_ATTRIBUTE_SYNCHRONIZATION_POLICY, &value));
  EXPECT_OK(cuStreamCopyAttributes(other_, stream_));
  value.syncPolicy = CU_SYNC_POLICY_AUTO;
  EXPECT_OK(cuStreamGetAttribute(other_, CU_STREAM_ATTRIBUTE_SYNCHRONIZATION_POLICY, &value));
  EXPECT_EQ(value.syncPolicy, CU_SYNC_POLICY_YIELD);
  EXPECT_CUDA(cuStreamGetAttribute(stream_, CU_LAUNCH_ATTRIBUTE_COOPERATIVE, &value),
              CUDA_ERROR_INVALID_VALUE);
}

}  // namespace
}  // namespace farwarp::conformance
