// Attributes of streams. All but the priority are hints on caches, memory domains and how to wait,
// which change nothing that a program could see: they are kept and told.
#include <cstring>

#include "driver/graph/host.h"
#include "driver_calls_gen.h"
#include "graph_calls_gen.h"

namespace farwarp::graph {
namespace {

constexpr size_t kStreamsMax = 1u << 16;  // with attributes that were set

bool known(CUstreamAttrID id) {
  switch (id) {
    case CU_LAUNCH_ATTRIBUTE_ACCESS_POLICY_WINDOW:
    case CU_LAUNCH_ATTRIBUTE_SYNCHRONIZATION_POLICY:
    case CU_LAUNCH_ATTRIBUTE_PRIORITY:
    case CU_LAUNCH_ATTRIBUTE_MEM_SYNC_DOMAIN_MAP:
    case CU_LAUNCH_ATTRIBUTE_MEM_SYNC_DOMAIN:
      return true;
    default:
      return false;
  }
}

CUresult findStream(Host& host, CUstream stream, uint16_t record_flags, StreamKey& key) {
  FARWARP_GRAPH_TRY(host.enter(true));
  return host.findStream(stream, record_flags, key);
}

}  // namespace

namespace calls {

CUresult cuStreamGetAttribute(Host& host, CUstream stream, CUstreamAttrID id,
                              CUstreamAttrValue* value, uint16_t record_flags) {
  StreamKey key;
  FARWARP_GRAPH_TRY(findStream(host, stream, record_flags, key));
  if (value == nullptr || !known(id)) return CUDA_ERROR_INVALID_VALUE;
  CUstreamAttrValue found;
  std::memset(&found, 0, sizeof found);
  if (id == CU_LAUNCH_ATTRIBUTE_SYNCHRONIZATION_POLICY) found.syncPolicy = CU_SYNC_POLICY_AUTO;
  if (id == CU_LAUNCH_ATTRIBUTE_MEM_SYNC_DOMAIN_MAP) found.memSyncDomainMap.remote = 1;
  if (id == CU_LAUNCH_ATTRIBUTE_PRIORITY) {
    FARWARP_GRAPH_TRY(host.table().cuStreamGetPriority(stream, &found.priority));
  }
  std::lock_guard lock(host.state.mutex);
  const auto stream_entry = host.state.stream_attributes.find(key);
  if (stream_entry != host.state.stream_attributes.end()) {
    const auto entry = stream_entry->second.find(id);
    if (entry != stream_entry->second.end()) found = entry->second;
  }
  *value = found;
  return CUDA_SUCCESS;
}

CUresult cuStreamSetAttribute(Host& host, CUstream stream, CUstreamAttrID id,
                              const CUstreamAttrValue* value, uint16_t record_flags) {
  StreamKey key;
  FARWARP_GRAPH_TRY(findStream(host, stream, record_flags, key));
  if (value == nullptr || !known(id)) return CUDA_ERROR_INVALID_VALUE;
  if (id == CU_LAUNCH_ATTRIBUTE_SYNCHRONIZATION_POLICY &&
      (value->syncPolicy < CU_SYNC_POLICY_AUTO ||
       value->syncPolicy > CU_SYNC_POLICY_BLOCKING_SYNC)) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  std::lock_guard lock(host.state.mutex);
  auto& attributes = host.state.stream_attributes;
  if (attributes.size() >= kStreamsMax && !attributes.contains(key))
    return CUDA_ERROR_OUT_OF_MEMORY;
  attributes[key][id] = *value;
  return CUDA_SUCCESS;
}

CUresult cuStreamCopyAttributes(Host& host, CUstream to, CUstream from, uint16_t record_flags) {
  StreamKey to_key, from_key;
  FARWARP_GRAPH_TRY(findStream(host, to, record_flags, to_key));
  FARWARP_GRAPH_TRY(findStream(host, from, record_flags, from_key));
  if (to_key.context != from_key.context) return CUDA_ERROR_INVALID_VALUE;
  std::lock_guard lock(host.state.mutex);
  auto& attributes = host.state.stream_attributes;
  const auto source = attributes.find(from_key);
  if (source == attributes.end()) {
    attributes.erase(to_key);
  } else {
    const auto copied = source->second;
    attributes[to_key] = copied;
  }
  return CUDA_SUCCESS;
}

}  // namespace calls
}  // namespace farwarp::graph
