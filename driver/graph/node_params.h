// What a node does, made from the structures of CUDA and checked as far as that needs no device.
#pragma once

#include <cuda.h>

#include "driver/graph/host.h"

namespace farwarp::graph {

// Copies the parameters and attributes of a kernel. `cooperative` and clusters come from the
// attributes. CUDA_ERROR_NOT_SUPPORTED for attributes that hold pointers or handles.
[[nodiscard]] CUresult makeKernel(Host& host, const CUDA_KERNEL_NODE_PARAMS_v3& from,
                                  std::span<const CUlaunchAttribute> attributes, KernelParams& to);
[[nodiscard]] CUresult makeCopy(Host& host, const CUDA_MEMCPY3D* from, CUcontext context,
                                CopyParams& to);
[[nodiscard]] CUresult makeFill(Host& host, const CUDA_MEMSET_NODE_PARAMS_v2& from, FillParams& to);
[[nodiscard]] CUresult makeBatch(Host& host, const CUDA_BATCH_MEM_OP_NODE_PARAMS_v2& from,
                                 BatchParams& to);
[[nodiscard]] CUresult checkOperations(Host& host,
                                       std::span<const CUstreamBatchMemOpParams> operations);

// The attributes that a node may have; `shape` gets what they mean for a launch.
[[nodiscard]] CUresult readAttributes(std::span<const CUlaunchAttribute> from,
                                      std::vector<CUlaunchAttribute>& to, LaunchShape& shape);

// Bodies are made with the node, empty. CUDA_ERROR_INVALID_VALUE for a handle that is none, or that
// a node asks already.
[[nodiscard]] CUresult makeConditional(Host& host, const CUDA_CONDITIONAL_NODE_PARAMS& from,
                                       SharedParams& to);

// The memory is there from now on; its address is written to `from`.
[[nodiscard]] CUresult makeAlloc(Host& host, CUDA_MEM_ALLOC_NODE_PARAMS_v2& from, SharedParams& to);
[[nodiscard]] CUresult makeFree(Host& host, CUdeviceptr address, SharedParams& to);

template <typename T>
SharedParams share(T params) {
  return std::make_shared<const Params>(std::move(params));
}

}  // namespace farwarp::graph
