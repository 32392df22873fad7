// Green contexts, and the parts of devices that they are made of.
#include <algorithm>
#include <string>
#include <vector>

#include "gpud/worker/session.h"
#include "worker_dispatch_gen.h"

namespace farwarp::worker::calls {
namespace {

using wire::HandleType;

constexpr uint32_t kGroupsMax = 1024;  // as the client asks for

// Answers with a resource that the driver gave.
template <typename Reply>
void answer(Session& session, CallContext& call, CUresult result, const CUdevResource& resource) {
  Reply reply;
  if (result == CUDA_SUCCESS &&
      !session.greenContexts().resources().keep(resource, reply.resource)) {
    result = CUDA_ERROR_OUT_OF_MEMORY;
  }
  call.finish(result, reply);
}

}  // namespace

void cuDeviceGetDevResource(Session& session, CallContext& call,
                            const wire::Args_cuDeviceGetDevResource& args) {
  CUdevResource resource{};
  const CUresult result = session.driver().cuDeviceGetDevResource(
      args.device, &resource, static_cast<CUdevResourceType>(args.type));
  answer<wire::Reply_cuDeviceGetDevResource>(session, call, result, resource);
}

void cuCtxGetDevResource(Session& session, CallContext& call,
                         const wire::Args_cuCtxGetDevResource& args) {
  CUcontext context = nullptr;
  CUresult result = session.resolve(HandleType::context, args.context, &context);
  if (result == CUDA_SUCCESS && context == nullptr) result = CUDA_ERROR_INVALID_CONTEXT;
  CUdevResource resource{};
  if (result == CUDA_SUCCESS) {
    result = session.driver().cuCtxGetDevResource(context, &resource,
                                                  static_cast<CUdevResourceType>(args.type));
  }
  answer<wire::Reply_cuCtxGetDevResource>(session, call, result, resource);
}

void cuGreenCtxGetDevResource(Session& session, CallContext& call,
                              const wire::Args_cuGreenCtxGetDevResource& args) {
  CUgreenCtx green = nullptr;
  CUresult result = session.resolve(HandleType::greenContext, args.green, &green);
  CUdevResource resource{};
  if (result == CUDA_SUCCESS) {
    result = session.driver().cuGreenCtxGetDevResource(green, &resource,
                                                       static_cast<CUdevResourceType>(args.type));
  }
  answer<wire::Reply_cuGreenCtxGetDevResource>(session, call, result, resource);
}

void cuDevSmResourceSplitByCount(Session& session, CallContext& call,
                                 const wire::Args_cuDevSmResourceSplitByCount& args) {
  DeviceResources& resources = session.greenContexts().resources();
  const CUdevResource* input = resources.find(args.input);
  if (input == nullptr) return call.finish(CUDA_ERROR_INVALID_RESOURCE_CONFIGURATION);
  const bool wants_groups = (args.wants & 1) != 0, wants_rest = (args.wants & 2) != 0;
  if (args.groups > kGroupsMax || (wants_groups && args.groups == 0)) {
    return call.malformed("It asks for " + std::to_string(args.groups) +
                          " groups of multiprocessors; the limit is " + std::to_string(kGroupsMax) +
                          ".");
  }
  const CUdevResource from = *input;  // keep() may move what it points to
  std::vector<CUdevResource> groups(args.groups);
  CUdevResource rest{};
  unsigned count = args.groups;
  CUresult result = session.driver().cuDevSmResourceSplitByCount(
      wants_groups ? groups.data() : nullptr, &count, &from, wants_rest ? &rest : nullptr,
      args.flags, args.min_count);
  if (result != CUDA_SUCCESS) return call.finish(result);
  if (wants_groups) groups.resize(std::min<size_t>(count, groups.size()));
  wire::Reply_cuDevSmResourceSplitByCount reply;
  bool kept = resources.keep(rest, reply.remaining);
  for (CUdevResource& group : groups) {
    const CUdevResource made = group;
    kept = kept && resources.keep(made, group);
  }
  if (!kept) return call.finish(CUDA_ERROR_OUT_OF_MEMORY);
  reply.groups = count;
  if (wants_groups) reply.result = groups;
  call.finish(result, reply);
}

// CUDA has no call that ends a description, so their number is limited by that of handles.
void cuDevResourceGenerateDesc(Session& session, CallContext& call,
                               const wire::Args_cuDevResourceGenerateDesc& args) {
  std::vector<CUdevResource> resources;
  for (uint64_t number : args.resources) {
    const CUdevResource* resource = session.greenContexts().resources().find(number);
    if (resource == nullptr) return call.finish(CUDA_ERROR_INVALID_RESOURCE_CONFIGURATION);
    resources.push_back(*resource);
  }
  if (resources.empty() || resources.size() > kGroupsMax) {
    return call.malformed("The description is made of no resources, or of too many.");
  }
  CUdevResourceDesc description = nullptr;
  const CUresult result = session.driver().cuDevResourceGenerateDesc(
      &description, resources.data(), static_cast<unsigned>(resources.size()));
  if (result != CUDA_SUCCESS) return call.finish(result);
  if (session.bind(HandleType::resourceDescription, args.description, description, 0) !=
      CUDA_SUCCESS) {
    return call.malformed("The description's id may not be used.");
  }
  call.finish(result);
}

void cuGreenCtxCreate(Session& session, CallContext& call,
                      const wire::Args_cuGreenCtxCreate& args) {
  CUdevResourceDesc description = nullptr;
  CUresult result =
      session.resolve(HandleType::resourceDescription, args.description, &description);
  if (result == CUDA_SUCCESS && session.greenContexts().full()) result = CUDA_ERROR_OUT_OF_MEMORY;
  // The client has retained it.
  const uint64_t primary = session.contexts().primary(args.device).id;
  if (result == CUDA_SUCCESS && primary == 0) result = CUDA_ERROR_INVALID_CONTEXT;
  if (result != CUDA_SUCCESS) return call.finish(result);
  const DriverTable& driver = session.driver();
  CUgreenCtx green = nullptr;
  CUcontext context = nullptr;
  CUdevResource resource{};
  result = driver.cuGreenCtxCreate(&green, description, args.device, args.flags);
  if (result != CUDA_SUCCESS) return call.finish(result);
  result = driver.cuCtxFromGreenCtx(&context, green);
  if (result == CUDA_SUCCESS) {
    result = driver.cuGreenCtxGetDevResource(green, &resource, CU_DEV_RESOURCE_TYPE_SM);
  }
  if (result != CUDA_SUCCESS) {
    driver.cuGreenCtxDestroy(green);
    return call.finish(result);
  }
  if (session.bind(HandleType::greenContext, args.green, green, primary) != CUDA_SUCCESS ||
      session.bind(HandleType::context, args.context, context, args.green) != CUDA_SUCCESS) {
    return call.malformed("The green context's ids may not be used.");
  }
  session.contexts().setHome(args.context, primary);
  session.greenContexts().add(args.green, {args.device, args.context});
  wire::Reply_cuGreenCtxCreate reply;
  reply.multiprocessors = resource.sm.smCount;
  call.finish(result, reply);
}

void cuGreenCtxDestroy(Session& session, CallContext& call,
                       const wire::Args_cuGreenCtxDestroy& args) {
  call.finish(session.greenContexts().destroy(session, args.green));
}

void cuGreenCtxStreamCreate(Session& session, CallContext& call,
                            const wire::Args_cuGreenCtxStreamCreate& args) {
  CUgreenCtx green = nullptr;
  CUresult result = session.resolve(HandleType::greenContext, args.green, &green);
  CUstream stream = nullptr;
  if (result == CUDA_SUCCESS) {
    result = session.driver().cuGreenCtxStreamCreate(&stream, green, args.flags, args.priority);
  }
  if (result != CUDA_SUCCESS) return call.finish(result);
  if (session.bind(HandleType::stream, args.stream, stream, args.green) != CUDA_SUCCESS) {
    return call.malformed("The stream's id may not be used.");
  }
  call.finish(result);
}

}  // namespace farwarp::worker::calls
