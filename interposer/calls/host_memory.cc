#include "interposer/calls/host_memory.h"

#include <cstdio>
#include <cstring>
#include <string>

#include "interposer/calls/copies.h"

namespace farwarp::client {
namespace {

// Larger uploads are data, not tables of pointers.
constexpr size_t kScannedBytesMax = 1u << 20;

std::string hexadecimal(uint64_t value) {
  char text[24];
  std::snprintf(text, sizeof(text), "0x%llx", static_cast<unsigned long long>(value));
  return text;
}

}  // namespace

CUresult shareHost(CallScope& scope, const Allocation& memory) {
  Client& client = scope.client();
  // Copies that come later would find the pages closed.
  FARWARP_TRY(settlePending(scope, reinterpret_cast<void*>(memory.base), memory.bytes));
  const bool whole_pages = isWholePages(memory);
  CUresult result = CUDA_ERROR_NOT_SUPPORTED;
  if (memory.kind == AllocationKind::pinned || whole_pages) {
    scope.thread().contexts.push_back(handleOf<CUcontext>(memory.context));
    result = client.shared_memory.share(memory.base, HostArena::roundUp(memory.bytes),
                                        PageRegion::Content::existing);
    scope.thread().contexts.pop_back();
  }
  if (result == CUDA_SUCCESS) client.allocations.setShared(memory.base);
  if (result == CUDA_ERROR_NOT_SUPPORTED) {
    client.explain("The device cannot use the " + std::to_string(memory.bytes) +
                   " bytes of host memory at " + hexadecimal(memory.base) +
                   (whole_pages ? ": other memory lies at this address on the GPU host."
                                : ": registered memory must be whole pages of 4096 bytes."));
  }
  return result;
}

CUresult shareVariable(CallScope& scope, uint64_t owner, uint64_t address, uint64_t bytes,
                       uint64_t base, uint64_t whole) {
  Client& client = scope.client();
  if (!client.shared_memory.contains(address)) {
    FARWARP_TRY(client.shared_memory.shareForeign(base, whole));
  }
  Allocation variable;
  variable.base = address;
  variable.bytes = bytes;
  variable.kind = AllocationKind::managed;
  variable.flags = CU_MEM_ATTACH_GLOBAL;
  variable.global = true;
  variable.owner = owner;
  // A library's variables outlive contexts; a module does not.
  if (wire::HandleId(owner).type() == wire::HandleType::module) {
    variable.context = currentContext(scope).id;
  }
  variable.region = base;
  // Known already when it is asked for again.
  static_cast<void>(client.allocations.add(variable));
  return CUDA_SUCCESS;
}

void shareReferenced(CallScope& scope, std::span<const std::byte> bytes) {
  const AllocationMap& allocations = scope.client().allocations;
  if (bytes.size() > kScannedBytesMax || !allocations.anyPlainHost()) return;
  for (size_t at = 0; at + sizeof(uint64_t) <= bytes.size(); at += sizeof(uint64_t)) {
    uint64_t word = 0;
    std::memcpy(&word, bytes.data() + at, sizeof(word));
    if (!allocations.maybePlainHost(word)) continue;
    const std::optional<Allocation> memory = allocations.findHost(word);
    // A number that only looks like an address does no harm, so a failure is no error of the call;
    // a kernel that does use it meets an illegal address.
    if (memory && !memory->shared) static_cast<void>(shareHost(scope, *memory));
  }
}

}  // namespace farwarp::client
