// Stream-ordered allocation, and the pools of the devices.
#include <unistd.h>

#include <vector>

#include "gpud/worker/session.h"
#include "worker_dispatch_gen.h"

namespace farwarp::worker::calls {
namespace {

using wire::HandleType;

CUresult findPool(Session& session, uint64_t id, CUmemoryPool& pool) {
  const CUresult result = session.resolve(HandleType::memPool, id, &pool);
  return result == CUDA_SUCCESS && pool == nullptr ? CUDA_ERROR_INVALID_VALUE : result;
}

CUresult checkRoom(Session& session) {
  return session.memory().allocations() < session.settings().handles_max ? CUDA_SUCCESS
                                                                         : CUDA_ERROR_OUT_OF_MEMORY;
}

// Gives a pool its id, which lives until the pool is destroyed, whatever the contexts do.
void bindPool(Session& session, CallContext& call, uint64_t id, CUmemoryPool pool) {
  if (session.bind(HandleType::memPool, id, pool, 0) != CUDA_SUCCESS) {
    return call.malformed("The memory pool's id may not be used.");
  }
  call.finish(CUDA_SUCCESS);
}

}  // namespace

void cuMemAllocAsync(Session& session, CallContext& call, const wire::Args_cuMemAllocAsync& args) {
  CUstream stream = nullptr;
  CUresult result = session.resolveStream(args.stream, call.header, &stream);
  if (result == CUDA_SUCCESS) result = checkRoom(session);
  CUdeviceptr address = 0;
  if (result == CUDA_SUCCESS) {
    result = session.driver().cuMemAllocAsync(&address, args.bytes, stream);
  }
  // It belongs to the device, not to a context.
  if (result == CUDA_SUCCESS) {
    session.memory().add(address, args.bytes, nullptr, session.contexts().currentDevice());
  }
  wire::Reply_cuMemAllocAsync reply;
  reply.address = address;
  call.finish(result, reply);
}

void cuMemAllocFromPoolAsync(Session& session, CallContext& call,
                             const wire::Args_cuMemAllocFromPoolAsync& args) {
  CUstream stream = nullptr;
  CUresult result = session.resolveStream(args.stream, call.header, &stream);
  CUmemoryPool pool = nullptr;
  if (result == CUDA_SUCCESS) result = findPool(session, args.pool, pool);
  if (result == CUDA_SUCCESS) result = checkRoom(session);
  CUdeviceptr address = 0;
  if (result == CUDA_SUCCESS) {
    result = session.driver().cuMemAllocFromPoolAsync(&address, args.bytes, pool, stream);
  }
  wire::Reply_cuMemAllocFromPoolAsync reply;
  if (result == CUDA_SUCCESS) {
    int device = 0;
    result = session.driver().cuPointerGetAttribute(&device, CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL,
                                                    address);
    session.memory().add(address, args.bytes, nullptr, device);
    reply.device = device;
  }
  reply.address = address;
  call.finish(result, reply);
}

// Only what this session allocated, and only by its first address, reaches the driver.
void cuMemFreeAsync(Session& session, CallContext& call, const wire::Args_cuMemFreeAsync& args) {
  CUstream stream = nullptr;
  const CUresult result = session.resolveStream(args.stream, call.header, &stream);
  if (result != CUDA_SUCCESS) return call.finish(result);
  if (!session.memory().remove(args.address)) return call.finish(CUDA_ERROR_INVALID_VALUE);
  call.finish(session.driver().cuMemFreeAsync(args.address, stream));
}

void cuMemPoolCreate(Session& session, CallContext& call, const wire::Args_cuMemPoolCreate& args) {
  constexpr uint32_t kHandles = CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR;
  if ((args.handle_types & ~kHandles) != 0) {
    return call.malformed("It asks for a memory pool with handles of an unknown type.");
  }
  CUmemPoolProps properties{};
  properties.allocType = CU_MEM_ALLOCATION_TYPE_PINNED;
  properties.handleTypes = static_cast<CUmemAllocationHandleType>(args.handle_types);
  properties.location = {CU_MEM_LOCATION_TYPE_DEVICE, args.device};
  properties.maxSize = args.bytes_max;
  CUmemoryPool pool = nullptr;
  const CUresult result = session.driver().cuMemPoolCreate(&pool, &properties);
  if (result != CUDA_SUCCESS) return call.finish(result);
  bindPool(session, call, args.pool, pool);
}

void cuMemPoolDestroy(Session& session, CallContext& call,
                      const wire::Args_cuMemPoolDestroy& args) {
  CUmemoryPool pool = nullptr;
  CUresult result = findPool(session, args.pool, pool);
  if (result == CUDA_SUCCESS) result = session.driver().cuMemPoolDestroy(pool);
  if (result == CUDA_SUCCESS) {
    session.sharedDescriptors().withdraw(args.pool);
    session.unbind(HandleType::memPool, args.pool);
  }
  call.finish(result);
}

void cuMemPoolSetAttribute(Session& session, CallContext& call,
                           const wire::Args_cuMemPoolSetAttribute& args) {
  CUmemoryPool pool = nullptr;
  const CUresult found = findPool(session, args.pool, pool);
  if (found != CUDA_SUCCESS) return call.finish(found);
  // Large enough for either type, and on a little-endian machine right for both.
  cuuint64_t value = args.value;
  call.finish(session.driver().cuMemPoolSetAttribute(
      pool, static_cast<CUmemPool_attribute>(args.attribute), &value));
}

void cuMemPoolGetAttribute(Session& session, CallContext& call,
                           const wire::Args_cuMemPoolGetAttribute& args) {
  CUmemoryPool pool = nullptr;
  CUresult result = findPool(session, args.pool, pool);
  cuuint64_t value = 0;
  if (result == CUDA_SUCCESS) {
    result = session.driver().cuMemPoolGetAttribute(
        pool, static_cast<CUmemPool_attribute>(args.attribute), &value);
  }
  wire::Reply_cuMemPoolGetAttribute reply;
  reply.value = value;
  call.finish(result, reply);
}

void cuMemPoolSetAccess(Session& session, CallContext& call,
                        const wire::Args_cuMemPoolSetAccess& args) {
  CUmemoryPool pool = nullptr;
  const CUresult found = findPool(session, args.pool, pool);
  if (found != CUDA_SUCCESS) return call.finish(found);
  if (args.devices.size() != args.flags.size() || args.devices.size() > wire::kDevicesMax) {
    return call.malformed("The access descriptions of the memory pool do not add up.");
  }
  std::vector<CUmemAccessDesc> map(args.devices.size());
  for (size_t i = 0; i < map.size(); ++i) {
    if (args.flags[i] > CU_MEM_ACCESS_FLAGS_PROT_MAX) {
      return call.malformed("The access flags of the memory pool are no value of theirs.");
    }
    map[i].location = {CU_MEM_LOCATION_TYPE_DEVICE, args.devices[i]};
    map[i].flags = static_cast<CUmemAccess_flags>(args.flags[i]);
  }
  call.finish(session.driver().cuMemPoolSetAccess(pool, map.data(), map.size()));
}

void cuMemPoolGetAccess(Session& session, CallContext& call,
                        const wire::Args_cuMemPoolGetAccess& args) {
  CUmemoryPool pool = nullptr;
  CUresult result = findPool(session, args.pool, pool);
  CUmemLocation location{CU_MEM_LOCATION_TYPE_DEVICE, args.device};
  CUmemAccess_flags flags = CU_MEM_ACCESS_FLAGS_PROT_NONE;
  if (result == CUDA_SUCCESS) result = session.driver().cuMemPoolGetAccess(&flags, pool, &location);
  wire::Reply_cuMemPoolGetAccess reply;
  reply.flags = static_cast<uint32_t>(flags);
  call.finish(result, reply);
}

void cuDeviceGetDefaultMemPool(Session& session, CallContext& call,
                               const wire::Args_cuDeviceGetDefaultMemPool& args) {
  CUmemoryPool pool = nullptr;
  const CUresult result = session.driver().cuDeviceGetDefaultMemPool(&pool, args.dev);
  if (result != CUDA_SUCCESS) return call.finish(result);
  bindPool(session, call, args.pool, pool);
}

void cuMemPoolExportToShareableHandle(Session& session, CallContext& call,
                                      const wire::Args_cuMemPoolExportToShareableHandle& args) {
  CUmemoryPool pool = nullptr;
  CUresult result = findPool(session, args.pool, pool);
  if (result != CUDA_SUCCESS) return call.finish(result);
  SharedDescriptors& shared = session.sharedDescriptors();
  if (shared.find(args.pool) == nullptr) {
    int file = -1;
    result = session.driver().cuMemPoolExportToShareableHandle(
        &file, pool, CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR, 0);
    if (result == CUDA_SUCCESS && !shared.offer(args.pool, file)) {
      close(file);
      result = CUDA_ERROR_OPERATING_SYSTEM;
    }
    if (result != CUDA_SUCCESS) return call.finish(result);
  }
  const auto key = shared.find(args.pool)->bytes();
  wire::Reply_cuMemPoolExportToShareableHandle reply;
  reply.key = key;
  call.finish(CUDA_SUCCESS, reply);
}

// A key that nobody knows any more is what a descriptor of something else is to CUDA.
void cuMemPoolImportFromShareableHandle(Session& session, CallContext& call,
                                        const wire::Args_cuMemPoolImportFromShareableHandle& args) {
  const auto key = DescriptorKey::from(args.key);
  const int file = key ? DescriptorBroker::fetch(*key) : -1;
  if (file < 0) return call.finish(CUDA_ERROR_INVALID_VALUE);
  CUmemoryPool pool = nullptr;
  const CUresult result = session.driver().cuMemPoolImportFromShareableHandle(
      &pool, reinterpret_cast<void*>(static_cast<intptr_t>(file)),
      CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR, 0);
  close(file);
  if (result != CUDA_SUCCESS) return call.finish(result);
  bindPool(session, call, args.pool, pool);
}

void cuMemPoolExportPointer(Session& session, CallContext& call,
                            const wire::Args_cuMemPoolExportPointer& args) {
  wire::Reply_cuMemPoolExportPointer reply{};
  CUresult result = CUDA_ERROR_INVALID_VALUE;
  if (session.memory().has(args.address)) {
    result = session.driver().cuMemPoolExportPointer(&reply.data, args.address);
  }
  call.finish(result, reply);
}

void cuMemPoolImportPointer(Session& session, CallContext& call,
                            const wire::Args_cuMemPoolImportPointer& args) {
  const DriverTable& driver = session.driver();
  CUmemoryPool pool = nullptr;
  CUresult result = findPool(session, args.pool, pool);
  if (result == CUDA_SUCCESS) result = checkRoom(session);
  CUdeviceptr address = 0;
  CUmemPoolPtrExportData data = args.data;
  if (result == CUDA_SUCCESS) result = driver.cuMemPoolImportPointer(&address, pool, &data);
  wire::Reply_cuMemPoolImportPointer reply;
  if (result == CUDA_SUCCESS) {
    int device = 0;
    size_t bytes = 0;
    result = driver.cuPointerGetAttribute(&device, CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL, address);
    if (result == CUDA_SUCCESS) {
      result = driver.cuPointerGetAttribute(&bytes, CU_POINTER_ATTRIBUTE_RANGE_SIZE, address);
    }
    session.memory().add(address, bytes, nullptr, device);
    reply.device = device;
    reply.bytes = bytes;
  }
  reply.address = address;
  call.finish(result, reply);
}

}  // namespace farwarp::worker::calls
