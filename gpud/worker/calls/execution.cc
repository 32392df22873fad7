// Launches: every form of launch of a kernel arrives as cuLaunchKernelEx.
#include <array>

#include "gpud/worker/launch_config.h"
#include "gpud/worker/session.h"
#include "worker_dispatch_gen.h"

namespace farwarp::worker::calls {

using wire::HandleType;

namespace {

// The kernel's name while the client wants to know when kernels run; null otherwise.
const char* nameFor(Session& session, CUfunction function) {
  const char* name = nullptr;
  const DriverTable& driver = session.driver();
  if (!session.timeline().on() || driver.cuFuncGetName == nullptr) return nullptr;
  if (driver.cuFuncGetName(&name, function) == CUDA_SUCCESS) return name;
  const auto kernel = reinterpret_cast<CUkernel>(function);
  return driver.cuKernelGetName(&name, kernel) == CUDA_SUCCESS ? name : nullptr;
}

}  // namespace

void cuLaunchKernelEx(Session& session, CallContext& call,
                      const wire::Args_cuLaunchKernelEx& args) {
  CUfunction function = nullptr;
  CUresult result = session.resolve(HandleType::function, args.function, &function);
  if (result != CUDA_SUCCESS) return call.finish(result);
  LaunchConfig config;
  result = config.set(args);
  if (result != CUDA_SUCCESS) return call.finish(result);
  result = session.resolveStream(args.stream, call.header, &config.get().hStream);
  if (result != CUDA_SUCCESS) return call.finish(result);

  // The client packed the parameters by the kernel's own layout.
  size_t param_bytes = args.params.size();
  std::array<void*, 5> extra = {CU_LAUNCH_PARAM_BUFFER_POINTER,
                                const_cast<std::byte*>(args.params.data()),
                                CU_LAUNCH_PARAM_BUFFER_SIZE, &param_bytes, CU_LAUNCH_PARAM_END};
  KernelMeter& meter = session.meter();
  meter.beforeLaunch(session.contexts().current(), session.contexts().currentDevice(),
                     config.get().hStream, nameFor(session, function));
  result = session.driver().cuLaunchKernelEx(&config.get(), function, nullptr,
                                             param_bytes == 0 ? nullptr : extra.data());
  meter.afterLaunch(result);
  call.finish(result);
}

void cuLaunchHostFunc(Session& session, CallContext& call,
                      const wire::Args_cuLaunchHostFunc& args) {
  CUstream stream = nullptr;
  const CUresult result = session.resolveStream(args.stream, call.header, &stream);
  if (result != CUDA_SUCCESS) return call.finish(result);
  call.finish(session.hostFunctions().launch(session.contexts().current(), stream, args.function));
}

}  // namespace farwarp::worker::calls
