// Linking device code at run time.
#include <fstream>
#include <iterator>
#include <vector>

#include "cpu_calls_gen.h"
#include "gpud/device/cpu/calls/enter.h"
#include "gpud/device/cpu/linker.h"

namespace farwarp::cpu::calls {
namespace {

CUresult findLinker(CUlinkState state, std::shared_ptr<Linker>& linker) {
  std::shared_ptr<Context> context;
  if (CUresult r = enter(context); r != CUDA_SUCCESS) return r;
  linker = context->driver().linkers().find(state);
  return linker != nullptr ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

// Options of one input tune a code generator that is not there.
CUresult checkOptions(unsigned count, const CUjit_option* options, void* const* values) {
  return count != 0 && (options == nullptr || values == nullptr) ? CUDA_ERROR_INVALID_VALUE
                                                                 : CUDA_SUCCESS;
}

}  // namespace

CUresult cuLinkCreate_v2(unsigned int count, CUjit_option* options, void** values,
                         CUlinkState* out) {
  std::shared_ptr<Context> context;
  if (CUresult r = enter(context); r != CUDA_SUCCESS) return r;
  if (out == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (CUresult r = checkOptions(count, options, values); r != CUDA_SUCCESS) return r;
  const uintptr_t handle = context->driver().linkers().insert(
      std::make_shared<Linker>(context->driver(), JitOptions(count, options, values)));
  if (handle == 0) return CUDA_ERROR_OUT_OF_MEMORY;
  *out = reinterpret_cast<CUlinkState>(handle);
  return CUDA_SUCCESS;
}

CUresult cuLinkCreate(unsigned int count, CUjit_option* options, void** values, CUlinkState* out) {
  return calls::cuLinkCreate_v2(count, options, values, out);
}

CUresult cuLinkAddData_v2(CUlinkState state, CUjitInputType type, void* data, size_t size,
                          const char* name, unsigned int count, CUjit_option* options,
                          void** values) {
  std::shared_ptr<Linker> linker;
  if (CUresult r = findLinker(state, linker); r != CUDA_SUCCESS) return r;
  if (data == nullptr || size == 0) return CUDA_ERROR_INVALID_VALUE;
  if (CUresult r = checkOptions(count, options, values); r != CUDA_SUCCESS) return r;
  return linker->add(type, {static_cast<const std::byte*>(data), size},
                     name == nullptr ? "" : name);
}

CUresult cuLinkAddData(CUlinkState state, CUjitInputType type, void* data, size_t size,
                       const char* name, unsigned int count, CUjit_option* options, void** values) {
  return calls::cuLinkAddData_v2(state, type, data, size, name, count, options, values);
}

CUresult cuLinkAddFile_v2(CUlinkState state, CUjitInputType type, const char* path,
                          unsigned int count, CUjit_option* options, void** values) {
  std::shared_ptr<Linker> linker;
  if (CUresult r = findLinker(state, linker); r != CUDA_SUCCESS) return r;
  if (path == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (CUresult r = checkOptions(count, options, values); r != CUDA_SUCCESS) return r;
  std::ifstream file(path, std::ios::binary);
  if (!file.is_open()) return CUDA_ERROR_FILE_NOT_FOUND;
  const std::string content{std::istreambuf_iterator<char>(file), {}};
  if (file.bad()) return CUDA_ERROR_FILE_NOT_FOUND;
  return linker->add(type, std::as_bytes(std::span(content)), path);
}

CUresult cuLinkAddFile(CUlinkState state, CUjitInputType type, const char* path, unsigned int count,
                       CUjit_option* options, void** values) {
  return calls::cuLinkAddFile_v2(state, type, path, count, options, values);
}

CUresult cuLinkComplete(CUlinkState state, void** image, size_t* bytes) {
  std::shared_ptr<Linker> linker;
  if (CUresult r = findLinker(state, linker); r != CUDA_SUCCESS) return r;
  return image == nullptr ? CUDA_ERROR_INVALID_VALUE : linker->complete(image, bytes);
}

CUresult cuLinkDestroy(CUlinkState state) {
  if (CUresult r = enter(); r != CUDA_SUCCESS) return r;
  return Driver::get().linkers().remove(state) != nullptr ? CUDA_SUCCESS
                                                          : CUDA_ERROR_INVALID_HANDLE;
}

}  // namespace farwarp::cpu::calls
