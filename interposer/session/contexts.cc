#include "interposer/session/contexts.h"

namespace farwarp::client {
namespace {

constexpr uint32_t kApiVersion = 3020;  // what cuCtxGetApiVersion has said since CUDA 3.2

}  // namespace

CUresult Contexts::makePrimaries(int devices) {
  std::lock_guard lock(mutex_);
  for (int device = 0; device < devices; ++device) {
    Context& context = storage_.emplace_back();
    uint64_t id = 0;
    CUresult result = handles_.create(wire::HandleType::context, 0, &context, id);
    if (result != CUDA_SUCCESS) return result;
    context.id = id;
    context.number = next_number_++;
    context.device = device;
    context.primary = true;
    context.api_version = kApiVersion;
    primaries_.push_back(&context);
  }
  return CUDA_SUCCESS;
}

Context* Contexts::primary(int device) {
  std::lock_guard lock(mutex_);
  if (device < 0 || static_cast<size_t>(device) >= primaries_.size()) return nullptr;
  return primaries_[static_cast<size_t>(device)];
}

CUresult Contexts::create(int device, uint32_t flags, Context*& out) {
  std::lock_guard lock(mutex_);
  Context* context = nullptr;
  if (unused_.empty()) {
    context = &storage_.emplace_back();
  } else {
    context = unused_.back();
    unused_.pop_back();
  }
  uint64_t id = 0;
  if (CUresult r = handles_.create(wire::HandleType::context, 0, context, id); r != CUDA_SUCCESS) {
    unused_.push_back(context);
    return r;
  }
  context->id = id;
  context->number = next_number_++;
  context->device = device;
  context->primary = false;
  context->flags = flags;
  context->primary_of_green = nullptr;
  context->green = nullptr;
  context->api_version = kApiVersion;
  context->cache_config = CU_FUNC_CACHE_PREFER_NONE;
  context->shared_config = CU_SHARED_MEM_CONFIG_DEFAULT_BANK_SIZE;
  context->active = true;
  out = context;
  return CUDA_SUCCESS;
}

void Contexts::retire(Context* context) {
  context->active = false;
  std::lock_guard lock(mutex_);
  unused_.push_back(context);
}

}  // namespace farwarp::client
