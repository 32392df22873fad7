// Virtual memory management: physical memory by the client's ids, and the keys under which other
// sessions find it.
#include <unistd.h>

#include <vector>

#include "gpud/worker/session.h"
#include "worker_dispatch_gen.h"

namespace farwarp::worker::calls {
namespace {

using wire::HandleType;

CUmemAllocationProp propertiesOf(int32_t device, uint32_t handle_types, uint32_t compression) {
  CUmemAllocationProp properties{};
  properties.type = CU_MEM_ALLOCATION_TYPE_PINNED;
  properties.location = {CU_MEM_LOCATION_TYPE_DEVICE, device};
  properties.requestedHandleTypes = static_cast<CUmemAllocationHandleType>(handle_types);
  properties.allocFlags.compressionType = static_cast<unsigned char>(compression);
  return properties;
}

// False, and the call is malformed, for what a client of ours does not ask for.
bool checkHandleTypes(CallContext& call, uint32_t handle_types) {
  if ((handle_types & ~uint32_t{CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR}) == 0) return true;
  call.malformed("It asks for memory with handles of an unknown type.");
  return false;
}

CUresult checkRoom(Session& session) {
  return session.memory().allocations() < session.settings().handles_max ? CUDA_SUCCESS
                                                                         : CUDA_ERROR_OUT_OF_MEMORY;
}

// Gives the memory its id, which lives until it is released.
bool bindMemory(Session& session, CallContext& call, uint64_t id,
                CUmemGenericAllocationHandle memory) {
  auto* object = reinterpret_cast<void*>(static_cast<uintptr_t>(memory));
  if (session.bind(HandleType::memoryAllocation, id, object, 0) == CUDA_SUCCESS) return true;
  session.driver().cuMemRelease(memory);
  call.malformed("The memory's id may not be used.");
  return false;
}

CUresult findMemory(Session& session, uint64_t id, CUmemGenericAllocationHandle& memory) {
  const CUresult result = session.resolve(HandleType::memoryAllocation, id, &memory);
  return result == CUDA_SUCCESS && memory == 0 ? CUDA_ERROR_INVALID_VALUE : result;
}

}  // namespace

void cuMemAddressReserve(Session& session, CallContext& call,
                         const wire::Args_cuMemAddressReserve& args) {
  CUdeviceptr address = 0;
  const CUresult result =
      session.driver().cuMemAddressReserve(&address, args.bytes, args.alignment, args.wanted, 0);
  wire::Reply_cuMemAddressReserve reply;
  reply.address = address;
  call.finish(result, reply);
}

void cuMemCreate(Session& session, CallContext& call, const wire::Args_cuMemCreate& args) {
  if (!checkHandleTypes(call, args.handle_types)) return;
  const CUmemAllocationProp properties =
      propertiesOf(args.device, args.handle_types, args.compression);
  CUmemGenericAllocationHandle memory = 0;
  CUresult result = checkRoom(session);
  if (result == CUDA_SUCCESS) {
    result = session.driver().cuMemCreate(&memory, args.bytes, &properties, 0);
  }
  if (result != CUDA_SUCCESS) return call.finish(result);
  if (!bindMemory(session, call, args.allocation, memory)) return;
  session.memory().addPhysical(args.allocation, args.bytes, args.device);
  call.finish(CUDA_SUCCESS);
}

void cuMemRelease(Session& session, CallContext& call, const wire::Args_cuMemRelease& args) {
  CUmemGenericAllocationHandle memory = 0;
  CUresult result = findMemory(session, args.allocation, memory);
  if (result != CUDA_SUCCESS) return call.finish(result);
  session.sharedDescriptors().withdraw(args.allocation);
  result = session.driver().cuMemRelease(memory);
  session.unbind(HandleType::memoryAllocation, args.allocation);
  session.memory().removePhysical(args.allocation);
  call.finish(result);
}

void cuMemMap(Session& session, CallContext& call, const wire::Args_cuMemMap& args) {
  CUmemGenericAllocationHandle memory = 0;
  CUresult result = findMemory(session, args.allocation, memory);
  if (result == CUDA_SUCCESS) {
    result = session.driver().cuMemMap(args.address, args.bytes, args.offset, memory, 0);
  }
  call.finish(result);
}

void cuMemSetAccess(Session& session, CallContext& call, const wire::Args_cuMemSetAccess& args) {
  if (args.devices.size() != args.flags.size() || args.devices.size() > wire::kDevicesMax) {
    return call.malformed("The access descriptions of the memory do not add up.");
  }
  std::vector<CUmemAccessDesc> places(args.devices.size());
  for (size_t i = 0; i < places.size(); ++i) {
    if (args.flags[i] > CU_MEM_ACCESS_FLAGS_PROT_MAX) {
      return call.malformed("The access flags of the memory are no value of theirs.");
    }
    places[i].location = {CU_MEM_LOCATION_TYPE_DEVICE, args.devices[i]};
    places[i].flags = static_cast<CUmemAccess_flags>(args.flags[i]);
  }
  call.finish(
      session.driver().cuMemSetAccess(args.address, args.bytes, places.data(), places.size()));
}

void cuMemGetAllocationGranularity(Session& session, CallContext& call,
                                   const wire::Args_cuMemGetAllocationGranularity& args) {
  if (!checkHandleTypes(call, args.handle_types)) return;
  if (args.option > CU_MEM_ALLOC_GRANULARITY_RECOMMENDED) {
    return call.malformed("It asks for an unknown granularity.");
  }
  const CUmemAllocationProp properties =
      propertiesOf(args.device, args.handle_types, args.compression);
  size_t bytes = 0;
  const CUresult result = session.driver().cuMemGetAllocationGranularity(
      &bytes, &properties, static_cast<CUmemAllocationGranularity_flags>(args.option));
  wire::Reply_cuMemGetAllocationGranularity reply;
  reply.bytes = bytes;
  call.finish(result, reply);
}

void cuMemExportToShareableHandle(Session& session, CallContext& call,
                                  const wire::Args_cuMemExportToShareableHandle& args) {
  CUmemGenericAllocationHandle memory = 0;
  CUresult result = findMemory(session, args.allocation, memory);
  if (result != CUDA_SUCCESS) return call.finish(result);
  SharedDescriptors& shared = session.sharedDescriptors();
  if (shared.find(args.allocation) == nullptr) {
    int file = -1;
    result = session.driver().cuMemExportToShareableHandle(
        &file, memory, CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR, 0);
    if (result == CUDA_SUCCESS && !shared.offer(args.allocation, file)) {
      close(file);
      result = CUDA_ERROR_OPERATING_SYSTEM;
    }
    if (result != CUDA_SUCCESS) return call.finish(result);
  }
  const auto key = shared.find(args.allocation)->bytes();
  wire::Reply_cuMemExportToShareableHandle reply;
  reply.key = key;
  call.finish(CUDA_SUCCESS, reply);
}

// A key that nobody knows any more is what a descriptor of something else is to CUDA.
void cuMemImportFromShareableHandle(Session& session, CallContext& call,
                                    const wire::Args_cuMemImportFromShareableHandle& args) {
  const auto key = DescriptorKey::from(args.key);
  const int file = key ? DescriptorBroker::fetch(*key) : -1;
  if (file < 0) return call.finish(CUDA_ERROR_INVALID_VALUE);
  const DriverTable& driver = session.driver();
  CUmemGenericAllocationHandle memory = 0;
  CUresult result = checkRoom(session);
  if (result == CUDA_SUCCESS) {
    result = driver.cuMemImportFromShareableHandle(
        &memory, reinterpret_cast<void*>(static_cast<intptr_t>(file)),
        CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR);
  }
  close(file);
  if (result != CUDA_SUCCESS) return call.finish(result);
  CUmemAllocationProp properties{};
  driver.cuMemGetAllocationPropertiesFromHandle(&properties, memory);
  if (!bindMemory(session, call, args.allocation, memory)) return;
  wire::Reply_cuMemImportFromShareableHandle reply;
  reply.device = properties.location.id;
  reply.handle_types = static_cast<uint32_t>(properties.requestedHandleTypes);
  reply.compression = properties.allocFlags.compressionType;
  call.finish(CUDA_SUCCESS, reply);
}

}  // namespace farwarp::worker::calls
