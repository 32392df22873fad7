// What texture and surface objects have in common.
#pragma once

#include <memory>

#include "interposer/calls/body.h"

namespace farwarp::client {

// The live object that a value of the program names in the current context. Only after enter.
// CUDA_ERROR_INVALID_VALUE.
template <typename Value>
CUresult findTextureObject(CallScope& scope, const TextureObjects& objects, Value value,
                           uint64_t& id, const TextureObject*& object) {
  id = objects.find(currentContext(scope).id, value);
  object = static_cast<const TextureObject*>(scope.client().handles.object(id));
  return object == nullptr ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
}

// Sends a creation, whose reply is the driver's value, and keeps `object` beside its id.
template <typename Args, typename Reply>
CUresult createTextureObject(CallScope& scope, wire::HandleType type, Args& args,
                             std::unique_ptr<TextureObject> object, uint64_t& value) {
  Client& client = scope.client();
  object->context = currentContext(scope).id;
  FARWARP_TRY(scope.create(type, args.object, object->context, object.get()));
  Reply reply;
  if (CUresult r = scope.call(args, reply); r != CUDA_SUCCESS) {
    scope.abandon(args.object);
    return r;
  }
  value = object->value = reply.value;
  const uint64_t context = object.release()->context;  // Client::release frees it with its id
  (type == wire::HandleType::texObject ? client.textures : client.surfaces)
      .add(context, value, args.object);
  return CUDA_SUCCESS;
}

}  // namespace farwarp::client
