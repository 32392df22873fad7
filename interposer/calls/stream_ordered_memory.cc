// Stream-ordered allocation, and the pools of the devices. An allocation is waited for, because
// gpud chooses the address and CUDA tells of missing memory at the call; freeing is not.
#include <cstring>
#include <vector>

#include "driver/pool_properties.h"
#include "interposer/calls/body.h"
#include "interposer/session/shareable_file.h"

namespace farwarp::client::calls {
namespace {

using wire::HandleType;

// The device whose pool a stream allocates from.
CUresult deviceOf(CallScope& scope, uint64_t stream, int& device) {
  const Context* context = &currentContext(scope);
  if (!wire::isSpecialHandle(HandleType::stream, stream) && stream != 0) {
    Client& client = scope.client();
    context = client.contexts.find(handleOf<CUcontext>(client.handles.parent(stream)));
    if (context == nullptr) return CUDA_ERROR_CONTEXT_IS_DESTROYED;
  }
  device = context->device;
  return CUDA_SUCCESS;
}

// Enters what a pool gave into the map. It belongs to no context, so it outlives all of them.
void keep(CallScope& scope, uint64_t base, uint64_t bytes, int device, uint64_t pool) {
  Allocation memory;
  memory.base = base;
  memory.bytes = bytes;
  memory.device = device;
  memory.stream_ordered = true;
  memory.pool = pool;
  scope.client().allocations.add(memory);
}

// The id of a device's default pool; gpud is told of it when it is first asked for. `transitions`
// is held.
CUresult defaultPool(CallScope& scope, int device, uint64_t& id) {
  uint64_t& known = scope.client().memory_pools.defaultOf(device);
  if (known == 0) {
    wire::Args_cuDeviceGetDefaultMemPool args;
    args.dev = scope.client().devices.toServer(device);
    FARWARP_TRY(scope.create(HandleType::memPool, args.pool, 0, nullptr));
    scope.sendAs(CallId::cuDeviceGetDefaultMemPool);
    wire::Reply_cuDeviceGetDefaultMemPool reply;
    if (CUresult r = scope.call(args, reply); r != CUDA_SUCCESS) {
      scope.abandon(args.pool);
      return r;
    }
    known = args.pool;
  }
  id = known;
  return CUDA_SUCCESS;
}

CUresult currentPool(CallScope& scope, int device, uint64_t& id) {
  id = scope.client().memory_pools.currentOf(device);
  return id != 0 ? CUDA_SUCCESS : defaultPool(scope, device, id);
}

using FindPool = CUresult (*)(CallScope& scope, int device, uint64_t& id);

CUresult givePool(CallId call, CUdevice device, CUmemoryPool* pool, FindPool find) {
  CallScope scope(call);
  FARWARP_TRY(scope.enter(kNeedsInit));
  if (scope.client().devices.find(device) == nullptr) return CUDA_ERROR_INVALID_DEVICE;
  if (pool == nullptr) return CUDA_ERROR_INVALID_VALUE;
  std::lock_guard lock(scope.client().memory_pools.transitions);
  uint64_t id = 0;
  FARWARP_TRY(find(scope, device, id));
  *pool = handleOf<CUmemoryPool>(id);
  return CUDA_SUCCESS;
}

// The device that a location names.
CUresult deviceAt(CallId call, const CUmemLocation* location, CUmemAllocationType type) {
  CallScope scope(call);
  FARWARP_TRY(scope.enter(kNeedsInit));
  return checkPoolPlace(location, type);
}

}  // namespace

CUresult cuMemAllocAsync(CUdeviceptr* address, size_t bytes, CUstream stream,
                         uint16_t record_flags) {
  CallScope scope(CallId::cuMemAllocAsync, record_flags);
  FARWARP_TRY(scope.enter(kNeedsInit | kNeedsContext));
  wire::Args_cuMemAllocAsync args;
  FARWARP_TRY(scope.use(HandleType::stream, stream, args.stream, true));
  if (address == nullptr || bytes == 0) return CUDA_ERROR_INVALID_VALUE;
  int device = 0;
  FARWARP_TRY(deviceOf(scope, args.stream, device));
  args.bytes = bytes;
  wire::Reply_cuMemAllocAsync reply;
  FARWARP_TRY(scope.call(args, reply));
  uint64_t pool = 0;
  {
    std::lock_guard lock(scope.client().memory_pools.transitions);
    pool = scope.client().memory_pools.currentOf(device);
  }
  keep(scope, reply.address, bytes, device, pool);
  *address = reply.address;
  return CUDA_SUCCESS;
}

CUresult cuMemAllocFromPoolAsync(CUdeviceptr* address, size_t bytes, CUmemoryPool pool,
                                 CUstream stream, uint16_t record_flags) {
  CallScope scope(CallId::cuMemAllocFromPoolAsync, record_flags);
  FARWARP_TRY(scope.enter(kNeedsInit | kNeedsContext));
  wire::Args_cuMemAllocFromPoolAsync args;
  FARWARP_TRY(scope.use(HandleType::stream, stream, args.stream, true));
  if (address == nullptr) return CUDA_ERROR_INVALID_VALUE;
  FARWARP_TRY(scope.use(HandleType::memPool, pool, args.pool));
  if (bytes == 0) return CUDA_ERROR_INVALID_VALUE;
  args.bytes = bytes;
  wire::Reply_cuMemAllocFromPoolAsync reply;
  FARWARP_TRY(scope.call(args, reply));
  keep(scope, reply.address, bytes, scope.client().devices.fromServer(reply.device), args.pool);
  *address = reply.address;
  return CUDA_SUCCESS;
}

CUresult cuMemFreeAsync(CUdeviceptr address, CUstream stream, uint16_t record_flags) {
  CallScope scope(CallId::cuMemFreeAsync, record_flags);
  FARWARP_TRY(scope.enter(kNeedsInit | kNeedsContext));
  wire::Args_cuMemFreeAsync args;
  FARWARP_TRY(scope.use(HandleType::stream, stream, args.stream, true));
  AllocationMap& allocations = scope.client().allocations;
  std::optional<Allocation> known = allocations.findDevice(address);
  if (known && known->kind != AllocationKind::device) known.reset();
  if (!known || known->base != address || known->global || known->physical != 0 ||
      known->imported) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  // Out of the map first: as soon as gpud has freed it, another thread may be given the address.
  if (!allocations.removeDevice(address)) return CUDA_ERROR_INVALID_VALUE;
  args.address = address;
  return scope.submit(args);
}

CUresult cuMemPoolCreate(CUmemoryPool* pool, const CUmemPoolProps* properties) {
  CallScope scope(CallId::cuMemPoolCreate);
  FARWARP_TRY(scope.enter(kNeedsInit));
  if (pool == nullptr || properties == nullptr) return CUDA_ERROR_INVALID_VALUE;
  FARWARP_TRY(checkPoolProperties(*properties));
  if (scope.client().devices.find(properties->location.id) == nullptr) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  wire::Args_cuMemPoolCreate args;
  args.device = scope.client().devices.toServer(properties->location.id);
  args.bytes_max = properties->maxSize;
  args.handle_types = static_cast<uint32_t>(properties->handleTypes);
  FARWARP_TRY(scope.create(HandleType::memPool, args.pool, 0, nullptr));
  wire::Reply_cuMemPoolCreate reply;
  if (CUresult r = scope.call(args, reply); r != CUDA_SUCCESS) {
    scope.abandon(args.pool);
    return r;
  }
  *pool = handleOf<CUmemoryPool>(args.pool);
  return CUDA_SUCCESS;
}

CUresult cuMemPoolDestroy(CUmemoryPool pool) {
  CallScope scope(CallId::cuMemPoolDestroy);
  FARWARP_TRY(scope.enter(kNeedsInit));
  wire::Args_cuMemPoolDestroy args;
  FARWARP_TRY(scope.use(HandleType::memPool, pool, args.pool));
  MemoryPools& pools = scope.client().memory_pools;
  std::lock_guard lock(pools.transitions);
  if (pools.isDefault(args.pool)) return CUDA_ERROR_INVALID_VALUE;
  wire::Reply_cuMemPoolDestroy reply;
  FARWARP_TRY(scope.call(args, reply));
  pools.forget(args.pool);
  scope.destroy(args.pool);
  return CUDA_SUCCESS;
}

CUresult cuMemPoolSetAttribute(CUmemoryPool pool, CUmemPool_attribute attribute, void* value) {
  CallScope scope(CallId::cuMemPoolSetAttribute);
  FARWARP_TRY(scope.enter(kNeedsInit));
  wire::Args_cuMemPoolSetAttribute args;
  FARWARP_TRY(scope.use(HandleType::memPool, pool, args.pool));
  const size_t bytes = poolAttributeBytes(attribute);
  if (value == nullptr || bytes == 0) return CUDA_ERROR_INVALID_VALUE;
  args.attribute = attribute;
  if (bytes == sizeof(int)) {
    int on = 0;
    std::memcpy(&on, value, sizeof(on));
    args.value = on != 0;
  } else {
    std::memcpy(&args.value, value, sizeof(args.value));
  }
  FARWARP_TRY(checkPoolAttribute(attribute, args.value));
  wire::Reply_cuMemPoolSetAttribute reply;
  return scope.call(args, reply);
}

CUresult cuMemPoolGetAttribute(CUmemoryPool pool, CUmemPool_attribute attribute, void* value) {
  CallScope scope(CallId::cuMemPoolGetAttribute);
  FARWARP_TRY(scope.enter(kNeedsInit));
  wire::Args_cuMemPoolGetAttribute args;
  FARWARP_TRY(scope.use(HandleType::memPool, pool, args.pool));
  const size_t bytes = poolAttributeBytes(attribute);
  if (value == nullptr || bytes == 0) return CUDA_ERROR_INVALID_VALUE;
  args.attribute = attribute;
  wire::Reply_cuMemPoolGetAttribute reply;
  FARWARP_TRY(scope.call(args, reply));
  const int number = static_cast<int>(reply.value);
  if (bytes == sizeof(int)) {
    std::memcpy(value, &number, sizeof(number));
  } else {
    std::memcpy(value, &reply.value, sizeof(reply.value));
  }
  return CUDA_SUCCESS;
}

CUresult cuMemPoolSetAccess(CUmemoryPool pool, const CUmemAccessDesc* map, size_t count) {
  CallScope scope(CallId::cuMemPoolSetAccess);
  FARWARP_TRY(scope.enter(kNeedsInit));
  wire::Args_cuMemPoolSetAccess args;
  FARWARP_TRY(scope.use(HandleType::memPool, pool, args.pool));
  if (map == nullptr || count == 0 || count > wire::kDevicesMax) return CUDA_ERROR_INVALID_VALUE;
  std::vector<int32_t> devices;
  std::vector<uint32_t> flags;
  for (size_t i = 0; i < count; ++i) {
    if (map[i].location.type != CU_MEM_LOCATION_TYPE_DEVICE ||
        scope.client().devices.find(map[i].location.id) == nullptr) {
      return CUDA_ERROR_INVALID_VALUE;
    }
    devices.push_back(scope.client().devices.toServer(map[i].location.id));
    flags.push_back(static_cast<uint32_t>(map[i].flags));
  }
  args.devices = devices;
  args.flags = flags;
  wire::Reply_cuMemPoolSetAccess reply;
  return scope.call(args, reply);
}

CUresult cuMemPoolGetAccess(CUmemAccess_flags* flags, CUmemoryPool pool, CUmemLocation* location) {
  CallScope scope(CallId::cuMemPoolGetAccess);
  FARWARP_TRY(scope.enter(kNeedsInit));
  wire::Args_cuMemPoolGetAccess args;
  FARWARP_TRY(scope.use(HandleType::memPool, pool, args.pool));
  if (flags == nullptr || location == nullptr || location->type != CU_MEM_LOCATION_TYPE_DEVICE ||
      scope.client().devices.find(location->id) == nullptr) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  args.device = scope.client().devices.toServer(location->id);
  wire::Reply_cuMemPoolGetAccess reply;
  FARWARP_TRY(scope.call(args, reply));
  *flags = static_cast<CUmemAccess_flags>(reply.flags);
  return CUDA_SUCCESS;
}

CUresult cuDeviceGetDefaultMemPool(CUmemoryPool* pool, CUdevice device) {
  return givePool(CallId::cuDeviceGetDefaultMemPool, device, pool, defaultPool);
}

CUresult cuDeviceGetMemPool(CUmemoryPool* pool, CUdevice device) {
  return givePool(CallId::cuDeviceGetMemPool, device, pool, currentPool);
}

CUresult cuDeviceSetMemPool(CUdevice device, CUmemoryPool pool) {
  CallScope scope(CallId::cuDeviceSetMemPool);
  FARWARP_TRY(scope.enter(kNeedsInit));
  if (scope.client().devices.find(device) == nullptr) return CUDA_ERROR_INVALID_DEVICE;
  if (pool == nullptr) return CUDA_ERROR_INVALID_VALUE;
  wire::Args_cuDeviceSetMemPool args;
  FARWARP_TRY(scope.use(HandleType::memPool, pool, args.pool));
  args.dev = scope.client().devices.toServer(device);
  MemoryPools& pools = scope.client().memory_pools;
  std::lock_guard lock(pools.transitions);
  wire::Reply_cuDeviceSetMemPool reply;
  FARWARP_TRY(scope.call(args, reply));
  pools.currentOf(device) = args.pool;
  return CUDA_SUCCESS;
}

CUresult cuMemGetDefaultMemPool(CUmemoryPool* pool, CUmemLocation* location,
                                CUmemAllocationType type) {
  FARWARP_TRY(deviceAt(CallId::cuMemGetDefaultMemPool, location, type));
  return calls::cuDeviceGetDefaultMemPool(pool, location->id);
}

CUresult cuMemGetMemPool(CUmemoryPool* pool, CUmemLocation* location, CUmemAllocationType type) {
  FARWARP_TRY(deviceAt(CallId::cuMemGetMemPool, location, type));
  return calls::cuDeviceGetMemPool(pool, location->id);
}

CUresult cuMemSetMemPool(CUmemLocation* location, CUmemAllocationType type, CUmemoryPool pool) {
  FARWARP_TRY(deviceAt(CallId::cuMemSetMemPool, location, type));
  return calls::cuDeviceSetMemPool(location->id, pool);
}

CUresult cuMemPoolExportToShareableHandle(void* shareable, CUmemoryPool pool,
                                          CUmemAllocationHandleType type,
                                          unsigned long long flags) {
  CallScope scope(CallId::cuMemPoolExportToShareableHandle);
  FARWARP_TRY(scope.enter(kNeedsInit));
  if (shareable == nullptr || flags != 0 || type != CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  wire::Args_cuMemPoolExportToShareableHandle args;
  FARWARP_TRY(scope.use(HandleType::memPool, pool, args.pool));
  wire::Reply_cuMemPoolExportToShareableHandle reply;
  FARWARP_TRY(scope.call(args, reply));
  const int file = createShareableFile(ShareableKind::pool, reply.key);
  if (file < 0) return CUDA_ERROR_OPERATING_SYSTEM;
  std::memcpy(shareable, &file, sizeof(file));
  return CUDA_SUCCESS;
}

// The descriptor is the pointer's value, as CUDA has it.
CUresult cuMemPoolImportFromShareableHandle(CUmemoryPool* pool, void* shareable,
                                            CUmemAllocationHandleType type,
                                            unsigned long long flags) {
  CallScope scope(CallId::cuMemPoolImportFromShareableHandle);
  FARWARP_TRY(scope.enter(kNeedsInit));
  if (pool == nullptr || flags != 0 || type != CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  ShareableFile content;
  if (!readShareableFile(static_cast<int>(idOf(shareable)), ShareableKind::pool, content)) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  wire::Args_cuMemPoolImportFromShareableHandle args;
  args.key = {content.key, content.key_bytes};
  FARWARP_TRY(scope.create(HandleType::memPool, args.pool, 0, nullptr));
  wire::Reply_cuMemPoolImportFromShareableHandle reply;
  if (CUresult r = scope.call(args, reply); r != CUDA_SUCCESS) {
    scope.abandon(args.pool);
    return r;
  }
  *pool = handleOf<CUmemoryPool>(args.pool);
  return CUDA_SUCCESS;
}

CUresult cuMemPoolExportPointer(CUmemPoolPtrExportData* data, CUdeviceptr address) {
  CallScope scope(CallId::cuMemPoolExportPointer);
  FARWARP_TRY(scope.enter(kNeedsInit));
  if (data == nullptr) return CUDA_ERROR_INVALID_VALUE;
  const std::optional<Allocation> known = scope.client().allocations.findDevice(address);
  if (!known || known->base != address || !known->stream_ordered) return CUDA_ERROR_INVALID_VALUE;
  wire::Args_cuMemPoolExportPointer args;
  args.address = address;
  wire::Reply_cuMemPoolExportPointer reply;
  FARWARP_TRY(scope.call(args, reply));
  *data = reply.data;
  return CUDA_SUCCESS;
}

CUresult cuMemPoolImportPointer(CUdeviceptr* address, CUmemoryPool pool,
                                CUmemPoolPtrExportData* data) {
  CallScope scope(CallId::cuMemPoolImportPointer);
  FARWARP_TRY(scope.enter(kNeedsInit));
  if (address == nullptr || data == nullptr) return CUDA_ERROR_INVALID_VALUE;
  wire::Args_cuMemPoolImportPointer args;
  FARWARP_TRY(scope.use(HandleType::memPool, pool, args.pool));
  args.data = *data;
  wire::Reply_cuMemPoolImportPointer reply;
  FARWARP_TRY(scope.call(args, reply));
  keep(scope, reply.address, reply.bytes, scope.client().devices.fromServer(reply.device),
       args.pool);
  *address = reply.address;
  return CUDA_SUCCESS;
}

}  // namespace farwarp::client::calls
