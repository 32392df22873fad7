#include "driver/graph/node_params.h"

#include <cstring>

#include "driver/copy_shape.h"
#include "driver_calls_gen.h"

namespace farwarp::graph {
namespace {

constexpr size_t kAttributesMax = 32;
constexpr int kExtraEntriesMax = 16;
constexpr uint32_t kKernelParamBytesMax = 32u << 10;
constexpr unsigned kOperationsMax = 256;  // of one batch, as CUDA says

CUresult packPointers(const KernelLayout& layout, void** params, std::vector<std::byte>& packed) {
  if (layout.params.empty()) return CUDA_SUCCESS;
  if (params == nullptr) return CUDA_ERROR_INVALID_VALUE;
  for (size_t i = 0; i < layout.params.size(); ++i) {
    if (params[i] == nullptr) return CUDA_ERROR_INVALID_VALUE;
    std::memcpy(packed.data() + layout.params[i].offset, params[i], layout.params[i].bytes);
  }
  return CUDA_SUCCESS;
}

// CU_LAUNCH_PARAM_BUFFER_POINTER and _SIZE: the program has packed them itself.
CUresult packExtra(void** extra, std::vector<std::byte>& packed) {
  const void* buffer = nullptr;
  size_t bytes = 0;
  for (int i = 0; extra[i] != CU_LAUNCH_PARAM_END; i += 2) {
    if (i >= kExtraEntriesMax) return CUDA_ERROR_INVALID_VALUE;
    if (extra[i] == CU_LAUNCH_PARAM_BUFFER_POINTER) {
      buffer = extra[i + 1];
    } else if (extra[i] == CU_LAUNCH_PARAM_BUFFER_SIZE && extra[i + 1] != nullptr) {
      std::memcpy(&bytes, extra[i + 1], sizeof bytes);
    } else {
      return CUDA_ERROR_INVALID_VALUE;
    }
  }
  if (packed.empty()) return CUDA_SUCCESS;
  if (buffer == nullptr || bytes < packed.size()) return CUDA_ERROR_INVALID_VALUE;
  std::memcpy(packed.data(), buffer, packed.size());
  return CUDA_SUCCESS;
}

}  // namespace

CUresult readAttributes(std::span<const CUlaunchAttribute> from, std::vector<CUlaunchAttribute>& to,
                        LaunchShape& shape) {
  if (from.size() > kAttributesMax) return CUDA_ERROR_INVALID_VALUE;
  for (const CUlaunchAttribute& given : from) {
    // Only the bytes that mean something, so that two attributes compare by their bytes.
    CUlaunchAttribute kept;
    std::memset(&kept, 0, sizeof kept);
    kept.id = given.id;
    switch (given.id) {
      // Inside of a graph the next node waits for all of this one, which the hint permits.
      case CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION:
      case CU_LAUNCH_ATTRIBUTE_IGNORE:
        continue;
      case CU_LAUNCH_ATTRIBUTE_COOPERATIVE:
        kept.value.cooperative = given.value.cooperative;
        shape.cooperative = given.value.cooperative != 0;
        break;
      case CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION:
        kept.value.clusterDim = given.value.clusterDim;
        shape.cluster[0] = given.value.clusterDim.x;
        shape.cluster[1] = given.value.clusterDim.y;
        shape.cluster[2] = given.value.clusterDim.z;
        break;
      case CU_LAUNCH_ATTRIBUTE_CLUSTER_SCHEDULING_POLICY_PREFERENCE:
        kept.value.clusterSchedulingPolicyPreference =
            given.value.clusterSchedulingPolicyPreference;
        break;
      case CU_LAUNCH_ATTRIBUTE_PRIORITY:
        kept.value.priority = given.value.priority;
        break;
      default:
        return CUDA_ERROR_NOT_SUPPORTED;
    }
    to.push_back(kept);
  }
  return CUDA_SUCCESS;
}

CUresult makeKernel(Host& host, const CUDA_KERNEL_NODE_PARAMS_v3& from,
                    std::span<const CUlaunchAttribute> attributes, KernelParams& to) {
  if (from.func == nullptr && from.kern == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (from.kernelParams != nullptr && from.extra != nullptr) return CUDA_ERROR_INVALID_VALUE;
  to.function = from.func;
  to.kernel = from.kern;
  // A kernel of a library, given as a function, is told as both: runtimes know it by the one.
  CUlibrary library = nullptr;
  const auto as_kernel = reinterpret_cast<CUkernel>(from.func);
  if (from.func != nullptr &&
      host.table().cuKernelGetLibrary(&library, as_kernel) == CUDA_SUCCESS) {
    to.kernel = as_kernel;
  }
  to.context = from.func == nullptr ? from.ctx : nullptr;
  FARWARP_GRAPH_TRY(host.checkContext(to.context));
  to.shape = {{from.gridDimX, from.gridDimY, from.gridDimZ},
              {from.blockDimX, from.blockDimY, from.blockDimZ},
              from.sharedMemBytes,
              {0, 0, 0},
              false};
  FARWARP_GRAPH_TRY(readAttributes(attributes, to.attributes, to.shape));
  KernelLayout layout;
  FARWARP_GRAPH_TRY(host.kernelLayout(to.launched(), layout));
  FARWARP_GRAPH_TRY(host.checkShape(to.launched(), to.shape));
  if (layout.bytes > kKernelParamBytesMax) return CUDA_ERROR_INVALID_VALUE;
  to.packed.assign(layout.bytes, std::byte{0});
  for (const auto& param : layout.params) to.offsets.push_back(param.offset);
  return from.extra != nullptr ? packExtra(from.extra, to.packed)
                               : packPointers(layout, from.kernelParams, to.packed);
}

CUresult makeCopy(Host& host, const CUDA_MEMCPY3D* from, CUcontext context, CopyParams& to) {
  if (from == nullptr) return CUDA_ERROR_INVALID_VALUE;
  to.copy = *from;
  to.context = context;
  FARWARP_GRAPH_TRY(host.checkContext(to.context));
  CopyRequest request;
  FARWARP_GRAPH_TRY(describeCopy(to.copy, request));
  return request.box.empty() ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
}

CUresult makeFill(Host& host, const CUDA_MEMSET_NODE_PARAMS_v2& from, FillParams& to) {
  to.fill = from;
  FARWARP_GRAPH_TRY(host.checkContext(to.fill.ctx));
  const unsigned element = from.elementSize;
  size_t row = 0;
  if (from.dst == 0 || (element != 1 && element != 2 && element != 4) || from.width == 0 ||
      from.height == 0 || __builtin_mul_overflow(from.width, size_t{element}, &row)) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  if (from.dst % element != 0) return CUDA_ERROR_INVALID_VALUE;
  if (from.height > 1 && (from.pitch < row || from.pitch % element != 0)) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  return CUDA_SUCCESS;
}

CUresult checkOperations(Host& host, std::span<const CUstreamBatchMemOpParams> operations) {
  if (operations.empty() || operations.size() > kOperationsMax) return CUDA_ERROR_INVALID_VALUE;
  for (const CUstreamBatchMemOpParams& operation : operations) {
    switch (operation.operation) {
      case CU_STREAM_MEM_OP_WAIT_VALUE_32:
      case CU_STREAM_MEM_OP_WAIT_VALUE_64: {
        const unsigned flags = operation.waitValue.flags;
        const uint64_t width = operation.operation == CU_STREAM_MEM_OP_WAIT_VALUE_32 ? 4 : 8;
        if ((flags & ~(unsigned{CU_STREAM_WAIT_VALUE_FLUSH} | 3u)) != 0 ||
            operation.waitValue.address == 0 || operation.waitValue.address % width != 0) {
          return CUDA_ERROR_INVALID_VALUE;
        }
        // Devices that flush remote writes say so in an attribute; none here does.
        if ((flags & CU_STREAM_WAIT_VALUE_FLUSH) != 0) return CUDA_ERROR_NOT_SUPPORTED;
        FARWARP_GRAPH_TRY(host.checkOperand(operation.waitValue.address, width));
        break;
      }
      case CU_STREAM_MEM_OP_WRITE_VALUE_32:
      case CU_STREAM_MEM_OP_WRITE_VALUE_64: {
        const uint64_t width = operation.operation == CU_STREAM_MEM_OP_WRITE_VALUE_32 ? 4 : 8;
        if ((operation.writeValue.flags & ~unsigned{CU_STREAM_WRITE_VALUE_NO_MEMORY_BARRIER}) !=
                0 ||
            operation.writeValue.address == 0 || operation.writeValue.address % width != 0) {
          return CUDA_ERROR_INVALID_VALUE;
        }
        FARWARP_GRAPH_TRY(host.checkOperand(operation.writeValue.address, width));
        break;
      }
      case CU_STREAM_MEM_OP_BARRIER:
        if (operation.memoryBarrier.flags > CU_STREAM_MEMORY_BARRIER_TYPE_GPU) {
          return CUDA_ERROR_INVALID_VALUE;
        }
        break;
      case CU_STREAM_MEM_OP_FLUSH_REMOTE_WRITES:
        return CUDA_ERROR_NOT_SUPPORTED;
      default:
        return CUDA_ERROR_INVALID_VALUE;
    }
  }
  return CUDA_SUCCESS;
}

CUresult makeBatch(Host& host, const CUDA_BATCH_MEM_OP_NODE_PARAMS_v2& from, BatchParams& to) {
  if (from.paramArray == nullptr || from.flags != 0) return CUDA_ERROR_INVALID_VALUE;
  to.context = from.ctx;
  FARWARP_GRAPH_TRY(host.checkContext(to.context));
  const std::span<const CUstreamBatchMemOpParams> operations(from.paramArray, from.count);
  FARWARP_GRAPH_TRY(checkOperations(host, operations));
  to.operations.assign(operations.begin(), operations.end());
  return CUDA_SUCCESS;
}

CUresult makeAlloc(Host& host, CUDA_MEM_ALLOC_NODE_PARAMS_v2& from, SharedParams& to) {
  AllocParams made;
  made.properties = from.poolProps;
  made.bytes = from.bytesize;
  const CUmemPoolProps& pool = from.poolProps;
  if (from.bytesize == 0 || pool.allocType != CU_MEM_ALLOCATION_TYPE_PINNED ||
      pool.handleTypes != CU_MEM_HANDLE_TYPE_NONE ||
      pool.location.type != CU_MEM_LOCATION_TYPE_DEVICE ||
      (from.accessDescCount != 0 && from.accessDescs == nullptr)) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  for (size_t i = 0; i < from.accessDescCount; ++i) {
    const CUmemAccessDesc& access = from.accessDescs[i];
    if (access.location.type != CU_MEM_LOCATION_TYPE_DEVICE) return CUDA_ERROR_INVALID_VALUE;
    if (access.location.id != pool.location.id) return CUDA_ERROR_NOT_SUPPORTED;
    made.access.push_back(access);
  }
  FARWARP_GRAPH_TRY(host.allocate(made, made.address, made.memory));
  from.dptr = made.address;
  std::lock_guard lock(host.state.mutex);
  host.state.sweepMemory();
  host.state.memory[made.address] = {made.bytes, pool.location.id, false, made.memory, nullptr};
  host.state.captures.watchMemory(true);
  to = share(std::move(made));
  return CUDA_SUCCESS;
}

CUresult makeFree(Host& host, CUdeviceptr address, SharedParams& to) {
  std::lock_guard lock(host.state.mutex);
  if (!host.state.memory.contains(address)) return CUDA_ERROR_INVALID_VALUE;
  to = share(FreeParams{address});
  return CUDA_SUCCESS;
}

}  // namespace farwarp::graph
