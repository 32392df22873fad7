// What the tests of captures and graphs share: a kernel, two streams, and memory to see it by.
#pragma once

#include <algorithm>
#include <cstring>

#include "tests/conformance/conformance.h"

namespace farwarp::conformance {

// add(pointer, n, value): n 32-bit integers from pointer on grow by value.
inline constexpr char kAddProgram[] = R"(
.version 7.0
.target sm_50
.address_size 64
.visible .entry add(.param .u64 p, .param .u32 n, .param .u32 v)
{
  .reg .pred %q;
  .reg .b32 %r<8>;
  .reg .b64 %d<4>;
  ld.param.u64 %d0, [p];
  ld.param.u32 %r0, [n];
  ld.param.u32 %r1, [v];
  mov.u32 %r2, %ctaid.x;
  mov.u32 %r3, %ntid.x;
  mov.u32 %r4, %tid.x;
  mad.lo.s32 %r5, %r2, %r3, %r4;
  setp.ge.u32 %q, %r5, %r0;
  @%q bra done;
  cvta.to.global.u64 %d1, %d0;
  mul.wide.u32 %d2, %r5, 4;
  add.s64 %d3, %d1, %d2;
  ld.global.u32 %r6, [%d3];
  add.u32 %r7, %r6, %r1;
  st.global.u32 [%d3], %r7;
done:
  ret;
}
)";

inline constexpr unsigned kCount = 1000;
inline constexpr size_t kBytes = kCount * sizeof(unsigned);

class GraphFixture : public ConformanceTest {
 protected:
  void SetUp() override {
    ConformanceTest::SetUp();
    ASSERT_OK(cuModuleLoadData(&module_, kAddProgram));
    ASSERT_OK(cuModuleGetFunction(&add_, module_, "add"));
    ASSERT_OK(cuStreamCreate(&stream_, CU_STREAM_NON_BLOCKING));
    ASSERT_OK(cuStreamCreate(&other_, CU_STREAM_NON_BLOCKING));
    memory_ = allocate(kBytes);
    zero(memory_, kBytes);
  }

  // Streams that are not ordered with the default one may use the memory at once.
  void zero(CUdeviceptr address, size_t bytes) {
    EXPECT_OK(cuMemsetD8_v2(address, 0, bytes));
    EXPECT_OK(cuCtxSynchronize());
  }

  // memory_[i] += value, or that of another address.
  CUresult launchAdd(CUstream stream, unsigned value, CUdeviceptr at = 0) {
    CUdeviceptr p = at != 0 ? at : memory_;
    unsigned n = kCount;
    void* params[] = {&p, &n, &value};
    return cuLaunchKernel(add_, (kCount + 127) / 128, 1, 1, 128, 1, 1, 0, stream, params, nullptr);
  }
  CUgraph endCapture(CUstream stream) {
    CUgraph graph = nullptr;
    EXPECT_OK(cuStreamEndCapture(stream, &graph));
    return graph;
  }
  CUgraphExec instantiate(CUgraph graph) {
    CUgraphExec exec = nullptr;
    EXPECT_OK(cuGraphInstantiateWithFlags(&exec, graph, 0));
    return exec;
  }
  void run(CUgraphExec exec) {
    EXPECT_OK(cuGraphLaunch(exec, stream_));
    EXPECT_OK(cuStreamSynchronize(stream_));
  }
  // True when all integers at `address`, or memory_, are `value`.
  bool all(unsigned value, CUdeviceptr address = 0) {
    std::vector<unsigned> out(kCount);
    EXPECT_OK(cuMemcpyDtoH_v2(out.data(), address != 0 ? address : memory_, kBytes));
    if (out.front() != value) std::printf("found %u, expected %u\n", out.front(), value);
    return std::all_of(out.begin(), out.end(), [value](unsigned v) { return v == value; });
  }
  size_t nodesOf(CUgraph graph) {
    size_t count = ~size_t{0};
    EXPECT_OK(cuGraphGetNodes(graph, nullptr, &count));
    return count;
  }

  CUmodule module_ = nullptr;
  CUfunction add_ = nullptr;
  CUstream stream_ = nullptr;
  CUstream other_ = nullptr;
  CUdeviceptr memory_ = 0;
};

}  // namespace farwarp::conformance
