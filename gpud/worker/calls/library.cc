// Libraries and their kernels, which belong to no context.
#include <vector>

#include "gpud/worker/image.h"
#include "gpud/worker/kernel_facts.h"
#include "gpud/worker/session.h"
#include "worker_dispatch_gen.h"

namespace farwarp::worker::calls {

using wire::HandleType;

namespace {

// CU_LIBRARY_BINARY_IS_PRESERVED is a promise about the client's memory; the copy here is not kept,
// so it does not pass. The table of host functions holds pointers of the client's.
CUresult checkLibraryOptions(std::span<const uint32_t> options) {
  for (uint32_t option : options) {
    if (option == CU_LIBRARY_HOST_UNIVERSAL_FUNCTION_AND_DATA_TABLE)
      return CUDA_ERROR_NOT_SUPPORTED;
    if (option >= CU_LIBRARY_NUM_OPTIONS) return CUDA_ERROR_INVALID_VALUE;
  }
  return CUDA_SUCCESS;
}

}  // namespace

void cuLibraryLoadData(Session& session, CallContext& call,
                       const wire::Args_cuLibraryLoadData& args) {
  Image image;
  switch (image.gather(session.uploads(), args.transfer, args.image_bytes, args.image)) {
    case Uploads::Progress::waiting:
      return call.stall();
    case Uploads::Progress::malformed:
      return call.malformed("The image's bytes do not add up.");
    case Uploads::Progress::complete:
      break;
  }
  session.content().arrived(args.transfer, image.bytes());
  JitOptions options;
  CUresult result = options.set(args.jit_options, args.jit_values);
  if (result == CUDA_SUCCESS) result = checkLibraryOptions(args.library_options);
  if (result == CUDA_SUCCESS) result = image.check();
  if (result != CUDA_SUCCESS) return call.finish(result);
  CUlibrary library = nullptr;
  result =
      session.driver().cuLibraryLoadData(&library, image.data(), options.options(),
                                         options.values(), options.count(), nullptr, nullptr, 0);
  wire::Reply_cuLibraryLoadData reply;
  reply.info_log = options.infoLog();
  reply.error_log = options.errorLog();
  std::vector<std::byte> kernels;
  if (result == CUDA_SUCCESS) {
    kernels = libraryKernels(session.driver(), library, result);
    if (result != CUDA_SUCCESS) session.driver().cuLibraryUnload(library);
  }
  if (result == CUDA_SUCCESS &&
      session.bind(HandleType::library, args.library, library) != CUDA_SUCCESS) {
    return call.malformed("The library's id may not be used.");
  }
  reply.kernels = kernels;
  call.finishWithReply(result, reply);
}

void cuLibraryUnload(Session& session, CallContext& call, const wire::Args_cuLibraryUnload& args) {
  CUlibrary library = nullptr;
  const CUresult found = session.resolve(HandleType::library, args.library, &library);
  if (found != CUDA_SUCCESS) return call.finish(found);
  session.unbind(HandleType::library, args.library);
  call.finish(session.driver().cuLibraryUnload(library));
}

void cuLibraryGetKernel(Session& session, CallContext& call,
                        const wire::Args_cuLibraryGetKernel& args) {
  CUlibrary library = nullptr;
  CUresult result = session.resolve(HandleType::library, args.library, &library);
  if (result != CUDA_SUCCESS) return call.finish(result);
  CUkernel kernel = nullptr;
  result = session.driver().cuLibraryGetKernel(&kernel, library, std::string(args.name).c_str());
  if (result != CUDA_SUCCESS) return call.finish(result);
  if (session.bind(HandleType::kernel, args.kernel, kernel, args.library) != CUDA_SUCCESS) {
    return call.malformed("The kernel's id may not be used.");
  }
  call.finish(result);
}

void cuLibraryGetModule(Session& session, CallContext& call,
                        const wire::Args_cuLibraryGetModule& args) {
  CUlibrary library = nullptr;
  CUresult result = session.resolve(HandleType::library, args.library, &library);
  if (result != CUDA_SUCCESS) return call.finish(result);
  CUmodule module = nullptr;
  result = session.driver().cuLibraryGetModule(&module, library);
  if (result != CUDA_SUCCESS) return call.finish(result);
  if (session.bind(HandleType::module, args.module, module, args.library) != CUDA_SUCCESS) {
    return call.malformed("The module's id may not be used.");
  }
  call.finish(result);
}

void cuKernelGetFunction(Session& session, CallContext& call,
                         const wire::Args_cuKernelGetFunction& args) {
  CUkernel kernel = nullptr;
  CUresult result = session.resolve(HandleType::kernel, args.kernel, &kernel);
  if (result != CUDA_SUCCESS) return call.finish(result);
  CUfunction function = nullptr;
  result = session.driver().cuKernelGetFunction(&function, kernel);
  if (result != CUDA_SUCCESS) return call.finish(result);
  if (session.bind(HandleType::function, args.function, function, args.kernel) != CUDA_SUCCESS) {
    return call.malformed("The function's id may not be used.");
  }
  call.finish(result);
}

void cuLibraryGetGlobal(Session& session, CallContext& call,
                        const wire::Args_cuLibraryGetGlobal& args) {
  CUlibrary library = nullptr;
  CUresult result = session.resolve(HandleType::library, args.library, &library);
  if (result != CUDA_SUCCESS) return call.finish(result);
  CUdeviceptr address = 0;
  size_t bytes = 0;
  result = session.driver().cuLibraryGetGlobal(&address, &bytes, library,
                                               std::string(args.name).c_str());
  wire::Reply_cuLibraryGetGlobal reply;
  reply.address = address;
  reply.bytes = bytes;
  call.finish(result, reply);
}

void cuLibraryGetManaged(Session& session, CallContext& call,
                         const wire::Args_cuLibraryGetManaged& args) {
  CUlibrary library = nullptr;
  CUresult result = session.resolve(HandleType::library, args.library, &library);
  if (result != CUDA_SUCCESS) return call.finish(result);
  CUdeviceptr address = 0;
  size_t bytes = 0;
  result = session.driver().cuLibraryGetManaged(&address, &bytes, library,
                                                std::string(args.name).c_str());
  wire::Reply_cuLibraryGetManaged reply;
  reply.address = address;
  reply.bytes = bytes;
  if (result == CUDA_SUCCESS) {
    SharedMemory::pagesOf(session.driver(), address, reply.base, reply.whole);
  }
  call.finish(result, reply);
}

}  // namespace farwarp::worker::calls
