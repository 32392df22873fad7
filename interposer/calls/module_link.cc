// Linking device code at run time: gpud's driver links, and the image comes back to the program,
// which loads it or keeps it.
#include <algorithm>

#include "interposer/calls/body.h"
#include "interposer/calls/image_load.h"
#include "interposer/session/link_state.h"

namespace farwarp::client::calls {
namespace {

CUresult findState(CallScope& scope, CUlinkState handle, uint64_t& id, LinkState*& state) {
  FARWARP_TRY(scope.use(wire::HandleType::linkState, handle, id));
  state = static_cast<LinkState*>(scope.client().handles.object(id));
  return state != nullptr ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

// `scope` was entered.
CUresult addData(CallScope& scope, CUlinkState handle, CUjitInputType type,
                 std::span<const std::byte> data, std::string_view name, const JitOptions& jit) {
  wire::Args_cuLinkAddData_v2 args;
  LinkState* state = nullptr;
  FARWARP_TRY(findState(scope, handle, args.state, state));
  if (data.empty() || static_cast<uint32_t>(type) >= CU_JIT_NUM_INPUT_TYPES) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  if (data.size() > kImageBytesMax) {
    scope.client().events.write("An input of a link has " + std::to_string(data.size()) +
                                " bytes; the limit is " + std::to_string(kImageBytesMax) + ".");
    return CUDA_ERROR_OUT_OF_MEMORY;
  }
  args.type = static_cast<uint32_t>(type);
  args.data_bytes = data.size();
  if (data.size() <= wire::kInlineDataMax) {
    args.data = data;
  } else {
    args.transfer = scope.client().transfers.nextNumber();
    scope.upload(args.transfer, data);
  }
  args.name = name;
  args.options = jit.options();
  args.values = jit.values();
  wire::Reply_cuLinkAddData_v2 reply;
  const CUresult result = scope.call(args, reply);
  state->options.giveLogs(reply.info_log, reply.error_log);
  return result;
}

// The image in parts, as long as there are more. `image` gets what the first part tells to be
// there.
CUresult fetchImage(CallScope& scope, wire::Args_cuLinkComplete& args, LinkState& state,
                    std::vector<std::byte>& image) {
  do {
    args.offset = image.size();
    wire::Reply_cuLinkComplete reply;
    const CUresult result = scope.call(args, reply);
    if (args.offset == 0) state.options.giveLogs(reply.info_log, reply.error_log);
    if (result != CUDA_SUCCESS) return result;
    if (reply.part.empty() || reply.image_bytes > kImageBytesMax ||
        reply.part.size() > reply.image_bytes - args.offset) {
      return CUDA_ERROR_UNKNOWN;
    }
    image.insert(image.end(), reply.part.begin(), reply.part.end());
    if (image.size() == reply.image_bytes) return CUDA_SUCCESS;
  } while (true);
}

}  // namespace

CUresult cuLinkCreate_v2(unsigned int count, CUjit_option* options, void** values,
                         CUlinkState* out) {
  CallScope scope(CallId::cuLinkCreate_v2);
  FARWARP_TRY(scope.enter(kNeedsInit | kNeedsContext));
  if (out == nullptr) return CUDA_ERROR_INVALID_VALUE;
  auto state = std::make_unique<LinkState>();
  FARWARP_TRY(state->options.read(count, options, values));
  wire::Args_cuLinkCreate_v2 args;
  FARWARP_TRY(scope.create(wire::HandleType::linkState, args.state, 0, state.get()));
  args.options = state->options.options();
  args.values = state->options.values();
  wire::Reply_cuLinkCreate_v2 reply;
  const CUresult result = scope.call(args, reply);
  if (result != CUDA_SUCCESS) {
    scope.abandon(args.state);
    return result;
  }
  *out = handleOf<CUlinkState>(args.state);
  static_cast<void>(state.release());  // Client::release frees it with the handle
  return CUDA_SUCCESS;
}

CUresult cuLinkCreate(unsigned int count, CUjit_option* options, void** values, CUlinkState* out) {
  return calls::cuLinkCreate_v2(count, options, values, out);
}

CUresult cuLinkAddData_v2(CUlinkState state, CUjitInputType type, void* data, size_t bytes,
                          const char* name, unsigned int count, CUjit_option* options,
                          void** values) {
  CallScope scope(CallId::cuLinkAddData_v2);
  FARWARP_TRY(scope.enter(kNeedsInit | kNeedsContext));
  JitOptions jit;
  if (data == nullptr) bytes = 0;
  FARWARP_TRY(jit.read(count, options, values));
  return addData(scope, state, type, {static_cast<const std::byte*>(data), bytes},
                 name == nullptr ? "" : name, jit);
}

CUresult cuLinkAddData(CUlinkState state, CUjitInputType type, void* data, size_t bytes,
                       const char* name, unsigned int count, CUjit_option* options, void** values) {
  return calls::cuLinkAddData_v2(state, type, data, bytes, name, count, options, values);
}

CUresult cuLinkAddFile_v2(CUlinkState state, CUjitInputType type, const char* path,
                          unsigned int count, CUjit_option* options, void** values) {
  CallScope scope(CallId::cuLinkAddData_v2);
  FARWARP_TRY(scope.enter(kNeedsInit | kNeedsContext));
  uint64_t id = 0;
  LinkState* found = nullptr;
  FARWARP_TRY(findState(scope, state, id, found));
  JitOptions jit;
  if (path == nullptr) return CUDA_ERROR_INVALID_VALUE;
  FARWARP_TRY(jit.read(count, options, values));
  std::vector<std::byte> bytes;
  if (!readImageFile(path, bytes)) return CUDA_ERROR_FILE_NOT_FOUND;
  return addData(scope, state, type, bytes, path, jit);
}

CUresult cuLinkAddFile(CUlinkState state, CUjitInputType type, const char* path, unsigned int count,
                       CUjit_option* options, void** values) {
  return calls::cuLinkAddFile_v2(state, type, path, count, options, values);
}

CUresult cuLinkComplete(CUlinkState handle, void** image, size_t* bytes) {
  CallScope scope(CallId::cuLinkComplete);
  FARWARP_TRY(scope.enter(kNeedsInit | kNeedsContext));
  wire::Args_cuLinkComplete args;
  LinkState* state = nullptr;
  FARWARP_TRY(findState(scope, handle, args.state, state));
  if (image == nullptr) return CUDA_ERROR_INVALID_VALUE;
  std::lock_guard lock(state->mutex);
  if (state->image.empty()) {
    std::vector<std::byte> fetched;
    FARWARP_TRY(fetchImage(scope, args, *state, fetched));
    state->image = std::move(fetched);
  }
  *image = state->image.data();
  if (bytes != nullptr) *bytes = state->image.size();
  return CUDA_SUCCESS;
}

CUresult cuLinkDestroy(CUlinkState handle) {
  CallScope scope(CallId::cuLinkDestroy);
  FARWARP_TRY(scope.enter(kNeedsInit));
  wire::Args_cuLinkDestroy args;
  FARWARP_TRY(scope.use(wire::HandleType::linkState, handle, args.state));
  wire::Reply_cuLinkDestroy reply;
  FARWARP_TRY(scope.call(args, reply));
  scope.destroy(args.state);
  return CUDA_SUCCESS;
}

}  // namespace farwarp::client::calls
