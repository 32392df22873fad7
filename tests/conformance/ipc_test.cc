// Goal: memory and events of one process are another's, with CUDA's results for what may not be.
// Method: the program starts itself as a child, which opens the parent's handles, or makes some for
// the parent; both look at what the other wrote.
#include <cstring>

#include "tests/conformance/child_process.h"
#include "tests/conformance/conformance.h"

namespace farwarp::conformance {
namespace {

constexpr size_t kBytes = (1 << 20) + 100;
constexpr unsigned kOpenFlags = CU_IPC_MEM_LAZY_ENABLE_PEER_ACCESS;

struct Handles {
  CUipcMemHandle memory;
  CUipcEventHandle event;
};

class Ipc : public ConformanceTest {
 protected:
  CUevent createEvent() {
    CUevent event = nullptr;
    EXPECT_OK(cuEventCreate(&event, CU_EVENT_INTERPROCESS | CU_EVENT_DISABLE_TIMING));
    return event;
  }
};

class IpcChild : public Ipc {
 protected:
  void SetUp() override {
    if (!isChild()) GTEST_SKIP() << "Started by the other tests only.";
    Ipc::SetUp();
  }
};

TEST_F(IpcChild, WritesIntoTheParentsMemory) {
  Handles handles;
  ASSERT_TRUE(readAll(kFromParentFd, &handles, sizeof(handles)));
  CUdeviceptr address = 0, again = 0;
  ASSERT_OK(cuIpcOpenMemHandle_v2(&address, handles.memory, kOpenFlags));
  CUevent event = nullptr;
  ASSERT_OK(cuIpcOpenEventHandle(&event, handles.event));
  CUstream stream = nullptr;
  ASSERT_OK(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
  EXPECT_OK(cuStreamWaitEvent(stream, event, 0));
  std::vector<unsigned char> seen(kBytes);
  EXPECT_OK(cuMemcpyDtoHAsync_v2(seen.data(), address, kBytes, stream));
  EXPECT_OK(cuStreamSynchronize(stream));
  EXPECT_EQ(seen, pattern(kBytes, 1));
  CUdeviceptr base = 0;
  size_t bytes = 0;
  EXPECT_OK(cuMemGetAddressRange_v2(&base, &bytes, address + 5));
  EXPECT_EQ(base, address);
  EXPECT_EQ(bytes, kBytes);
  const auto answer = pattern(kBytes, 2);
  EXPECT_OK(cuMemcpyHtoDAsync_v2(address, answer.data(), kBytes, stream));
  EXPECT_OK(cuEventRecord(event, stream));
  EXPECT_OK(cuEventSynchronize(event));
  // Open twice is closed twice.
  EXPECT_OK(cuIpcOpenMemHandle_v2(&again, handles.memory, kOpenFlags));
  EXPECT_EQ(again, address);
  EXPECT_CUDA(cuMemFree_v2(address), CUDA_ERROR_INVALID_VALUE);
  CUipcMemHandle other;
  EXPECT_CUDA(cuIpcGetMemHandle(&other, address), CUDA_ERROR_INVALID_VALUE);
  EXPECT_OK(cuIpcCloseMemHandle(address));
  EXPECT_OK(cuMemsetD8_v2(address, 3, 1));
  EXPECT_OK(cuCtxSynchronize());
  EXPECT_OK(cuIpcCloseMemHandle(address));
  EXPECT_CUDA(cuIpcCloseMemHandle(address), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuMemsetD8_v2(address, 3, 1), CUDA_ERROR_INVALID_VALUE);
  EXPECT_OK(cuEventDestroy_v2(event));
  EXPECT_OK(cuStreamDestroy_v2(stream));
}

TEST_F(Ipc, GivesMemoryAndEventsToAnotherProcess) {
  int supported = 0;
  EXPECT_OK(cuDeviceGetAttribute(&supported, CU_DEVICE_ATTRIBUTE_IPC_EVENT_SUPPORTED, device_));
  EXPECT_EQ(supported, 1);
  const auto bytes = pattern(kBytes, 1);
  const CUdeviceptr address = upload(bytes);
  Handles handles;
  EXPECT_OK(cuIpcGetMemHandle(&handles.memory, address));
  EXPECT_EQ(download(address, kBytes), bytes) << "handing it out changes nothing";
  const CUevent event = createEvent();
  EXPECT_OK(cuEventQuery(event));
  EXPECT_OK(cuIpcGetEventHandle(&handles.event, event));
  EXPECT_OK(cuEventRecord(event, nullptr));
  Child child("IpcChild.WritesIntoTheParentsMemory");
  ASSERT_TRUE(child.send(&handles, sizeof(handles)));
  EXPECT_TRUE(child.passed());
  EXPECT_OK(cuEventSynchronize(event));
  EXPECT_OK(cuEventQuery(event));
  auto expected = pattern(kBytes, 2);
  expected[0] = 3;
  EXPECT_EQ(download(address, kBytes), expected);
  EXPECT_OK(cuMemFree_v2(address));
  EXPECT_OK(cuEventDestroy_v2(event));
}

// Makes handles, and ends.
TEST_F(IpcChild, LeavesHandlesBehind) {
  Handles handles;
  const CUdeviceptr address = allocate(4096);
  EXPECT_OK(cuIpcGetMemHandle(&handles.memory, address));
  const CUevent event = createEvent();
  EXPECT_OK(cuIpcGetEventHandle(&handles.event, event));
  ASSERT_TRUE(writeAll(kToParentFd, &handles, sizeof(handles)));
}

TEST_F(Ipc, HandlesOfAProcessThatEndedAreNothing) {
  Handles handles;
  Child child("IpcChild.LeavesHandlesBehind");
  ASSERT_TRUE(child.receive(&handles, sizeof(handles)));
  EXPECT_TRUE(child.passed());
  CUdeviceptr address = 0;
  CUevent event = nullptr;
  CUresult memory = CUDA_SUCCESS;
  // In gpud, what served the child ends a moment after it.
  while ((memory = cuIpcOpenMemHandle_v2(&address, handles.memory, kOpenFlags)) == CUDA_SUCCESS) {
    ASSERT_EQ(cuIpcCloseMemHandle(address), CUDA_SUCCESS);
  }
  EXPECT_EQ(note("opening memory of a process that ended", memory), "CUDA_ERROR_MAP_FAILED");
  EXPECT_CUDA(cuIpcOpenEventHandle(&event, handles.event), CUDA_ERROR_MAP_FAILED);
}

// Waits for its parent's recording, which comes when both have told each other that they are there.
TEST_F(IpcChild, WaitsForTheParent) {
  Handles handles;
  ASSERT_TRUE(readAll(kFromParentFd, &handles, sizeof(handles)));
  CUdeviceptr address = 0;
  CUevent event = nullptr;
  ASSERT_OK(cuIpcOpenMemHandle_v2(&address, handles.memory, kOpenFlags));
  ASSERT_OK(cuIpcOpenEventHandle(&event, handles.event));
  EXPECT_CUDA(cuEventQuery(event), CUDA_ERROR_NOT_READY);
  const char here = 'h';
  ASSERT_TRUE(writeAll(kToParentFd, &here, 1));
  EXPECT_OK(cuEventSynchronize(event));
  EXPECT_EQ(download(address, 4), std::vector<unsigned char>(4, 0x77));
  EXPECT_OK(cuIpcCloseMemHandle(address));
}

TEST_F(Ipc, EventsHoldAnotherProcessBack) {
  const CUdeviceptr address = allocate(64);
  CUdeviceptr flag = allocate(4);
  EXPECT_OK(cuMemsetD8_v2(address, 0x11, 64));
  EXPECT_OK(cuMemsetD32_v2(flag, 0, 1));
  EXPECT_OK(cuCtxSynchronize());
  Handles handles;
  const CUevent event = createEvent();
  EXPECT_OK(cuIpcGetMemHandle(&handles.memory, address));
  EXPECT_OK(cuIpcGetEventHandle(&handles.event, event));
  CUstream stream = nullptr, other = nullptr;
  ASSERT_OK(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
  ASSERT_OK(cuStreamCreate(&other, CU_STREAM_NON_BLOCKING));
  EXPECT_OK(cuStreamWaitValue32_v2(stream, flag, 1, CU_STREAM_WAIT_VALUE_EQ));
  EXPECT_OK(cuMemsetD8Async(address, 0x77, 64, stream));
  EXPECT_OK(cuEventRecord(event, stream));
  EXPECT_CUDA(cuEventQuery(event), CUDA_ERROR_NOT_READY);
  Child child("IpcChild.WaitsForTheParent");
  ASSERT_TRUE(child.send(&handles, sizeof(handles)));
  char here = 0;
  EXPECT_TRUE(child.receive(&here, 1));
  EXPECT_OK(cuStreamWriteValue32_v2(other, flag, 1, 0));
  EXPECT_TRUE(child.passed());
  EXPECT_OK(cuEventSynchronize(event));
  EXPECT_OK(cuStreamDestroy_v2(stream));
  EXPECT_OK(cuStreamDestroy_v2(other));
}

TEST_F(Ipc, RefusesWhatCudaRefuses) {
  CUipcMemHandle memory{};
  CUipcEventHandle event_handle{};
  const CUdeviceptr address = allocate(4096);
  EXPECT_CUDA(cuIpcGetMemHandle(nullptr, address), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuIpcGetMemHandle(&memory, 0x1234), CUDA_ERROR_INVALID_VALUE);
  CUdeviceptr pooled = 0, opened = 0;
  EXPECT_OK(cuMemAllocAsync(&pooled, 4096, nullptr));
  EXPECT_CUDA(cuIpcGetMemHandle(&memory, pooled), CUDA_ERROR_INVALID_VALUE);
  EXPECT_OK(cuMemFreeAsync(pooled, nullptr));
  unsigned capable = 9;
  EXPECT_OK(
      cuPointerGetAttribute(&capable, CU_POINTER_ATTRIBUTE_IS_LEGACY_CUDA_IPC_CAPABLE, address));
  EXPECT_EQ(capable, 1u);
  EXPECT_CUDA(cuIpcOpenMemHandle_v2(&opened, memory, kOpenFlags), CUDA_ERROR_INVALID_HANDLE);
  EXPECT_OK(cuIpcGetMemHandle(&memory, address));
  CUipcMemHandle again{};
  EXPECT_OK(cuIpcGetMemHandle(&again, address));
  EXPECT_EQ(std::memcmp(&memory, &again, sizeof(memory)), 0);
  EXPECT_CUDA(cuIpcOpenMemHandle_v2(nullptr, memory, kOpenFlags), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuIpcOpenMemHandle_v2(&opened, memory, 2), CUDA_ERROR_INVALID_VALUE);
  EXPECT_CUDA(cuIpcOpenMemHandle_v2(&opened, memory, kOpenFlags), CUDA_ERROR_INVALID_CONTEXT)
      << "it is this process's own";
  EXPECT_CUDA(cuIpcOpenMemHandle(&opened, memory, kOpenFlags), CUDA_ERROR_INVALID_CONTEXT);
  EXPECT_CUDA(cuIpcCloseMemHandle(address), CUDA_ERROR_INVALID_VALUE);
  EXPECT_OK(cuMemFree_v2(address));

  CUevent event = nullptr;
  EXPECT_CUDA(cuEventCreate(&event, CU_EVENT_INTERPROCESS), CUDA_ERROR_INVALID_VALUE);
  EXPECT_OK(cuEventCreate(&event, CU_EVENT_DISABLE_TIMING));
  EXPECT_CUDA(cuIpcGetEventHandle(&event_handle, event), CUDA_ERROR_INVALID_VALUE);
  EXPECT_OK(cuEventDestroy_v2(event));
  EXPECT_CUDA(cuIpcOpenEventHandle(&event, event_handle), CUDA_ERROR_INVALID_HANDLE);
  event = createEvent();
  EXPECT_CUDA(cuIpcGetEventHandle(nullptr, event), CUDA_ERROR_INVALID_VALUE);
  EXPECT_OK(cuIpcGetEventHandle(&event_handle, event));
  CUevent own = nullptr;
  EXPECT_CUDA(cuIpcOpenEventHandle(&own, event_handle), CUDA_ERROR_INVALID_CONTEXT);
  EXPECT_OK(cuEventDestroy_v2(event));
}

}  // namespace
}  // namespace farwarp::conformance
