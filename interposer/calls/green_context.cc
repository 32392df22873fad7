// Green contexts. What a resource of multiprocessors is, gpud's driver knows; the program's copy
// holds the number under which gpud keeps it.
#include <algorithm>
#include <cstring>
#include <vector>

#include "interposer/calls/body.h"

namespace farwarp::client::calls {
namespace {

using wire::HandleType;

constexpr uint32_t kGroupsMax = 1024;  // more than a device has multiprocessors

// gpud's number for a resource of the program's; one that never came from there has another.
uint64_t numberOf(const CUdevResource& resource) {
  uint64_t number = 0;
  std::memcpy(&number, resource._internal_padding, sizeof(number));
  return number;
}

CUresult checkType(const CUdevResource* resource, CUdevResourceType type) {
  if (resource == nullptr) return CUDA_ERROR_INVALID_VALUE;
  return type == CU_DEV_RESOURCE_TYPE_SM ? CUDA_SUCCESS : CUDA_ERROR_INVALID_RESOURCE_TYPE;
}

}  // namespace

CUresult cuDeviceGetDevResource(CUdevice device, CUdevResource* resource, CUdevResourceType type) {
  CallScope scope(CallId::cuDeviceGetDevResource);
  FARWARP_TRY(scope.enter(kNeedsInit));
  if (scope.client().devices.find(device) == nullptr) return CUDA_ERROR_INVALID_DEVICE;
  FARWARP_TRY(checkType(resource, type));
  wire::Args_cuDeviceGetDevResource args;
  args.device = scope.client().devices.toServer(device);
  args.type = static_cast<uint32_t>(type);
  wire::Reply_cuDeviceGetDevResource reply;
  FARWARP_TRY(scope.call(args, reply));
  *resource = reply.resource;
  return CUDA_SUCCESS;
}

CUresult cuCtxGetDevResource(CUcontext context, CUdevResource* resource, CUdevResourceType type) {
  CallScope scope(CallId::cuCtxGetDevResource);
  FARWARP_TRY(scope.enter(kNeedsInit));
  wire::Args_cuCtxGetDevResource args;
  FARWARP_TRY(scope.use(HandleType::context, context, args.context));
  FARWARP_TRY(checkType(resource, type));
  args.type = static_cast<uint32_t>(type);
  wire::Reply_cuCtxGetDevResource reply;
  FARWARP_TRY(scope.call(args, reply));
  *resource = reply.resource;
  return CUDA_SUCCESS;
}

CUresult cuGreenCtxGetDevResource(CUgreenCtx green, CUdevResource* resource,
                                  CUdevResourceType type) {
  CallScope scope(CallId::cuGreenCtxGetDevResource);
  FARWARP_TRY(scope.enter(kNeedsInit));
  wire::Args_cuGreenCtxGetDevResource args;
  FARWARP_TRY(scope.use(HandleType::greenContext, green, args.green));
  FARWARP_TRY(checkType(resource, type));
  args.type = static_cast<uint32_t>(type);
  wire::Reply_cuGreenCtxGetDevResource reply;
  FARWARP_TRY(scope.call(args, reply));
  *resource = reply.resource;
  return CUDA_SUCCESS;
}

CUresult cuDevSmResourceSplitByCount(CUdevResource* result, unsigned int* groups,
                                     const CUdevResource* input, CUdevResource* remaining,
                                     unsigned int flags, unsigned int min_count) {
  CallScope scope(CallId::cuDevSmResourceSplitByCount);
  FARWARP_TRY(scope.enter(kNeedsInit));
  if (groups == nullptr || input == nullptr || (result != nullptr && *groups == 0)) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  if (input->type != CU_DEV_RESOURCE_TYPE_SM) return CUDA_ERROR_INVALID_RESOURCE_TYPE;
  wire::Args_cuDevSmResourceSplitByCount args;
  args.input = numberOf(*input);
  args.groups = result != nullptr ? std::min(*groups, kGroupsMax) : 0;
  args.wants = (result != nullptr ? 1u : 0u) | (remaining != nullptr ? 2u : 0u);
  args.flags = flags;
  args.min_count = min_count;
  wire::Reply_cuDevSmResourceSplitByCount reply;
  FARWARP_TRY(scope.call(args, reply));
  if (reply.result.size() > args.groups) return CUDA_ERROR_UNKNOWN;
  std::copy(reply.result.begin(), reply.result.end(), result);
  if (remaining != nullptr) *remaining = reply.remaining;
  *groups = reply.groups;
  return CUDA_SUCCESS;
}

CUresult cuDevResourceGenerateDesc(CUdevResourceDesc* description, CUdevResource* resources,
                                   unsigned int count) {
  CallScope scope(CallId::cuDevResourceGenerateDesc);
  FARWARP_TRY(scope.enter(kNeedsInit));
  if (description == nullptr || resources == nullptr || count == 0) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  if (count > kGroupsMax) return CUDA_ERROR_INVALID_RESOURCE_CONFIGURATION;
  std::vector<uint64_t> numbers;
  for (unsigned i = 0; i < count; ++i) {
    if (resources[i].type != CU_DEV_RESOURCE_TYPE_SM) return CUDA_ERROR_INVALID_RESOURCE_TYPE;
    numbers.push_back(numberOf(resources[i]));
  }
  wire::Args_cuDevResourceGenerateDesc args;
  args.resources = numbers;
  FARWARP_TRY(scope.create(HandleType::resourceDescription, args.description, 0, nullptr));
  wire::Reply_cuDevResourceGenerateDesc reply;
  if (CUresult r = scope.call(args, reply); r != CUDA_SUCCESS) {
    scope.abandon(args.description);
    return r;
  }
  *description = handleOf<CUdevResourceDesc>(args.description);
  return CUDA_SUCCESS;
}

namespace {

// The green context of `device`, whose primary context is retained, and its CUcontext.
CUresult makeGreen(CallScope& scope, wire::Args_cuGreenCtxCreate& args, CUdevice device) {
  Client& client = scope.client();
  GreenContext* green = client.green_contexts.make();
  if (green == nullptr) return CUDA_ERROR_OUT_OF_MEMORY;
  Context& primary = *client.contexts.primary(device);
  Context* context = nullptr;
  FARWARP_TRY(client.contexts.create(device, primary.flags, context));
  context->primary_of_green = &primary;
  context->green = green;
  args.context = green->context_id = context->id;
  green->number = context->number;
  green->device = device;
  CUresult result = scope.create(HandleType::greenContext, args.green, primary.id, green);
  wire::Reply_cuGreenCtxCreate reply;
  if (result == CUDA_SUCCESS) {
    green->id = args.green;
    result = scope.call(args, reply);
    if (result != CUDA_SUCCESS) scope.abandon(args.green);
  }
  if (result != CUDA_SUCCESS) {
    scope.abandon(args.context);
    client.contexts.retire(context);
    return result;
  }
  green->multiprocessors = reply.multiprocessors;
  green->active = true;
  return CUDA_SUCCESS;
}

}  // namespace

CUresult cuGreenCtxCreate(CUgreenCtx* green, CUdevResourceDesc description, CUdevice device,
                          unsigned int flags) {
  CallScope scope(CallId::cuGreenCtxCreate);
  FARWARP_TRY(scope.enter(kNeedsInit));
  if (green == nullptr || flags != CU_GREEN_CTX_DEFAULT_STREAM) return CUDA_ERROR_INVALID_VALUE;
  if (scope.client().devices.find(device) == nullptr) return CUDA_ERROR_INVALID_DEVICE;
  wire::Args_cuGreenCtxCreate args;
  FARWARP_TRY(scope.use(HandleType::resourceDescription, description, args.description));
  args.device = scope.client().devices.toServer(device);
  args.flags = flags;
  CUcontext primary = nullptr;
  FARWARP_TRY(calls::cuDevicePrimaryCtxRetain(&primary, device));
  if (CUresult r = makeGreen(scope, args, device); r != CUDA_SUCCESS) {
    static_cast<void>(calls::cuDevicePrimaryCtxRelease_v2(device));
    return r;
  }
  *green = handleOf<CUgreenCtx>(args.green);
  return CUDA_SUCCESS;
}

CUresult cuGreenCtxDestroy(CUgreenCtx green) {
  CallScope scope(CallId::cuGreenCtxDestroy);
  FARWARP_TRY(scope.enter(kNeedsInit));
  wire::Args_cuGreenCtxDestroy args;
  FARWARP_TRY(scope.use(HandleType::greenContext, green, args.green));
  const auto* known = static_cast<const GreenContext*>(scope.client().handles.object(args.green));
  if (known == nullptr) return CUDA_ERROR_INVALID_CONTEXT;
  wire::Reply_cuGreenCtxDestroy reply;
  const CUresult result = scope.call(args, reply);
  scope.destroy(args.green);
  static_cast<void>(calls::cuDevicePrimaryCtxRelease_v2(known->device));
  return result;
}

CUresult cuCtxFromGreenCtx(CUcontext* context, CUgreenCtx green) {
  CallScope scope(CallId::cuCtxFromGreenCtx);
  FARWARP_TRY(scope.enter(kNeedsInit));
  uint64_t id = 0;
  FARWARP_TRY(scope.use(HandleType::greenContext, green, id));
  if (context == nullptr) return CUDA_ERROR_INVALID_VALUE;
  const auto* known = static_cast<const GreenContext*>(scope.client().handles.object(id));
  if (known == nullptr) return CUDA_ERROR_INVALID_CONTEXT;
  *context = handleOf<CUcontext>(known->context_id);
  return CUDA_SUCCESS;
}

CUresult cuGreenCtxGetId(CUgreenCtx green, unsigned long long* number) {
  CallScope scope(CallId::cuGreenCtxGetId);
  FARWARP_TRY(scope.enter(kNeedsInit));
  const GreenContext* known = nullptr;
  if (green != nullptr) {
    uint64_t id = 0;
    FARWARP_TRY(scope.use(HandleType::greenContext, green, id));
    known = static_cast<const GreenContext*>(scope.client().handles.object(id));
  } else if (const Context* current = scope.client().contexts.find(scope.thread().current())) {
    known = current->green;
  }
  if (known == nullptr) return CUDA_ERROR_INVALID_CONTEXT;
  if (number == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *number = known->number;
  return CUDA_SUCCESS;
}

CUresult cuGreenCtxStreamCreate(CUstream* stream, CUgreenCtx green, unsigned int flags,
                                int priority) {
  CallScope scope(CallId::cuGreenCtxStreamCreate);
  FARWARP_TRY(scope.enter(kNeedsInit));
  wire::Args_cuGreenCtxStreamCreate args;
  FARWARP_TRY(scope.use(HandleType::greenContext, green, args.green));
  if (stream == nullptr || flags != CU_STREAM_NON_BLOCKING) return CUDA_ERROR_INVALID_VALUE;
  HandleTable& handles = scope.client().handles;
  const uint64_t primary = handles.parent(args.green);
  FARWARP_TRY(scope.create(HandleType::stream, args.stream, primary, handles.object(args.green)));
  args.flags = flags;
  args.priority = priority;
  wire::Reply_cuGreenCtxStreamCreate reply;
  if (CUresult r = scope.call(args, reply); r != CUDA_SUCCESS) {
    scope.abandon(args.stream);
    return r;
  }
  *stream = handleOf<CUstream>(args.stream);
  return CUDA_SUCCESS;
}

CUresult cuStreamGetGreenCtx(CUstream stream, CUgreenCtx* green) {
  CUcontext context = nullptr;
  FARWARP_TRY(calls::cuStreamGetCtx(stream, &context, 0));
  if (green == nullptr) return CUDA_ERROR_INVALID_VALUE;
  CallScope scope(CallId::cuStreamGetGreenCtx);
  FARWARP_TRY(scope.enter(kNeedsInit | kNeedsContext));
  const GreenContext* known = greenOf(scope, idOf(stream));
  *green = handleOf<CUgreenCtx>(known != nullptr ? known->id : 0);
  return CUDA_SUCCESS;
}

}  // namespace farwarp::client::calls
