// User objects, and what devices say of the memory of graphs.
#include <algorithm>

#include "driver/graph/host.h"
#include "driver/graph/user_objects.h"
#include "graph_calls_gen.h"

namespace farwarp::graph {
namespace {

constexpr unsigned kCountMax = 0x7fffffff;  // INT_MAX, as CUDA says

bool badCount(unsigned count) {
  return count == 0 || count > kCountMax;
}

// The program's references to an object. The object ends, and its destructor runs, when the caller
// lets go of `object` without the lock.
CUresult release(State& state, CUuserObject handle, unsigned count,
                 std::shared_ptr<UserObject>& object) {
  const auto found = state.user_objects.find(handle);
  if (found == state.user_objects.end()) return CUDA_ERROR_INVALID_VALUE;
  object = found->second;
  if (count > object->count) return CUDA_ERROR_INVALID_VALUE;
  object->count -= count;
  if (object->count == 0) state.user_objects.erase(found);
  return CUDA_SUCCESS;
}

}  // namespace

namespace calls {

CUresult cuUserObjectCreate(Host& host, CUuserObject* out, void* data, CUhostFn destroy,
                            unsigned int count, unsigned int flags) {
  FARWARP_GRAPH_TRY(host.enter(false));
  if (out == nullptr || destroy == nullptr || badCount(count) ||
      flags != CU_USER_OBJECT_NO_DESTRUCTOR_SYNC) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  auto object = std::make_shared<UserObject>(destroy, data, count);
  std::lock_guard lock(host.state.mutex);
  *out = reinterpret_cast<CUuserObject>(host.state.nextHandle());
  object->handle = *out;
  host.state.user_objects[*out] = std::move(object);
  return CUDA_SUCCESS;
}

CUresult cuUserObjectRetain(Host& host, CUuserObject handle, unsigned int count) {
  FARWARP_GRAPH_TRY(host.enter(false));
  std::lock_guard lock(host.state.mutex);
  const auto found = host.state.user_objects.find(handle);
  if (found == host.state.user_objects.end() || badCount(count)) return CUDA_ERROR_INVALID_VALUE;
  found->second->count += count;
  return CUDA_SUCCESS;
}

CUresult cuUserObjectRelease(Host& host, CUuserObject handle, unsigned int count) {
  FARWARP_GRAPH_TRY(host.enter(false));
  if (badCount(count)) return CUDA_ERROR_INVALID_VALUE;
  std::shared_ptr<UserObject> object;
  std::lock_guard lock(host.state.mutex);
  return release(host.state, handle, count, object);
}

CUresult cuGraphRetainUserObject(Host& host, CUgraph handle, CUuserObject object_handle,
                                 unsigned int count, unsigned int flags) {
  FARWARP_GRAPH_TRY(host.enter(false));
  if (badCount(count) || (flags & ~unsigned{CU_GRAPH_USER_OBJECT_MOVE}) != 0) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  std::lock_guard lock(host.state.mutex);
  const auto graph = host.state.find(handle);
  const auto found = host.state.user_objects.find(object_handle);
  if (graph == nullptr || found == host.state.user_objects.end()) return CUDA_ERROR_INVALID_VALUE;
  std::shared_ptr<UserObject> object = found->second;
  // Moved references are the program's no more.
  if ((flags & CU_GRAPH_USER_OBJECT_MOVE) != 0) {
    FARWARP_GRAPH_TRY(release(host.state, object_handle, count, object));
  }
  for (auto& [known, references] : graph->user_objects) {
    if (known != object) continue;
    references += count;
    return CUDA_SUCCESS;
  }
  graph->user_objects.emplace_back(std::move(object), count);
  return CUDA_SUCCESS;
}

CUresult cuGraphReleaseUserObject(Host& host, CUgraph handle, CUuserObject object_handle,
                                  unsigned int count) {
  FARWARP_GRAPH_TRY(host.enter(false));
  if (badCount(count)) return CUDA_ERROR_INVALID_VALUE;
  std::shared_ptr<UserObject> last;
  std::lock_guard lock(host.state.mutex);
  const auto graph = host.state.find(handle);
  if (graph == nullptr) return CUDA_ERROR_INVALID_VALUE;
  const auto mine =
      std::find_if(graph->user_objects.begin(), graph->user_objects.end(),
                   [&](const auto& entry) { return entry.first->handle == object_handle; });
  if (mine == graph->user_objects.end() || mine->second < count) return CUDA_ERROR_INVALID_VALUE;
  mine->second -= count;
  if (mine->second != 0) return CUDA_SUCCESS;
  last = std::move(mine->first);
  graph->user_objects.erase(mine);
  return CUDA_SUCCESS;
}

}  // namespace calls
}  // namespace farwarp::graph
