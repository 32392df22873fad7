// Modules: loading, with the table of kernels that the client needs, functions and globals.
#include "gpud/worker/image.h"
#include "gpud/worker/kernel_facts.h"
#include "gpud/worker/session.h"
#include "worker_dispatch_gen.h"

namespace farwarp::worker::calls {

using wire::HandleType;

void cuModuleLoadDataEx(Session& session, CallContext& call,
                        const wire::Args_cuModuleLoadDataEx& args) {
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
  CUresult result = options.set(args.options, args.values);
  if (result == CUDA_SUCCESS) result = image.check();
  if (result != CUDA_SUCCESS) return call.finish(result);
  CUmodule module = nullptr;
  result = session.driver().cuModuleLoadDataEx(&module, image.data(), options.count(),
                                               options.options(), options.values());
  wire::Reply_cuModuleLoadDataEx reply;
  reply.info_log = options.infoLog();
  reply.error_log = options.errorLog();
  std::vector<std::byte> kernels;
  if (result == CUDA_SUCCESS) {
    kernels = moduleKernels(session.driver(), module, result);
    if (result != CUDA_SUCCESS) session.driver().cuModuleUnload(module);
  }
  if (result == CUDA_SUCCESS &&
      session.bind(HandleType::module, args.module, module) != CUDA_SUCCESS) {
    return call.malformed("The module's id may not be used.");
  }
  reply.kernels = kernels;
  call.finishWithReply(result, reply);
}

void cuModuleGetFunction(Session& session, CallContext& call,
                         const wire::Args_cuModuleGetFunction& args) {
  CUmodule module = nullptr;
  CUresult result = session.resolve(HandleType::module, args.module, &module);
  if (result != CUDA_SUCCESS) return call.finish(result);
  CUfunction function = nullptr;
  result = session.driver().cuModuleGetFunction(&function, module, std::string(args.name).c_str());
  if (result != CUDA_SUCCESS) return call.finish(result);
  if (session.bind(HandleType::function, args.function, function, args.module) != CUDA_SUCCESS) {
    return call.malformed("The function's id may not be used.");
  }
  call.finish(result);
}

void cuModuleGetGlobal_v2(Session& session, CallContext& call,
                          const wire::Args_cuModuleGetGlobal_v2& args) {
  CUmodule module = nullptr;
  CUresult result = session.resolve(HandleType::module, args.module, &module);
  if (result != CUDA_SUCCESS) return call.finish(result);
  CUdeviceptr address = 0;
  size_t bytes = 0;
  result = session.driver().cuModuleGetGlobal_v2(&address, &bytes, module,
                                                 std::string(args.name).c_str());
  wire::Reply_cuModuleGetGlobal_v2 reply;
  if (result == CUDA_SUCCESS) {
    SharedMemory::pagesOf(session.driver(), address, reply.base, reply.whole);
  }
  reply.address = address;
  reply.bytes = bytes;
  call.finish(result, reply);
}

}  // namespace farwarp::worker::calls
