#include "gpud/worker/kernel_facts.h"

#include <spdlog/spdlog.h>

#include <cstring>

#include "protocol/kernel_table.h"
#include "protocol/limits.h"

namespace farwarp::worker {
namespace {

// Asking a lazily loaded kernel for its attributes loads it. Libraries with thousands of kernels
// keep their laziness; the client then asks for the ones that it uses.
constexpr unsigned kKernelsWithAttributesMax = 1024;

// The head of a reply and its other fields must fit beside the table.
constexpr size_t kTableBytesMax = wire::kReplyBytesMax - (4u << 20);

// The two families of questions, for functions of modules and kernels of libraries.
struct ModuleQuestions {
  const DriverTable& driver;
  CUresult name(const char** out, CUfunction f) const { return driver.cuFuncGetName(out, f); }
  CUresult param(CUfunction f, size_t i, size_t* offset, size_t* bytes) const {
    return driver.cuFuncGetParamInfo(f, i, offset, bytes);
  }
  CUresult attribute(int* out, CUfunction_attribute id, CUfunction f) const {
    return driver.cuFuncGetAttribute(out, id, f);
  }
};

struct LibraryQuestions {
  const DriverTable& driver;
  CUresult name(const char** out, CUkernel k) const { return driver.cuKernelGetName(out, k); }
  CUresult param(CUkernel k, size_t i, size_t* offset, size_t* bytes) const {
    return driver.cuKernelGetParamInfo(k, i, offset, bytes);
  }
  CUresult attribute(int* out, CUfunction_attribute id, CUkernel k) const {
    CUdevice first = 0;
    if (CUresult r = driver.cuDeviceGet(&first, 0); r != CUDA_SUCCESS) return r;
    return driver.cuKernelGetAttribute(out, id, k, first);
  }
};

template <typename Questions, typename Handle>
CUresult describe(const Questions& ask, Handle handle, bool with_attributes,
                  wire::KernelInfo& info) {
  const char* name = nullptr;
  if (CUresult r = ask.name(&name, handle); r != CUDA_SUCCESS) return r;
  if (name == nullptr || strnlen(name, wire::kKernelNameBytesMax + 1) > wire::kKernelNameBytesMax) {
    return CUDA_ERROR_INVALID_IMAGE;
  }
  info.name = name;
  // The driver tells the number of parameters by failing for the first that is not there.
  for (size_t i = 0; i < wire::kKernelParamsMax; ++i) {
    size_t offset = 0;
    size_t bytes = 0;
    if (ask.param(handle, i, &offset, &bytes) != CUDA_SUCCESS) break;
    if (offset > wire::kKernelParamBytesMax || bytes > wire::kKernelParamBytesMax - offset) {
      return CUDA_ERROR_INVALID_IMAGE;
    }
    info.params.push_back({static_cast<uint32_t>(offset), static_cast<uint32_t>(bytes)});
  }
  info.attributes_known = with_attributes;
  for (size_t id = 0; with_attributes && id < wire::kKernelAttributeCount; ++id) {
    int value = 0;
    const CUresult r = ask.attribute(&value, static_cast<CUfunction_attribute>(id), handle);
    if (r == CUDA_SUCCESS) {
      info.attributes[id] = value;
    } else if (id < CU_FUNC_ATTRIBUTE_CLUSTER_SIZE_MUST_BE_SET) {
      info.attributes_known = false;  // older drivers do not know the cluster attributes
    }
  }
  return CUDA_SUCCESS;
}

template <typename Questions, typename Handle>
std::vector<std::byte> makeTable(const Questions& ask, const std::vector<Handle>& handles,
                                 CUresult& result) {
  std::vector<wire::KernelInfo> kernels(handles.size());
  const bool with_attributes = handles.size() <= kKernelsWithAttributesMax;
  for (size_t i = 0; i < handles.size(); ++i) {
    result = describe(ask, handles[i], with_attributes, kernels[i]);
    if (result != CUDA_SUCCESS) return {};
  }
  if (wire::kernelTableBytes(kernels) > kTableBytesMax) {
    spdlog::warn("An image's kernel table has {} bytes; the limit is {}.",
                 wire::kernelTableBytes(kernels), kTableBytesMax);
    result = CUDA_ERROR_NOT_SUPPORTED;
    return {};
  }
  return wire::encodeKernelTable(kernels);
}

template <typename Handle>
bool makeRoom(unsigned count, std::vector<Handle>& handles, CUresult& result) {
  if (result == CUDA_SUCCESS && count > wire::kKernelsPerImageMax) {
    spdlog::warn("An image has {} kernels; the limit is {}.", count, wire::kKernelsPerImageMax);
    result = CUDA_ERROR_NOT_SUPPORTED;
  }
  if (result == CUDA_SUCCESS) handles.resize(count);
  return result == CUDA_SUCCESS;
}

}  // namespace

std::vector<std::byte> moduleKernels(const DriverTable& driver, CUmodule module, CUresult& result) {
  unsigned count = 0;
  std::vector<CUfunction> handles;
  result = driver.cuModuleGetFunctionCount(&count, module);
  if (!makeRoom(count, handles, result)) return {};
  if (count != 0) result = driver.cuModuleEnumerateFunctions(handles.data(), count, module);
  if (result != CUDA_SUCCESS) return {};
  return makeTable(ModuleQuestions{driver}, handles, result);
}

std::vector<std::byte> libraryKernels(const DriverTable& driver, CUlibrary library,
                                      CUresult& result) {
  unsigned count = 0;
  std::vector<CUkernel> handles;
  result = driver.cuLibraryGetKernelCount(&count, library);
  if (!makeRoom(count, handles, result)) return {};
  if (count != 0) result = driver.cuLibraryEnumerateKernels(handles.data(), count, library);
  if (result != CUDA_SUCCESS) return {};
  return makeTable(LibraryQuestions{driver}, handles, result);
}

}  // namespace farwarp::worker
